//! Which eBPF programs a binary carries, as one word: a result is one of those programs.
//!
//! The word is a digest of their code alone. What else is in the object, such as debug information
//! and BTF, names the directory that it was built in, so that no two builds of it are the same.

use super::apt::checksum;
use anyhow::{Context, Result};
use std::fs;
use std::io::Write as _;
use std::path::Path;

/// How an ELF file of 64 bits begins whose numbers are little-endian.
const ELF: &[u8] = b"\x7fELF\x02\x01\x01";
/// Its machine, if that is BPF.
const EM_BPF: u64 = 247;
/// Flag of a section with instructions.
const SHF_EXECINSTR: u64 = 4;
/// Digits of the digest that are kept: enough to tell builds apart for people.
const DIGITS: usize = 12;

/// The digest of the programs that a binary carries.
pub(super) fn digest_of(binary: &Path) -> Result<String> {
    let bytes = fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let code = embedded_code(&bytes)
        .with_context(|| format!("{} carries no eBPF programs", binary.display()))?;
    let mut file = tempfile::NamedTempFile::new().context("cannot keep the programs' code")?;
    file.write_all(&code)?;
    let mut digest = checksum(file.path())?;
    digest.truncate(DIGITS);
    Ok(digest)
}

/// The names and the instructions of all programs of the first BPF object within these bytes.
fn embedded_code(bytes: &[u8]) -> Option<Vec<u8>> {
    let starts = bytes.windows(ELF.len()).enumerate();
    let mut starts = starts.filter(|(_, window)| *window == ELF);
    starts.find_map(|(at, _)| code_of(&bytes[at..]))
}

/// The same of an object that these bytes begin with.
fn code_of(object: &[u8]) -> Option<Vec<u8>> {
    if number(object, 18, 2)? != EM_BPF {
        return None;
    }
    let (headers, size) = (index(object, 40, 8)?, index(object, 58, 2)?);
    let header = |at: usize| {
        let start = headers.checked_add(at.checked_mul(size)?)?;
        object.get(start..start.checked_add(size)?)
    };
    let contents = |header: &[u8]| {
        let start = index(header, 24, 8)?;
        object.get(start..start.checked_add(index(header, 32, 8)?)?)
    };
    let names = contents(header(index(object, 62, 2)?)?)?;
    let mut code = Vec::new();
    for section in 0..index(object, 60, 2)? {
        let header = header(section)?;
        if number(header, 8, 8)? & SHF_EXECINSTR == 0 {
            continue;
        }
        let name = names.get(index(header, 0, 4)?..)?;
        let instructions = contents(header)?;
        code.extend(name.split_inclusive(|byte| *byte == 0).next()?);
        code.extend(instructions.len().to_le_bytes());
        code.extend(instructions);
    }
    (!code.is_empty()).then_some(code)
}

/// A little-endian number of so many octets.
fn number(bytes: &[u8], at: usize, octets: usize) -> Option<u64> {
    let octets = bytes.get(at..at.checked_add(octets)?)?;
    Some(
        octets
            .iter()
            .rev()
            .fold(0, |sum, octet| sum << 8 | u64::from(*octet)),
    )
}

fn index(bytes: &[u8], at: usize, octets: usize) -> Option<usize> {
    usize::try_from(number(bytes, at, octets)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An object with the names `\0code\0data\0`, a section of each, and an address of its builder.
    fn object(machine: u8, code: &[u8], data: &[u8]) -> Vec<u8> {
        let names = b"\0code\0data\0";
        let mut object = vec![0; 64];
        object[..ELF.len()].copy_from_slice(ELF);
        object[18] = machine;
        let mut headers = Vec::new();
        for (name, flags, contents) in [(0, 0, &names[..]), (1, 4, code), (6, 2, data)] {
            let mut header = [0; 64];
            header[0] = name;
            header[8] = flags;
            header[24..32].copy_from_slice(&object.len().to_le_bytes());
            header[32..40].copy_from_slice(&contents.len().to_le_bytes());
            object.extend(contents);
            headers.extend(header);
        }
        let place = object.len().to_le_bytes();
        object[40..48].copy_from_slice(&place);
        object[58] = 64;
        object[60] = 3;
        object.extend(headers);
        object
    }

    #[test]
    fn the_code_is_found_within_a_binary_and_nothing_else_of_the_object_counts() {
        let binary = |object: Vec<u8>| [b"\x7fELF\x02\x01\x01 host", &object[..], b"more"].concat();
        let code = |binary: &[u8]| embedded_code(binary);
        let one = code(&binary(object(247, b"mov", b"/home/a")));
        assert!(one.is_some());
        assert_eq!(one, code(&binary(object(247, b"mov", b"/home/other"))));
        assert_ne!(one, code(&binary(object(247, b"add", b"/home/a"))));
        assert_eq!(code(&binary(object(62, b"mov", b"/home/a"))), None);
    }

    #[test]
    fn a_torn_object_is_none() {
        let whole = object(247, b"mov", b"data");
        for end in 0..whole.len() {
            assert_eq!(code_of(&whole[..end]), None, "{end}");
        }
        assert!(code_of(&whole).is_some());
    }
}
