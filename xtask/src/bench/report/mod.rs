//! The result of a bench: gathered round by round by `run_bench`, serialized as `rstmon.bench/4`, drawn
//! as tables for people. Every number of the tables is in the JSON as well.

mod floors;
mod judge;
mod machine;
mod markdown;
mod text;

use super::bounds::{Bound, Outcome, Verdict};
use super::capture::{Capture, CaptureRound};
use super::kernel_time::KernelTime;
use super::load::Workload;
use super::observers::Observer;
use super::profile::Profile;
use super::statistics::{Spread, known, median, ratios};
use super::{BenchArgs, Strictness};
use machine::Machine;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// The whole result.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    /// How the bench was called.
    command: String,
    machine: Machine,
    runs: u32,
    seconds: u32,
    pub(super) workloads: Vec<WorkloadReport>,
    /// By load and observer.
    pub(super) captures: Vec<Capture>,
    /// The agent after a million flows.
    pub(super) flows: Option<CaptureRound>,
    /// By load.
    pub(super) kernel_time: Vec<KernelTime>,
    /// Of the agent, under the paced storm, or why there is none; none if it was not asked for.
    pub(super) profile: Option<Result<Profile, String>>,
    /// By observer.
    pub(super) starts: Vec<Starts>,
    bounds: Vec<Bound>,
}

/// From exec to the hooks attached, each start.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Starts {
    /// Who started.
    pub(super) observer: Observer,
    /// Each start.
    pub(super) milliseconds: Vec<f64>,
}

/// One load under every observer.
#[derive(Clone, Debug, Serialize)]
pub(super) struct WorkloadReport {
    pub(super) workload: Workload,
    unit: &'static str,
    observers: Vec<ObserverReport>,
}

/// One observer's rounds of a load.
#[derive(Clone, Debug, Serialize)]
struct ObserverReport {
    observer: Observer,
    /// Rate of each round; none where it was not measured. Of nothing, which is measured beside each
    /// observer, the median of the round.
    rates: Vec<Option<f64>>,
    /// Rate under nothing, of each round: the mean of that right before and that right after.
    beside: Vec<Option<f64>>,
    median_rate: Option<f64>,
    /// Ratios to nothing, each of one round.
    ratio: Option<Spread>,
    /// CPU time of the process from when it watched to its end, seconds, each round.
    cpu_seconds: Vec<f64>,
    /// Packets that it says it missed, all rounds; none where it does not say.
    drops: Option<u64>,
    /// Why it was left out.
    missing: Option<String>,
    /// Why single rounds of it were left out.
    lost_rounds: Vec<String>,
}

impl WorkloadReport {
    /// Nothing measured yet.
    pub(super) fn new(workload: Workload) -> Self {
        let observers = Observer::all()
            .into_iter()
            .map(|observer| ObserverReport {
                observer,
                rates: Vec::new(),
                beside: Vec::new(),
                median_rate: None,
                ratio: None,
                cpu_seconds: Vec::new(),
                drops: None,
                missing: None,
                lost_rounds: Vec::new(),
            })
            .collect();
        Self {
            workload,
            unit: workload.unit(),
            observers,
        }
    }

    fn of(&self, observer: Observer) -> Option<&ObserverReport> {
        self.observers
            .iter()
            .find(|report| report.observer == observer)
    }

    fn of_mut(&mut self, observer: Observer) -> Option<&mut ObserverReport> {
        self.observers
            .iter_mut()
            .find(|report| report.observer == observer)
    }

    /// Whether the observer was found not to run here.
    pub(super) fn is_missing(&self, observer: Observer) -> bool {
        self.of(observer)
            .is_some_and(|report| report.missing.is_some())
    }

    /// The observer does not run here.
    pub(super) fn note_missing(&mut self, observer: Observer, why: String) {
        if let Some(report) = self.of_mut(observer) {
            report.missing = Some(why);
        }
    }

    /// The observer failed in this round, which is no round of it: others stand.
    pub(super) fn note_lost_round(&mut self, observer: Observer, why: String) {
        if let Some(report) = self.of_mut(observer) {
            report.lost_rounds.push(why);
        }
    }

    /// A line for each observer that failed in some rounds, which are not among its numbers.
    fn lost_rounds(&self) -> impl Iterator<Item = String> {
        let failed = self.observers.iter();
        let failed = failed.filter(|report| !report.lost_rounds.is_empty());
        failed.map(|report| {
            let count = report.lost_rounds.len();
            let rounds = if count == 1 { "round" } else { "rounds" };
            format!(
                "{count} {rounds} of {} under {} left out: {}",
                report.observer.title(),
                self.workload.title(),
                report.lost_rounds.join("; ")
            )
        })
    }

    /// A rate of this round, and the one under nothing beside it.
    pub(super) fn note_rate(&mut self, observer: Observer, rate: f64, beside: f64) {
        if let Some(report) = self.of_mut(observer) {
            report.rates.push(Some(rate));
            report.beside.push(Some(beside));
        }
    }

    /// What the observer's process used in this round, and missed where it says so.
    pub(super) fn note_cost(&mut self, observer: Observer, cpu: Duration, drops: Option<u64>) {
        if let Some(report) = self.of_mut(observer) {
            report.cpu_seconds.push(cpu.as_secs_f64());
            report.drops = match (report.drops, drops) {
                (Some(sum), Some(more)) => Some(sum + more),
                (sum, more) => sum.or(more),
            };
        }
    }

    /// Fills the round for whom it was not measured, so that the rounds stay beside each other.
    pub(super) fn end_round(&mut self) {
        let rounds = self
            .observers
            .iter()
            .map(|report| report.rates.len())
            .max()
            .unwrap_or(0);
        for report in &mut self.observers {
            report.rates.resize(rounds, None);
            report.beside.resize(rounds, None);
        }
    }

    /// The rate under one observer by that under another, of the same round, each to nothing.
    fn ratio_between(&self, one: Observer, other: Observer) -> Option<Spread> {
        let (one, other) = (self.of(one)?, self.of(other)?);
        Spread::of(&known(&ratios(&one.to_nothing(), &other.to_nothing())))
    }

    /// Medians and ratios, after the last round.
    pub(super) fn summarize(&mut self) {
        for report in &mut self.observers {
            report.median_rate = median(&known(&report.rates));
            report.ratio = Spread::of(&known(&report.to_nothing()));
        }
    }
}

impl ObserverReport {
    /// Each round's rate by that under nothing.
    fn to_nothing(&self) -> Vec<Option<f64>> {
        ratios(&self.rates, &self.beside)
    }
}

impl Report {
    /// Nothing measured yet; what the machine is.
    pub(super) fn new(args: &BenchArgs, rstmon: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            schema: "rstmon.bench/4",
            command: command_of(args),
            machine: Machine::read(rstmon)?,
            runs: args.runs,
            seconds: args.seconds,
            workloads: Vec::new(),
            captures: Vec::new(),
            flows: None,
            kernel_time: Vec::new(),
            profile: None,
            starts: Vec::new(),
            bounds: Vec::new(),
        })
    }

    /// Time of a run of a program that does nothing, where a load was measured with one.
    fn empty_program_ns(&self) -> Option<f64> {
        self.kernel_time
            .iter()
            .find_map(|time| time.empty_program_ns)
    }

    /// Whether every promise that was looked at is kept, and every goal where goals count.
    pub(super) fn holds(&self, strictness: Strictness) -> bool {
        self.bounds.iter().all(|bound| {
            let is_missed = |verdict: Option<Verdict>| {
                verdict.is_some_and(|verdict| verdict.outcome != Outcome::Holds)
            };
            let goals_count = strictness == Strictness::Goals;
            !(is_missed(bound.promise) || goals_count && is_missed(bound.goal))
        })
    }
}

/// The command that makes this report again.
fn command_of(args: &BenchArgs) -> String {
    use clap::ValueEnum;
    let mut command = format!(
        "cargo xtask bench --runs {} --seconds {}",
        args.runs, args.seconds
    );
    if !args.only.is_empty() {
        let names = args.only.iter().filter_map(Workload::to_possible_value);
        let names: Vec<String> = names.map(|name| name.get_name().to_owned()).collect();
        command = format!("{command} --only {}", names.join(","));
    }
    if args.force {
        // Whoever reads the page is to know that others may have been measured too.
        command += " --force";
    }
    command
}

/// A number with so many digits after the point, or a dash where there is none.
fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// A median with the lowest and the highest value, where these differ.
fn spread(value: Option<Spread>, digits: usize) -> String {
    let median = number(value.map(|spread| spread.median), digits);
    match value {
        Some(spread) if spread.lowest < spread.highest => {
            let (lowest, highest) = (Some(spread.lowest), Some(spread.highest));
            format!(
                "{median} ({}–{})",
                number(lowest, digits),
                number(highest, digits)
            )
        }
        _ => median,
    }
}

/// Stages that lost events, with how many.
fn lost_stages(round: &CaptureRound) -> String {
    let stages: Vec<String> = round
        .lost
        .iter()
        .filter(|(_, lost)| **lost > 0)
        .map(|(stage, lost)| format!("{stage} {lost}"))
        .collect();
    stages.join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a failed test panics"
    )]

    use super::machine::Machine;
    use super::{Report, Starts, WorkloadReport};
    use crate::bench::Strictness;
    use crate::bench::capture::{self, tests::round};
    use crate::bench::kernel_time::{KernelTime, ProgramTime};
    use crate::bench::load::{Pace, Workload};
    use crate::bench::observers::Observer;
    use crate::bench::profile::{Profile, Share};
    use crate::bench::statistics::Spread;
    use std::time::Duration;

    /// Three rounds: `trace` under rstmon trace, of 1000 under nothing; tcpdump in one round only.
    fn workload(workload: Workload, trace: f64) -> WorkloadReport {
        let mut report = WorkloadReport::new(workload);
        for round in 0..3_u8 {
            report.note_rate(Observer::Nothing, 1000.0, 1000.0);
            report.note_rate(Observer::Trace, trace, 1000.0);
            report.note_rate(Observer::Agent, 950.0 + 10.0 * f64::from(round), 1000.0);
            report.note_cost(Observer::Tcpdump, Duration::from_secs(1), Some(2));
            if round == 1 {
                report.note_rate(Observer::Tcpdump, 400.0, 500.0);
            }
            report.note_missing(Observer::Bpftrace, "it is not installed".to_owned());
            report.end_round();
        }
        report.summarize();
        report
    }

    fn report(workloads: Vec<WorkloadReport>) -> Report {
        Report {
            schema: "rstmon.bench/4",
            command: "cargo xtask bench --runs 3 --seconds 2".to_owned(),
            machine: Machine {
                processor: "A CPU".to_owned(),
                processors: 2,
                memory_gib: 23.5,
                kernel: "6.18".to_owned(),
                load_average: 0.5,
                mode: Some("probe".to_owned()),
                tools: vec!["wrk 4.1".to_owned()],
            },
            runs: 3,
            seconds: 2,
            workloads,
            captures: Vec::new(),
            flows: None,
            kernel_time: Vec::new(),
            profile: None,
            starts: Vec::new(),
            bounds: Vec::new(),
        }
    }

    /// Everything that a bench measures, in small.
    fn whole() -> Report {
        let mut report = report(vec![
            workload(Workload::Storm, 950.0),
            workload(Workload::Keepalive, 995.0),
        ]);
        for (observer, pace) in capture::captures_of(Workload::Storm) {
            let mut lossless = round(1_000_000, 0, 20.0);
            lossless.lost.clear();
            let rounds = vec![lossless];
            report.captures.extend(capture::summarize(
                *observer,
                Workload::Storm,
                *pace,
                rounds,
            ));
        }
        let mut flows = round(2_000_000, 0, 28.0);
        flows.resident_mib = Some(27.0);
        report.flows = Some(flows);
        report.kernel_time.push(KernelTime {
            workload: Workload::Storm,
            programs: vec![ProgramTime {
                name: "raw_tp_tcp_send_reset".to_owned(),
                ns_per_run: Spread::single(300.0),
                runs: 7,
                is_reset_hook: true,
            }],
            ns_per_unit: Some(Spread::single(320.0)),
            runs_per_unit: Some(1.5),
            empty_program_ns: Some(80.0),
        });
        report.starts.push(Starts {
            observer: Observer::Agent,
            milliseconds: vec![140.0, 120.0, 160.0],
        });
        let share = |name: &str, share| Share {
            name: name.to_owned(),
            share,
        };
        report.profile = Some(Ok(Profile {
            resets_per_second: 149_000.0,
            samples: 4000,
            parts: vec![share("`sink`", 0.75), share("the rest", 0.25)],
            functions: vec![share("rstmon::board::Board::record", 0.0625)],
        }));
        report.check_bounds();
        report
    }

    #[test]
    fn a_round_that_was_not_measured_is_no_ratio() {
        let report = workload(Workload::Keepalive, 995.0);
        let tcpdump = report.of(Observer::Tcpdump).unwrap();
        assert_eq!(tcpdump.rates.len(), 3);
        assert_eq!(tcpdump.ratio, Some(Spread::single(0.8)));
        assert_eq!(tcpdump.drops, Some(6));
        assert!(report.is_missing(Observer::Bpftrace));
        let ratio = report.ratio_between(Observer::Agent, Observer::Tcpdump);
        assert_eq!(ratio, Some(Spread::single(1.2)));
        let none = report.ratio_between(Observer::Agent, Observer::Bpftrace);
        assert_eq!(none, None);
    }

    #[test]
    fn a_round_in_which_a_comparison_failed_is_told_and_the_others_stand() {
        let mut load = WorkloadReport::new(Workload::Proxy);
        for fails in [false, true, false] {
            load.note_rate(Observer::Nothing, 100.0, 100.0);
            if fails {
                load.note_lost_round(Observer::Bpftrace, "does not end".to_owned());
            } else {
                load.note_rate(Observer::Bpftrace, 50.0, 100.0);
            }
            load.end_round();
        }
        load.summarize();
        let bpftrace = load.of(Observer::Bpftrace).unwrap();
        assert_eq!(bpftrace.rates, [Some(50.0), None, Some(50.0)]);
        assert_eq!(bpftrace.ratio, Some(Spread::single(0.5)));
        let report = report(vec![load]);
        let told = "1 round of bpftrace under HTTP proxy, 1 % resets left out: does not end";
        for page in [report.render_text(), report.render_markdown()] {
            assert!(page.contains(told), "{page}");
        }
    }

    #[test]
    fn promises_and_goals_are_judged_apart() {
        // Of keep-alive 0.96 under the agent, whose goal is more.
        let mut missed_goal = report(vec![workload(Workload::Keepalive, 995.0)]);
        missed_goal.check_bounds();
        assert!(missed_goal.holds(Strictness::Promises));
        assert!(!missed_goal.holds(Strictness::Goals));
        let mut broken = report(vec![workload(Workload::Keepalive, 980.0)]);
        broken.check_bounds();
        assert!(!broken.holds(Strictness::Promises));
        let mut kept = report(vec![workload(Workload::Proxy, 900.0)]);
        kept.check_bounds();
        assert!(kept.holds(Strictness::Goals));
    }

    #[test]
    fn what_only_some_rounds_keep_is_said_to_be_undecided_and_is_not_kept() {
        let mut load = WorkloadReport::new(Workload::Keepalive);
        for rate in [970.0, 980.0, 1000.0] {
            load.note_rate(Observer::Trace, rate, 1000.0);
            load.note_rate(Observer::Agent, 1000.0, 1000.0);
            load.end_round();
        }
        load.summarize();
        let mut report = report(vec![load]);
        report.check_bounds();
        assert!(!report.holds(Strictness::Promises));
        let row = "| 0.980 (0.970–1.000) | at least 0.99, undecided |  |";
        let page = report.render_markdown();
        assert!(page.contains(row), "{page}");
        assert!(report.render_text().contains("at least 0.99 undecided"));
    }

    #[test]
    fn a_bound_without_a_measurement_does_not_hold() {
        let mut report = report(vec![WorkloadReport::new(Workload::Storm)]);
        report.check_bounds();
        assert!(!report.holds(Strictness::Promises));
    }

    #[test]
    fn a_count_that_is_not_exact_and_an_event_that_is_lost_break_a_promise() {
        for spoil in [
            (|capture: &mut capture::Capture| capture.miscounted = 1) as fn(&mut _),
            |capture| capture.lost = 1,
        ] {
            let mut report = whole();
            assert!(report.holds(Strictness::Promises));
            spoil(&mut report.captures[0]);
            report.check_bounds();
            assert!(!report.holds(Strictness::Promises));
        }
        assert_eq!(whole().captures[0].pace, Pace::Paced);
    }

    #[test]
    fn an_observer_that_does_not_run_here_is_named_with_its_reason() {
        let text = whole().render_text();
        assert!(text.contains("bpftrace                   not measured: it is not installed"));
        let page = whole().render_markdown();
        assert!(page.contains("| bpftrace | not measured: it is not installed |"));
    }

    #[test]
    fn both_forms_show_measured_promised_and_goal_of_each_measure() {
        let text = whole().render_text();
        let line = |what: &str| {
            let line = text.lines().find(|line| line.contains(what)).unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            line("kernel time a reset"),
            "refused connections, kernel time a reset, all programs 320.0 ns \
             below 500 ok at most 250 missed"
        );
        assert_eq!(
            line("exec to hooks"),
            "rstmon agent, exec to hooks attached 140.0 (120.0–160.0) ms at most 150 ok"
        );
        let page = whole().render_markdown();
        for row in [
            "| refused connections, kernel time a reset, all programs | 320.0 ns | below 500 | at most 250, **missed** |",
            "| rstmon agent, memory after a million flows | 27.0 MiB |  | at most 30 |",
            "| refused connections, rstmon agent to nothing | 0.960 (0.950–0.970) |  | at least 0.95 |",
            "| refused connections, rstmon agent to tcpdump | 1.200 |  | above 1 |",
            "| refused connections, rstmon agent to bpftrace | - |  | above 1, **missed** |",
        ] {
            assert!(page.contains(row), "{row}\n{page}");
        }
    }

    #[test]
    fn a_profile_that_could_not_be_taken_is_said_to_be_missing() {
        let mut report = whole();
        report.profile = Some(Err("perf is not there".to_owned()));
        let page = report.render_markdown();
        assert!(page.contains("Not measured: perf is not there."), "{page}");
    }

    #[test]
    fn the_page_says_how_it_was_made_and_shows_no_bare_rate() {
        let page = whole().render_markdown();
        for part in [
            "Written by `cargo xtask bench --runs 3 --seconds 2 -o markdown > docs/performance.md`",
            "| machine | 2 × A CPU, 24 GiB of memory |",
            "| kernel | 6.18 |",
            "| | refused connections | HTTP keep-alive |",
            "| rstmon agent | 0.960 (0.950–0.970) | 0.960 (0.950–0.970) |",
            "| tcpdump | 0.50 | 0.50 |",
            "| refused connections | reset, sent or received | 320 | 4.00 | 1.5 | 200 |",
            "| rstmon agent, a million flows | 2000001 | the same |",
            "* Reset: programs run 1.5 times. Where they do nothing that takes 120 ns of the 320 measured",
            "* Storm: 2000 events a second, if nobody watches. Where the agent reports all of them, each \
             takes 1000 ns of its user time and 2000 ns of its system time, together 0.3 % of this \
             machine's 2 processors, which the load cannot have; at 1000 ns of user time and nothing \
             else it would be 0.1 %.",
            "under 149000 resets a second; 4000 samples",
            "| `sink` | 75.0 % |",
            "| `rstmon::board::Board::record` | 6.2 % |",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        assert!(!page.contains("/s"), "{page}");
        // Every table has one head, and rows of its width.
        let mut widths = Vec::new();
        for line in page.lines().chain([""]) {
            if line.starts_with('|') {
                widths.push(line.matches('|').count());
            } else {
                assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{page}");
                widths.clear();
            }
        }
    }
}
