//! Resets that this host's TCP sends.
//!
//! The tracepoint `tcp_send_reset` reports active resets (no segment caused them: close, abort,
//! timers) on every kernel, and passive ones (the answer to a segment) completely only since 6.10.
//! Below that, `tcp_v4_send_reset` and `tcp_v6_send_reset` are probed for the passive ones.

use crate::budget::is_spent;
use crate::counts::{count, lose};
use crate::emit::{Reason, Sighting, report};
use crate::globals::{classic, config};
use crate::hooks::{fentry_arg, kprobe_arg, raw_tp_arg, read_record_ends};
use crate::maps::{PENDING, PENDING_RECEIVER, PENDING_TENTATIVE, Pending, take_pending};
use crate::notes;
use crate::read::{KernelAddr, Members, clear};
use crate::scratch::{Scratch, SocketRoom, with_scratch};
use crate::segment::{Segment, family, is_rst_at_data, read_segment, read_skb};
use crate::sock::{self, Common, Ends};
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::{fentry, kprobe, raw_tracepoint, tracepoint};
use aya_ebpf::programs::{FEntryContext, ProbeContext, RawTracePointContext, TracePointContext};
use aya_log_ebpf::debug;
use rstmon_common::counts::{COUNTED_RETRACTED, STATE_UNKNOWN, Stage};
use rstmon_common::wire::{self, tcp_state};

/// `tcp_send_reset(sk, skb, reason)`; the reason since 6.10. Not by its BTF: both pointers may be null
/// (see `read::NullableAddr`).
#[raw_tracepoint(tracepoint = "tcp_send_reset")]
fn raw_tp_tcp_send_reset(ctx: RawTracePointContext) -> i32 {
    let sock = raw_tp_arg!(ctx, 0);
    let skb = raw_tp_arg!(ctx, 1);
    // A load of an argument that the tracepoint does not have fails the attachment; behind a
    // frozen flag it is never checked.
    let reason = if config!(send_reset_has_reason) != 0 {
        Reason::rst(ctx.arg::<u32>(2))
    } else {
        Reason::NONE
    };
    debug!(
        &ctx,
        "tcp_send_reset sk={:x} skb={:x}",
        sock.value(),
        skb.value()
    );
    if skb.is_null() {
        active(sock, reason);
    } else if sock.is_null() && is_spent() {
        count_alone(skb, reason);
    } else if config!(passive_by_probe) == 0 {
        passive(wire::HOOK_TCP_SEND_RESET, sock, skb, reason);
    }
    0
}

/// `tcp_v4_send_reset(sk, skb, ..)`.
#[fentry(function = "tcp_v4_send_reset")]
fn fentry_tcp_v4_send_reset(ctx: FEntryContext) -> i32 {
    debug!(&ctx, "tcp_v4_send_reset");
    passive_by_probe(
        wire::HOOK_TCP_V4_SEND_RESET,
        fentry_arg!(ctx, 0),
        fentry_arg!(ctx, 1),
    );
    0
}

/// `tcp_v4_send_reset(sk, skb, ..)`.
#[kprobe(function = "tcp_v4_send_reset")]
fn kprobe_tcp_v4_send_reset(ctx: ProbeContext) -> u32 {
    debug!(&ctx, "tcp_v4_send_reset");
    passive_by_probe(
        wire::HOOK_TCP_V4_SEND_RESET,
        kprobe_arg!(ctx, 0),
        kprobe_arg!(ctx, 1),
    );
    0
}

/// `tcp_v6_send_reset(sk, skb, ..)`.
#[fentry(function = "tcp_v6_send_reset")]
fn fentry_tcp_v6_send_reset(ctx: FEntryContext) -> i32 {
    debug!(&ctx, "tcp_v6_send_reset");
    passive_by_probe(
        wire::HOOK_TCP_V6_SEND_RESET,
        fentry_arg!(ctx, 0),
        fentry_arg!(ctx, 1),
    );
    0
}

/// `tcp_v6_send_reset(sk, skb, ..)`.
#[kprobe(function = "tcp_v6_send_reset")]
fn kprobe_tcp_v6_send_reset(ctx: ProbeContext) -> u32 {
    debug!(&ctx, "tcp_v6_send_reset");
    passive_by_probe(
        wire::HOOK_TCP_V6_SEND_RESET,
        kprobe_arg!(ctx, 0),
        kprobe_arg!(ctx, 1),
    );
    0
}

/// The tracepoint's record, where there is no BTF.
#[tracepoint(category = "tcp", name = "tcp_send_reset")]
fn tp_tcp_send_reset(ctx: TracePointContext) -> u32 {
    with_scratch!(send_record(crate::hooks::record(&ctx)));
    0
}

/// What the tracepoint's record tells.
#[inline(always)]
fn send_record(room: &mut Scratch, record: KernelAddr) {
    clear(&mut room.ends);
    read_record_ends!(record, send_reset, &mut room.ends);
    let sock = record.pointer(classic!(send_reset.skaddr));
    let skb = record.pointer(classic!(send_reset.skbaddr));
    let state: u32 = record.field(classic!(send_reset.state)).unwrap_or(0);
    let reason = match record.field::<u32>(classic!(send_reset.reason)) {
        Some(reason) => Reason::rst(reason),
        None => Reason::NONE,
    };
    let flags = if skb.is_null() { wire::FLAG_ACTIVE } else { 0 };
    let sent = Sent {
        hook: wire::HOOK_TCP_SEND_RESET,
        flags,
        reason,
        sock,
        common: None,
        state_at_hook: state as u8,
        ends: &room.ends,
        netns: 0,
        ifindex: 0,
        segment: None,
    };
    send(&sent, &mut room.socket);
}

/// A reset of the host's own accord.
#[inline(always)]
fn active(sock: KernelAddr, reason: Reason) {
    with_scratch!(active_sock(sock, reason));
}

/// What the socket tells.
#[inline(always)]
fn active_sock(room: &mut Scratch, sock: KernelAddr, reason: Reason) {
    let common = sock::read_common(sock, &mut room.common);
    clear(&mut room.ends);
    if let Some(common) = &common {
        sock::read_ends(common, sock, &mut room.ends);
    }
    let sent = Sent {
        hook: wire::HOOK_TCP_SEND_RESET,
        flags: wire::FLAG_ACTIVE,
        reason,
        sock,
        common: common.as_ref(),
        state_at_hook: sock::state(common.as_ref()),
        ends: &room.ends,
        netns: common.as_ref().map_or(0, sock::netns),
        ifindex: 0,
        segment: None,
    };
    send(&sent, &mut room.socket);
}

/// A reset that answers `skb`.
#[inline(always)]
fn passive(hook: u8, sock: KernelAddr, skb: KernelAddr, reason: Reason) {
    with_scratch!(passive_skb(hook, sock, skb, reason));
}

/// The same by a probe, where the kernel gives no reason.
#[inline(always)]
fn passive_by_probe(hook: u8, sock: KernelAddr, skb: KernelAddr) {
    if !sock.is_null() || !is_spent() {
        passive(hook, sock, skb, Reason::NONE);
    } else if !is_rst_at_data(skb) {
        let (state, family) = (tcp_state::NONE, family(skb));
        lose(Stage::StormBudget, wire::KIND_SENT, state, family, 0);
    }
}

/// What the socket, if any, and the segment tell.
#[inline(always)]
fn passive_skb(
    room: &mut Scratch,
    hook: u8,
    sock: KernelAddr,
    segment_of: KernelAddr,
    reason: Reason,
) {
    let Some(skb) = read_skb(segment_of, &mut room.skb) else {
        count_unreadable(reason);
        return;
    };
    // Where the kernel gives no reason, the options of what a socket answers may tell one.
    let options = if config!(send_reset_has_reason) == 0 && !sock.is_null() {
        Some(&mut room.options)
    } else {
        None
    };
    let Some(segment) = read_segment(&skb, options, &mut room.segment) else {
        count_unreadable(reason);
        return;
    };
    // The functions are called for arriving RSTs too, and return at once (RFC 9293, 3.5.2).
    if segment.is_rst() {
        remember_receiver(room, segment_of, sock);
        return;
    }
    incoming(segment, &mut room.ends);
    let common = sock::read_common(sock, &mut room.common);
    let netns = match &common {
        Some(common) => sock::netns(common),
        None => sock::netns_of_device(skb.device()),
    };
    let sent = Sent {
        hook,
        flags: 0,
        reason,
        sock,
        common: common.as_ref(),
        state_at_hook: sock::state(common.as_ref()),
        ends: &room.ends,
        netns,
        ifindex: skb.interface(),
        segment: Some(segment),
    };
    send(&sent, &mut room.socket);
}

/// A reset without a socket in a storm, when no more events are reported: most of a flood's.
#[inline(always)]
fn count_alone(skb: KernelAddr, reason: Reason) {
    if config!(passive_by_probe) == 0 {
        let (state, family, reason) = (tcp_state::NONE, family(skb), reason.number());
        lose(Stage::StormBudget, wire::KIND_SENT, state, family, reason);
    }
}

/// A reset that answers a segment which cannot be read: it is counted, and not reported.
#[inline(always)]
fn count_unreadable(reason: Reason) {
    let (state, family, reason) = (STATE_UNKNOWN, wire::AF_INET, reason.number());
    lose(Stage::Unreadable, wire::KIND_SENT, state, family, reason);
}

/// Remembers whose a RST with ACK is that will be dropped: a listener's or a connecting socket's, which the
/// kernel does not tell `kfree_skb`.
#[inline(always)]
fn remember_receiver(room: &mut Scratch, skb: KernelAddr, sock: KernelAddr) {
    if config!(passive_by_probe) == 0 || config!(kfree_has_socket) != 0 {
        return;
    }
    let Some(common) = sock::read_common(sock, &mut room.common) else {
        return;
    };
    let pending = Pending {
        kind: PENDING_RECEIVER,
        other: u64::from(sock::netns(&common)),
        // SAFETY: a helper without arguments.
        at_ns: unsafe { bpf_ktime_get_ns() },
        state: u32::from(sock::state(Some(&common))),
        family: 0,
    };
    // The map is LRU: it makes room. Where it cannot, the receiver is not known.
    let _ = PENDING.insert(skb.value(), pending, 0);
}

/// Writes the ends of a segment that arrived here.
#[inline(always)]
pub(crate) const fn incoming(segment: &Segment, ends: &mut Ends) {
    ends.local_addr = segment.destination;
    ends.remote_addr = segment.source;
    ends.local_port = segment.destination_port;
    ends.remote_port = segment.source_port;
    ends.family = segment.family;
}

/// A sent reset, before its state is known.
struct Sent<'a> {
    hook: u8,
    flags: u16,
    reason: Reason,
    sock: KernelAddr,
    common: Option<&'a Common<'a>>,
    state_at_hook: u8,
    ends: &'a Ends,
    netns: u32,
    ifindex: u32,
    segment: Option<&'a Segment>,
}

/// Finds the state before the reset, and reports.
#[inline(always)]
fn send(sent: &Sent<'_>, room: &mut SocketRoom) {
    let socket_kind = sock::kind_of(sent.sock, sent.state_at_hook);
    let mut flags = sent.flags;
    let mut state = sent.state_at_hook;
    if socket_kind == wire::SOCKET_FULL && sent.state_at_hook == tcp_state::CLOSE {
        let pending = take_pending(sent.sock, PENDING_TENTATIVE);
        if pending.is_there() && sent.flags & wire::FLAG_ACTIVE == 0 {
            // `tcp_reset()` ran because of data after close; now comes the answer to that data.
            state = pending.state as u8;
            flags |= wire::FLAG_RETRACTS;
            count(COUNTED_RETRACTED, state, pending.family as u16, 0);
        } else {
            state = match notes::closed(sent.ends, sent.netns) {
                Some(closed) => closed.state,
                None => STATE_UNKNOWN,
            };
        }
    }
    let sighting = Sighting {
        kind: wire::KIND_SENT,
        hook: sent.hook,
        flags,
        reason: sent.reason,
        sock: sent.sock,
        common: sent.common,
        socket_kind,
        state_at_hook: sent.state_at_hook,
        state,
        counted_as: wire::KIND_SENT,
        ends: sent.ends,
        netns: sent.netns,
        ifindex: sent.ifindex,
        segment: sent.segment,
    };
    report(&sighting, room);
}
