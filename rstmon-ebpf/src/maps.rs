//! The maps. Sizes that a user may choose are set by the loader.

use crate::read::KernelAddr;
use crate::scratch::{ROOMS, Scratch};
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_map_lookup_elem};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap, PerCpuArray, RingBuf};
use bytemuck::{Pod, Zeroable};
use rstmon_common::counts::{BLOCKS, CountBlock, STAGES as STAGE_COUNT};
use rstmon_common::maps::{
    CLOSED as CLOSED_SIZE, ClosedIndex, ClosedNote, KILLERS as KILLERS_SIZE, Killer,
    LISTENERS as LISTENERS_SIZE, ListenKey, Listener, SOCKET_BUCKETS, SocketBucket,
};
use rstmon_common::wire::TENTATIVE_NS;

/// Events on their way to user space. The loader sets its size.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// The exact counts, see `rstmon_common::counts`.
#[map]
pub(crate) static COUNTS: PerCpuArray<CountBlock> = PerCpuArray::with_max_entries(BLOCKS, 0);

/// What became of the events, see `rstmon_common::counts::Stage`.
#[map]
pub(crate) static STAGES: PerCpuArray<u64> = PerCpuArray::with_max_entries(STAGE_COUNT, 0);

/// Live sockets, see `notes`.
#[map]
pub(crate) static SOCKETS: Array<SocketBucket> = Array::with_max_entries(SOCKET_BUCKETS, 0);

/// The log of connections that were closed here, see `notes`.
#[map]
pub(crate) static CLOSED: Array<ClosedNote> = Array::with_max_entries(CLOSED_SIZE, 0);

/// Where in that log each is.
#[map]
pub(crate) static CLOSED_INDEX: Array<ClosedIndex> = Array::with_max_entries(1, 0);

/// Who listens where.
#[map]
pub(crate) static LISTENERS: LruHashMap<ListenKey, Listener> =
    LruHashMap::with_max_entries(LISTENERS_SIZE, 0);

/// Who sent a process a signal that can end it, by the tgid of the process.
#[map]
pub(crate) static KILLERS: LruHashMap<u32, Killer> = LruHashMap::with_max_entries(KILLERS_SIZE, 0);

/// [`Pending::kind`]: a RST on its way to `tcp_reset`, which does not tell its segment.
pub(crate) const PENDING_SEGMENT: u64 = 1;
/// [`Pending::kind`]: `tcp_reset` ran and no RST may have come.
pub(crate) const PENDING_TENTATIVE: u64 = 2;
/// [`Pending::kind`]: a RST that the kernel is about to drop without saying for which socket.
pub(crate) const PENDING_RECEIVER: u64 = 3;

/// What [`PENDING`] remembers between two hooks of one reset: of a socket, or of a RST.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Pending {
    /// `PENDING_*`.
    pub(crate) kind: u64,
    /// The RST that the socket is about to judge, or the network namespace of the socket that has judged
    /// the RST; 0: none.
    pub(crate) other: u64,
    /// When, monotonic nanoseconds.
    pub(crate) at_ns: u64,
    /// State of the socket then.
    pub(crate) state: u32,
    /// Address family then.
    pub(crate) family: u32,
}

impl Pending {
    /// Nothing is remembered.
    pub(crate) const NONE: Self = Self {
        kind: 0,
        other: 0,
        at_ns: 0,
        state: 0,
        family: 0,
    };

    /// Whether it is of the reset that is under way, and not of an earlier one.
    #[inline(always)]
    pub(crate) fn is_recent(&self) -> bool {
        // SAFETY: a helper without arguments.
        let now = unsafe { bpf_ktime_get_ns() };
        now.wrapping_sub(self.at_ns) < TENTATIVE_NS
    }

    /// Whether something is.
    #[inline(always)]
    pub(crate) const fn is_there(&self) -> bool {
        self.at_ns != 0
    }
}

/// Sockets in the middle of a reset, by address: tentative receptions, and on kernels whose
/// `tcp_reset` does not tell its segment, that segment. And RSTs by address, where `kfree_skb` does not
/// tell whose they are. Few at a time.
#[map]
pub(crate) static PENDING: LruHashMap<u64, Pending> = LruHashMap::with_max_entries(1024, 0);

/// Takes what is remembered of a socket or a RST out of the map, if it is of that kind and of the reset that
/// is under way; what is older is of a former one at this address.
#[inline(always)]
pub(crate) fn take_pending(of: KernelAddr, kind: u64) -> Pending {
    let key = of.value();
    let Some(pending) = PENDING.get_ptr(key) else {
        return Pending::NONE;
    };
    // SAFETY: an element of an LRU map stays readable while the program runs.
    let pending = unsafe { *pending };
    // An element that another CPU removed meanwhile is gone, which is what is wanted.
    let _ = PENDING.remove(key);
    if pending.kind == kind && pending.is_recent() {
        pending
    } else {
        Pending::NONE
    }
}

/// What a CPU remembers between two events.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct CpuState {
    /// When the reader was last woken from this CPU, monotonic nanoseconds.
    pub(crate) woken_ns: u64,
    /// Events left of the portion that it drew from the budget.
    pub(crate) portion: u64,
    /// Until when the budget is known to be spent, monotonic nanoseconds.
    pub(crate) spent_until_ns: u64,
    /// The tick in which that was last looked at.
    pub(crate) spent_jiffies: u64,
    /// Notes drawn from the log of closed connections, up to the one that comes next; at a multiple of
    /// the portion, all are used.
    pub(crate) closed: u64,
    /// Tag of the request socket that was given up last.
    pub(crate) request_given_up: u64,
    /// When, monotonic nanoseconds; 0: a connection came of it, or its RST is told.
    pub(crate) request_given_up_ns: u64,
}

/// The storm budget of the current second.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Budget {
    /// When the second began, monotonic nanoseconds.
    pub(crate) from_ns: u64,
    /// Events drawn from it.
    pub(crate) drawn: u64,
    /// Events that it holds; 0 before the first second.
    pub(crate) limit: u64,
    /// How long after its begin it was spent; 0: it was not.
    pub(crate) spent_after_ns: u64,
}

/// Storm budgets: one, of all CPUs together.
const BUDGETS: u32 = 1;
/// The storm budget.
#[map]
pub(crate) static BUDGET: Array<Budget> = Array::with_max_entries(BUDGETS, 0);

/// Null that the verifier takes for a pointer: the element behind the last. An inlined look-up.
#[inline(always)]
pub(crate) fn verifier_null() -> *const core::ffi::c_void {
    let behind: u32 = BUDGETS;
    // SAFETY: a map of this object, and a key as long as its keys.
    unsafe {
        bpf_map_lookup_elem(
            (&raw const BUDGET).cast_mut().cast(),
            (&raw const behind).cast(),
        )
    }
}

/// State of each CPU.
#[map]
pub(crate) static CPU: PerCpuArray<CpuState> = PerCpuArray::with_max_entries(1, 0);

/// Rooms for the runs of hooks.
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(ROOMS, 0);
