//! The processes of a record: who owned the socket, who ran, how the owner ended and who ended it.
//!
//! Called by `event::decode` only.

use super::{has, known};
use crate::event::model::{Killer, Process, ProcessEnd};
use crate::event::printable::printable;
use rstmon_common::wire::{self, RawEvent, comm_bytes};

/// Bits of the signal in what wait(2) tells.
const SIGNAL: u32 = 0x7f;
/// Bit that tells of a core dump.
const DUMPED_CORE: u32 = 0x80;

/// A process, if `bit` says that it is known.
pub(super) fn process(
    raw: &RawEvent,
    bit: u32,
    pid: u32,
    comm: &[u8; wire::COMM_LEN],
) -> Option<Process> {
    known(raw, bit, pid).map(|pid| Process {
        pid,
        comm: printable(comm_bytes(comm)).into(),
    })
}

/// How the owner ended.
pub(super) fn owner_end(raw: &RawEvent) -> Option<ProcessEnd> {
    let code = known(raw, wire::HAVE_EXIT, raw.exit_code)?;
    let signal = (code & SIGNAL) as u8;
    Some(if signal == 0 {
        ProcessEnd::Exited {
            status: (code >> 8) as u8,
        }
    } else {
        ProcessEnd::Signalled {
            signal,
            dumped_core: code & DUMPED_CORE != 0,
            out_of_memory: raw.flags & wire::FLAG_OOM_VICTIM != 0,
        }
    })
}

/// Who signalled the owner. A process that signals itself is no other's victim.
pub(super) fn killer(raw: &RawEvent) -> Option<Killer> {
    if has(raw, wire::HAVE_OWNER) && raw.killer_pid == raw.owner_pid {
        return None;
    }
    let process = process(raw, wire::HAVE_KILLER, raw.killer_pid, &raw.killer_comm)?;
    Some(Killer {
        process,
        signal: raw.killer_signal,
    })
}
