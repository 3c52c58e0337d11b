//! The ring buffer: raw records from the kernel, in the order in which they were reserved.

use super::programs::{OwnedMap, Programs, ProgramsError};
use aya::maps::RingBuf;
use std::os::fd::{AsFd, BorrowedFd};

/// The reading end. Becomes readable when a program wakes it, which is seldom: whoever is woken
/// goes on polling for [`POLL_INTERVAL`] until two polls in a row found nothing.
pub struct EventRing {
    ring: RingBuf<OwnedMap>,
}

/// How long a program may go on submitting without another wake-up (`rstmon-ebpf`: `emit`).
pub const POLL_INTERVAL: std::time::Duration = std::time::Duration::from_millis(10);

impl EventRing {
    pub(super) fn open(programs: &mut Programs) -> Result<Self, ProgramsError> {
        Ok(Self {
            ring: programs.take_map("EVENTS")?,
        })
    }

    /// Hands at most `limit` records to `take`, until it fails; returns how many there were. The bytes
    /// are as the programs wrote them, of any length; they keep their room until `take` returns.
    pub fn drain<E>(
        &mut self,
        limit: usize,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut count = 0;
        while count < limit {
            let Some(record) = self.ring.next() else {
                break;
            };
            take(&record)?;
            count += 1;
        }
        Ok(count)
    }
}

impl AsFd for EventRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}
