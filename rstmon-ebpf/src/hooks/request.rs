//! Handshakes that a RST ended, where `kfree_skb` does not name the socket (before Linux 6.11).
//!
//! `tcp_check_req()` gives the request socket up and leaves the RST to be dropped like one that changed
//! nothing. What is noted here is looked at by `hooks::drop` in the same softirq. The function that gives a
//! request up also runs for each handshake that ends well, in which case `hooks::set_state` forgets the note
//! when the connection begins, a moment later; for a SYN out of place; and when nobody has answered.

use crate::globals::config;
use crate::hooks::{fentry_arg, kprobe_arg};
use crate::maps::{CPU, CpuState};
use crate::read::{KernelAddr, clear};
use crate::scratch::{Scratch, with_scratch};
use crate::sock::{self, Ends};
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::{fentry, kprobe};
use aya_ebpf::programs::{FEntryContext, ProbeContext};

/// How long a note may wait for its RST. The two are some microseconds apart in one softirq, but a virtual
/// processor may be stopped between them. With 10 ms one of them was missed, four guests being on two cores.
const SAME_SOFTIRQ_NS: u64 = 100_000_000;

/// `inet_csk_reqsk_queue_drop(sk, req)`.
#[fentry(function = "inet_csk_reqsk_queue_drop")]
fn fentry_inet_csk_reqsk_queue_drop(ctx: FEntryContext) -> i32 {
    with_scratch!(given_up(fentry_arg!(ctx, 1)));
    0
}

/// `inet_csk_reqsk_queue_drop(sk, req)`.
#[kprobe(function = "inet_csk_reqsk_queue_drop")]
fn kprobe_inet_csk_reqsk_queue_drop(ctx: ProbeContext) -> u32 {
    with_scratch!(given_up(kprobe_arg!(ctx, 1)));
    0
}

/// Notes which request it is.
#[inline(always)]
fn given_up(room: &mut Scratch, request: KernelAddr) {
    let Some(common) = sock::read_common(request, &mut room.common) else {
        return;
    };
    clear(&mut room.ends);
    sock::read_request_ends(&common, &mut room.ends);
    if let Some(cpu) = this_cpu() {
        cpu.request_given_up = room.ends.tag(sock::netns(&common));
        // SAFETY: a helper without arguments.
        cpu.request_given_up_ns = unsafe { bpf_ktime_get_ns() };
    }
}

/// Forgets it: a connection came of it.
#[inline(always)]
pub(super) fn forget_accepted() {
    if config!(killed_request_by_probe) != 0
        && let Some(cpu) = this_cpu()
    {
        cpu.request_given_up_ns = 0;
    }
}

/// Whether the request between these ends was given up for the RST that is being dropped. Says so once.
#[inline(always)]
pub(super) fn was_killed(ends: &Ends, netns: u32) -> bool {
    let Some(cpu) = this_cpu() else {
        return false;
    };
    if cpu.request_given_up_ns == 0 || cpu.request_given_up != ends.tag(netns) {
        return false;
    }
    // SAFETY: a helper without arguments.
    let since = unsafe { bpf_ktime_get_ns() }.wrapping_sub(cpu.request_given_up_ns);
    cpu.request_given_up_ns = 0;
    since < SAME_SOFTIRQ_NS
}

#[inline(always)]
fn this_cpu() -> Option<&'static mut CpuState> {
    // SAFETY: a live element of this CPU.
    Some(unsafe { &mut *CPU.get_ptr_mut(0)? })
}
