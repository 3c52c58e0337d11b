//! Joins the two ends of a reset where both are on this machine: loopback, containers.
//!
//! `pipeline` puts every diagnosed event through a [`StoryGate`], which holds it for [`WINDOW_NS`] of
//! event time, so that either end can name the other. In a storm most are let through and not joined:
//! the time is needed for the events. Pure; what goes in comes out once and in the same order.
//!
//! Two events are the ends of one reset if their addresses mirror each other, one was sent and the
//! other arrived, and the numbers agree: an obeyed RST carries the receiver's RCV.NXT (RFC 9293,
//! 3.10.7.4), in SYN-SENT it acknowledges the SYN (3.10.7.3). Addresses alone are not enough, as
//! other namespaces may use the same ones.

use crate::event::model::{Event, Kind, SocketState};
use rstmon_common::wire::{TENTATIVE_NS, tcp_flag};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Both hooks of a reset within one machine run within one path of the kernel; as long as an
/// emulated machine was seen to take for that.
pub const WINDOW_NS: u64 = TENTATIVE_NS;

/// More events than this within [`WINDOW_NS`] are a storm: 20,000 a second.
const STORM: usize = 512;

/// What the gate holds: something with an event.
pub trait Chapter {
    /// The event.
    fn event(&self) -> &Event;
    /// The event, to name the other end in.
    fn event_mut(&mut self) -> &mut Event;
}

/// A connection's ends, seen from one of them.
type Ends = (IpAddr, u16, IpAddr, u16);

/// The stage between the diagnosis and the sinks.
#[derive(Debug)]
pub struct StoryGate<T> {
    /// In the order of arrival; numbers are consecutive.
    held: VecDeque<T>,
    /// Numbers of the held events that have no other end yet, by their ends.
    single: HashMap<Ends, Vec<u64>>,
    latest_ns: u64,
    /// Begin of the current stretch of [`WINDOW_NS`], and how many events it has seen.
    stretch: (u64, usize),
    /// Whether the stretch before was a storm: the first events of the next one then are, too.
    storm_goes_on: bool,
}

impl<T> Default for StoryGate<T> {
    fn default() -> Self {
        Self {
            held: VecDeque::new(),
            single: HashMap::new(),
            latest_ns: 0,
            stretch: (0, 0),
            storm_goes_on: false,
        }
    }
}

impl<T: Chapter> StoryGate<T> {
    /// Takes a diagnosed event, and appends to `out` what need not wait any longer. Not in a storm:
    /// [`Self::is_storm`] must have said so.
    pub fn push(&mut self, mut item: T, out: &mut Vec<T>) {
        self.release(self.latest_ns, out);
        self.join(item.event_mut());
        self.held.push_back(item);
    }

    /// Counts an event, and tells whether too many came at once: it then goes its way unjoined,
    /// behind what [`Self::finish`] gives.
    pub fn is_storm(&mut self, mono_ns: u64) -> bool {
        self.latest_ns = self.latest_ns.max(mono_ns);
        let (from_ns, count) = self.stretch;
        let since_ns = self.latest_ns.saturating_sub(from_ns);
        if since_ns <= WINDOW_NS {
            self.stretch = (from_ns, count + 1);
        } else {
            // A pause ends a storm.
            self.storm_goes_on = count > STORM && since_ns <= 2 * WINDOW_NS;
            self.stretch = (self.latest_ns, 1);
        }
        self.storm_goes_on || self.stretch.1 > STORM
    }

    /// Appends what is older than the window at `now_ns`, monotonic.
    ///
    /// The caller must have pushed every event that is older.
    pub fn release(&mut self, now_ns: u64, out: &mut Vec<T>) {
        while let Some(item) = self
            .held
            .pop_front_if(|item| item.event().mono_ns.saturating_add(WINDOW_NS) < now_ns)
        {
            self.forget(item.event());
            out.push(item);
        }
    }

    /// Appends all that is held.
    pub fn finish(&mut self, out: &mut Vec<T>) {
        self.single.clear();
        out.extend(self.held.drain(..));
    }

    /// Whether something is held, so that [`Self::release`] must be called again.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Finds the other end of `event` among the held ones and names each in the other; else
    /// remembers that `event` has none yet.
    fn join(&mut self, event: &mut Event) {
        let other = self
            .single
            .get_mut(&mirrored(event))
            .and_then(|numbers| take_match(&self.held, numbers, event));
        let Some(place) = other else {
            self.single
                .entry(ends(event))
                .or_default()
                .push(event.seq_no);
            return;
        };
        if let Some(other) = self.held.get_mut(place) {
            event.story = Some(other.event().seq_no);
            other.event_mut().story = Some(event.seq_no);
        }
    }

    fn forget(&mut self, event: &Event) {
        if event.story.is_some() {
            return;
        }
        let key = ends(event);
        if let Some(numbers) = self.single.get_mut(&key) {
            numbers.retain(|&number| number != event.seq_no);
            if numbers.is_empty() {
                self.single.remove(&key);
            }
        }
    }
}

/// Takes the first number out whose event is the other end of `event`, and returns its place.
fn take_match<T: Chapter>(
    held: &VecDeque<T>,
    numbers: &mut Vec<u64>,
    event: &Event,
) -> Option<usize> {
    let first = held.front()?.event().seq_no;
    let place_of = |number: u64| usize::try_from(number.checked_sub(first)?).ok();
    let index = numbers.iter().position(|&number| {
        place_of(number)
            .and_then(|place| held.get(place))
            .is_some_and(|other| are_ends_of_one(other.event(), event))
    })?;
    place_of(numbers.swap_remove(index))
}

fn ends(event: &Event) -> Ends {
    (
        event.local_addr,
        event.local_port,
        event.remote_addr,
        event.remote_port,
    )
}

fn mirrored(event: &Event) -> Ends {
    let (local, local_port, remote, remote_port) = ends(event);
    (remote, remote_port, local, local_port)
}

/// Whether two events with mirrored addresses are one reset.
fn are_ends_of_one(one: &Event, other: &Event) -> bool {
    let (sent, arrived) = match (one.kind, other.kind) {
        (Kind::Sent, Kind::Sent) => return false,
        (Kind::Sent, _) => (one, other),
        (_, Kind::Sent) => (other, one),
        _ => return false,
    };
    numbers_agree(sent, arrived).unwrap_or_else(|| {
        // Numbers are not known: the same namespace is the same network.
        sent.netns.is_some() && sent.netns == arrived.netns
    })
}

/// Whether the RST that was sent is the one that arrived; `None` if that cannot be told.
fn numbers_agree(sent: &Event, arrived: &Event) -> Option<bool> {
    let rst = sent.rst?;
    if let Some(seen) = arrived.rst {
        let both_acknowledge = rst.flags.has(tcp_flag::ACK) && seen.flags.has(tcp_flag::ACK);
        return Some(rst.seq == seen.seq && (!both_acknowledge || rst.ack == seen.ack));
    }
    let socket = arrived.socket?;
    if arrived.state == Some(SocketState::SynSent) {
        return Some(rst.ack == socket.snd_nxt?);
    }
    let next = socket.rcv_nxt?;
    // After the peer's FIN the number of that is obeyed, too (`tcp_reset_check`).
    let after_fin = matches!(
        arrived.state,
        Some(SocketState::CloseWait | SocketState::LastAck | SocketState::Closing)
    );
    Some(rst.seq == next || (after_fin && rst.seq == next.wrapping_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::model::{Segment, SocketFacts, TcpFlags};
    use crate::sink::samples;

    impl Chapter for Event {
        fn event(&self) -> &Event {
            self
        }
        fn event_mut(&mut self) -> &mut Event {
            self
        }
    }

    const MS: u64 = 1_000_000;

    fn rst(seq: u32) -> Segment {
        Segment {
            flags: TcpFlags(tcp_flag::RST),
            seq,
            ack: 0,
            len: 0,
            window: None,
            ttl: None,
            ip_id: None,
            timestamps: None,
        }
    }

    fn sent(seq_no: u64, at_ms: u64, rst_seq: u32) -> Event {
        Event {
            seq_no,
            mono_ns: at_ms * MS,
            kind: Kind::Sent,
            rst: Some(rst(rst_seq)),
            netns: Some(1),
            ..samples::bare()
        }
    }

    fn received(seq_no: u64, at_ms: u64, rcv_nxt: u32) -> Event {
        let sent = sent(seq_no, at_ms, 0);
        Event {
            kind: Kind::Received,
            rst: None,
            socket: Some(SocketFacts {
                rcv_nxt: Some(rcv_nxt),
                ..SocketFacts::default()
            }),
            local_addr: sent.remote_addr,
            local_port: sent.remote_port,
            remote_addr: sent.local_addr,
            remote_port: sent.local_port,
            netns: Some(2),
            ..sent
        }
    }

    fn push(gate: &mut StoryGate<Event>, event: Event, out: &mut Vec<Event>) {
        if gate.is_storm(event.mono_ns) {
            gate.finish(out);
            out.push(event);
        } else {
            gate.push(event, out);
        }
    }

    fn stories(events: Vec<Event>) -> Vec<Option<u64>> {
        let mut gate = StoryGate::default();
        let mut out = Vec::new();
        for event in events {
            push(&mut gate, event, &mut out);
        }
        gate.finish(&mut out);
        let order: Vec<u64> = out.iter().map(|event| event.seq_no).collect();
        assert!(order.is_sorted(), "{order:?}");
        out.iter().map(|event| event.story).collect()
    }

    #[test]
    fn both_ends_name_each_other_whichever_came_first() {
        assert_eq!(
            stories(vec![sent(1, 10, 77), received(2, 11, 77)]),
            [Some(2), Some(1)]
        );
        assert_eq!(
            stories(vec![received(1, 10, 77), sent(2, 11, 77)]),
            [Some(2), Some(1)]
        );
    }

    #[test]
    fn another_number_is_another_reset() {
        assert_eq!(
            stories(vec![sent(1, 10, 77), received(2, 11, 78)]),
            [None, None]
        );
    }

    #[test]
    fn after_the_peers_fin_the_number_of_the_fin_will_do() {
        let pair = |state| {
            let mut arrived = received(2, 11, 78);
            arrived.state = Some(state);
            stories(vec![sent(1, 10, 77), arrived])
        };
        for state in [
            SocketState::CloseWait,
            SocketState::LastAck,
            SocketState::Closing,
        ] {
            assert_eq!(pair(state), [Some(2), Some(1)], "{state:?}");
        }
        assert_eq!(pair(SocketState::FinWait2), [None, None]);
    }

    #[test]
    fn without_numbers_the_namespace_must_be_the_same() {
        let blind = |event: Event, netns| Event {
            socket: None,
            netns: Some(netns),
            ..event
        };
        let pair = |netns| stories(vec![sent(1, 10, 77), blind(received(2, 11, 77), netns)]);
        assert_eq!(pair(1), [Some(2), Some(1)]);
        assert_eq!(pair(2), [None, None]);
    }

    #[test]
    fn a_refused_syn_is_told_by_its_acknowledgment() {
        let refusal = Segment {
            flags: TcpFlags(tcp_flag::RST | tcp_flag::ACK),
            ack: 1001,
            ..rst(0)
        };
        let sent = Event {
            rst: Some(refusal),
            ..sent(1, 10, 0)
        };
        let mut refused = received(2, 10, 0);
        refused.state = Some(SocketState::SynSent);
        refused.socket = Some(SocketFacts {
            snd_nxt: Some(1001),
            ..SocketFacts::default()
        });
        assert_eq!(stories(vec![sent, refused]), [Some(2), Some(1)]);
    }

    #[test]
    fn one_reset_is_joined_once_and_a_late_one_never() {
        let twice = vec![sent(1, 10, 77), received(2, 10, 77), received(3, 10, 77)];
        assert_eq!(stories(twice), [Some(2), Some(1), None]);
        let late = WINDOW_NS / MS + 1;
        assert_eq!(
            stories(vec![sent(1, 10, 77), received(2, 10 + late, 77)]),
            [None, None]
        );
    }

    #[test]
    fn a_storm_is_let_through_and_memory_stays_bounded() {
        let mut gate = StoryGate::default();
        let mut out = Vec::new();
        for number in 1..=100_000 {
            let mut event = sent(number, 10, 77);
            event.remote_port = number as u16;
            push(&mut gate, event, &mut out);
            assert!(gate.held.len() <= STORM && gate.single.len() <= STORM);
        }
        assert_eq!(out.len(), 100_000);
    }

    #[test]
    fn after_a_storm_ends_are_joined_again() {
        let mut events: Vec<Event> = (1..=1000).map(|number| sent(number, 10, 7)).collect();
        let later = 10 + 4 * (WINDOW_NS / MS);
        events.extend([sent(1001, later, 77), received(1002, later, 77)]);
        assert_eq!(stories(events).split_off(1000), [Some(1002), Some(1001)]);
    }

    #[test]
    fn a_storm_that_goes_on_holds_no_event_until_it_pauses() {
        let mut gate = StoryGate::<Event>::default();
        let step = WINDOW_NS / (2 * STORM as u64);
        let calm_before = (0..10 * STORM as u64)
            .filter(|at| !gate.is_storm(at * step))
            .count();
        assert_eq!(calm_before, STORM);
        assert!(!gate.is_storm(10 * STORM as u64 * step + 2 * WINDOW_NS + 1));
    }

    #[test]
    fn what_is_held_goes_in_its_time() {
        let mut gate = StoryGate::default();
        let mut out = Vec::new();
        push(&mut gate, sent(1, 10, 77), &mut out);
        assert!(gate.is_holding());
        gate.release(10 * MS + WINDOW_NS, &mut out);
        assert!(out.is_empty());
        gate.release(10 * MS + WINDOW_NS + 1, &mut out);
        assert_eq!((out.len(), gate.single.len()), (1, 0));
        assert!(!gate.is_holding());
    }
}
