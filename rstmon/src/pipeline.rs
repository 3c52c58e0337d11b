//! From raw records to events in a sink: the one path, for live capture and for replay.
//!
//! Called by the commands, on one thread: decode, hold back what may be retracted, annotate,
//! diagnose, join both ends of a reset, filter, hand over. A sink that blocks makes the ring fill, and what does not fit there
//! is counted by the kernel side; nothing is dropped between.

use crate::annotate::Annotator;
use crate::diagnose::Engine;
use crate::diagnose::stories::{Chapter, StoryGate};
use crate::event::annotation::Annotation;
use crate::event::capture::CaptureFacts;
use crate::event::clock::infer_hz;
use crate::event::decode::{CheckedRecord, decode, parse_raw_event};
use crate::event::model::Event;
use crate::event::tentative::TentativeGate;
use crate::filter::Filter;
use crate::sink::totals::Totals;
use rstmon_common::wire::RawEvent;
use std::borrow::{Borrow, Cow};
use std::io;

/// Where events go.
pub trait EventSink {
    /// Takes one event that the filter wanted, with what it was made of.
    fn accept(
        &mut self,
        event: &Event,
        raw: &RawEvent,
        annotation: &Annotation,
        facts: &CaptureFacts,
    ) -> io::Result<()>;

    /// Takes one event that the filter did not want: a recording keeps it, as the diagnosis of others
    /// may lean on it.
    fn accept_unwanted(
        &mut self,
        _event: &Event,
        _raw: &RawEvent,
        _annotation: &Annotation,
    ) -> io::Result<()> {
        Ok(())
    }

    /// Whether it wants no more (`-c N`).
    fn is_full(&self) -> bool {
        false
    }
}

/// Stage name of records that are no records: a defect, or a ring that somebody else wrote to.
pub const LOST_UNREADABLE: &str = "unreadable";

/// A diagnosed event that waits for its other end, with what it was made of.
struct Told {
    event: Event,
    raw: RawEvent,
    annotation: Annotation,
}

impl Chapter for Told {
    fn event(&self) -> &Event {
        &self.event
    }

    fn event_mut(&mut self) -> &mut Event {
        &mut self.event
    }
}

/// The stages between the ring and the sink.
pub struct Pipeline {
    facts: CaptureFacts,
    gate: TentativeGate,
    engine: Engine,
    stories: StoryGate<Told>,
    filter: Filter,
    seq_no: u64,
    /// How far the wall clock has been set since the capture began.
    clock_step_ns: i64,
    /// Records that the gate let go, to be processed; kept to reuse its memory.
    released: Vec<RawEvent>,
    /// Events that have waited long enough, to be written; the same.
    told: Vec<Told>,
    /// What was seen, filtered and lost here.
    pub totals: Totals,
}

impl Pipeline {
    /// A pipeline for the records of one capture.
    #[must_use]
    pub fn new(facts: CaptureFacts, filter: Filter) -> Self {
        let mut totals = Totals::default();
        totals.lost.insert(Cow::Borrowed(LOST_UNREADABLE), 0);
        Self {
            facts,
            gate: TentativeGate::new(),
            engine: Engine::new(),
            stories: StoryGate::default(),
            filter,
            seq_no: 0,
            clock_step_ns: 0,
            released: Vec::new(),
            told: Vec::new(),
            totals,
        }
    }

    /// The capture that the records are from.
    #[must_use]
    pub const fn facts(&self) -> &CaptureFacts {
        &self.facts
    }

    /// The hooks changed: a module came.
    pub const fn facts_mut(&mut self) -> &mut CaptureFacts {
        &mut self.facts
    }

    /// The wall clock is this far from where the facts of the capture say it is, nanoseconds.
    pub const fn set_clock_step(&mut self, clock_step_ns: i64) {
        self.clock_step_ns = clock_step_ns;
    }

    /// Takes one record from the ring, and processes it where it lies unless it must be held back.
    /// What is held back comes out here, or of [`Self::release`].
    pub fn push(
        &mut self,
        bytes: &[u8],
        annotator: &mut Annotator,
        sink: &mut impl EventSink,
    ) -> io::Result<()> {
        let Ok(raw) = parse_raw_event(bytes) else {
            self.lose_unreadable();
            return Ok(());
        };
        let Ok(record) = CheckedRecord::new(&raw) else {
            self.lose_unreadable();
            return Ok(());
        };
        if self.gate.lets_through(&raw) {
            return self.process(record, |event| annotator.annotate(event), sink);
        }
        self.gate.push(raw.into_owned(), &mut self.released);
        self.process_released(annotator, sink)
    }

    /// Processes what need not be held back any longer at `now_ns`, monotonic.
    pub fn release(
        &mut self,
        now_ns: u64,
        annotator: &mut Annotator,
        sink: &mut impl EventSink,
    ) -> io::Result<()> {
        self.gate.release(now_ns, &mut self.released);
        self.process_released(annotator, sink)?;
        self.stories.release(now_ns, &mut self.told);
        self.write_told(sink)
    }

    /// Processes all that is held back: the capture has ended.
    pub fn finish(
        &mut self,
        annotator: &mut Annotator,
        sink: &mut impl EventSink,
    ) -> io::Result<()> {
        self.gate.finish(&mut self.released);
        self.process_released(annotator, sink)?;
        self.finish_replay(sink)
    }

    /// Writes all that waits for its other end: the recording has ended.
    pub fn finish_replay(&mut self, sink: &mut impl EventSink) -> io::Result<()> {
        self.stories.finish(&mut self.told);
        self.write_told(sink)
    }

    /// Records that were taken back as no reset, and those reported before that was sure.
    #[must_use]
    pub const fn tentative(&self) -> (u64, u64) {
        (self.gate.retracted(), self.gate.forced())
    }

    /// Whether something is held back, so that [`Self::release`] must be called again.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.gate.due_mono_ns().is_some() || self.stories.is_holding()
    }

    fn process_released(
        &mut self,
        annotator: &mut Annotator,
        sink: &mut impl EventSink,
    ) -> io::Result<()> {
        let released = std::mem::take(&mut self.released);
        let result = released.iter().try_for_each(|raw| {
            self.check_and_process(raw, |event| annotator.annotate(event), sink)
        });
        self.released = released;
        self.released.clear();
        result
    }

    /// Processes one record of a recording, with what was looked up when it was made.
    pub fn replay(
        &mut self,
        raw: &RawEvent,
        annotation: &Annotation,
        sink: &mut impl EventSink,
    ) -> io::Result<()> {
        let stored = |event: &mut Event| {
            annotation.apply(event);
            annotation
        };
        self.check_and_process(raw, stored, sink)
    }

    fn check_and_process<A: Borrow<Annotation>>(
        &mut self,
        raw: &RawEvent,
        annotate: impl FnOnce(&mut Event) -> A,
        sink: &mut impl EventSink,
    ) -> io::Result<()> {
        if let Ok(record) = CheckedRecord::new(raw) {
            return self.process(record, annotate, sink);
        }
        self.lose_unreadable();
        Ok(())
    }

    fn process<A: Borrow<Annotation>>(
        &mut self,
        record: CheckedRecord<'_>,
        annotate: impl FnOnce(&mut Event) -> A,
        sink: &mut impl EventSink,
    ) -> io::Result<()> {
        if sink.is_full() {
            return Ok(());
        }
        let raw = record.raw();
        if self.facts.hz.is_none() {
            self.facts.hz = infer_hz(raw.jiffies, raw.mono_ns);
        }
        self.seq_no += 1;
        let mut event = decode(record, self.seq_no, &self.facts);
        self.totals.seen += 1;
        let annotation = annotate(&mut event);
        let stepped;
        let annotation = if self.clock_step_ns == 0 {
            annotation.borrow()
        } else {
            // A replay has the step from the annotation.
            event.time_ns = event.time_ns.saturating_add(self.clock_step_ns);
            stepped = Annotation {
                clock_step_ns: self.clock_step_ns,
                ..annotation.borrow().clone()
            };
            &stepped
        };
        self.engine.diagnose(&mut event);
        if self.stories.is_storm(event.mono_ns) {
            if self.stories.is_holding() {
                self.finish_replay(sink)?;
            }
            return self.write(&event, raw, annotation, sink);
        }
        let told = Told {
            event,
            raw: *raw,
            annotation: annotation.clone(),
        };
        self.stories.push(told, &mut self.told);
        self.write_told(sink)
    }

    fn write_told(&mut self, sink: &mut impl EventSink) -> io::Result<()> {
        let mut told = std::mem::take(&mut self.told);
        let result = told
            .drain(..)
            .try_for_each(|it| self.write(&it.event, &it.raw, &it.annotation, sink));
        self.told = told;
        result
    }

    fn write(
        &mut self,
        event: &Event,
        raw: &RawEvent,
        annotation: &Annotation,
        sink: &mut impl EventSink,
    ) -> io::Result<()> {
        if sink.is_full() {
            // It waited for its other end while the last one that was asked for went out: it is as
            // little seen as what comes after it.
            self.totals.seen -= 1;
            return Ok(());
        }
        if !self.filter.matches(event) {
            self.totals.filtered += 1;
            return sink.accept_unwanted(event, raw, annotation);
        }
        // Before: what a sink could not write, it takes back with all that was to be written at once.
        self.totals.count_written(event.verdict.cause);
        sink.accept(event, raw, annotation, &self.facts)
    }

    /// Counts a record that is none.
    fn lose_unreadable(&mut self) {
        *self
            .totals
            .lost
            .entry(Cow::Borrowed(LOST_UNREADABLE))
            .or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use crate::sink::samples;
    use bytemuck::Zeroable;
    use rstmon_common::wire;
    use std::path::Path;

    /// Numbers of the events that came.
    #[derive(Default)]
    struct Numbers(Vec<u64>);

    impl EventSink for Numbers {
        fn accept(
            &mut self,
            event: &Event,
            _: &RawEvent,
            _: &Annotation,
            _: &CaptureFacts,
        ) -> io::Result<()> {
            self.0.push(event.seq_no);
            Ok(())
        }
    }

    #[test]
    fn what_is_no_record_is_counted_and_takes_no_number() {
        let good = RawEvent {
            abi: wire::ABI,
            kind: wire::KIND_SENT,
            hook: wire::HOOK_TCP_SEND_RESET,
            have: wire::HAVE_TUPLE,
            family: wire::AF_INET,
            ..RawEvent::zeroed()
        };
        let damaged = RawEvent { kind: 0, ..good };
        let mut pipeline = Pipeline::new(samples::facts(), Filter::all());
        let nowhere = Path::new("/nonexistent");
        let mut annotator = Annotator::new(nowhere, nowhere);
        let mut sink = Numbers::default();
        let (good, damaged) = (bytemuck::bytes_of(&good), &damaged);
        let short = good.split_last().unwrap().1;
        for bytes in [short, bytemuck::bytes_of(damaged), good] {
            pipeline.push(bytes, &mut annotator, &mut sink).unwrap();
        }
        let annotation = Annotation::default();
        pipeline.replay(damaged, &annotation, &mut sink).unwrap();
        pipeline.push(good, &mut annotator, &mut sink).unwrap();
        pipeline.finish(&mut annotator, &mut sink).unwrap();
        assert_eq!(sink.0, [1, 2]);
        assert_eq!(pipeline.totals.lost[LOST_UNREADABLE], 3);
        assert_eq!((pipeline.totals.seen, pipeline.totals.written), (2, 2));
    }
}
