//! The exact counts, and what became of the events, as the kernel keeps them: per CPU.

use super::programs::{OwnedMap, Programs, ProgramsError};
use crate::event::cells::CellCounts;
use aya::maps::PerCpuArray;
use rstmon_common::counts::{
    BLOCKS, COUNTED_LOST, COUNTED_RETRACTED, COUNTED_TENTATIVE, CountBlock, REASONS, STAGES, Stage,
    block_of_index,
};
use rstmon_common::wire;

/// `CountBlock` as aya may copy it out of the kernel.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Block(CountBlock);

// SAFETY: `CountBlock` is `bytemuck::Pod`: any bytes are one.
unsafe impl aya::Pod for Block {}

/// Every reset that the kernel side counted, and those of them whose event it lost.
#[derive(Clone, Debug, Default)]
pub struct KernelCounts {
    /// All. The tentative ones that were none are subtracted.
    pub counted: CellCounts,
    /// Those whose event did not get out.
    pub lost: CellCounts,
}

/// What became of the events in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelStages {
    /// Put on the ring.
    pub submitted: u64,
    /// Kept back by the filter.
    pub filtered: u64,
    /// Lost: the ring was full.
    pub ring_full: u64,
    /// Lost: the storm budget was spent.
    pub storm_budget: u64,
    /// Lost: hooks interrupted each other too deep.
    pub too_deep: u64,
    /// Lost: the segment could not be read.
    pub segment_unreadable: u64,
    /// Lost: the kernel did not run a program, because the CPU was running it already.
    pub program_missed: u64,
}

/// Reads the counters of one capture.
pub struct Counters {
    counts: PerCpuArray<OwnedMap, Block>,
    stages: PerCpuArray<OwnedMap, u64>,
}

impl Counters {
    pub(super) fn open(programs: &mut Programs) -> Result<Self, ProgramsError> {
        Ok(Self {
            counts: programs.take_map("COUNTS")?,
            stages: programs.take_map("STAGES")?,
        })
    }

    /// All counts.
    pub fn read_counts(&self) -> Result<KernelCounts, ProgramsError> {
        let mut counts = KernelCounts::default();
        for index in 0..BLOCKS {
            let per_cpu = self
                .counts
                .get(&index, 0)
                .map_err(|_| ProgramsError::NoSuchMap("COUNTS"))?;
            let (counted_as, state, family) = block_of_index(index);
            for block in per_cpu.iter() {
                counts.add(counted_as, state, family, &block.0.by_reason);
            }
        }
        Ok(counts)
    }

    /// What became of the events; `program_missed` is not among the maps.
    pub fn read_stages(&self) -> Result<KernelStages, ProgramsError> {
        let mut sums = [0_u64; STAGES as usize];
        for (index, sum) in (0_u32..).zip(&mut sums) {
            let per_cpu = self
                .stages
                .get(&index, 0)
                .map_err(|_| ProgramsError::NoSuchMap("STAGES"))?;
            *sum = per_cpu.iter().sum();
        }
        let of = |stage: Stage| sums.get(stage as usize).copied().unwrap_or(0);
        Ok(KernelStages {
            submitted: of(Stage::Submitted),
            filtered: of(Stage::Filtered),
            ring_full: of(Stage::RingFull),
            storm_budget: of(Stage::StormBudget),
            too_deep: of(Stage::TooDeep),
            segment_unreadable: of(Stage::Unreadable),
            program_missed: 0,
        })
    }
}

impl KernelCounts {
    /// Adds one block; the tentative receptions and their retractions become receptions, and what is
    /// lost is counted too.
    fn add(&mut self, counted_as: u8, state: u8, family: u16, by_reason: &[u64; REASONS]) {
        let received = wire::KIND_RECEIVED;
        if counted_as == COUNTED_RETRACTED {
            self.counted
                .subtract_block(received, state, family, by_reason);
            return;
        }
        let is_lost = counted_as > COUNTED_LOST;
        let counted_as = counted_as - if is_lost { COUNTED_LOST } else { 0 };
        let kind = if counted_as == COUNTED_TENTATIVE {
            received
        } else {
            counted_as
        };
        self.counted.add_block(kind, state, family, by_reason);
        if is_lost {
            self.lost.add_block(kind, state, family, by_reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::model::Kind;

    fn one(reason: usize, count: u64) -> [u64; REASONS] {
        let mut block = [0; REASONS];
        block[reason] = count;
        block
    }

    #[test]
    fn a_retraction_is_subtracted_from_what_was_received_in_that_state() {
        let mut counts = KernelCounts::default();
        counts.add(wire::KIND_RECEIVED, 4, 2, &one(0, 3));
        counts.add(COUNTED_TENTATIVE, 4, 2, &one(0, 5));
        counts.add(COUNTED_RETRACTED, 4, 2, &one(0, 4));
        counts.add(COUNTED_TENTATIVE, 5, 2, &one(0, 1));
        let cells: Vec<u64> = counts.counted.iter().map(|(_, count)| count).collect();
        assert_eq!(cells, [4, 1]);
        assert_eq!(counts.lost.iter().count(), 0);
    }

    #[test]
    fn what_was_lost_is_counted_and_kept_apart() {
        let mut counts = KernelCounts::default();
        counts.add(wire::KIND_SENT, 0, 2, &one(7, 9));
        counts.add(wire::KIND_SENT + COUNTED_LOST, 0, 2, &one(7, 2));
        counts.add(COUNTED_TENTATIVE + COUNTED_LOST, 4, 2, &one(0, 1));
        assert_eq!(counts.counted.of_kind(Kind::Sent), 11);
        assert_eq!(counts.counted.of_kind(Kind::Received), 1);
        assert_eq!(counts.lost.of_kind(Kind::Sent), 2);
        assert_eq!(counts.lost.of_kind(Kind::Received), 1);
    }
}
