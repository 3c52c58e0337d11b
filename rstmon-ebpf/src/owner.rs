//! Who owns a socket: noted when it is made, looked up when it is reset.
//!
//! The owner is never simply the task that runs: a reset mostly leaves from a softirq, and on
//! loopback the peer's task runs our receive path.

use crate::globals::offset;
use crate::maps::{KILLERS, LISTENERS};
use crate::read::{KernelAddr, Members, copy_16};
use crate::sock::Ends;
use aya_ebpf::helpers::generated::{bpf_get_current_comm, bpf_get_current_task, bpf_ktime_get_ns};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_current_uid_gid};
use core::mem::{MaybeUninit, offset_of};
use rstmon_common::maps::{
    ClosedNote, Comm, ListenKey, Listener, NOTE_CLIENT, NOTE_EXIT, NOTE_HANDSHAKE, NOTE_OOM_VICTIM,
    NOTE_SERVER, NOTE_TIMESTAMPS, Owner, SocketNote,
};
use rstmon_common::wire;
use rstmon_common::wire::{AF_INET, AF_INET6, COMM_LEN, RawEvent};

/// An owner that is not known.
pub(crate) const UNKNOWN: Owner = Owner {
    pid: 0,
    uid: 0,
    source: 0,
    reserved: 0,
    comm: [0; COMM_LEN / 8],
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
    let pid_tgid = bpf_get_current_pid_tgid();
    Owner {
        pid: (pid_tgid >> 32) as u32,
        uid: bpf_get_current_uid_gid() as u32,
        source: u32::from(source),
        reserved: 0,
        comm: process_comm(pid_tgid),
    }
}

/// `PF_EXITING` of `include/linux/sched.h`.
const PF_EXITING: u32 = 0x4;
/// `PF_KTHREAD`.
const PF_KTHREAD: u32 = 0x0020_0000;

/// What the kernel knows of the task that runs. Plain numbers, see `emit::Reason`.
pub(crate) struct Actor {
    task: KernelAddr,
    /// `PF_*`; 0 where they cannot be read.
    flags: u32,
}

impl Actor {
    /// The task that runs.
    #[inline(always)]
    pub(crate) fn current() -> Self {
        // SAFETY: a helper without arguments.
        let task = KernelAddr::new(unsafe { bpf_get_current_task() });
        Self {
            task,
            flags: task.field(offset!(task_flags)).unwrap_or(0),
        }
    }

    /// Whether it works for the kernel: a worker that closes sockets owns none.
    #[inline(always)]
    pub(crate) const fn is_kernel_thread(&self) -> bool {
        self.flags & PF_KTHREAD != 0
    }

    /// Whether and how it is ending: a process that dies closes its sockets itself, after `do_exit`
    /// has noted why.
    #[inline(always)]
    pub(crate) fn exit(&self) -> Exit {
        let mut exit = Exit { flags: 0, code: 0 };
        if self.flags & PF_EXITING == 0
            || !self
                .task
                .field_into(offset!(task_exit_code), &mut exit.code)
        {
            return exit;
        }
        exit.flags = NOTE_EXIT;
        // `mark_oom_victim` sets it.
        let signal = self.task.pointer(offset!(task_signal));
        if !signal.pointer(offset!(signal_oom_mm)).is_null() {
            exit.flags |= NOTE_OOM_VICTIM;
        }
        exit
    }
}

/// How a process is ending. Plain numbers, see `emit::Reason`.
pub(crate) struct Exit {
    /// `NOTE_EXIT` and `NOTE_OOM_VICTIM`; 0: it is not ending.
    pub(crate) flags: u8,
    /// See `RawEvent::exit_code`.
    pub(crate) code: u32,
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

/// A signal ends a process within this time, a core dump included; an older one did not.
const SIGNAL_MEMORY_NS: u64 = 60_000_000_000;
/// The signal in what wait(2) tells.
const EXIT_SIGNAL: u32 = 0x7f;

/// Writes who sent the owner the signal that ended it into the record.
#[inline(always)]
pub(crate) fn put_killer(event: &mut RawEvent) {
    let Some(killer) = KILLERS.get_ptr(event.owner_pid) else {
        return;
    };
    // SAFETY: as in `listens`.
    let killer = unsafe { &*killer };
    let age_ns = event.mono_ns.wrapping_sub(killer.at_ns);
    if killer.signal != event.exit_code & EXIT_SIGNAL || age_ns > SIGNAL_MEMORY_NS {
        return;
    }
    event.killer_pid = killer.pid;
    event.killer_signal = killer.signal as u8;
    put_comm(&mut event.killer_comm, &killer.comm);
    event.have |= wire::HAVE_KILLER;
}

/// Whether `owner` is the process that runs.
#[inline(always)]
pub(crate) fn is_current(owner: &Owner) -> bool {
    owner.pid == (bpf_get_current_pid_tgid() >> 32) as u32
}

/// Name of the process that runs as `pid_tgid`: its first thread's, as `ps` shows it. A worker
/// thread's own name would hide the program.
#[inline(always)]
pub(crate) fn process_comm(pid_tgid: u64) -> Comm {
    let is_first_thread = pid_tgid >> 32 == pid_tgid & 0xffff_ffff;
    if !is_first_thread {
        // SAFETY: a helper without arguments.
        let task = KernelAddr::new(unsafe { bpf_get_current_task() });
        let leader = task.pointer(offset!(task_group_leader));
        if !leader.is_null()
            && let Some(comm) = leader.field(offset!(task_comm))
        {
            return comm;
        }
    }
    let mut comm = MaybeUninit::<Comm>::uninit();
    // SAFETY: the destination is as long as said. The helper fills it whole, whatever it returns.
    unsafe { bpf_get_current_comm(comm.as_mut_ptr().cast(), COMM_LEN as u32) };
    // SAFETY: see above; any words make a name.
    unsafe { comm.assume_init() }
}

/// Writes a name into the record.
#[inline(always)]
pub(crate) fn put_comm(bytes: &mut [u8; COMM_LEN], comm: &Comm) {
    const {
        assert!(
            offset_of!(RawEvent, owner_comm).is_multiple_of(8)
                && offset_of!(RawEvent, current_comm).is_multiple_of(8)
                && offset_of!(RawEvent, killer_comm).is_multiple_of(8)
        );
    }
    copy_16(bytemuck::cast_ref(comm), bytes);
}

/// Remembers who listens at an address. Where several processes do (`SO_REUSEPORT`), none of them
/// can be told to own what comes there.
#[inline(always)]
pub(crate) fn listens(key: &ListenKey) {
    let mut listener = Listener {
        owner: current(wire::OWNER_LISTEN),
        // SAFETY: a helper without arguments.
        since_ns: unsafe { bpf_ktime_get_ns() },
        is_open: 1,
    };
    if let Some(known) = LISTENERS.get_ptr(key) {
        // SAFETY: an element of an LRU map stays readable while the program runs; at worst it was
        // given to another listener meanwhile, which the kernel allows for LRU maps.
        let known = unsafe { &*known };
        if known.is_open != 0 && known.owner.pid != listener.owner.pid {
            listener.owner.pid = 0;
        }
    }
    // The map is LRU: it makes room. Where it cannot, the owner is absent from the event.
    let _ = LISTENERS.insert(key, listener, 0);
}

/// Notes that a listener is closed.
#[inline(always)]
pub(crate) fn listens_no_more(key: &ListenKey) {
    if let Some(listener) = LISTENERS.get_ptr_mut(key) {
        // SAFETY: as in `listens`.
        unsafe { (*listener).is_open = 0 };
    }
}

/// Who listens at an address: there, at any address of its family, or at `::`, which also serves
/// IPv4.
#[inline(always)]
pub(crate) fn listener(ends: &Ends, netns: u32) -> Option<&'static Listener> {
    let mut key = ListenKey {
        addr: ends.local_addr,
        netns,
        port: ends.local_port,
        family: ends.family,
    };
    let mut listener = LISTENERS.get_ptr(key);
    if listener.is_none() {
        copy_16(&[0; 16], &mut key.addr);
        listener = LISTENERS.get_ptr(key);
    }
    if listener.is_none() && ends.family == AF_INET {
        key.family = AF_INET6;
        listener = LISTENERS.get_ptr(key);
    }
    // SAFETY: as in `listens`.
    Some(unsafe { &*listener? })
}

/// Writes `owner` into the record.
#[inline(always)]
pub(crate) fn put_owner(event: &mut RawEvent, owner: &Owner) {
    if owner.pid == 0 {
        return;
    }
    event.owner_pid = owner.pid;
    event.owner_uid = owner.uid;
    put_comm(&mut event.owner_comm, &owner.comm);
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
        put_comm(&mut event.owner_comm, &former.owner_comm);
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
