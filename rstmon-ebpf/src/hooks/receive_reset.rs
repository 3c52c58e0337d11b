//! Resets that tear a socket here down.
//!
//! `tcp_reset()` also runs when no RST arrived: data after close makes the kernel call it before it
//! answers that data with a RST of its own. A probe on `tcp_reset` sees the segment and can tell.
//! The tracepoint `tcp_receive_reset` sees the socket only: where that reading is possible its event
//! is tentative, and `send_reset` retracts it.

use crate::budget::is_spent;
use crate::counts::lose;
use crate::emit::{Reason, Sighting, report};
use crate::globals::{classic, config, offset};
use crate::hooks::{fentry_arg, kprobe_arg, raw_tp_arg, read_record_ends, tp_btf_arg};
use crate::maps::{PENDING, PENDING_SEGMENT, PENDING_TENTATIVE, Pending, take_pending};
use crate::notes;
use crate::read::{KernelAddr, Members, Object, clear};
use crate::scratch::{Scratch, SocketRoom, with_scratch};
use crate::segment::{read_segment, read_skb};
use crate::sock::{self, Ends, RCV_SHUTDOWN};
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::{btf_tracepoint, fentry, kprobe, raw_tracepoint, tracepoint};
use aya_ebpf::programs::{
    BtfTracePointContext, FEntryContext, ProbeContext, RawTracePointContext, TracePointContext,
};
use aya_log_ebpf::debug;
use rstmon_common::counts::{COUNTED_TENTATIVE, STATE_UNKNOWN, Stage};
use rstmon_common::wire::{self, tcp_state};

/// `tcp_receive_reset(sk)`, by its BTF.
#[btf_tracepoint(function = "tcp_receive_reset")]
fn tp_btf_tcp_receive_reset(ctx: BtfTracePointContext) -> i32 {
    receive_reset(&ctx, tp_btf_arg!(ctx, 0));
    0
}

/// `tcp_receive_reset(sk)`.
#[raw_tracepoint(tracepoint = "tcp_receive_reset")]
fn raw_tp_tcp_receive_reset(ctx: RawTracePointContext) -> i32 {
    receive_reset(&ctx, raw_tp_arg!(ctx, 0));
    0
}

#[inline(always)]
fn receive_reset(ctx: &impl EbpfContext, sock: impl Object) {
    debug!(ctx, "tcp_receive_reset sk={:x}", sock.address().value());
    if is_spent() && is_refused_ipv4(sock) {
        // A refused connection in a storm, when no more events are reported.
        let (state, family) = (tcp_state::SYN_SENT, wire::AF_INET);
        lose(Stage::StormBudget, wire::KIND_RECEIVED, state, family, 0);
    } else {
        with_scratch!(received_sock(sock.address()));
    }
}

/// Whether two fields tell all that is counted. IPv6 may be IPv4 that is mapped, which takes more.
#[inline(always)]
fn is_refused_ipv4(sock: impl Object) -> bool {
    sock::state_alone(sock) == tcp_state::SYN_SENT
        && sock.field::<u16>(offset!(sock_family)) == Some(wire::AF_INET)
}

/// What the socket tells.
#[inline(always)]
fn received_sock(room: &mut Scratch, sock: KernelAddr) {
    let Some(common) = sock::read_common(sock, &mut room.common) else {
        count_unreadable();
        return;
    };
    clear(&mut room.ends);
    sock::read_ends(&common, sock, &mut room.ends);
    let seen = received(sock, sock::state(Some(&common)), &room.ends);
    let seen = Sighting {
        common: Some(&common),
        netns: sock::netns(&common),
        ..seen
    };
    received_without_segment(seen, &mut room.socket);
}

/// The tracepoint's record, where there is no BTF. It does not tell the state; the note does.
#[tracepoint(category = "tcp", name = "tcp_receive_reset")]
fn tp_tcp_receive_reset(ctx: TracePointContext) -> u32 {
    with_scratch!(received_record(crate::hooks::record(&ctx)));
    0
}

/// What the tracepoint's record tells.
#[inline(always)]
fn received_record(room: &mut Scratch, record: KernelAddr) {
    clear(&mut room.ends);
    read_record_ends!(record, receive_reset, &mut room.ends);
    let sock = record.pointer(classic!(receive_reset.skaddr));
    let state = match notes::note(sock) {
        Some(note) => note.state as u8,
        None => tcp_state::NONE,
    };
    received_without_segment(received(sock, state, &room.ends), &mut room.socket);
}

/// `tcp_reset(sk, skb)` since 5.11, `tcp_reset(sk)` before.
#[fentry(function = "tcp_reset")]
fn fentry_tcp_reset(ctx: FEntryContext) -> i32 {
    let sock = fentry_arg!(ctx, 0);
    debug!(&ctx, "tcp_reset sk={:x}", sock.value());
    // The verifier refuses a load of an argument that the function does not have.
    let skb = if config!(tcp_reset_has_skb) != 0 {
        fentry_arg!(ctx, 1)
    } else {
        stashed(sock)
    };
    received_segment(sock, skb);
    0
}

/// `tcp_reset(sk, skb)` since 5.11, `tcp_reset(sk)` before.
#[kprobe(function = "tcp_reset")]
fn kprobe_tcp_reset(ctx: ProbeContext) -> u32 {
    let sock = kprobe_arg!(ctx, 0);
    debug!(&ctx, "tcp_reset sk={:x}", sock.value());
    let skb = if config!(tcp_reset_has_skb) != 0 {
        kprobe_arg!(ctx, 1)
    } else {
        stashed(sock)
    };
    received_segment(sock, skb);
    0
}

/// The RST that `hooks::validate` saw on its way to this socket, taken out of the map.
#[inline(always)]
fn stashed(sock: KernelAddr) -> KernelAddr {
    KernelAddr::new(take_pending(sock, PENDING_SEGMENT).other)
}

/// `tcp_reset()` with the segment that caused it: an event only if that is a RST.
#[inline(always)]
fn received_segment(sock: KernelAddr, skb: KernelAddr) {
    if skb.is_null() {
        return;
    }
    if is_spent() && is_refused_ipv4(sock) {
        // As without a probe; in SYN-SENT only a RST leads here.
        let (state, family) = (tcp_state::SYN_SENT, wire::AF_INET);
        lose(Stage::StormBudget, wire::KIND_RECEIVED, state, family, 0);
    } else {
        with_scratch!(received_skb(sock, skb));
    }
}

/// The segment that tore the socket down, which is there.
#[inline(always)]
fn received_skb(room: &mut Scratch, sock: KernelAddr, skb: KernelAddr) {
    let Some(skb) = read_skb(skb, &mut room.skb) else {
        count_unreadable();
        return;
    };
    let Some(segment) = read_segment(&skb, Some(&mut room.options), &mut room.segment) else {
        count_unreadable();
        return;
    };
    if !segment.is_rst() {
        return;
    }
    let Some(common) = sock::read_common(sock, &mut room.common) else {
        count_unreadable();
        return;
    };
    clear(&mut room.ends);
    sock::read_ends(&common, sock, &mut room.ends);
    let sighting = Sighting {
        flags: wire::FLAG_SEGMENT_IS_RST,
        hook: wire::HOOK_TCP_RESET,
        common: Some(&common),
        netns: sock::netns(&common),
        ifindex: skb.interface(),
        segment: Some(segment),
        ..received(sock, sock::state(Some(&common)), &room.ends)
    };
    report(&sighting, &mut room.socket);
}

/// What led to `tcp_reset()` cannot be read: mostly it is a RST. It is counted, and not reported.
#[inline(always)]
fn count_unreadable() {
    let (state, family) = (STATE_UNKNOWN, wire::AF_INET);
    lose(Stage::Unreadable, wire::KIND_RECEIVED, state, family, 0);
}

/// `tcp_reset()` without its segment.
#[inline(always)]
fn received_without_segment(mut sighting: Sighting<'_>, room: &mut SocketRoom) {
    let state = sighting.state_at_hook;
    // The states in which `tcp_rcv_state_process()` calls `tcp_reset()` for data (RFC 1122,
    // 4.2.2.13); in the others only a RST leads there.
    let may_be_data = matches!(
        state,
        tcp_state::NONE
            | tcp_state::FIN_WAIT1
            | tcp_state::FIN_WAIT2
            | tcp_state::CLOSE_WAIT
            | tcp_state::CLOSING
            | tcp_state::LAST_ACK
    );
    if may_be_data && receive_is_shut_down(sighting.sock) {
        sighting.flags |= wire::FLAG_TENTATIVE;
        sighting.counted_as = COUNTED_TENTATIVE;
        remember(sighting.sock, state, sighting.ends.family);
    }
    report(&sighting, room);
}

/// Whether `sk_shutdown` has `RCV_SHUTDOWN`, without which data is taken and no reset follows.
#[inline(always)]
fn receive_is_shut_down(sock: KernelAddr) -> bool {
    match sock.field::<u8>(offset!(sock_shutdown)) {
        Some(shutdown) => shutdown & RCV_SHUTDOWN != 0,
        None => true,
    }
}

/// Remembers that `sock` was tentatively reset, for `send_reset`.
#[inline(always)]
fn remember(sock: KernelAddr, state: u8, family: u16) {
    let pending = Pending {
        kind: PENDING_TENTATIVE,
        other: 0,
        // SAFETY: a helper without arguments.
        at_ns: unsafe { bpf_ktime_get_ns() },
        state: u32::from(state),
        family: u32::from(family),
    };
    // A full LRU map makes room; if it cannot, the event stands, which the exact count shows.
    let _ = PENDING.insert(sock.value(), pending, 0);
}

/// A received reset of which nothing but the socket is known.
#[inline(always)]
const fn received(sock: KernelAddr, state: u8, ends: &Ends) -> Sighting<'_> {
    Sighting {
        kind: wire::KIND_RECEIVED,
        hook: wire::HOOK_TCP_RECEIVE_RESET,
        flags: 0,
        reason: Reason::NONE,
        sock,
        common: None,
        socket_kind: wire::SOCKET_FULL,
        state_at_hook: state,
        // The classic tracepoint does not tell it.
        state: if state == tcp_state::NONE {
            STATE_UNKNOWN
        } else {
            state
        },
        counted_as: wire::KIND_RECEIVED,
        ends,
        netns: 0,
        ifindex: 0,
        segment: None,
    }
}
