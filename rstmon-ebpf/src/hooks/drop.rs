//! RSTs that arrive and are not obeyed: the kernel frees them with a reason.
//!
//! `kfree_skb` runs for every packet that the host drops, so the reason is tested first, against a
//! bitmap of those that a RST in TCP's hands can have; then whether TCP had it; then the flags.
//! Where the kernel does not trace resets without a socket (before 6.10, no probes), a segment
//! dropped for `NO_SOCKET` that is no RST tells that one was sent.

use crate::emit::{Reason, Sighting, report};
use crate::globals::config;
use crate::hooks::request::was_killed;
use crate::hooks::send_reset::incoming;
use crate::hooks::{raw_tp_arg, tp_btf_arg, tp_btf_nullable_arg};
use crate::maps::{PENDING_RECEIVER, Pending, take_pending};
use crate::read::{KernelAddr, Object};
use crate::scratch::{Scratch, with_scratch};
use crate::segment::{
    Segment, Skb, flags_at_data, is_rst_at_data, reached_tcp, read_segment, read_skb,
};
use crate::sock::{self, Ends};
use aya_ebpf::macros::{btf_tracepoint, raw_tracepoint};
use aya_ebpf::programs::{BtfTracePointContext, RawTracePointContext};
use rstmon_common::config::DROP_REASONS;
use rstmon_common::counts::STATE_UNKNOWN;
use rstmon_common::wire::{self, tcp_flag, tcp_state};

/// `kfree_skb(skb, location, reason, rx_sk)`; the reason since 5.17, the socket since 6.11. A load of
/// an argument that the tracepoint does not have fails the program; behind a frozen flag it is never
/// checked.
macro_rules! freed {
    ($ctx:ident, $arg:ident, $nullable_arg:ident) => {{
        let reason = if config!(kfree_has_reason) != 0 {
            Reason::dropped($ctx.arg::<u32>(2))
        } else {
            Reason::NONE
        };
        let skb = $arg!($ctx, 0);
        if may_be_rst(reason) && is_worth_reading(skb) {
            let sock = if config!(kfree_has_socket) != 0 {
                $nullable_arg!($ctx, 3).address()
            } else {
                KernelAddr::NULL
            };
            dropped(skb.address(), sock, reason);
        }
        0
    }};
}

/// A packet that the kernel drops, by the tracepoint's BTF.
#[btf_tracepoint(function = "kfree_skb")]
fn tp_btf_kfree_skb(ctx: BtfTracePointContext) -> i32 {
    freed!(ctx, tp_btf_arg, tp_btf_nullable_arg)
}

/// A packet that the kernel drops.
#[raw_tracepoint(tracepoint = "kfree_skb")]
fn raw_tp_kfree_skb(ctx: RawTracePointContext) -> i32 {
    freed!(ctx, raw_tp_arg, raw_tp_arg)
}

/// Most segments that TCP drops are no RST. What reached TCP has its header at the data; of anything
/// else these flags mean nothing, and it is looked at again.
#[inline(always)]
fn is_worth_reading(skb: impl Object) -> bool {
    config!(deduce_socketless) != 0 || is_rst_at_data(skb)
}

/// Whether a RST that reached TCP may be dropped for this reason; for any, where there is none.
#[inline(always)]
fn may_be_rst(reason: Reason) -> bool {
    if config!(kfree_has_reason) == 0 {
        return true;
    }
    let reason = reason.number();
    if reason >= DROP_REASONS {
        return false;
    }
    // Four constants that the verifier knows, instead of an index that it does not.
    let word = match reason / 64 {
        0 => config!(drop_reasons[0]),
        1 => config!(drop_reasons[1]),
        2 => config!(drop_reasons[2]),
        _ => config!(drop_reasons[3]),
    };
    word & (1 << (reason % 64)) != 0
}

#[inline(always)]
fn dropped(skb: KernelAddr, sock: KernelAddr, reason: Reason) {
    with_scratch!(dropped_segment(skb, sock, reason));
}

/// A segment that was dropped: a RST, or what a RST was sent for.
#[inline(always)]
fn dropped_segment(room: &mut Scratch, freed: KernelAddr, sock: KernelAddr, reason: Reason) {
    let Some(skb) = read_skb(freed, &mut room.skb) else {
        return;
    };
    if !reached_tcp(&skb) {
        return;
    }
    let deduced = config!(deduce_socketless) != 0 && reason.is_drop(config!(drop_no_socket));
    // Most segments that TCP drops are no RST: the octet of the flags tells.
    let is_rst = flags_at_data(&skb).is_some_and(|flags| flags & tcp_flag::RST != 0);
    if !is_rst && !deduced {
        return;
    }
    let Some(segment) = read_segment(&skb, Some(&mut room.options), &mut room.segment) else {
        return;
    };
    incoming(segment, &mut room.ends);
    let seen = sighting(&skb, reason, &room.ends, segment);
    if !segment.is_rst() {
        let sighting = Sighting {
            kind: wire::KIND_SENT,
            flags: wire::FLAG_DEDUCED,
            counted_as: wire::KIND_SENT,
            ..seen
        };
        report(&sighting, &mut room.socket);
        return;
    }
    let common = sock::read_common(sock, &mut room.common);
    let seen = Sighting {
        sock,
        common: common.as_ref(),
        ..seen
    };
    let receiver = if config!(passive_by_probe) != 0 && config!(kfree_has_socket) == 0 {
        take_pending(freed, PENDING_RECEIVER)
    } else {
        Pending::NONE
    };
    report(
        &dropped_rst(seen, &skb, reason, &receiver),
        &mut room.socket,
    );
}

/// A RST that TCP did not obey. Who it was for follows from the socket that the kernel names, on
/// older kernels from what a probe saw on its way, or from the device, which full sockets' segments have
/// lost by then.
#[inline(always)]
fn dropped_rst<'a>(
    mut seen: Sighting<'a>,
    skb: &Skb<'_>,
    reason: Reason,
    receiver: &Pending,
) -> Sighting<'a> {
    seen.flags = wire::FLAG_SEGMENT_IS_RST;
    let no_socket = reason.is_drop(config!(drop_no_socket));
    if let Some(common) = seen.common {
        let state = sock::state(Some(common));
        seen.state_at_hook = state;
        seen.socket_kind = sock::kind_of(seen.sock, state);
        seen.netns = sock::netns(common);
        (seen.kind, seen.state) = judge(state, reason);
        if state == tcp_state::LISTEN && seen.state == tcp_state::NEW_SYN_RECV {
            // The listener stands for a request socket that the kernel does not name.
            seen.socket_kind = wire::SOCKET_REQUEST;
        }
    } else if no_socket {
        seen.state = tcp_state::NONE;
    } else if receiver.is_there() {
        seen.netns = receiver.other as u32;
        (seen.kind, seen.state) = judge(receiver.state as u8, reason);
    } else if may_have_killed_request(skb, reason) && was_killed(seen.ends, seen.netns) {
        (seen.kind, seen.state) = (wire::KIND_RECEIVED, tcp_state::NEW_SYN_RECV);
        seen.socket_kind = wire::SOCKET_REQUEST;
    } else if config!(kfree_has_socket) == 0 && skb.device().is_null() {
        // Taken by a full socket, and the kernel does not say by which.
        seen.kind = wire::KIND_REJECTED;
        seen.state = STATE_UNKNOWN;
    } else {
        // A check before the lookup, as of the checksum; where the kernel names no sockets, a request or
        // timewait socket, too.
        seen.state = STATE_UNKNOWN;
    }
    seen.counted_as = seen.kind;
    seen
}

/// Whether a RST may be one for which a request socket was given up: its segment has kept its device, and
/// the kernel has no reason of its own for the drop.
#[inline(always)]
fn may_have_killed_request(skb: &Skb<'_>, reason: Reason) -> bool {
    config!(killed_request_by_probe) != 0
        && !skb.device().is_null()
        && (config!(kfree_has_reason) == 0 || reason.is_drop(config!(drop_not_specified)))
}

/// Kind and state of a RST that the socket in `state` got and the kernel dropped for `reason`.
#[inline(always)]
fn judge(state: u8, reason: Reason) -> (u8, u8) {
    match state {
        tcp_state::LISTEN => {
            // The only RST that a listener's name stands for without a reason of its own: one that
            // `tcp_check_req()` killed a request socket for, or, where that has no reasons to give, was
            // not moved by. What a probe saw went to the listener itself.
            if config!(kfree_has_socket) == 0 || !reason.is_drop(config!(drop_not_specified)) {
                (wire::KIND_STRAY, tcp_state::LISTEN)
            } else if config!(embryonic_kill_is_told) != 0 {
                (wire::KIND_RECEIVED, tcp_state::NEW_SYN_RECV)
            } else {
                (wire::KIND_STRAY, tcp_state::NEW_SYN_RECV)
            }
        }
        tcp_state::NEW_SYN_RECV | tcp_state::TIME_WAIT => (wire::KIND_STRAY, state),
        _ => (wire::KIND_REJECTED, state),
    }
}

/// What all drops have in common.
#[inline(always)]
fn sighting<'a>(
    skb: &Skb<'_>,
    reason: Reason,
    ends: &'a Ends,
    segment: &'a Segment,
) -> Sighting<'a> {
    Sighting {
        kind: wire::KIND_STRAY,
        hook: wire::HOOK_KFREE_SKB,
        flags: 0,
        reason,
        sock: KernelAddr::NULL,
        common: None,
        socket_kind: wire::SOCKET_NONE,
        state_at_hook: tcp_state::NONE,
        state: tcp_state::NONE,
        counted_as: wire::KIND_STRAY,
        ends,
        netns: sock::netns_of_device(skb.device()),
        ifindex: skb.interface(),
        segment: Some(segment),
    }
}
