//! One live capture with its pipeline: what `trace` and `lab` have in common.
//!
//! The owner of a session calls [`Session::turn`] when the ring is readable, and again after
//! [`Session::pause`] for as long as it runs.

use crate::annotate::Annotator;
use crate::annotate::sockets::{ScanReport, SocketOwners, read_socket_owners};
use crate::bpf::capture::Capture;
use crate::bpf::counters::{Counters, KernelStages};
use crate::bpf::programs::ProgramsError;
use crate::bpf::ring::POLL_INTERVAL;
use crate::cmd::exit::Failure;
use crate::cmd::start::{Started, monotonic_ns, realtime_offset_ns};
use crate::event::capture::{CaptureFacts, DegradationReport};
use crate::event::model::Kind;
use crate::filter::Filter;
use crate::kernel::degradation::Degradation;
use crate::pipeline::{EventSink, Pipeline};
use crate::sink::totals::Totals;
use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Records that one turn takes: what comes in 10 ms on a busy host, with room.
const TURN_RECORDS: usize = 16_384;
/// Polls in a row that find nothing before the session waits to be woken.
const EMPTY_POLLS: u8 = 2;
/// How often a session that waits looks for modules and flushes the programs' log, if there is cause
/// for either.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How often a session turns that waits for nothing but the ring, so that whoever watches it sees that
/// it is alive. Ten times a second cost an agent more than a thousandth of a core.
const IDLE_INTERVAL: Duration = Duration::from_millis(500);

/// How often the wall clock is looked at.
const CLOCK_INTERVAL_NS: u64 = 1_000_000_000;
/// Less than this is no step of the clock: a busy machine reads two clocks a moment apart.
const CLOCK_NOISE_NS: u64 = 5_000_000;

/// Owners of the sockets that were there before the capture.
type Seed = io::Result<(SocketOwners, ScanReport)>;

/// Both sides of the ring: see [`Session::ring_balance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingBalance {
    /// Records that the programs put on the ring.
    pub submitted: u64,
    /// Events that came of them, those taken back, and those that were no records.
    pub accounted: u64,
}

impl RingBalance {
    /// What is wrong with it, if the two sides differ.
    #[must_use]
    pub fn defect(self) -> Option<String> {
        (self.submitted != self.accounted).then(|| {
            format!(
                "the programs reported {} events and {} arrived; please report this",
                self.submitted, self.accounted
            )
        })
    }
}

/// A live capture and its pipeline.
pub struct Session {
    capture: Capture,
    pipeline: Pipeline,
    annotator: Annotator,
    seed: Option<Receiver<Seed>>,
    /// What the walk for the owners of old sockets could not see.
    walk: ScanReport,
    empty_polls: u8,
    turn_records: usize,
    /// When the wall clock was last looked at, monotonic nanoseconds.
    clock_read_ns: u64,
    /// How many of the capture's degradations the facts tell; it only gets more.
    degradations_taken: usize,
}

impl Session {
    /// Begins to read a capture that has just been started.
    #[must_use]
    pub fn new(started: Started, filter: Filter) -> Self {
        let proc_root = Path::new("/proc");
        let (sender, receiver) = channel();
        // Sockets opened from now on are known to the programs; the walk for the older ones must
        // not hold up the first event.
        let walk = std::thread::Builder::new()
            .name("owners".to_owned())
            .spawn(move || {
                // A session that has ended meanwhile needs no owners.
                let _ = sender.send(read_socket_owners(proc_root));
            });
        let mut facts = started.facts;
        if let Err(error) = &walk {
            report_no_walk(&mut facts, error);
        }
        Self {
            degradations_taken: started.capture.degradations().len(),
            capture: started.capture,
            pipeline: Pipeline::new(facts, filter),
            annotator: Annotator::new(proc_root, Path::new("/")),
            seed: walk.is_ok().then_some(receiver),
            walk: ScanReport::default(),
            empty_polls: EMPTY_POLLS,
            turn_records: TURN_RECORDS,
            clock_read_ns: 0,
        }
    }

    /// Takes at most so many records in one turn, for whoever has other things to do between turns.
    #[must_use]
    pub const fn with_turns_of(mut self, records: usize) -> Self {
        self.turn_records = records;
        self
    }

    /// The kernel side's counters, to be read by another thread.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        self.capture.counters()
    }

    /// The capture's facts.
    #[must_use]
    pub const fn facts(&self) -> &CaptureFacts {
        self.pipeline.facts()
    }

    /// Wall clock, nanoseconds, by the offset that the capture began with: to be asked as soon as its hooks
    /// are attached.
    #[must_use]
    pub fn started_ns(&self) -> i64 {
        let monotonic = monotonic_ns().map(u64::cast_signed).unwrap_or_default();
        self.facts().realtime_offset_ns.saturating_add(monotonic)
    }

    /// A descriptor that becomes readable when the programs wake the reader.
    pub fn ring_fd(&self) -> io::Result<OwnedFd> {
        self.capture.ring.as_fd().try_clone_to_owned()
    }

    /// Whether the session polls, because it was woken a short while ago.
    #[must_use]
    pub const fn is_polling(&self) -> bool {
        self.empty_polls < EMPTY_POLLS
    }

    /// How long to wait at most until the next turn.
    #[must_use]
    pub fn pause(&self) -> Duration {
        if self.is_polling() || self.pipeline.is_holding() {
            POLL_INTERVAL
        } else if self.awaits_modules() || self.capture.is_logging() {
            LOOK_INTERVAL
        } else {
            IDLE_INTERVAL
        }
    }

    /// Takes what is in the ring through the pipeline. Returns whether hooks came or went meanwhile.
    pub fn turn(&mut self, sink: &mut impl EventSink) -> io::Result<bool> {
        self.take_seed();
        let taken = self.drain(sink)?;
        self.empty_polls = if taken == 0 {
            self.empty_polls.saturating_add(1)
        } else {
            0
        };
        let now = monotonic_ns().map_err(|failure| io::Error::other(failure.message))?;
        self.follow_clock(now);
        self.pipeline.release(now, &mut self.annotator, sink)?;
        self.capture.flush_log();
        if self.capture.follow_modules() {
            self.take_hooks();
            return Ok(true);
        }
        Ok(false)
    }

    /// Takes over how the hooks are now, and what could not be had of those that came late.
    fn take_hooks(&mut self) {
        let facts = self.pipeline.facts_mut();
        facts.hooks = self.capture.hook_reports();
        let taken = &mut self.degradations_taken;
        add_late(&mut facts.degradations, self.capture.degradations(), taken);
    }

    /// Looks each second how far the wall clock has been set.
    fn follow_clock(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.clock_read_ns) < CLOCK_INTERVAL_NS {
            return;
        }
        self.clock_read_ns = now_ns;
        if let Ok(offset) = realtime_offset_ns() {
            let step = offset - self.facts().realtime_offset_ns;
            // The two clocks are read one after the other.
            let is_step = step.unsigned_abs() > CLOCK_NOISE_NS;
            self.pipeline.set_clock_step(if is_step { step } else { 0 });
        }
    }

    /// Takes what is in the ring, up to a limit; returns how many records there were.
    fn drain(&mut self, sink: &mut impl EventSink) -> io::Result<usize> {
        let (pipeline, annotator) = (&mut self.pipeline, &mut self.annotator);
        let ring = &mut self.capture.ring;
        ring.drain(self.turn_records, |record| {
            pipeline.push(record, annotator, sink)
        })
    }

    /// Whether a hook waits for its module.
    #[must_use]
    pub fn awaits_modules(&self) -> bool {
        self.capture.awaits_modules()
    }

    /// Detaches everything and takes what is left through the pipeline.
    pub fn end(&mut self, sink: &mut impl EventSink) -> io::Result<()> {
        self.capture.detach();
        while self.drain(sink)? > 0 {}
        self.pipeline.finish(&mut self.annotator, sink)
    }

    /// How many records the programs put on the ring, and what became of as many here. Of a session
    /// that has ended the two are equal, unless its sink wanted no more.
    pub fn ring_balance(&self) -> Result<RingBalance, Failure> {
        let stages = self.capture.read_stages().map_err(|error| unread(&error))?;
        let totals = &self.pipeline.totals;
        let (retracted, _) = self.pipeline.tentative();
        Ok(RingBalance {
            submitted: stages.submitted,
            accounted: totals.seen + retracted + totals.lost_in_all(),
        })
    }

    /// What was seen, filtered and lost so far, the programs' part included; not the exact counts.
    pub fn stages(&self) -> Result<Totals, Failure> {
        let mut totals = self.pipeline.totals.clone();
        self.note_omissions(&mut totals);
        let stages = self.capture.read_stages().map_err(|error| unread(&error))?;
        totals.filtered += stages.filtered;
        for (stage, lost) in losses(&stages) {
            totals.lost.insert(Cow::Borrowed(stage), lost);
        }
        Ok(totals)
    }

    /// The totals so far: of the pipeline, of the programs, and the exact counts.
    pub fn totals(&self) -> Result<Totals, Failure> {
        let mut totals = self.stages()?;
        let counts = self.capture.read_counts().map_err(|error| unread(&error))?;
        for &kind in Kind::ALL {
            let count = counts.counted.of_kind(kind);
            totals
                .kernel_counts
                .insert(Cow::Borrowed(kind.name()), count);
        }
        Ok(totals)
    }

    /// Notes what was left out without losing an event.
    fn note_omissions(&self, totals: &mut Totals) {
        let (retracted, forced) = self.pipeline.tentative();
        let skipped = self.annotator.skipped();
        for (name, count) in [
            ("tentative-retracted", retracted),
            ("tentative-early", forced),
            ("holders-skipped", skipped.holder),
            ("exes-skipped", skipped.exe),
            ("cgroups-skipped", skipped.cgroup),
            ("names-skipped", skipped.names),
            ("log-directories-cut", skipped.log_directories),
            (
                "owners-unreadable",
                self.walk.unreadable + self.walk.broken_rows,
            ),
            ("owners-left-out", self.walk.left_out),
        ] {
            totals.note(name, count);
        }
    }

    /// Gives the annotator the owners of older sockets once they are known.
    fn take_seed(&mut self) {
        let Some(receiver) = &self.seed else { return };
        match receiver.try_recv() {
            Ok(Ok((owners, report))) => {
                self.annotator.seed(owners);
                self.walk = report;
                self.seed = None;
            }
            // Without /proc, owners of older sockets stay unknown, as the start record says.
            Ok(Err(_)) | Err(std::sync::mpsc::TryRecvError::Disconnected) => self.seed = None,
            Err(std::sync::mpsc::TryRecvError::Empty) => {}
        }
    }
}

fn unread(error: &ProgramsError) -> Failure {
    Failure::run_time(format!("cannot read the kernel side's counters: {error}"))
}

/// Adds those degradations that came after the first `taken`.
fn add_late(told: &mut Vec<DegradationReport>, known: &[Degradation], taken: &mut usize) {
    let late = known.get(*taken..).unwrap_or_default();
    told.extend(late.iter().map(Degradation::report));
    *taken = known.len();
}

/// Adds that owners of old sockets are not known, as no thread could be had to look for them.
fn report_no_walk(facts: &mut CaptureFacts, error: &io::Error) {
    let degradation = Degradation::OwnersNotSeeded;
    // A missing capability that was found before says it already.
    if facts
        .degradations
        .iter()
        .any(|it| it.id == degradation.id())
    {
        return;
    }
    facts.degradations.push(DegradationReport {
        reason: format!("no thread could be started to look through /proc: {error}"),
        remedy: "raise the limit of threads (`ulimit -u`, systemd: `TasksMax=`)".to_owned(),
        ..degradation.report()
    });
}

/// Stages of the kernel side at which an event is lost, by their names in the end record.
fn losses(stages: &KernelStages) -> [(&'static str, u64); 5] {
    [
        ("ring-full", stages.ring_full),
        ("storm-budget", stages.storm_budget),
        ("program-missed", stages.program_missed),
        ("too-deep", stages.too_deep),
        ("segment-unreadable", stages.segment_unreadable),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::hook::Hook;

    #[test]
    fn a_ring_whose_sides_differ_is_a_defect() {
        let balance = |submitted, accounted| RingBalance {
            submitted,
            accounted,
        };
        assert_eq!(balance(3, 3).defect(), None);
        for (submitted, accounted) in [(3, 2), (2, 3)] {
            let defect = balance(submitted, accounted).defect().unwrap_or_default();
            let said = format!("reported {submitted} events and {accounted} arrived");
            assert!(defect.contains(&said), "{defect}");
        }
    }

    #[test]
    fn what_cannot_be_had_later_on_is_told_beside_what_was_told_before() {
        let first = Degradation::NoJit;
        let mut told = vec![first.report(), Degradation::OwnersNotSeeded.report()];
        let mut taken = 1;
        let late = Degradation::HookUnavailable {
            hook: Hook::NfSendReset,
            reason: "no such function".to_owned(),
        };
        let known = [first, late];
        for _ in 0..2 {
            add_late(&mut told, &known, &mut taken);
            let ids: Vec<&str> = told.iter().map(|it| it.id.as_str()).collect();
            assert_eq!(
                ids,
                ["bpf-jit-off", "owners-not-seeded", "hook-unavailable"]
            );
        }
    }

    #[test]
    fn a_walk_that_cannot_start_is_a_degradation_once() {
        let mut facts = CaptureFacts::default();
        let error = io::Error::from(io::ErrorKind::WouldBlock);
        report_no_walk(&mut facts, &error);
        report_no_walk(&mut facts, &error);
        assert_eq!(facts.degradations.len(), 1);
        let report = facts.degradations.first().map(|it| (&*it.id, &*it.reason));
        let (id, reason) = report.unwrap_or_default();
        assert_eq!(id, "owners-not-seeded");
        assert!(reason.contains("no thread"), "{reason}");
    }
}
