//! Who owns a socket: noted when it is made, looked up when it is reset.
//!
//! The owner is never simply the task that runs: a reset mostly leaves from a softirq, and on
//! loopback the peer's task runs our receive path.

use crate::globals::offset;
use crate::maps::{KILLERS, LISTENERS};
use crate::read::KernelAddr;
use aya_ebpf::helpers::generated::bpf_get_current_task;
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid};
use rstmon_common::maps::{
    ClosedNote, ListenKey, NOTE_CLIENT, NOTE_EXIT, NOTE_HANDSHAKE, NOTE_OOM_VICTIM, NOTE_SERVER,
    NOTE_TIMESTAMPS, Owner, SocketNote,
};
use rstmon_common::wire;
use rstmon_common::wire::{AF_INET, AF_INET6, COMM_LEN, RawEvent};

/// An owner that is not known.
pub(crate) const UNKNOWN: Owner = Owner {
    pid: 0,
    uid: 0,
    source: 0,
    reserved: 0,
    comm: [0; COMM_LEN],
};

/// A socket of which nothing is noted.
pub(crate) const NO_NOTE: SocketNote = SocketNote {
    owner: UNKNOWN,
    born_ns: 0,
    handshake_ts_value: 0,
    handshake_ip_id: 0,
    handshake_ttl: 0,
    flags: 0,
    state: 0,
    exit_code: 0,
};

/// The task that runs, in a context where it is known to act on the socket.
#[inline(always)]
pub(crate) fn current(source: u8) -> Owner {
    Owner {
        pid: (bpf_get_current_pid_tgid() >> 32) as u32,
        uid: bpf_get_current_uid_gid() as u32,
        source: u32::from(source),
        reserved: 0,
        comm: process_comm(),
    }
}

/// `PF_EXITING` of `include/linux/sched.h`.
const PF_EXITING: u32 = 0x4;

/// How the process that runs is ending. Plain numbers, see `emit::Reason`.
pub(crate) struct Exit {
    /// `NOTE_EXIT` and `NOTE_OOM_VICTIM`; 0: it is not ending.
    pub(crate) flags: u8,
    /// See `RawEvent::exit_code`.
    pub(crate) code: u32,
}

/// Whether and how the process that runs is ending: a process that dies closes its sockets itself,
/// after `do_exit` has noted why.
#[inline(always)]
pub(crate) fn exit_of_current() -> Exit {
    let mut exit = Exit { flags: 0, code: 0 };
    // SAFETY: a helper without arguments.
    let task = KernelAddr::new(unsafe { bpf_get_current_task() });
    let flags: u32 = task.field(offset!(task_flags)).unwrap_or(0);
    if flags & PF_EXITING == 0 || !task.field_into(offset!(task_exit_code), &mut exit.code) {
        return exit;
    }
    exit.flags = NOTE_EXIT;
    // `mark_oom_victim` sets it.
    let signal = task.pointer(offset!(task_signal));
    if !signal.pointer(offset!(signal_oom_mm)).is_null() {
        exit.flags |= NOTE_OOM_VICTIM;
    }
    exit
}

/// Writes how the owner ended into the record.
#[inline(always)]
pub(crate) fn put_exit(event: &mut RawEvent, exit: &Exit) {
    if exit.flags & NOTE_EXIT == 0 {
        return;
    }
    event.exit_code = exit.code;
    event.have |= wire::HAVE_EXIT;
    if exit.flags & NOTE_OOM_VICTIM != 0 {
        event.flags |= wire::FLAG_OOM_VICTIM;
    }
}

/// Writes who signalled the owner into the record.
#[inline(always)]
pub(crate) fn put_killer(event: &mut RawEvent) {
    let Some(killer) = KILLERS.get_ptr(event.owner_pid) else {
        return;
    };
    // SAFETY: as in `listener`.
    let killer = unsafe { &*killer };
    event.killer_pid = killer.pid;
    event.killer_signal = killer.signal as u8;
    event.killer_comm = killer.comm;
    event.have |= wire::HAVE_KILLER;
}

/// Whether `owner` is the process that runs.
#[inline(always)]
pub(crate) fn is_current(owner: &Owner) -> bool {
    owner.pid == (bpf_get_current_pid_tgid() >> 32) as u32
}

/// Name of the process that runs: its first thread's, as `ps` shows it. A worker thread's own name
/// would hide the program.
#[inline(always)]
pub(crate) fn process_comm() -> [u8; COMM_LEN] {
    // SAFETY: a helper without arguments.
    let task = KernelAddr::new(unsafe { bpf_get_current_task() });
    let leader = task.pointer(offset!(task_group_leader));
    if !leader.is_null()
        && let Some(comm) = leader.field(offset!(task_comm))
    {
        return comm;
    }
    bpf_get_current_comm().unwrap_or([0; COMM_LEN])
}

/// Who listens on a port; a listener on `::` also serves IPv4.
#[inline(always)]
pub(crate) fn listener(port: u16, family: u16, netns: u32) -> Option<&'static Owner> {
    let own = LISTENERS.get_ptr(ListenKey {
        netns,
        port,
        family,
    });
    let owner = match own {
        Some(owner) => owner,
        None if family == AF_INET => LISTENERS.get_ptr(ListenKey {
            netns,
            port,
            family: AF_INET6,
        })?,
        None => return None,
    };
    // SAFETY: an element of an LRU map stays readable while the program runs; at worst it was
    // given to another listener meanwhile, which the kernel allows for LRU maps.
    Some(unsafe { &*owner })
}

/// Writes `owner` into the record.
#[inline(always)]
pub(crate) fn put_owner(event: &mut RawEvent, owner: &Owner) {
    if owner.pid == 0 {
        return;
    }
    event.owner_pid = owner.pid;
    event.owner_uid = owner.uid;
    event.owner_comm = owner.comm;
    event.owner_source = owner.source as u8;
    event.have |= wire::HAVE_OWNER;
}

/// Writes what is remembered of a socket into the record.
#[inline(always)]
pub(crate) fn put_note(event: &mut RawEvent, note: &SocketNote) {
    put_owner(event, &note.owner);
    put_life(event, note.flags, note.born_ns, note.exit_code);
    if note.flags & NOTE_HANDSHAKE != 0 {
        event.handshake_ttl = note.handshake_ttl;
        event.handshake_ip_id = note.handshake_ip_id;
    }
    if note.flags & NOTE_TIMESTAMPS != 0 {
        event.handshake_ts_value = note.handshake_ts_value;
    }
}

/// Writes what is remembered of a closed connection into the record.
#[inline(always)]
pub(crate) fn put_former(event: &mut RawEvent, former: &ClosedNote) {
    if former.owner_pid != 0 {
        event.owner_pid = former.owner_pid;
        event.owner_uid = former.owner_uid;
        event.owner_comm = former.owner_comm;
        event.owner_source = former.owner_source;
        event.have |= wire::HAVE_OWNER;
    }
    put_life(event, former.flags, former.born_ns, former.exit_code);
    if former.flags & NOTE_HANDSHAKE != 0 {
        event.handshake_ttl = former.handshake_ttl;
        event.handshake_ip_id = former.handshake_ip_id;
    }
    if former.flags & NOTE_TIMESTAMPS != 0 {
        event.handshake_ts_value = former.handshake_ts_value;
    }
}

/// Writes what `flags` (`NOTE_*`) tell of a connection's life into the record.
#[inline(always)]
fn put_life(event: &mut RawEvent, flags: u8, born_ns: u64, exit_code: u32) {
    if born_ns != 0 {
        event.born_ns = born_ns;
        event.have |= wire::HAVE_BORN;
    }
    if flags & NOTE_CLIENT != 0 {
        event.flags |= wire::FLAG_CLIENT;
    }
    if flags & NOTE_SERVER != 0 {
        event.flags |= wire::FLAG_SERVER;
    }
    if flags & NOTE_HANDSHAKE != 0 {
        event.have |= wire::HAVE_HANDSHAKE;
    }
    if flags & NOTE_TIMESTAMPS != 0 {
        event.have |= wire::HAVE_HANDSHAKE_TIMESTAMPS;
    }
    put_exit(
        event,
        &Exit {
            flags,
            code: exit_code,
        },
    );
}
