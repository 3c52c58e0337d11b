//! The life of sockets: who opened them and when, who closed them and from which state.
//!
//! `inet_sock_set_state` runs about ten times a connection; all but the few changes that tell
//! something leave at once, before any memory is read.

use crate::globals::{classic, offset};
use crate::hooks::request::forget_accepted;
use crate::hooks::{raw_tp_arg, read_record_ends, tp_btf_arg};
use crate::notes;
use crate::owner::{self, Actor};
use crate::read::{KernelAddr, Members, Object, clear};
use crate::scratch::{Scratch, with_scratch};
use crate::sock::{self, Ends};
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::{btf_tracepoint, raw_tracepoint, tracepoint};
use aya_ebpf::programs::{BtfTracePointContext, RawTracePointContext, TracePointContext};
use aya_log_ebpf::trace;
use rstmon_common::maps::{
    ListenKey, NOTE_CLIENT, NOTE_HANDSHAKE, NOTE_SERVER, NOTE_TIMESTAMPS, SocketNote,
};
use rstmon_common::wire::{self, tcp_state};

/// `ECONNREFUSED`.
const ECONNREFUSED: u32 = 111;

/// A change that tells something.
#[derive(Clone, Copy)]
enum Change {
    /// connect().
    Connecting,
    /// listen().
    Listening,
    /// A listener is closed.
    ListenerClosed,
    /// A server's connection is complete.
    Accepted,
    /// close() or shutdown() by the owner.
    Closing,
    /// The connection is gone.
    Closed,
}

#[inline(always)]
const fn change(old: u32, new: u32) -> Option<Change> {
    match (old as u8, new as u8) {
        (_, tcp_state::SYN_SENT) => Some(Change::Connecting),
        (_, tcp_state::LISTEN) => Some(Change::Listening),
        (tcp_state::SYN_RECV, tcp_state::ESTABLISHED) => Some(Change::Accepted),
        (tcp_state::ESTABLISHED, tcp_state::FIN_WAIT1)
        | (tcp_state::CLOSE_WAIT, tcp_state::LAST_ACK) => Some(Change::Closing),
        (tcp_state::LISTEN, tcp_state::CLOSE) => Some(Change::ListenerClosed),
        (_, tcp_state::CLOSE) => Some(Change::Closed),
        _ => None,
    }
}

/// `inet_sock_set_state(sk, oldstate, newstate)`, by its BTF.
#[btf_tracepoint(function = "inet_sock_set_state")]
fn tp_btf_inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    let (old, new) = (ctx.arg(1), ctx.arg(2));
    set_state(&ctx, tp_btf_arg!(ctx, 0), old, new);
    0
}

/// `inet_sock_set_state(sk, oldstate, newstate)`.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
fn raw_tp_inet_sock_set_state(ctx: RawTracePointContext) -> i32 {
    let (old, new) = (ctx.arg(1), ctx.arg(2));
    set_state(&ctx, raw_tp_arg!(ctx, 0), old, new);
    0
}

#[inline(always)]
fn set_state(ctx: &impl EbpfContext, object: impl Object, old: u32, new: u32) {
    let Some(change) = change(old, new) else {
        return;
    };
    // What is remembered speaks TCP.
    if !sock::is_tcp(object) {
        return;
    }
    let sock = object.address();
    trace!(
        ctx,
        "inet_sock_set_state sk={:x} from {} to {}",
        sock.value(),
        old,
        new
    );
    match change {
        Change::Connecting => connecting(sock),
        Change::Listening => with_scratch!(listener(object, true)),
        Change::ListenerClosed => with_scratch!(listener(object, false)),
        Change::Accepted => accepted(sock),
        Change::Closing => closing(sock),
        Change::Closed => {
            // A refused connect is told whole by its own event; a storm of them must not push
            // what is remembered of others out.
            let refused = old as u8 == tcp_state::SYN_SENT
                && object.field::<u32>(offset!(sock_err)) == Some(ECONNREFUSED);
            if refused {
                notes::forget(sock);
            } else {
                notes::close(sock, closed_tag(object), old as u8);
            }
        }
    }
}

/// A listener that begins or ends.
#[inline(always)]
fn listener(room: &mut Scratch, object: impl Object, begins: bool) {
    clear(&mut room.ends);
    sock::read_ends(object, object.address(), &mut room.ends);
    sock::unmap_listener(&mut room.ends);
    note_listener(&room.ends, sock::netns(object), begins);
}

/// Without a port, listen() has yet to choose one.
#[inline(always)]
fn note_listener(ends: &Ends, netns: u32, begins: bool) {
    let key = ListenKey {
        addr: ends.local_addr,
        netns,
        port: ends.local_port,
        family: ends.family,
    };
    if key.port == 0 {
        return;
    }
    if begins {
        owner::listens(&key);
    } else {
        owner::listens_no_more(&key);
    }
}

/// The tag of a connection that is gone; 0 if its ends cannot be read.
#[inline(always)]
fn closed_tag(object: impl Object) -> u64 {
    let mut ends = Ends::NONE;
    sock::read_ends(object, object.address(), &mut ends);
    if ends.family == 0 {
        return 0;
    }
    ends.tag(sock::netns(object))
}

/// The tracepoint's record, where there is no BTF.
#[tracepoint(category = "sock", name = "inet_sock_set_state")]
fn tp_inet_sock_set_state(ctx: TracePointContext) -> u32 {
    let record = crate::hooks::record(&ctx);
    let old: u32 = record.field(classic!(set_state.oldstate)).unwrap_or(0);
    let new: u32 = record.field(classic!(set_state.newstate)).unwrap_or(0);
    let sock = record.pointer(classic!(set_state.skaddr));
    let change = change(old, new);
    if let Some(change) = change {
        changed(record, sock, old, change);
    }
    if let Some(note) = notes::note(sock) {
        note.state = new;
    }
    0
}

/// What a change tells, from the tracepoint's record.
#[inline(always)]
fn changed(record: KernelAddr, sock: KernelAddr, old: u32, change: Change) {
    let mut ends = Ends::NONE;
    read_record_ends!(record, set_state, &mut ends);
    match change {
        Change::Connecting => connecting(sock),
        Change::Listening | Change::ListenerClosed => {
            sock::unmap_listener(&mut ends);
            note_listener(&ends, 0, matches!(change, Change::Listening));
        }
        Change::Accepted => accepted(sock),
        Change::Closing => closing(sock),
        Change::Closed => {
            notes::close(sock, ends.tag(0), old as u8);
        }
    }
}

#[inline(always)]
fn new_note(flags: u8) -> SocketNote {
    SocketNote {
        // SAFETY: a helper without arguments.
        born_ns: unsafe { bpf_ktime_get_ns() },
        flags,
        ..owner::NO_NOTE
    }
}

#[inline(always)]
fn connecting(sock: KernelAddr) {
    let mut note = new_note(NOTE_CLIENT);
    note.owner = owner::current(wire::OWNER_CONNECT);
    notes::remember(sock, &note);
}

/// What the handshake hook noted a moment ago stays (`tcp_init_transfer` runs first); all else that
/// is noted is of a former socket at this address, whose end was missed.
#[inline(always)]
fn accepted(sock: KernelAddr) {
    forget_accepted();
    let mut note = new_note(NOTE_SERVER);
    if let Some(noted) = notes::note(sock)
        && noted.flags & NOTE_CLIENT == 0
    {
        note.flags |= noted.flags & (NOTE_HANDSHAKE | NOTE_TIMESTAMPS);
        note.handshake_ttl = noted.handshake_ttl;
        note.handshake_ip_id = noted.handshake_ip_id;
        note.handshake_ts_value = noted.handshake_ts_value;
    }
    notes::remember(sock, &note);
}

#[inline(always)]
fn closing(sock: KernelAddr) {
    let actor = Actor::current();
    if actor.is_kernel_thread() {
        return;
    }
    let exit = actor.exit();
    if let Some(note) = notes::note(sock) {
        // Mostly whoever opened it closes it, and is noted already.
        if !owner::is_current(&note.owner) {
            note.owner = owner::current(wire::OWNER_CLOSE);
        }
        note.flags |= exit.flags;
        note.exit_code = exit.code;
        return;
    }
    // A socket that was there before rstmon: when it began is not known.
    let note = SocketNote {
        owner: owner::current(wire::OWNER_CLOSE),
        flags: exit.flags,
        exit_code: exit.code,
        ..owner::NO_NOTE
    };
    notes::remember(sock, &note);
}
