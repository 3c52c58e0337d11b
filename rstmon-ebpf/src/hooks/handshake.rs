//! What the peer's handshake segment looked like: TTL, IP identification, timestamps.

use crate::hooks::{fentry_arg, kprobe_arg};
use crate::notes;
use crate::owner;
use crate::read::KernelAddr;
use crate::scratch::{Scratch, with_scratch};
use crate::segment::{Segment, read_segment, read_skb};
use aya_ebpf::macros::{fentry, kprobe};
use aya_ebpf::programs::{FEntryContext, ProbeContext};
use rstmon_common::maps::{NOTE_HANDSHAKE, NOTE_TIMESTAMPS, SocketNote};

/// `tcp_init_transfer(sk, bpf_op, skb)`, once for each end of a connection.
#[fentry(function = "tcp_init_transfer")]
fn fentry_tcp_init_transfer(ctx: FEntryContext) -> i32 {
    handshake(fentry_arg!(ctx, 0), fentry_arg!(ctx, 2));
    0
}

/// `tcp_init_transfer(sk, bpf_op, skb)`, once for each end of a connection.
#[kprobe(function = "tcp_init_transfer")]
fn kprobe_tcp_init_transfer(ctx: ProbeContext) -> u32 {
    handshake(kprobe_arg!(ctx, 0), kprobe_arg!(ctx, 2));
    0
}

#[inline(always)]
fn handshake(sock: KernelAddr, skb: KernelAddr) {
    // No segment when a repaired socket is set up (TCP_REPAIR).
    if skb.is_null() {
        return;
    }
    with_scratch!(handshake_segment(sock, skb));
}

/// The handshake's last segment, which is there.
#[inline(always)]
fn handshake_segment(room: &mut Scratch, sock: KernelAddr, skb: KernelAddr) {
    let Some(skb) = read_skb(skb, &mut room.skb) else {
        return;
    };
    if let Some(segment) = read_segment(&skb, Some(&mut room.options), &mut room.segment) {
        baseline(sock, segment);
    }
}

/// Notes what the peer's segment looked like.
#[inline(always)]
fn baseline(sock: KernelAddr, segment: &Segment) {
    if let Some(note) = notes::note(sock) {
        note_segment(note, segment);
        return;
    }
    // A server's connection is complete a moment later, and noted as such then.
    let mut note = owner::NO_NOTE;
    note_segment(&mut note, segment);
    notes::remember(sock, &note);
}

#[inline(always)]
fn note_segment(note: &mut SocketNote, segment: &Segment) {
    note.handshake_ttl = segment.ttl;
    note.handshake_ip_id = segment.ip_id;
    note.flags |= NOTE_HANDSHAKE;
    if segment.has_timestamps != 0 {
        note.handshake_ts_value = segment.ts_value;
        note.flags |= NOTE_TIMESTAMPS;
    }
}
