//! How the exact per-CPU counters are indexed, and the stages that can lose an event.
//!
//! The counters are one per-CPU array. An element is a block of [`REASONS`] counters for one
//! combination of kind, state and family; the reason indexes into the block.

use crate::wire;
use bytemuck::{Pod, Zeroable};

/// Reasons that a block tells apart; larger numbers share the last counter.
pub const REASONS: usize = 128;
/// Not a reason of the kernel's: netfilter sent the reset, which OutRsts does not count.
pub const REASON_FIREWALL: u32 = REASONS as u32 - 2;
/// What a counter counts: `wire::KIND_*`, then the ones below. 0 is unused.
pub const COUNTED_KINDS: u32 = 12;
/// `tcp_receive_reset` fired and may not have been a RST (see `wire::FLAG_TENTATIVE`).
pub const COUNTED_TENTATIVE: u8 = 5;
/// That many of the tentative ones were none: received = `KIND_RECEIVED` + tentative - retracted.
pub const COUNTED_RETRACTED: u8 = 6;
/// What is counted as `c` while its event gets out is counted as `c + COUNTED_LOST` instead when the
/// event is lost in the kernel: all there were is the sum of both.
pub const COUNTED_LOST: u8 = 6;
/// States that a block index tells apart: `tcp_state::*`, and [`STATE_UNKNOWN`].
pub const STATES: u32 = 16;
/// The state before the reset is not known.
pub const STATE_UNKNOWN: u8 = 15;
/// Blocks in all.
pub const BLOCKS: u32 = COUNTED_KINDS * STATES * 2;

/// Counters of one kind, state and family.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct CountBlock {
    /// By reason.
    pub by_reason: [u64; REASONS],
}

/// Index of the block of a kind, a state and a family.
#[inline(always)]
#[must_use]
pub const fn block_index(kind: u8, state: u8, family: u16) -> u32 {
    let state = if (state as u32) < STATES {
        state as u32
    } else {
        STATE_UNKNOWN as u32
    };
    let six = (family == wire::AF_INET6) as u32;
    (kind as u32 * STATES + state) * 2 + six
}

/// The reverse of [`block_index`]: kind, state, family.
#[must_use]
pub const fn block_of_index(index: u32) -> (u8, u8, u16) {
    let family = if index % 2 == 1 {
        wire::AF_INET6
    } else {
        wire::AF_INET
    };
    (
        (index / 2 / STATES) as u8,
        (index / 2 % STATES) as u8,
        family,
    )
}

/// Index into a block.
#[inline(always)]
#[must_use]
pub const fn reason_index(reason: u32) -> usize {
    if (reason as usize) < REASONS {
        reason as usize
    } else {
        REASONS - 1
    }
}

const _: () = assert!(
    block_index(
        COUNTED_TENTATIVE + COUNTED_LOST,
        STATE_UNKNOWN,
        wire::AF_INET6
    ) == BLOCKS - 1
);
const _: () = assert!(wire::KIND_SENT + COUNTED_LOST > COUNTED_RETRACTED);
const _: () = assert!(wire::KIND_STRAY < COUNTED_TENTATIVE);

/// Places in the kernel where an event can end. Index of the per-CPU array `STAGES`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Put on the ring.
    Submitted = 0,
    /// Kept back by the filter that the user asked for: not a loss.
    Filtered = 1,
    /// Lost: the ring was full.
    RingFull = 2,
    /// Lost: the CPU's budget of events for this second was spent.
    StormBudget = 3,
    /// Lost, and not counted as a reset either: hooks interrupted each other too deep.
    TooDeep = 4,
    /// Lost, and counted as lost: the segment could not be read.
    Unreadable = 5,
}

/// Elements of the per-CPU array of stages.
pub const STAGES: u32 = 6;
