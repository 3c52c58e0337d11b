//! Room beside the 512 bytes of a program's stack, for one run of one hook.
//!
//! A hook in process context can be interrupted by a softirq that runs another hook on the same CPU,
//! so each level of nesting has its own room: [`enter`] takes it, [`leave`] gives it back.

use crate::maps::{LEVEL, SCRATCH};
use crate::segment::Segment;
use crate::sock::Ends;
use rstmon_common::config::{ICSK_WINDOW_LEN, SOCK_WINDOW_LEN, TCP_WINDOW_LEN};

/// Levels of nesting: process, softirq, hard interrupt, and one to spare.
pub(crate) const LEVELS: u32 = 4;

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

/// Takes the room of this level. `None` beyond the deepest level: the hook cannot run.
#[inline(always)]
pub(crate) fn enter() -> Option<&'static mut Scratch> {
    let level = LEVEL.get_ptr_mut(0)?;
    // SAFETY: a live element of this CPU; whoever interrupts puts it back before it returns.
    let level = unsafe { &mut *level };
    let mine = *level;
    if mine >= LEVELS {
        return None;
    }
    let room = SCRATCH.get_ptr_mut(mine)?;
    *level = mine + 1;
    // SAFETY: a live element of this CPU that nobody else uses until `leave`.
    Some(unsafe { &mut *room })
}

/// Gives the room of this level back.
#[inline(always)]
pub(crate) fn leave() {
    if let Some(level) = LEVEL.get_ptr_mut(0) {
        // SAFETY: as in `enter`.
        let level = unsafe { &mut *level };
        *level = level.wrapping_sub(1);
    }
}

/// Runs a function with the room of this level as its first argument. A macro and not a closure:
/// closures become functions of their own, and the stacks of a program's functions add up.
macro_rules! with_scratch {
    ($body:ident($($argument:expr),*)) => {
        match $crate::scratch::enter() {
            Some(room) => {
                $body(room, $($argument),*);
                $crate::scratch::leave();
            }
            None => $crate::counts::stage(rstmon_common::counts::Stage::TooDeep),
        }
    };
}

pub(crate) use with_scratch;
