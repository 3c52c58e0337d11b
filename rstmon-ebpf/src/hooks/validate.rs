//! RSTs that kernels before 5.17 drop without a trace, and the segment that `tcp_reset(sk)` before
//! 5.11 does not tell.
//!
//! `tcp_validate_incoming` sees every RST of a synchronized connection before it is judged, and
//! `tcp_rcv_state_process` those for LISTEN and SYN-SENT. A RST that will be obeyed is stashed for
//! the hook on `tcp_reset`; one that will not is reported here. The tests are those of RFC 5961,
//! section 3, as `tcp_validate_incoming()` makes them.

use crate::emit::{Reason, Sighting, report};
use crate::globals::{config, offset};
use crate::hooks::send_reset::incoming;
use crate::hooks::{fentry_arg, kprobe_arg};
use crate::maps::{PENDING, PENDING_SEGMENT, Pending};
use crate::read::{KernelAddr, Members};
use crate::scratch::{Scratch, with_scratch};
use crate::segment::{Segment, Skb, is_rst_at_data, read_segment, read_skb};
use crate::sock::{self, Common, Ends};
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::{fentry, kprobe};
use aya_ebpf::programs::{FEntryContext, ProbeContext};
use rstmon_common::counts::STATE_UNKNOWN;
use rstmon_common::layout::ABSENT;
use rstmon_common::wire::{self, tcp_flag, tcp_state};

/// Blocks that `tcp_sock.selective_acks` holds.
const SACK_BLOCKS: u8 = 4;

/// `tcp_validate_incoming(sk, skb, th, syn_inerr)`.
#[fentry(function = "tcp_validate_incoming")]
fn fentry_tcp_validate_incoming(ctx: FEntryContext) -> i32 {
    // Most segments end here, before anything that needs more than the typed pointer.
    if is_rst_at_data(KernelAddr::new(ctx.arg(1))) {
        validate(fentry_arg!(ctx, 0), fentry_arg!(ctx, 1));
    }
    0
}

/// `tcp_validate_incoming(sk, skb, th, syn_inerr)`.
#[kprobe(function = "tcp_validate_incoming")]
fn kprobe_tcp_validate_incoming(ctx: ProbeContext) -> u32 {
    validate(kprobe_arg!(ctx, 0), kprobe_arg!(ctx, 1));
    0
}

/// `tcp_rcv_state_process(sk, skb)`.
#[fentry(function = "tcp_rcv_state_process")]
fn fentry_tcp_rcv_state_process(ctx: FEntryContext) -> i32 {
    unsynchronized(fentry_arg!(ctx, 0), fentry_arg!(ctx, 1));
    0
}

/// `tcp_rcv_state_process(sk, skb)`.
#[kprobe(function = "tcp_rcv_state_process")]
fn kprobe_tcp_rcv_state_process(ctx: ProbeContext) -> u32 {
    unsynchronized(kprobe_arg!(ctx, 0), kprobe_arg!(ctx, 1));
    0
}

#[inline(always)]
fn validate(sock: KernelAddr, skb: KernelAddr) {
    // The kernel comes here with data, too.
    if is_rst_at_data(skb) {
        with_scratch!(validate_skb(sock, skb));
    }
}

/// A segment for a synchronized connection.
#[inline(always)]
fn validate_skb(room: &mut Scratch, sock: KernelAddr, skb: KernelAddr) {
    let Some(window) = read_skb(skb, &mut room.skb) else {
        return;
    };
    let Some(segment) = read_segment(&window, Some(&mut room.options), &mut room.segment) else {
        return;
    };
    if !segment.is_rst() {
        return;
    }
    let state = sock::state_alone(sock);
    if acceptable(sock, state, segment) {
        stash(sock, skb, state, segment.family);
    } else if config!(refused_by_probe) != 0 {
        let common = sock::read_common(sock, &mut room.common);
        incoming(segment, &mut room.ends);
        let hook = wire::HOOK_TCP_VALIDATE_INCOMING;
        let seen = ignored(
            hook,
            wire::KIND_REJECTED,
            sock,
            &window,
            &room.ends,
            segment,
        );
        report(&with_socket(seen, common.as_ref(), state), &mut room.socket);
    }
}

/// LISTEN and SYN-SENT, where `tcp_rcv_state_process()` itself decides.
#[inline(always)]
fn unsynchronized(sock: KernelAddr, skb: KernelAddr) {
    let state = sock::state_alone(sock);
    if state != tcp_state::LISTEN && state != tcp_state::SYN_SENT {
        return;
    }
    if is_rst_at_data(skb) {
        with_scratch!(unsynchronized_skb(sock, skb, state));
    }
}

/// A segment for LISTEN or SYN-SENT.
#[inline(always)]
fn unsynchronized_skb(room: &mut Scratch, sock: KernelAddr, skb: KernelAddr, state: u8) {
    let Some(window) = read_skb(skb, &mut room.skb) else {
        return;
    };
    let Some(segment) = read_segment(&window, Some(&mut room.options), &mut room.segment) else {
        return;
    };
    if !segment.is_rst() {
        return;
    }
    let acknowledges = segment.has(tcp_flag::ACK);
    if state == tcp_state::SYN_SENT && acknowledges {
        // Obeyed, or dropped by `kfree_skb`, which is traced.
        stash(sock, skb, state, segment.family);
    } else if !acknowledges && config!(refused_by_probe) != 0 {
        let kind = if state == tcp_state::LISTEN {
            wire::KIND_STRAY
        } else {
            wire::KIND_REJECTED
        };
        let common = sock::read_common(sock, &mut room.common);
        incoming(segment, &mut room.ends);
        let hook = wire::HOOK_TCP_RCV_STATE_PROCESS;
        let seen = ignored(hook, kind, sock, &window, &room.ends, segment);
        report(&with_socket(seen, common.as_ref(), state), &mut room.socket);
    }
}

/// Keeps the RST for the hook on `tcp_reset`.
#[inline(always)]
fn stash(sock: KernelAddr, skb: KernelAddr, state: u8, family: u16) {
    if config!(tcp_reset_has_skb) != 0 {
        return;
    }
    let pending = Pending {
        kind: PENDING_SEGMENT,
        other: skb.value(),
        // SAFETY: a helper without arguments.
        at_ns: unsafe { bpf_ktime_get_ns() },
        state: u32::from(state),
        family: u32::from(family),
    };
    // The map is LRU: it makes room.
    let _ = PENDING.insert(sock.value(), pending, 0);
}

/// A RST that will not be obeyed.
#[inline(always)]
fn ignored<'a>(
    hook: u8,
    kind: u8,
    sock: KernelAddr,
    skb: &Skb<'_>,
    ends: &'a Ends,
    segment: &'a Segment,
) -> Sighting<'a> {
    Sighting {
        kind,
        hook,
        flags: wire::FLAG_SEGMENT_IS_RST,
        reason: Reason::NONE,
        sock,
        common: None,
        socket_kind: wire::SOCKET_FULL,
        state_at_hook: tcp_state::NONE,
        state: STATE_UNKNOWN,
        counted_as: kind,
        ends,
        netns: 0,
        ifindex: skb.interface(),
        segment: Some(segment),
    }
}

/// The same with what its socket tells.
#[inline(always)]
fn with_socket<'a>(seen: Sighting<'a>, common: Option<&'a Common<'a>>, state: u8) -> Sighting<'a> {
    Sighting {
        common,
        state_at_hook: state,
        state,
        netns: common.map_or(0, sock::netns),
        ..seen
    }
}

/// Whether the socket will obey this RST.
#[inline(always)]
fn acceptable(sock: KernelAddr, state: u8, segment: &Segment) -> bool {
    let rcv_nxt: u32 = sock.field(offset!(tcp_rcv_nxt)).unwrap_or(0);
    if segment.seq == rcv_nxt {
        return true;
    }
    // `tcp_reset_check()`: the peer's FIN was counted, its RST may not be.
    let fin_counted = matches!(
        state,
        tcp_state::CLOSE_WAIT | tcp_state::LAST_ACK | tcp_state::CLOSING
    );
    if fin_counted && segment.seq == rcv_nxt.wrapping_sub(1) {
        return true;
    }
    in_window(sock, rcv_nxt, segment) && segment.seq == highest_sack(sock)
}

/// `tcp_sequence()`.
#[inline(always)]
fn in_window(sock: KernelAddr, rcv_nxt: u32, segment: &Segment) -> bool {
    let rcv_wup: u32 = sock.field(offset!(tcp_rcv_wup)).unwrap_or(rcv_nxt);
    let rcv_wnd: u32 = sock.field(offset!(tcp_rcv_wnd)).unwrap_or(0);
    // `tcp_receive_window()`.
    let left = rcv_wup
        .wrapping_add(rcv_wnd)
        .wrapping_sub(rcv_nxt)
        .cast_signed();
    let window = if left < 0 { 0 } else { left.cast_unsigned() };
    let before = segment.end_seq().wrapping_sub(rcv_wup).cast_signed();
    let after = segment
        .seq
        .wrapping_sub(rcv_nxt.wrapping_add(window))
        .cast_signed();
    before >= 0 && after <= 0
}

/// The right edge of the highest SACK block that the socket is about to send, with which a RST is
/// acceptable too; a number that no segment here has, if there is none.
#[inline(always)]
fn highest_sack(sock: KernelAddr) -> u32 {
    let count: u8 = sock.field(offset!(tcp_num_sacks)).unwrap_or(0);
    let blocks = offset!(tcp_selective_acks);
    let rcv_nxt: u32 = sock.field(offset!(tcp_rcv_nxt)).unwrap_or(0);
    // RCV.NXT itself was tested before.
    let mut highest = rcv_nxt;
    if blocks == ABSENT {
        return highest;
    }
    for index in 0..SACK_BLOCKS {
        if index >= count {
            break;
        }
        let end_at = u64::from(blocks) + u64::from(index) * 8 + 4;
        if let Some(end) = sock.plus(end_at).read::<u32>()
            && end.wrapping_sub(highest).cast_signed() > 0
        {
            highest = end;
        }
    }
    highest
}
