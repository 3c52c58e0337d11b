//! Holds back events that may turn out to be no reset received at all.
//!
//! Where the tracepoint does not show the segment, `tcp_receive_reset` also fires when the kernel
//! tears a socket down because data came after close; the RST that this host then sends tells
//! (kernel-notes, 3.3). The live capture and the replay push every record through here before
//! decoding. Pure: time is that of the records. What goes in comes out once, but for a tentative
//! event that was retracted.

use rstmon_common::wire::{FLAG_RETRACTS, FLAG_TENTATIVE, RawEvent, TENTATIVE_NS};
use std::collections::VecDeque;

/// Records held at most: at 150,000 resets a second, what [`TENTATIVE_NS`] can gather.
const MAX_HELD: usize = 4096;

/// The stage between the ring and the decoder.
#[derive(Debug, Default)]
pub struct TentativeGate {
    /// By `mono_ns`. The first is tentative, else it would have been let go.
    held: VecDeque<RawEvent>,
    latest_ns: u64,
    forced: u64,
    retracted: u64,
}

impl TentativeGate {
    /// An empty gate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a record need not come in here: nothing to wait for, nothing to overtake. Nearly all
    /// pass so, without being copied.
    pub fn lets_through(&mut self, raw: &RawEvent) -> bool {
        self.latest_ns = self.latest_ns.max(raw.mono_ns);
        self.held.is_empty() && raw.flags & FLAG_TENTATIVE == 0
    }

    /// Takes a record as the ring gave it, and appends to `out` what is settled by now.
    pub fn push(&mut self, raw: RawEvent, out: &mut Vec<RawEvent>) {
        if raw.flags & FLAG_RETRACTS != 0 {
            self.retract(&raw);
        }
        if self.lets_through(&raw) {
            out.push(raw);
            return;
        }
        let place = self
            .held
            .partition_point(|held| held.mono_ns <= raw.mono_ns);
        self.held.insert(place, raw);
        self.release(self.latest_ns, out);
        if self.held.len() > MAX_HELD {
            self.forced += 1;
            out.extend(self.held.pop_front());
            self.release(self.latest_ns, out);
        }
    }

    /// Appends what is settled at `now_mono_ns`.
    ///
    /// The caller must have pushed every record of the ring that is older.
    pub fn release(&mut self, now_mono_ns: u64, out: &mut Vec<RawEvent>) {
        while let Some(raw) = self.held.pop_front_if(|raw| is_settled(raw, now_mono_ns)) {
            out.push(raw);
        }
    }

    /// Appends all that is left: the ring is closed, nothing can retract it any more.
    pub fn finish(&mut self, out: &mut Vec<RawEvent>) {
        out.extend(self.held.drain(..));
    }

    /// When the first held record is settled at the latest; `None` if nothing is held.
    #[must_use]
    pub fn due_mono_ns(&self) -> Option<u64> {
        self.held
            .front()
            .map(|raw| raw.mono_ns.saturating_add(TENTATIVE_NS))
    }

    /// Tentative records let go before their time, because too many were held.
    #[must_use]
    pub const fn forced(&self) -> u64 {
        self.forced
    }

    /// Tentative records that were no reset.
    #[must_use]
    pub const fn retracted(&self) -> u64 {
        self.retracted
    }

    /// Takes the newest tentative record of the same socket out.
    fn retract(&mut self, by: &RawEvent) {
        let place = self.held.iter().rposition(|held| {
            held.flags & FLAG_TENTATIVE != 0
                && held.socket_id == by.socket_id
                && held.mono_ns <= by.mono_ns
                && by.mono_ns - held.mono_ns <= TENTATIVE_NS
        });
        if place.and_then(|place| self.held.remove(place)).is_some() {
            self.retracted += 1;
        }
    }
}

const fn is_settled(raw: &RawEvent, now_mono_ns: u64) -> bool {
    raw.flags & FLAG_TENTATIVE == 0 || raw.mono_ns.saturating_add(TENTATIVE_NS) < now_mono_ns
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;
    use proptest::prelude::*;

    fn record(mono_ns: u64, socket_id: u64, flags: u16) -> RawEvent {
        RawEvent {
            mono_ns,
            socket_id,
            flags,
            ..RawEvent::zeroed()
        }
    }

    fn run(records: &[RawEvent]) -> (Vec<RawEvent>, TentativeGate) {
        let mut gate = TentativeGate::new();
        let mut out = Vec::new();
        for raw in records {
            gate.push(*raw, &mut out);
        }
        gate.finish(&mut out);
        (out, gate)
    }

    #[test]
    fn a_retracted_event_vanishes_and_the_sent_one_stays() {
        let sent = record(20, 7, FLAG_RETRACTS);
        let (out, gate) = run(&[record(10, 7, FLAG_TENTATIVE), sent]);
        assert_eq!(out, [sent]);
        assert_eq!(gate.retracted(), 1);
    }

    #[test]
    fn another_socket_or_a_late_retraction_takes_nothing() {
        for (id, at) in [(8, 20), (7, 11 + TENTATIVE_NS)] {
            let (out, gate) = run(&[record(10, 7, FLAG_TENTATIVE), record(at, id, FLAG_RETRACTS)]);
            assert_eq!(out.len(), 2);
            assert_eq!(gate.retracted(), 0);
        }
    }

    #[test]
    fn a_held_event_is_let_go_in_its_time_and_its_order() {
        let mut gate = TentativeGate::new();
        let mut out = Vec::new();
        gate.push(record(10, 7, FLAG_TENTATIVE), &mut out);
        gate.push(record(30, 9, 0), &mut out);
        gate.push(record(20, 8, 0), &mut out);
        gate.release(10 + TENTATIVE_NS, &mut out);
        assert!(out.is_empty());
        assert_eq!(gate.due_mono_ns(), Some(10 + TENTATIVE_NS));
        gate.release(11 + TENTATIVE_NS, &mut out);
        let order: Vec<u64> = out.iter().map(|raw| raw.mono_ns).collect();
        assert_eq!(order, [10, 20, 30]);
    }

    #[test]
    fn memory_is_bounded_and_the_overflow_is_counted() {
        let mut gate = TentativeGate::new();
        let mut out = Vec::new();
        for id in 0..=MAX_HELD as u64 {
            gate.push(record(id, id, FLAG_TENTATIVE), &mut out);
        }
        assert_eq!((out.len(), gate.forced()), (1, 1));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_doubled(
            input in prop::collection::vec((0..40 * TENTATIVE_NS, 0..4u64, 0..3usize), 0..200)
        ) {
            let flags = [0, FLAG_TENTATIVE, FLAG_RETRACTS];
            // The cookie numbers the records, so that equal ones stay apart.
            let records: Vec<RawEvent> = input
                .iter()
                .zip(1u64..)
                .map(|(&(mono_ns, id, flag), cookie)| {
                    let flags = flags.get(flag).copied().unwrap_or_default();
                    RawEvent { cookie, ..record(mono_ns, id, flags) }
                })
                .collect();
            let (out, gate) = run(&records);
            let mut cookies: Vec<u64> = out.iter().map(|raw| raw.cookie).collect();
            cookies.sort_unstable();
            cookies.dedup();
            prop_assert_eq!(cookies.len(), out.len());
            prop_assert_eq!(out.len() as u64 + gate.retracted(), records.len() as u64);
            let settled = |raws: &[RawEvent]| {
                raws.iter().filter(|raw| raw.flags & FLAG_TENTATIVE == 0).count()
            };
            prop_assert_eq!(settled(&out), settled(&records));
        }
    }
}
