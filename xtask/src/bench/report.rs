//! The result of a bench: gathered round by round by `run_bench`, serialized as `rstmon.bench/1`,
//! drawn as tables for people. Every number of the tables is in the JSON as well.

use super::BenchArgs;
use super::bounds::{self, Bound, Side};
use super::capture::Capture;
use super::kernel_time::KernelTime;
use super::load::{Workload, as_number};
use super::observers::Observer;
use super::statistics::{median, ratios};
use anyhow::Context;
use serde::Serialize;
use std::fmt::Write;
use std::fs;
use std::time::Duration;

/// The whole result.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    /// `uname -r`.
    kernel: String,
    /// Processors that this process may use.
    processors: usize,
    /// Processes that wanted to run when the bench began, over one minute: others' work is noise.
    load_average: f64,
    runs: u32,
    seconds: u32,
    pub(super) workloads: Vec<WorkloadReport>,
    pub(super) capture: Option<Capture>,
    /// By load.
    pub(super) kernel_time: Vec<KernelTime>,
    /// From exec to the start record, each start, milliseconds.
    pub(super) start_ms: Vec<f64>,
    bounds: Vec<Bound>,
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
    /// Rate of each round; none where it was not measured.
    rates: Vec<Option<f64>>,
    median_rate: Option<f64>,
    /// Median of the ratios to nothing, each of one round.
    ratio: Option<f64>,
    lowest_ratio: Option<f64>,
    highest_ratio: Option<f64>,
    /// CPU time of the process from when it watched to its end, seconds, each round.
    cpu_seconds: Vec<f64>,
    /// Packets that it says it missed, all rounds; none where it does not say.
    drops: Option<u64>,
    /// Why it was left out.
    missing: Option<String>,
}

impl WorkloadReport {
    /// Nothing measured yet.
    pub(super) fn new(workload: Workload) -> Self {
        let observers = Observer::ALL
            .into_iter()
            .map(|observer| ObserverReport {
                observer,
                rates: Vec::new(),
                median_rate: None,
                ratio: None,
                lowest_ratio: None,
                highest_ratio: None,
                cpu_seconds: Vec::new(),
                drops: None,
                missing: None,
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

    /// A rate of this round.
    pub(super) fn note_rate(&mut self, observer: Observer, rate: f64) {
        if let Some(report) = self.of_mut(observer) {
            report.rates.push(Some(rate));
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
        }
    }

    /// Medians and ratios, after the last round.
    pub(super) fn summarize(&mut self) {
        let Some(nothing) = self
            .of(Observer::Nothing)
            .map(|report| report.rates.clone())
        else {
            return;
        };
        for report in &mut self.observers {
            let rates: Vec<f64> = report.rates.iter().copied().flatten().collect();
            let ratios = ratios(&report.rates, &nothing);
            report.median_rate = median(&rates);
            report.ratio = median(&ratios);
            report.lowest_ratio = ratios.iter().copied().reduce(f64::min);
            report.highest_ratio = ratios.iter().copied().reduce(f64::max);
        }
    }
}

impl Report {
    /// Nothing measured yet; what the machine is.
    pub(super) fn new(args: &BenchArgs) -> anyhow::Result<Self> {
        let load = fs::read_to_string("/proc/loadavg").context("cannot read /proc/loadavg")?;
        let uname = nix::sys::utsname::uname().context("cannot ask for the kernel's release")?;
        Ok(Self {
            schema: "rstmon.bench/1",
            kernel: uname.release().to_string_lossy().into_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            load_average: load
                .split_whitespace()
                .next()
                .and_then(|load| load.parse().ok())
                .context("/proc/loadavg does not begin with a number")?,
            runs: args.runs,
            seconds: args.seconds,
            workloads: Vec::new(),
            capture: None,
            kernel_time: Vec::new(),
            start_ms: Vec::new(),
            bounds: Vec::new(),
        })
    }

    /// Compares what was measured with what is promised, after everything was measured.
    pub(super) fn check_bounds(&mut self) {
        let mut bounds: Vec<Bound> = self
            .workloads
            .iter()
            .map(|report| {
                let ratio = report.of(Observer::Rstmon).and_then(|rstmon| rstmon.ratio);
                let what = format!("{}, of nothing", report.workload.title());
                Bound::new(
                    what,
                    ratio,
                    Side::AtLeast,
                    bounds::least_ratio(report.workload),
                    "",
                )
            })
            .collect();
        if let Some(capture) = &self.capture {
            let lost = Some(as_number(capture.lost));
            let peak = Some(capture.peak_mib);
            bounds.push(Bound::new("events lost", lost, Side::AtMost, 0.0, "events"));
            bounds.push(Bound::new(
                "peak memory",
                peak,
                Side::Below,
                bounds::PEAK_MIB,
                "MiB",
            ));
        }
        let storm = |time: &&KernelTime| time.workload == Workload::Storm;
        if let Some(time) = self.kernel_time.iter().find(storm) {
            bounds.extend(
                time.programs
                    .iter()
                    .filter(|program| program.is_reset_hook)
                    .map(|program| {
                        let what = format!("kernel time per run of {}", program.name);
                        let measured = Some(program.ns_per_run);
                        Bound::new(what, measured, Side::Below, bounds::KERNEL_NS, "ns")
                    }),
            );
            let what = "kernel time per reset, all programs";
            let limit = bounds::KERNEL_NS;
            bounds.push(Bound::new(what, time.ns_per_unit, Side::Below, limit, "ns"));
        }
        if !self.start_ms.is_empty() {
            let start = median(&self.start_ms);
            let limit = bounds::START_MS;
            bounds.push(Bound::new(
                "exec to hooks attached",
                start,
                Side::Below,
                limit,
                "ms",
            ));
        }
        self.bounds = bounds;
    }

    /// Whether every promise that was looked at is kept.
    pub(super) fn all_bounds_hold(&self) -> bool {
        self.bounds.iter().all(|bound| bound.holds)
    }

    /// The tables.
    pub(super) fn render_text(&self) -> String {
        let mut text = format!(
            "kernel {}, {} processors, load average {} at the start; {} rounds of {} s\n",
            self.kernel, self.processors, self.load_average, self.runs, self.seconds
        );
        for workload in &self.workloads {
            render_workload(&mut text, workload);
        }
        if let Some(capture) = &self.capture {
            render_capture(&mut text, capture);
        }
        for time in &self.kernel_time {
            render_kernel_time(&mut text, time);
        }
        render_bounds(&mut text, &self.bounds);
        text
    }
}

/// A line of a table. Writing to a string cannot fail.
macro_rules! line {
    ($text:expr, $($form:tt)*) => {{
        let _ = writeln!($text, $($form)*);
    }};
}

fn render_workload(text: &mut String, report: &WorkloadReport) {
    let (title, unit) = (report.workload.title(), report.unit);
    line!(
        text,
        "\n{title:<28} {unit:>12}  of nothing  lowest  highest  CPU s  missed"
    );
    for observer in &report.observers {
        let name = observer.observer.title();
        if let Some(why) = &observer.missing {
            line!(text, "  {name:<26} not measured: {why}");
            continue;
        }
        line!(
            text,
            "  {name:<26} {:>12}  {:>10}  {:>6}  {:>7}  {:>5}  {:>6}",
            number(observer.median_rate, 0),
            number(observer.ratio, 3),
            number(observer.lowest_ratio, 3),
            number(observer.highest_ratio, 3),
            number(median(&observer.cpu_seconds), 2),
            observer
                .drops
                .map_or_else(|| "-".to_owned(), |drops| drops.to_string()),
        );
    }
}

fn render_capture(text: &mut String, capture: &Capture) {
    line!(
        text,
        "\nrstmon in a storm of 150,000 resets a second, events to a file in memory: user CPU {} ns, system CPU {} ns an event",
        number(capture.user_ns_per_event, 0),
        number(capture.system_ns_per_event, 0)
    );
    line!(
        text,
        "  {:>12} {:>10} {:>10} {:>12} {:>10} {:>10} {:>9}  lost",
        "refused/s",
        "refused",
        "OutRsts",
        "sent counted",
        "seen",
        "written",
        "peak MiB"
    );
    for round in &capture.rounds {
        let stages: Vec<String> = round
            .lost
            .iter()
            .filter(|(_, lost)| **lost > 0)
            .map(|(stage, lost)| format!("{stage} {lost}"))
            .collect();
        let sent = round.kernel_counts.get("sent");
        line!(
            text,
            "  {:>12.0} {:>10} {:>10} {:>12} {:>10} {:>10} {:>9.1}  {} {}",
            round.refused_per_second,
            round.refused,
            round.out_rsts,
            sent.map_or_else(|| "-".to_owned(), u64::to_string),
            round.seen,
            round.written,
            round.peak_mib,
            round.lost_in_all(),
            stages.join(", ")
        );
    }
}

fn render_kernel_time(text: &mut String, time: &KernelTime) {
    let title = format!("rstmon's programs, {}", time.workload.title());
    line!(text, "\n{title:<50} {:>10} {:>12}", "ns a run", "runs");
    for program in &time.programs {
        line!(
            text,
            "  {:<48} {:>10.0} {:>12}",
            program.name,
            program.ns_per_run,
            program.runs
        );
    }
    let unit = match time.workload {
        Workload::Storm => "all together, per reset sent or received",
        Workload::Keepalive | Workload::Connections => "all together, per request",
    };
    line!(text, "  {unit:<48} {:>10}", number(time.ns_per_unit, 0));
    if time.workload == Workload::Storm {
        let empty = number(time.empty_program_ns, 0);
        line!(text, "  {:<48} {empty:>10}", "a program that does nothing");
        line!(
            text,
            "  Each run includes the statistics' own clock, about 55 ns."
        );
    }
}

fn render_bounds(text: &mut String, bounds: &[Bound]) {
    line!(
        text,
        "\n{:<52} {:>10} {:>18}",
        "bound",
        "measured",
        "promised"
    );
    for bound in bounds {
        let digits = match bound.unit {
            "" => 3,
            "events" => 0,
            _ => 1,
        };
        let side = match bound.side {
            Side::AtLeast => "at least",
            Side::Below => "below",
            Side::AtMost => "at most",
        };
        let limit = format!("{side} {:.2}", bound.limit);
        line!(
            text,
            "  {:<50} {:>10} {limit:>18} {:<6}  {}",
            bound.what,
            number(bound.measured, digits),
            bound.unit,
            if bound.holds { "ok" } else { "over" }
        );
    }
}

/// A number with so many digits after the point, or a dash where there is none.
fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a failed test panics"
    )]

    use super::{Report, WorkloadReport};
    use crate::bench::load::Workload;
    use crate::bench::observers::Observer;
    use std::time::Duration;

    fn workload(rstmon: f64) -> WorkloadReport {
        let mut report = WorkloadReport::new(Workload::Keepalive);
        for round in 0..3 {
            report.note_rate(Observer::Nothing, 1000.0);
            report.note_rate(Observer::Rstmon, rstmon);
            report.note_cost(Observer::Tcpdump, Duration::from_secs(1), Some(2));
            if round == 1 {
                report.note_rate(Observer::Tcpdump, 800.0);
            }
            report.note_missing(Observer::Bpftrace, "it is not installed".to_owned());
            report.end_round();
        }
        report.summarize();
        report
    }

    fn report(workload: WorkloadReport) -> Report {
        let mut report = Report {
            schema: "rstmon.bench/1",
            kernel: "6.18".to_owned(),
            processors: 2,
            load_average: 0.5,
            runs: 3,
            seconds: 3,
            workloads: vec![workload],
            capture: None,
            kernel_time: Vec::new(),
            start_ms: Vec::new(),
            bounds: Vec::new(),
        };
        report.check_bounds();
        report
    }

    #[test]
    fn a_round_that_was_not_measured_is_no_ratio() {
        let report = workload(995.0);
        let tcpdump = report.of(Observer::Tcpdump).unwrap();
        assert_eq!(tcpdump.rates.len(), 3);
        assert_eq!(tcpdump.ratio, Some(0.8));
        assert_eq!(tcpdump.drops, Some(6));
        assert!(report.is_missing(Observer::Bpftrace));
    }

    #[test]
    fn a_bound_that_does_not_hold_is_named() {
        let good = report(workload(995.0));
        assert!(good.all_bounds_hold());
        assert!(
            good.render_text()
                .contains("0.995      at least 0.99         ok")
        );
        let bad = report(workload(980.0));
        assert!(!bad.all_bounds_hold());
        assert!(
            bad.render_text()
                .contains("0.980      at least 0.99         over")
        );
    }

    #[test]
    fn a_bound_without_a_measurement_does_not_hold() {
        let report = report(WorkloadReport::new(Workload::Storm));
        assert!(!report.all_bounds_hold());
    }

    #[test]
    fn an_observer_that_does_not_run_here_is_named_with_its_reason() {
        let text = report(workload(995.0)).render_text();
        assert!(text.contains("bpftrace                   not measured: it is not installed"));
    }
}
