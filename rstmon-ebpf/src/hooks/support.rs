//! Programs that only ask whether their kind may be loaded and attached here at all.
//!
//! A hardened host refuses kprobes or fentry; the plan is made from what these are told.

use aya_ebpf::macros::{fentry, kprobe, raw_tracepoint};
use aya_ebpf::programs::{FEntryContext, ProbeContext, RawTracePointContext};

/// May a kprobe be had?
#[kprobe(function = "tcp_reset")]
fn kprobe_support(_ctx: ProbeContext) -> u32 {
    0
}

/// May a function be entered through fentry?
#[fentry(function = "tcp_reset")]
fn fentry_support(_ctx: FEntryContext) -> i32 {
    0
}

/// May a raw tracepoint be had?
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
fn raw_tp_support(_ctx: RawTracePointContext) -> i32 {
    0
}
