//! What is remembered of sockets: of the live ones by address, of closed connections by their ends.
//!
//! Written by the hooks that follow a socket's life, read when one is reset. Plain arrays with
//! places found by a hash: the kernel's hash maps cost each connection several times as much, and
//! its lists in the order of use keep pushing colder memory into the caches. The kernel hands the
//! address of a socket that is gone to the next one, so a busy server uses the same few places over
//! and over.
//!
//! Two processors may write one place at once. Whoever writes claims it first, and whoever writes or
//! reads looks afterwards whether the claim stands; if not, nothing is known. What is left is two
//! writers that pass each other within the few instructions in between, and on processors that do not keep
//! the order of stores (arm64; old kernels have no barrier for programs) a reader within the nanoseconds
//! until all of a note is to be seen. Between a close and the segment that finds it gone lies the way
//! through the stack at least.

use crate::maps::{CLOSED, CLOSED_INDEX, CPU, SOCKETS};
use crate::owner::NO_NOTE;
use crate::read::{KernelAddr, copy};
use crate::sock::{Ends, MULTIPLIER};
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use rstmon_common::maps::{
    CLOSED as CLOSED_SIZE, CLOSED_PORTION, ClosedIndex, ClosedNote, SOCKET_BUCKETS, SocketBucket,
    SocketNote, WAYS,
};

/// Where a live socket's bucket is.
#[inline(always)]
fn bucket(sock: KernelAddr) -> Option<&'static mut SocketBucket> {
    let hash = sock.value().wrapping_mul(MULTIPLIER);
    let place = (hash >> (u64::BITS - SOCKET_BUCKETS.trailing_zeros())) as u32;
    let bucket = SOCKETS.get_ptr_mut(place)?;
    // SAFETY: an element of an array map is never freed; writers look whether they were alone.
    Some(unsafe { &mut *bucket })
}

/// The place of `sock` among its bucket's, or [`WAYS`]; of a free one for null. Arithmetic in place
/// of branches: the verifier would walk what follows once for every place.
#[inline(always)]
fn find(bucket: &SocketBucket, sock: KernelAddr) -> u64 {
    let [first, second, third, fourth] = &bucket.socks;
    let after_third = 1 + differs(fourth, sock);
    let after_second = 1 + differs(third, sock) * after_third;
    let after_first = 1 + differs(second, sock) * after_second;
    differs(first, sock) * after_first
}

/// 0 if the claim is that of `sock`, else 1.
#[inline(always)]
fn differs(claim: &u64, sock: KernelAddr) -> u64 {
    // SAFETY: a member of a live element, which other processors write.
    let difference = unsafe { core::ptr::read_volatile(claim) } ^ sock.value();
    let mut sign = difference | difference.wrapping_neg();
    // SAFETY: one operation on a register that leaves it as it is; it hides from the compiler that
    // there are two values only, for each of which it would make a branch.
    unsafe { core::arch::asm!("{sign} += 0", sign = inout(reg) sign) };
    sign >> 63
}

/// A place of a bucket.
pub(crate) struct Place {
    claim: *mut u64,
    note: *mut SocketNote,
}

impl Place {
    /// Place number `place`, below [`WAYS`].
    #[inline(always)]
    fn new(bucket: &mut SocketBucket, place: u64) -> Self {
        let mut place = place as usize;
        // SAFETY: one operation on a register; the compiler must not drop it, as the verifier needs
        // it.
        unsafe { core::arch::asm!("{place} &= 3", place = inout(reg) place) };
        Self {
            // SAFETY: below WAYS, which is 4.
            claim: unsafe { bucket.socks.as_mut_ptr().add(place) },
            // SAFETY: as above.
            note: unsafe { bucket.notes.as_mut_ptr().add(place) },
        }
    }

    /// What is remembered there.
    #[inline(always)]
    pub(crate) fn note(&self) -> &'static mut SocketNote {
        // SAFETY: an element of an array map is never freed; writers look whether they were alone.
        unsafe { &mut *self.note }
    }

    /// Whether it is that of `sock`.
    #[inline(always)]
    pub(crate) fn is_of(&self, sock: KernelAddr) -> bool {
        // SAFETY: a member of a live element, which other processors write.
        unsafe { core::ptr::read_volatile(self.claim) == sock.value() }
    }

    #[inline(always)]
    fn set_claim(&self, sock: u64) {
        // SAFETY: a member of a live element.
        unsafe { core::ptr::write_volatile(self.claim, sock) };
    }
}
const _: () = assert!(WAYS == 4);

/// The place where a live socket is remembered. What was read of it counts only if
/// [`Place::is_of`] says so afterwards.
#[inline(always)]
pub(crate) fn place_of(sock: KernelAddr) -> Option<Place> {
    let bucket = bucket(sock)?;
    let place = find(bucket, sock);
    if place >= WAYS as u64 {
        return None;
    }
    Some(Place::new(bucket, place))
}

/// What is remembered of a live socket, to be changed by the hooks that the kernel runs under that
/// socket's lock.
#[inline(always)]
pub(crate) fn note(sock: KernelAddr) -> Option<&'static mut SocketNote> {
    Some(place_of(sock)?.note())
}

/// Remembers `note` of a socket. In a full bucket the place goes to it that its address prefers.
#[inline(always)]
pub(crate) fn remember(sock: KernelAddr, note: &SocketNote) {
    let Some(bucket) = bucket(sock) else {
        return;
    };
    let mut place = find(bucket, sock);
    if place >= WAYS as u64 {
        place = find(bucket, KernelAddr::NULL);
    }
    if place >= WAYS as u64 {
        // The bits below those that chose the bucket.
        place = sock.value().wrapping_mul(MULTIPLIER) >> 32;
    }
    let place = Place::new(bucket, place);
    place.set_claim(sock.value());
    copy(note, place.note());
    if !place.is_of(sock) {
        place.set_claim(0);
    }
}

/// Forgets a live socket, if anything is remembered of it.
#[inline(always)]
pub(crate) fn forget(sock: KernelAddr) {
    if let Some(place) = place_of(sock) {
        place.set_claim(0);
    }
}

/// The places of the log's notes.
#[inline(always)]
fn closed_index() -> Option<&'static mut ClosedIndex> {
    // SAFETY: an element of an array map is never freed; every member is read and written at once.
    Some(unsafe { &mut *CLOSED_INDEX.get_ptr_mut(0)? })
}

/// Where the index keeps the place of a connection.
#[inline(always)]
fn indexed(index: &mut ClosedIndex, tag: u64) -> *mut u16 {
    let at = tag >> (u64::BITS - CLOSED_SIZE.trailing_zeros());
    // SAFETY: that many bits make no more than the array has.
    unsafe { index.places.as_mut_ptr().add(at as usize) }
}

/// Where in the log the next note goes. CPUs draw a page of it each; two that draw at once may get the
/// same, and overwrite each other's.
#[inline(always)]
fn next_closed(index: &mut ClosedIndex) -> Option<u16> {
    // SAFETY: a live element of this CPU.
    let next = unsafe { &mut (*CPU.get_ptr_mut(0)?).closed };
    if next.is_multiple_of(CLOSED_PORTION) {
        *next = index.drawn;
        index.drawn = next.wrapping_add(CLOSED_PORTION);
    }
    let place = *next as u16;
    *next = next.wrapping_add(1);
    Some(place)
}

/// What is remembered of a connection that was closed here. It may be overwritten while it is read:
/// what was taken from it counts only if [`stands`] says so afterwards.
#[inline(always)]
pub(crate) fn closed(ends: &Ends, netns: u32) -> Option<&'static ClosedNote> {
    let tag = ends.tag(netns);
    let indexed = indexed(closed_index()?, tag);
    // SAFETY: a member of a live element.
    let place = unsafe { core::ptr::read_volatile(indexed) };
    let note = CLOSED.get_ptr(u32::from(place))?;
    // SAFETY: an element of an array map is never freed; torn reads are found out by `stands`.
    let note = unsafe { &*note };
    if closed_ns(note) != 0 && note.tag == tag {
        Some(note)
    } else {
        None
    }
}

/// Whether the note is still the one that was closed at `closed_at`.
#[inline(always)]
pub(crate) fn stands(note: &ClosedNote, closed_at: u64) -> bool {
    closed_ns(note) == closed_at
}

/// When the connection was closed; 0 while the note is written.
#[inline(always)]
pub(crate) fn closed_ns(note: &ClosedNote) -> u64 {
    // SAFETY: a member of a live element.
    unsafe { core::ptr::read_volatile(&raw const note.closed_ns) }
}

#[inline(always)]
fn set_closed_ns(note: &mut ClosedNote, value: u64) {
    // SAFETY: a member of a live element.
    unsafe { core::ptr::write_volatile(&raw mut note.closed_ns, value) };
}

/// Forgets a live socket and remembers its connection by its tag as closed, in place of the one that
/// has been in the log for longest. Without a tag, 0, it only forgets.
#[inline(always)]
pub(crate) fn close(sock: KernelAddr, tag: u64, state: u8) {
    let known = place_of(sock);
    if tag != 0 {
        log_closed(known.as_ref(), tag, state);
    }
    if let Some(known) = known {
        known.set_claim(0);
    }
}

#[inline(always)]
fn log_closed(known: Option<&Place>, tag: u64, state: u8) {
    let Some(index) = closed_index() else {
        return;
    };
    let indexed = indexed(index, tag);
    let Some(at) = next_closed(index) else {
        return;
    };
    let Some(note) = CLOSED.get_ptr_mut(u32::from(at)) else {
        return;
    };
    // SAFETY: an element of an array map is never freed; readers look at `closed_ns` twice.
    let note = unsafe { &mut *note };
    set_closed_ns(note, 0);
    note.tag = tag;
    match known {
        Some(live) => put_former(note, live.note()),
        None => put_former(note, &NO_NOTE),
    }
    note.state = state;
    // SAFETY: a helper without arguments.
    set_closed_ns(note, unsafe { bpf_ktime_get_ns() });
    // SAFETY: a member of a live element, which another processor may have taken meanwhile.
    if unsafe { core::ptr::read_volatile(&raw const note.tag) } != tag {
        set_closed_ns(note, 0);
    }
    // SAFETY: a member of a live element.
    unsafe { core::ptr::write_volatile(indexed, at) };
}

#[inline(always)]
fn put_former(place: &mut ClosedNote, note: &SocketNote) {
    place.owner_pid = note.owner.pid;
    place.owner_uid = note.owner.uid;
    place.owner_source = note.owner.source as u8;
    copy(&note.owner.comm, &mut place.owner_comm);
    place.born_ns = note.born_ns;
    place.handshake_ts_value = note.handshake_ts_value;
    place.handshake_ip_id = note.handshake_ip_id;
    place.handshake_ttl = note.handshake_ttl;
    place.flags = note.flags;
    place.exit_code = note.exit_code;
}
