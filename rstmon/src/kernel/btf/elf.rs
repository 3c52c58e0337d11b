//! Finds the BTF inside an ELF file, for `--btf vmlinux`.

use super::error::BtfError;
use object::{File, Object, ObjectSection};

const ELF_MAGIC: &[u8] = b"\x7fELF";

/// The raw BTF in `bytes`: the section `.BTF` if they are an ELF file, else all of them.
pub(super) fn find_raw_btf(bytes: &[u8]) -> Result<&[u8], BtfError> {
    if !bytes.starts_with(ELF_MAGIC) {
        return Ok(bytes);
    }
    let damaged = |error: object::Error| BtfError::BadElf {
        why: error.to_string(),
    };
    let file = File::parse(bytes).map_err(damaged)?;
    let section = file.section_by_name(".BTF").ok_or(BtfError::NoElfSection)?;
    section.data().map_err(damaged)
}
