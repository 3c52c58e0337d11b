//! The exact counts, and what became of the events, as the kernel keeps them: per CPU.

use super::programs::{OwnedMap, Programs, ProgramsError};
use aya::maps::PerCpuArray;
use rstmon_common::counts::{
    BLOCKS, COUNTED_RETRACTED, COUNTED_TENTATIVE, CountBlock, STAGES, Stage, block_of_index,
};
use rstmon_common::wire;

/// `CountBlock` as aya may copy it out of the kernel.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Block(CountBlock);

// SAFETY: `CountBlock` is `bytemuck::Pod`: any bytes are one.
unsafe impl aya::Pod for Block {}

/// One counter that is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelCount {
    /// `wire::KIND_*`.
    pub kind: u8,
    /// State before the reset, `wire::tcp_state`, or `counts::STATE_UNKNOWN`.
    pub state: u8,
    /// Address family.
    pub family: u16,
    /// `sk_rst_reason` for sent resets, `skb_drop_reason` for the others.
    pub reason: u32,
    /// How many. The tentative ones that were none are subtracted.
    pub count: u64,
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

    /// All counters that are not zero.
    pub fn read_counts(&self) -> Result<Vec<KernelCount>, ProgramsError> {
        let mut counts: Vec<KernelCount> = Vec::new();
        for index in 0..BLOCKS {
            let per_cpu = self
                .counts
                .get(&index, 0)
                .map_err(|_| ProgramsError::NoSuchMap("COUNTS"))?;
            let (counted_as, state, family) = block_of_index(index);
            for reason in 0..rstmon_common::counts::REASONS {
                let count: u64 = per_cpu
                    .iter()
                    .filter_map(|block| block.0.by_reason.get(reason))
                    .fold(0, |sum, count| sum.wrapping_add(*count));
                if count != 0 {
                    add(&mut counts, counted_as, state, family, reason as u32, count);
                }
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

/// Adds one counter; the tentative receptions and their retractions become receptions.
fn add(
    counts: &mut Vec<KernelCount>,
    counted_as: u8,
    state: u8,
    family: u16,
    reason: u32,
    count: u64,
) {
    let (kind, delta) = match counted_as {
        COUNTED_TENTATIVE => (wire::KIND_RECEIVED, count),
        COUNTED_RETRACTED => (wire::KIND_RECEIVED, count.wrapping_neg()),
        kind => (kind, count),
    };
    let same = |one: &&mut KernelCount| {
        (one.kind, one.state, one.family, one.reason) == (kind, state, family, reason)
    };
    match counts.iter_mut().find(same) {
        // Two's complement: a retraction is counted after what it retracts.
        Some(one) => one.count = one.count.wrapping_add(delta),
        None => counts.push(KernelCount {
            kind,
            state,
            family,
            reason,
            count: delta,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retraction_is_subtracted_from_what_was_received_in_that_state() {
        let mut counts = Vec::new();
        add(&mut counts, wire::KIND_RECEIVED, 4, 2, 0, 3);
        add(&mut counts, COUNTED_TENTATIVE, 4, 2, 0, 5);
        add(&mut counts, COUNTED_RETRACTED, 4, 2, 0, 4);
        add(&mut counts, COUNTED_TENTATIVE, 5, 2, 0, 1);
        assert_eq!(counts.len(), 2);
        assert_eq!(counts.first().map(|one| one.count), Some(4));
        assert_eq!(counts.get(1).map(|one| one.count), Some(1));
    }
}
