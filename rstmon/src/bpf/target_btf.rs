//! The BTF in which aya looks up what a program is for: a function entered through fentry, a
//! tracepoint entered by its BTF.
//!
//! Kept by `programs` while it loads. For tracepoints the kernel facts have the type ids already, so a
//! BTF is made up that has nothing but those; all of the kernel's own would cost a start
//! as much time as verifying the programs, and more memory than is held afterwards.

use super::programs::{AttachPoint, ProgramsError};
use crate::kernel::hook::Hook;
use aya::{Btf, BtfError, Endianness};
use std::collections::BTreeMap;

/// What is read only once it is needed.
pub(super) struct TargetBtf {
    /// `BtfFacts::tracepoint_ids`.
    tracepoint_ids: BTreeMap<Hook, u32>,
    tracepoints: Option<Btf>,
    /// The whole of the kernel's own.
    kernel: Option<Btf>,
}

impl TargetBtf {
    pub(super) const fn new(tracepoint_ids: BTreeMap<Hook, u32>) -> Self {
        Self {
            tracepoint_ids,
            tracepoints: None,
            kernel: None,
        }
    }

    /// Gets ready for a program at `point`.
    pub(super) fn prepare(&mut self, point: AttachPoint<'_>) -> Result<(), ProgramsError> {
        let (target, read): (_, &dyn Fn() -> Result<Btf, BtfError>) = match point {
            AttachPoint::Fentry(_) => (&mut self.kernel, &Btf::from_sys_fs),
            AttachPoint::BtfTracepoint(_) => (&mut self.tracepoints, &|| {
                btf_of_tracepoints(&self.tracepoint_ids)
            }),
            _ => return Ok(()),
        };
        if target.is_none() {
            *target = Some(read().map_err(|error| ProgramsError::Refused(error.to_string()))?);
        }
        Ok(())
    }

    /// Where to look up what a program at `point` is for; `None` if it needs none, or was not prepared.
    pub(super) const fn of(&self, point: AttachPoint<'_>) -> Option<&Btf> {
        match point {
            AttachPoint::Fentry(_) => self.kernel.as_ref(),
            AttachPoint::BtfTracepoint(_) => self.tracepoints.as_ref(),
            _ => None,
        }
    }

    /// Lets go of what was read.
    pub(super) fn forget(&mut self) {
        self.kernel = None;
        self.tracepoints = None;
    }
}

/// `BTF_MAGIC`, and what else the header and the records are made of (include/uapi/linux/btf.h).
const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
const HEADER_LEN: u32 = 24;
const KIND_FWD: u32 = 7 << 24;
const KIND_TYPEDEF: u32 = 8 << 24;

/// A BTF with the typedefs of tracepoints at their type ids, and nameless forward declarations between
/// them.
fn btf_of_tracepoints(ids: &BTreeMap<Hook, u32>) -> Result<Btf, BtfError> {
    let names: BTreeMap<u32, &str> = ids.iter().map(|(hook, id)| (*id, hook.name())).collect();
    let last = names.last_key_value().map_or(0, |(id, _)| *id);
    let mut strings = vec![0];
    let mut types = Vec::new();
    for id in 1..=last {
        let (name, kind) = match names.get(&id) {
            Some(name) => {
                let offset = strings.len() as u32;
                strings.extend_from_slice(format!("btf_trace_{name}\0").as_bytes());
                (offset, KIND_TYPEDEF)
            }
            None => (0, KIND_FWD),
        };
        types.extend([name, kind, 0].into_iter().flat_map(u32::to_ne_bytes));
    }
    let (types_len, strings_len) = (types.len() as u32, strings.len() as u32);
    let mut bytes = Vec::with_capacity(HEADER_LEN as usize + types.len() + strings.len());
    bytes.extend(MAGIC.to_ne_bytes());
    bytes.extend([VERSION, 0]);
    bytes.extend(
        [HEADER_LEN, 0, types_len, types_len, strings_len]
            .into_iter()
            .flat_map(u32::to_ne_bytes),
    );
    bytes.extend(types);
    bytes.extend(strings);
    Btf::parse(&bytes, Endianness::default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;

    #[test]
    fn tracepoints_are_found_at_their_type_ids_in_what_aya_reads() {
        let ids = BTreeMap::from([(Hook::KfreeSkb, 3), (Hook::TcpReceiveReset, 7)]);
        let bytes = btf_of_tracepoints(&ids).unwrap().to_bytes();
        let ours = crate::kernel::btf::Btf::parse(&bytes).unwrap();
        for (hook, id) in ids {
            assert_eq!(ours.tracepoint_id(hook.name()), Some(id), "{hook}");
        }
        assert_eq!(ours.tracepoint_id("tcp_send_reset"), None);
    }

    #[test]
    fn a_kernel_that_names_none_gives_none() {
        assert!(btf_of_tracepoints(&BTreeMap::new()).is_ok());
    }
}
