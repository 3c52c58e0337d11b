//! The storm budget: how many events a second may be reported, of all CPUs together.
//!
//! Asked by `emit` for each event, and by hooks that may then count only. What is not reported is
//! counted all the same, and as lost.

use crate::counts::add;
use crate::globals::config;
use crate::maps::{BUDGET, Budget, CPU, CpuState};
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns};

/// Events that a CPU draws from the budget at once.
const PORTION: u64 = 64;
/// In a flood that exceeds the budget, this part of it is reported: a sixteenth.
const FLOOD_SHARE: u64 = 16;
/// The storm budget counts events of one second.
const BUDGET_INTERVAL_NS: u64 = 1_000_000_000;

/// Takes one event from the budget. CPUs draw from it in portions, so that what one leaves another
/// can use, and seldom touch the same memory.
#[inline(always)]
pub(crate) fn within_budget(now: u64) -> bool {
    let Some(state) = CPU.get_ptr_mut(0) else {
        return true;
    };
    // SAFETY: a live element of this CPU.
    let state = unsafe { &mut *state };
    if state.portion == 0 {
        if now < state.spent_until_ns {
            return false;
        }
        draw(state, now);
    }
    if state.portion == 0 {
        return false;
    }
    state.portion -= 1;
    true
}

/// Draws a portion, or notes until when there is none.
#[inline(always)]
fn draw(state: &mut CpuState, now: u64) {
    let Some(budget) = BUDGET.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: a live element; two CPUs that begin a second at once both begin it, and the later of
    // them may then take a flood for over, which costs the host that second.
    let budget = unsafe { &mut *budget };
    // SAFETY: a member of a live element, which other CPUs write.
    let from_ns = unsafe { core::ptr::read_volatile(&raw const budget.from_ns) };
    let since_ns = now.wrapping_sub(from_ns);
    if since_ns >= BUDGET_INTERVAL_NS {
        begin_second(budget, now, since_ns);
    }
    // SAFETY: as above.
    let drawn = unsafe { core::ptr::read_volatile(&raw const budget.drawn) };
    // SAFETY: as above.
    let limit = unsafe { core::ptr::read_volatile(&raw const budget.limit) };
    if drawn >= limit {
        if budget.spent_after_ns == 0 {
            budget.spent_after_ns = since_ns;
        }
        state.spent_until_ns = from_ns.wrapping_add(BUDGET_INTERVAL_NS);
        state.spent_jiffies = jiffies();
        return;
    }
    add(&mut budget.drawn, PORTION);
    state.portion = PORTION;
}

/// Begins a second of the budget, `since_ns` after the last one began. While a flood goes on, a
/// sample of it is reported: events are lost in any case, the counts are exact, and the host has
/// better to do.
#[inline(always)]
fn begin_second(budget: &mut Budget, now: u64, since_ns: u64) {
    let full = config!(max_events_per_sec);
    // What was spent that soon came at a rate above the whole budget.
    let soon_ns = if budget.limit == full {
        BUDGET_INTERVAL_NS
    } else {
        BUDGET_INTERVAL_NS / FLOOD_SHARE
    };
    let is_flood = budget.spent_after_ns != 0
        && budget.spent_after_ns < soon_ns
        && since_ns < 2 * BUDGET_INTERVAL_NS;
    budget.limit = if is_flood {
        (full / FLOOD_SHARE).max(1)
    } else {
        full
    };
    budget.spent_after_ns = 0;
    budget.drawn = 0;
    budget.from_ns = now;
}

/// Whether an event that is not kept back by a filter would be lost to the budget now: a hook may
/// then only count, and spare itself the reading.
#[inline(always)]
pub(crate) fn is_spent() -> bool {
    let is_filtered = config!(filter_kinds) != u8::MAX
        || config!(filter_netns) != 0
        || config!(filter_port_count) != 0
        || config!(filter_pid) != 0;
    if is_filtered {
        return false;
    }
    let Some(state) = CPU.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: a live element of this CPU.
    let state = unsafe { &mut *state };
    if state.portion != 0 {
        return false;
    }
    // The clock is read once a tick: what is spent stays so for long, and reading it takes as long
    // as counting.
    let tick = jiffies();
    if state.spent_jiffies != tick {
        // SAFETY: a helper without arguments.
        if unsafe { bpf_ktime_get_ns() } >= state.spent_until_ns {
            return false;
        }
        state.spent_jiffies = tick;
    }
    true
}

/// The kernel's ticks; a load from memory.
#[inline(always)]
pub(crate) fn jiffies() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_jiffies64() }
}
