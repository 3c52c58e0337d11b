//! The exact counts and the stages, both per CPU.

use crate::maps::{COUNTS, STAGES};
use rstmon_common::counts::{COUNTED_LOST, Stage, block_index, reason_index};

/// Counts one reset whose event gets out, or is kept back by the filter. Runs before whoever reads the
/// ring can see the event.
#[inline(always)]
pub(crate) fn count(kind: u8, state: u8, family: u16, reason: u32) {
    if let Some(block) = COUNTS.get_ptr_mut(block_index(kind, state, family)) {
        // SAFETY: a live element of this CPU.
        let block = unsafe { &mut *block };
        let index = reason_index(reason);
        // The verifier must see the bound again after the compiler's optimisations.
        if let Some(counter) = block.by_reason.get_mut(index) {
            add(counter, 1);
        }
    }
}

/// Counts one reset whose event is lost, and where. In place of [`count`], not beside it: in a storm
/// most are lost to the budget.
#[inline(always)]
pub(crate) fn lose(at: Stage, counted_as: u8, state: u8, family: u16, reason: u32) {
    count(counted_as + COUNTED_LOST, state, family, reason);
    stage(at);
}

/// Counts what became of one event.
#[inline(always)]
pub(crate) fn stage(stage: Stage) {
    if let Some(counter) = STAGES.get_ptr_mut(stage as u32) {
        // SAFETY: a live element of this CPU.
        add(unsafe { &mut *counter }, 1);
    }
}

/// Adds to a number that a softirq on the same CPU may add to meanwhile; wraps. `core`'s atomics have
/// no addition for this target; the instruction has been there since 3.18.
#[inline(always)]
pub(crate) fn add(number: &mut u64, what: u64) {
    // SAFETY: the reference is valid, aligned and stays so; the instruction touches nothing else.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({number} + 0) += {what}",
            number = in(reg) core::ptr::from_mut(number),
            what = in(reg) what,
        );
    }
}
