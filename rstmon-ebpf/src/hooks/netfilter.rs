//! Resets that netfilter's REJECT sends, which the host's TCP neither traces nor counts.
//!
//! The functions live in modules on most distributions, so only kprobes reach them. Their arguments
//! changed between releases without a trace in the kernel's own BTF; the values tell which is which.

use crate::emit::{Reason, Sighting, report};
use crate::hooks::{kprobe_arg, send_reset::incoming};
use crate::read::KernelAddr;
use crate::scratch::{Scratch, SocketRoom, with_scratch};
use crate::segment::{Segment, Skb, read_segment, read_skb};
use crate::sock::{self, Ends};
use aya_ebpf::macros::kprobe;
use aya_ebpf::programs::ProbeContext;
use aya_log_ebpf::debug;
use rstmon_common::counts::{REASON_FIREWALL, STATE_UNKNOWN};
use rstmon_common::wire::{self, tcp_state};

/// `NF_INET_LOCAL_OUT`: the rejected segment was on its way out.
const LOCAL_OUT: u64 = 3;
/// Kernel addresses lie above this on every 64-bit architecture that Linux has.
const LOWEST_KERNEL_ADDRESS: u64 = 0xff00_0000_0000_0000;

/// `nf_send_reset(net, oldskb, hook)`, since 5.11 `nf_send_reset(net, sk, oldskb, hook)`.
#[kprobe(function = "nf_send_reset")]
fn kprobe_nf_send_reset(ctx: ProbeContext) -> u32 {
    send_reset(wire::HOOK_NF_SEND_RESET, &ctx);
    0
}

/// `nf_send_reset6(net, oldskb, hook)`, since 5.11 `nf_send_reset6(net, sk, oldskb, hook)`.
#[kprobe(function = "nf_send_reset6")]
fn kprobe_nf_send_reset6(ctx: ProbeContext) -> u32 {
    send_reset(wire::HOOK_NF_SEND_RESET6, &ctx);
    0
}

/// `nf_reject_skb_v4_tcp_reset(net, oldskb, dev, hook)`: netdev and bridge tables.
#[kprobe(function = "nf_reject_skb_v4_tcp_reset")]
fn kprobe_nf_reject_skb_v4_tcp_reset(ctx: ProbeContext) -> u32 {
    rejected(
        wire::HOOK_NF_REJECT_SKB_V4,
        kprobe_arg!(ctx, 0),
        kprobe_arg!(ctx, 1),
        false,
    );
    0
}

/// `nf_reject_skb_v6_tcp_reset(net, oldskb, dev, hook)`: netdev and bridge tables.
#[kprobe(function = "nf_reject_skb_v6_tcp_reset")]
fn kprobe_nf_reject_skb_v6_tcp_reset(ctx: ProbeContext) -> u32 {
    rejected(
        wire::HOOK_NF_REJECT_SKB_V6,
        kprobe_arg!(ctx, 0),
        kprobe_arg!(ctx, 1),
        false,
    );
    0
}

#[inline(always)]
fn send_reset(hook: u8, ctx: &ProbeContext) {
    debug!(ctx, "nf_send_reset hook={}", hook);
    let net = kprobe_arg!(ctx, 0);
    let second = kprobe_arg!(ctx, 1);
    let third = kprobe_arg!(ctx, 2);
    let fourth = kprobe_arg!(ctx, 3);
    if third.value() >= LOWEST_KERNEL_ADDRESS {
        rejected(hook, net, third, fourth.value() & 0xf == LOCAL_OUT);
    } else {
        rejected(hook, net, second, third.value() & 0xf == LOCAL_OUT);
    }
}

#[inline(always)]
fn rejected(hook: u8, net: KernelAddr, skb: KernelAddr, outgoing: bool) {
    with_scratch!(rejected_skb(hook, net, skb, outgoing));
}

/// The segment that a rule rejected.
#[inline(always)]
fn rejected_skb(room: &mut Scratch, hook: u8, net: KernelAddr, skb: KernelAddr, outgoing: bool) {
    let Some(skb) = read_skb(skb, &mut room.skb) else {
        return;
    };
    if let Some(segment) = read_segment(&skb, None, &mut room.segment) {
        let seen = (segment, &mut room.ends, outgoing);
        rejected_segment(hook, net, &skb, seen, &mut room.socket);
    }
}

#[inline(always)]
fn rejected_segment(
    hook: u8,
    net: KernelAddr,
    skb: &Skb<'_>,
    (segment, ends, outgoing): (&Segment, &mut Ends, bool),
    room: &mut SocketRoom,
) {
    // A RST is never rejected with a RST (`nf_reject_ip_tcphdr_get()`).
    if segment.is_rst() {
        return;
    }
    // "Local" is always this host's end; a rejected outgoing segment came from it.
    if outgoing {
        ends.local_addr = segment.source;
        ends.remote_addr = segment.destination;
        ends.local_port = segment.source_port;
        ends.remote_port = segment.destination_port;
        ends.family = segment.family;
    } else {
        incoming(segment, ends);
    }
    let sighting = Sighting {
        kind: wire::KIND_SENT,
        hook,
        flags: 0,
        reason: Reason::counted_as(REASON_FIREWALL),
        sock: KernelAddr::NULL,
        common: None,
        socket_kind: wire::SOCKET_NONE,
        state_at_hook: tcp_state::NONE,
        // The firewall did not ask for a socket.
        state: STATE_UNKNOWN,
        counted_as: wire::KIND_SENT,
        ends,
        netns: sock::inum(net),
        ifindex: skb.interface(),
        segment: Some(segment),
    };
    report(&sighting, room);
}
