//! The report as tables for a terminal.

use super::{Report, WorkloadReport, lost_stages, number, spread};
use crate::bench::bounds::{Bound, Outcome, Verdict};
use crate::bench::capture::{Capture, CaptureRound};
use crate::bench::kernel_time::KernelTime;
use crate::bench::load::{Pace, Workload};
use crate::bench::statistics::median;
use std::fmt::Write;

/// A line of a table. Writing to a string cannot fail.
macro_rules! line {
    ($text:expr, $($form:tt)*) => {{
        let _ = writeln!($text, $($form)*);
    }};
}

impl Report {
    /// The tables.
    pub(in crate::bench) fn render_text(&self) -> String {
        let machine = &self.machine;
        let mut text = format!(
            "kernel {}, {} processors, load average {} at the start; {} rounds of {} s\n",
            machine.kernel, machine.processors, machine.load_average, self.runs, self.seconds
        );
        for workload in &self.workloads {
            render_workload(&mut text, workload);
        }
        if !self.captures.is_empty() {
            line!(
                text,
                "\n{:<24} {:>12} {:>10} {:>10} {:>10} {:>10} {:>10} {:>9} {:>8}  lost",
                "rstmon itself",
                "a second",
                "OutRsts",
                "sent",
                "counted",
                "reported",
                "user ms",
                "system ms",
                "peak MiB"
            );
        }
        for capture in &self.captures {
            render_capture(&mut text, capture);
        }
        if let Some(flows) = &self.flows {
            line!(text, "rstmon agent, a million flows");
            render_round(&mut text, flows, flows.resident_mib);
        }
        for time in &self.kernel_time {
            render_kernel_time(&mut text, time, self.empty_program_ns());
        }
        render_bounds(&mut text, &self.bounds);
        text
    }
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
            number(observer.ratio.map(|ratio| ratio.median), 3),
            number(observer.ratio.map(|ratio| ratio.lowest), 3),
            number(observer.ratio.map(|ratio| ratio.highest), 3),
            number(median(&observer.cpu_seconds), 2),
            observer
                .drops
                .map_or_else(|| "-".to_owned(), |drops| drops.to_string()),
        );
    }
    for lost in report.lost_rounds() {
        line!(text, "  {lost}");
    }
}

fn render_capture(text: &mut String, capture: &Capture) {
    let pace = match capture.pace {
        Pace::Full => "",
        Pace::Paced => ", paced",
    };
    line!(
        text,
        "{}, {}{pace}: user CPU {} ns, system CPU {} ns an event",
        capture.observer.title(),
        capture.workload.title(),
        spread(capture.user_ns_per_event, 0),
        spread(capture.system_ns_per_event, 0)
    );
    for round in &capture.rounds {
        render_round(text, round, Some(round.peak_mib));
    }
}

fn render_round(text: &mut String, round: &CaptureRound, mib: Option<f64>) {
    line!(
        text,
        "{:<24} {:>12.0} {:>10} {:>10} {:>10} {:>10} {:>10} {:>9} {:>8}  {} {}",
        "",
        round.rate,
        round.out_rsts,
        round.sent,
        round.counted,
        round.reported,
        number(Some(round.user_seconds * 1e3), 0),
        number(Some(round.system_seconds * 1e3), 0),
        number(mib, 1),
        round.lost_in_all(),
        lost_stages(round)
    );
}

fn render_kernel_time(text: &mut String, time: &KernelTime, floor: Option<f64>) {
    let title = format!("rstmon's programs, {}", time.workload.title());
    line!(text, "\n{title:<50} {:>10} {:>12}", "ns a run", "runs");
    for program in &time.programs {
        line!(
            text,
            "  {:<48} {:>10.0} {:>12}",
            program.name,
            program.ns_per_run.median,
            program.runs
        );
    }
    let unit = if time.workload.resets_of_each().is_some() {
        "all together, per reset sent or received"
    } else {
        "all together, per request"
    };
    line!(text, "  {unit:<48} {:>10}", spread(time.ns_per_unit, 0));
    let beyond = number(time.beyond_empty(floor), 0);
    line!(text, "  {:<48} {beyond:>10}", "beyond as many empty runs");
    if time.workload == Workload::Storm {
        let empty = number(time.empty_program_ns, 0);
        line!(text, "  {:<48} {empty:>10}", "a program that does nothing");
        let multiple = number(time.multiple_of_empty(), 2);
        line!(text, "  {:<48} {multiple:>10}", "a reset by that program");
        line!(
            text,
            "  Each run includes the statistics' own clock, about 55 ns."
        );
    }
}

fn render_bounds(text: &mut String, bounds: &[Bound]) {
    line!(
        text,
        "\n{:<70} {:>22} {:<6} {:<24} {}",
        "bound",
        "measured",
        "",
        "promised",
        "goal"
    );
    for bound in bounds {
        let line = format!(
            "  {:<68} {:>22} {:<6} {:<24} {}",
            bound.what,
            spread(bound.measured, bound.digits()),
            bound.unit,
            verdict(bound.promise),
            verdict(bound.goal)
        );
        line!(text, "{}", line.trim_end());
    }
}

fn verdict(verdict: Option<Verdict>) -> String {
    verdict.map_or_else(String::new, |verdict| {
        let (side, value) = (verdict.limit.side.word(), verdict.limit.value);
        let outcome = match verdict.outcome {
            Outcome::Holds => "ok",
            Outcome::Missed => "missed",
            Outcome::Undecided => "undecided",
        };
        format!("{side} {value} {outcome}")
    })
}
