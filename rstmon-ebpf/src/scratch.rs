//! Room beside the 512 bytes of a program's stack, for one run of one hook.
//!
//! A hook can be interrupted by a softirq that runs another hook on the same CPU, and on kernels that
//! preempt programs by another task's, which may end later than it. So each run takes a room of its
//! own that is free ([`enter`]), and gives it back ([`leave`]).

use crate::counts::add;
use crate::maps::SCRATCH;
use crate::segment::Segment;
use crate::sock::Ends;
use rstmon_common::config::{ICSK_WINDOW_LEN, SOCK_WINDOW_LEN, TCP_WINDOW_LEN};

/// Rooms of a CPU: process, softirq, hard interrupt, and one to spare.
pub(crate) const ROOMS: u32 = 4;

/// Holds every field of `struct sk_buff` that is read.
pub(crate) const SKB_WINDOW_LEN: usize = 256;
/// Holds every field of `struct sock_common` that is read.
pub(crate) const COMMON_WINDOW_LEN: usize = 128;

/// Room for one run. Each member holds a copy of a stretch of a kernel object, see `read::Window`.
#[repr(C, align(8))]
pub(crate) struct Scratch {
    /// How many runs want this room: one of them has it, the others are about to look further.
    claims: u64,
    /// The whole of a `struct sk_buff`.
    pub(crate) skb: [u8; SKB_WINDOW_LEN],
    /// `struct sock_common`.
    pub(crate) common: [u8; COMMON_WINDOW_LEN],
    /// What is copied of a full socket.
    pub(crate) socket: SocketRoom,
    /// The segment that was read.
    pub(crate) segment: Segment,
    /// Both ends of the connection.
    pub(crate) ends: Ends,
    /// TCP options; an index that the verifier cannot know needs a map's memory.
    pub(crate) options: [u8; 64],
}

/// Room for the stretches of a full socket that hold most of the fields that are read.
#[repr(C, align(8))]
pub(crate) struct SocketRoom {
    /// Of `struct sock`.
    pub(crate) sock: [u8; SOCK_WINDOW_LEN],
    /// Of `struct inet_connection_sock`.
    pub(crate) icsk: [u8; ICSK_WINDOW_LEN],
    /// Of `struct tcp_sock`.
    pub(crate) tcp: [u8; TCP_WINDOW_LEN],
}

/// Takes a free room. `None` if there is none: the hook cannot run.
#[inline(always)]
pub(crate) fn enter() -> Option<&'static mut Scratch> {
    // SAFETY: a live element of this CPU.
    let first = unsafe { &*SCRATCH.get_ptr(0)? };
    // SAFETY: a member of it; another run may change it at any time.
    let unknown = unsafe { core::ptr::read_volatile(&raw const first.claims) };
    let mut place = u64::from(ROOMS);
    for candidate in 0..ROOMS {
        let room = SCRATCH.get_ptr_mut(candidate)?;
        if claim(room) {
            place = u64::from(candidate);
            break;
        }
    }
    if place >= u64::from(ROOMS) {
        return None;
    }
    // SAFETY: a live element of this CPU that nobody else uses until `leave`.
    Some(unsafe { &mut *SCRATCH.get_ptr_mut(any(place, unknown) as u32)? })
}

/// Claims a room. Whoever finds that another claimed it too steps back: of two at once, both may.
#[inline(always)]
fn claim(room: *mut Scratch) -> bool {
    // SAFETY: a member of a live element.
    let claims = unsafe { &mut (*room).claims };
    add(claims, 1);
    // SAFETY: as above; another run may change it at any time.
    if unsafe { core::ptr::read_volatile(claims) } == 1 {
        return true;
    }
    add(claims, u64::MAX);
    false
}

/// The number of a room, which the verifier takes for any: it would walk the whole program once for
/// each room that it knows. `unknown` is a number that it does not know.
#[inline(always)]
fn any(place: u64, unknown: u64) -> u64 {
    let mut same = unknown;
    // SAFETY: one operation on a register that leaves it as it is; the compiler must not see that
    // the difference below is zero.
    unsafe { core::arch::asm!("{same} += 0", same = inout(reg) same) };
    let mut place = unknown.wrapping_sub(same).wrapping_add(place);
    // SAFETY: one operation on a register; below ROOMS, as the verifier must see.
    unsafe { core::arch::asm!("{place} &= 3", place = inout(reg) place) };
    place
}
const _: () = assert!(ROOMS == 4);

/// Gives a room back.
#[inline(always)]
pub(crate) fn leave(room: &mut Scratch) {
    add(&mut room.claims, u64::MAX);
}

/// Runs a function with a room as its first argument. A macro and not a closure:
/// closures become functions of their own, and the stacks of a program's functions add up.
macro_rules! with_scratch {
    ($body:ident($($argument:expr),*)) => {
        match $crate::scratch::enter() {
            Some(room) => {
                $body(room, $($argument),*);
                $crate::scratch::leave(room);
            }
            None => $crate::counts::stage(rstmon_common::counts::Stage::TooDeep),
        }
    };
}

pub(crate) use with_scratch;
