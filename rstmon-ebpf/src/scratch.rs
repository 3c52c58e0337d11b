//! Room beside the 512 bytes of a program's stack, for one run of one hook.
//!
//! A hook can be interrupted by a softirq, and since Linux 7.0 preempted by another task, that runs
//! another hook on the same CPU; they need not end in the reverse order. So each CPU has several
//! places, [`enter`] takes a free one, and [`leave`] gives it back.

use crate::counts::add;
use crate::maps::{PLACES, SCRATCH};
use rstmon_common::config::{ICSK_WINDOW_LEN, SOCK_WINDOW_LEN, TCP_WINDOW_LEN};

/// Places of a CPU: for a process, a softirq, a hard interrupt, and as many that were preempted.
pub(crate) const PLACE_COUNT: u32 = 6;
/// No place is free.
pub(crate) const NO_PLACE: u32 = PLACE_COUNT;

/// How many want or have each place of this CPU.
#[repr(C)]
pub(crate) struct Places {
    wanted: [u64; PLACE_COUNT as usize],
}

/// Holds every field of `struct sk_buff` that is read.
pub(crate) const SKB_WINDOW_LEN: usize = 256;
/// Holds every field of `struct sock_common` that is read.
pub(crate) const COMMON_WINDOW_LEN: usize = 128;

/// Room for one run. Each member holds a copy of a stretch of a kernel object, see `read::Window`.
#[repr(C, align(8))]
pub(crate) struct Scratch {
    /// The whole of a `struct sk_buff`.
    pub(crate) skb: [u8; SKB_WINDOW_LEN],
    /// `struct sock_common`.
    pub(crate) common: [u8; COMMON_WINDOW_LEN],
    /// What is copied of a full socket.
    pub(crate) socket: SocketRoom,
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

/// Takes a place: the first that nobody else wants, or [`NO_PLACE`]. Whoever finds that it was not
/// alone withdraws, so that two never have the same one, whenever they are interrupted.
#[inline(always)]
pub(crate) fn enter() -> u32 {
    let Some(places) = PLACES.get_ptr_mut(0) else {
        return NO_PLACE;
    };
    // SAFETY: a live element of this CPU.
    let places = unsafe { &mut *places };
    for place in 0..PLACE_COUNT {
        let Some(wanted) = places.wanted.get_mut(place as usize) else {
            return NO_PLACE;
        };
        add(wanted, 1);
        // SAFETY: a member of a live element.
        if unsafe { core::ptr::read_volatile(wanted) } == 1 {
            return place;
        }
        add(wanted, u64::MAX);
    }
    NO_PLACE
}

/// The room of a place that was taken.
#[inline(always)]
pub(crate) fn room(place: u32) -> Option<&'static mut Scratch> {
    let room = SCRATCH.get_ptr_mut(place)?;
    // SAFETY: a live element of this CPU that nobody else uses until `leave`.
    Some(unsafe { &mut *room })
}

/// Gives a place back.
#[inline(always)]
pub(crate) fn leave(place: u32) {
    let Some(places) = PLACES.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: a live element of this CPU.
    let places = unsafe { &mut *places };
    if let Some(wanted) = places.wanted.get_mut(place as usize) {
        add(wanted, u64::MAX);
    }
}

/// Runs a function with the room of a free place as its first argument. A macro and not a closure:
/// closures become functions of their own, and the stacks of a program's functions add up.
macro_rules! with_scratch {
    ($body:ident($($argument:expr),*)) => {{
        let place = $crate::scratch::enter();
        match $crate::scratch::room(place) {
            Some(room) => {
                $body(room, $($argument),*);
                $crate::scratch::leave(place);
            }
            // Beyond the last place there is no room.
            None => $crate::counts::stage(rstmon_common::counts::Stage::TooDeep),
        }
    }};
}

pub(crate) use with_scratch;
