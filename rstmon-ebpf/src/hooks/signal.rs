//! Who ends processes: the sender of a signal, so that a reset by a killed process names the killer.

use crate::globals::offset;
use crate::hooks::raw_tp_arg;
use crate::maps::KILLERS;
use crate::owner;
use crate::read::{KernelAddr, Members};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use rstmon_common::maps::Killer;

/// The signals up to SIGTERM end a process unless it handles them (signal(7)); of those above, none
/// is sent to end one.
const SIGTERM: u32 = 15;
/// `TRACE_SIGNAL_DELIVERED` of `include/trace/events/signal.h`.
const DELIVERED: u32 = 0;
/// `SEND_SIG_PRIV`: the kernel sent it.
const SEND_SIG_PRIV: u64 = 1;
/// kill(2), of `include/uapi/asm-generic/siginfo.h`.
const SI_USER: i32 = 0;
/// sigqueue(3).
const SI_QUEUE: i32 = -1;
/// tgkill(2).
const SI_TKILL: i32 = -6;

/// `signal_generate(sig, info, task, group, result)`.
#[raw_tracepoint(tracepoint = "signal_generate")]
fn raw_tp_signal_generate(ctx: RawTracePointContext) -> i32 {
    let signal = ctx.arg::<u32>(0);
    if signal == 0 || signal > SIGTERM || ctx.arg::<u32>(4) != DELIVERED {
        return 0;
    }
    let info = raw_tp_arg!(ctx, 1);
    let task = raw_tp_arg!(ctx, 2);
    if from_process(info) {
        sent(signal, task);
    }
    0
}

/// Whether the process that runs sent the signal. Other codes name an event within the kernel, as that of
/// a timer, which interrupts whoever runs.
#[inline(always)]
fn from_process(info: KernelAddr) -> bool {
    match info.value() {
        // `SEND_SIG_NOINFO`
        0 => true,
        SEND_SIG_PRIV => false,
        _ => match info.field::<i32>(offset!(siginfo_code)) {
            Some(code) => matches!(code, SI_USER | SI_QUEUE | SI_TKILL),
            None => false,
        },
    }
}

#[inline(always)]
fn sent(signal: u32, task: KernelAddr) {
    let Some(victim) = task.field::<u32>(offset!(task_tgid)) else {
        return;
    };
    let pid_tgid = bpf_get_current_pid_tgid();
    let killer = Killer {
        // SAFETY: a helper without arguments.
        at_ns: unsafe { bpf_ktime_get_ns() },
        pid: (pid_tgid >> 32) as u32,
        signal,
        comm: owner::process_comm(pid_tgid),
    };
    // The map is LRU: it makes room. Where it cannot, the killer is absent from the event.
    let _ = KILLERS.insert(victim, killer, 0);
}
