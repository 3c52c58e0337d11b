//! The report as the page docs/performance.md. Rates are shown as ratios to nothing only: a bare rate
//! says more about the machine than about the observer.

use super::{ObserverReport, Report, WorkloadReport, lost_stages, number, spread};
use crate::bench::bounds::{Bound, Outcome, Verdict};
use crate::bench::capture::{Capture, CaptureRound};
use crate::bench::kernel_time::KernelTime;
use crate::bench::load::Pace;
use crate::bench::observers::{NOT_COMPARED, Observer};
use crate::bench::statistics::{as_number, median};
use std::fmt::Write;

/// A line of the page. Writing to a string cannot fail.
macro_rules! line {
    ($text:expr) => {{
        $text.push('\n');
    }};
    ($text:expr, $($form:tt)*) => {{
        let _ = writeln!($text, $($form)*);
    }};
}

impl Report {
    /// The page.
    pub(in crate::bench) fn render_markdown(&self) -> String {
        let mut page = String::from("# What rstmon costs\n\n");
        self.render_machine(&mut page);
        render_bounds(&mut page, &self.bounds);
        self.render_ratios(&mut page);
        self.render_captures(&mut page);
        self.render_kernel_time(&mut page);
        page.push_str(&self.render_floors());
        render_not_compared(&mut page);
        page
    }

    fn render_machine(&self, page: &mut String) {
        let machine = &self.machine;
        let command = &self.command;
        line!(
            page,
            "Written by `{command} -o markdown > docs/performance.md`; not edited by hand."
        );
        line!(page);
        line!(page, "| | |");
        line!(page, "| --- | --- |");
        line!(
            page,
            "| machine | {} × {}, {:.0} GiB of memory |",
            machine.processors,
            machine.processor,
            machine.memory_gib
        );
        line!(page, "| kernel | {} |", machine.kernel);
        line!(
            page,
            "| load average at the start | {} |",
            machine.load_average
        );
        line!(
            page,
            "| rounds | {} of {} s, each observer between two runs that nobody watches |",
            self.runs,
            self.seconds
        );
        line!(
            page,
            "| mode of rstmon | {} |",
            machine.mode.as_deref().unwrap_or("not known")
        );
        line!(page, "| programs | {} |", machine.tools.join(", "));
        line!(page);
    }

    /// Rates, processor time and misses of every observer under every load.
    fn render_ratios(&self, page: &mut String) {
        line!(page, "## Beside others\n");
        line!(
            page,
            "The load's rate under an observer by the mean of its rates under nothing right before \
             and right after: median, in parentheses lowest and highest. 1 is: not noticed.\n"
        );
        self.render_by_load(page, |observer| {
            if let Some(why) = &observer.missing {
                return format!("not measured: {}", why.replace('|', "/"));
            }
            spread(observer.ratio, 3)
        });
        line!(
            page,
            "\nProcessor time of the observer's process, as part of a core (median; what a program \
             does in the kernel on behalf of the load is in the ratios above, not here):\n"
        );
        let seconds = f64::from(self.seconds);
        self.render_by_load(page, |observer| {
            let cpu = median(&observer.cpu_seconds).map(|cpu| cpu / seconds);
            number(cpu, 2)
        });
        line!(
            page,
            "\nEvents that the observer says it missed, all rounds (-: it does not say; of rstmon, \
             see below):\n"
        );
        self.render_by_load(page, |observer| {
            observer
                .drops
                .map_or_else(|| "-".to_owned(), |drops| drops.to_string())
        });
        let lost: Vec<_> = self
            .workloads
            .iter()
            .flat_map(WorkloadReport::lost_rounds)
            .collect();
        if !lost.is_empty() {
            line!(page, "\nRounds in which a comparison failed:\n");
        }
        for lost in lost {
            line!(page, "* {lost}.");
        }
        line!(page, "\nThe loads:\n");
        for report in &self.workloads {
            line!(
                page,
                "* {}: {}.",
                report.workload.title(),
                report.workload.about()
            );
        }
        line!(page, "\nThe observers:\n");
        for observer in Observer::all() {
            line!(page, "* {}: {}.", observer.title(), observer.about());
        }
        line!(page);
    }

    /// A table with a row an observer and a column a load.
    fn render_by_load(&self, page: &mut String, cell: impl Fn(&ObserverReport) -> String) {
        let titles: Vec<&str> = self
            .workloads
            .iter()
            .map(|report| report.workload.title())
            .collect();
        line!(page, "| | {} |", titles.join(" | "));
        line!(page, "| --- |{}", " --- |".repeat(titles.len()));
        for observer in Observer::compared() {
            let cells: Vec<String> = self
                .workloads
                .iter()
                .map(|report| report.of(observer).map_or_else(String::new, &cell))
                .collect();
            line!(page, "| {} | {} |", observer.title(), cells.join(" | "));
        }
    }

    fn render_captures(&self, page: &mut String) {
        if self.captures.is_empty() && self.flows.is_none() {
            return;
        }
        line!(page, "## rstmon itself\n");
        line!(
            page,
            "Counts beside the kernel's own `OutRsts`, events reported and lost, and what the \
             process takes. Beyond the storm budget events are left out on purpose, and counted \
             (`storm-budget`).\n"
        );
        line!(
            page,
            "| who, load | resets counted | sent beside OutRsts | events lost | by stage | user ns an event | system ns an event | most memory, MiB |"
        );
        line!(page, "| --- | --- | --- | --- | --- | --- | --- | --- |");
        for capture in &self.captures {
            render_capture(page, capture);
        }
        if let Some(flows) = &self.flows {
            render_flows(page, flows);
        }
        line!(page);
    }

    fn render_kernel_time(&self, page: &mut String) {
        if self.kernel_time.is_empty() {
            return;
        }
        line!(page, "## Kernel time\n");
        line!(
            page,
            "By the kernel's own statistics (`kernel.bpf_stats_enabled`), of `rstmon trace`. Each run \
             includes the statistics' own clock, about 55 ns.\n"
        );
        let floor = self.empty_program_ns();
        line!(
            page,
            "| load | each | all programs together, ns | by an empty run | runs | beyond as many empty runs, ns |"
        );
        line!(page, "| --- | --- | --- | --- | --- | --- |");
        for time in &self.kernel_time {
            render_kernel_time_of(page, time, floor);
        }
        line!(
            page,
            "\nAn empty run, of a program that does nothing: {} ns.\n",
            number(floor, 0)
        );
        line!(page, "| program | load | ns a run | runs |");
        line!(page, "| --- | --- | --- | --- |");
        for time in &self.kernel_time {
            for program in &time.programs {
                line!(
                    page,
                    "| `{}` | {} | {:.0} | {} |",
                    program.name,
                    time.workload.title(),
                    program.ns_per_run.median,
                    program.runs
                );
            }
        }
        line!(page);
    }
}

fn render_capture(page: &mut String, capture: &Capture) {
    let held = match capture.pace {
        Pace::Full => "",
        Pace::Paced => ", up to 150,000 resets a second",
    };
    let stages: Vec<String> = capture
        .rounds
        .iter()
        .map(lost_stages)
        .filter(|stages| !stages.is_empty())
        .collect();
    let counted: u64 = capture.rounds.iter().map(|round| round.counted).sum();
    line!(
        page,
        "| {}, {}{held} | {counted} | {} | {} | {} | {} | {} | {:.1} |",
        capture.observer.title(),
        capture.workload.title(),
        difference(capture.miscounted),
        capture.lost,
        stages.join("; "),
        spread(capture.user_ns_per_event, 0),
        spread(capture.system_ns_per_event, 0),
        capture.peak_mib
    );
}

fn render_flows(page: &mut String, flows: &CaptureRound) {
    let per_event = |seconds: f64| {
        let events = (flows.reported > 0).then(|| as_number(flows.reported));
        number(events.map(|events| seconds * 1e9 / events), 0)
    };
    line!(
        page,
        "| rstmon agent, a million flows | {} | {} | {} | {} | {} | {} | {:.1}, afterwards {} |",
        flows.counted,
        difference(flows.miscounted()),
        flows.lost_in_all(),
        lost_stages(flows),
        per_event(flows.user_seconds),
        per_event(flows.system_seconds),
        flows.peak_mib,
        number(flows.resident_mib, 1)
    );
}

fn difference(resets: u64) -> String {
    if resets == 0 {
        "the same".to_owned()
    } else {
        format!("differs by {resets}")
    }
}

fn render_kernel_time_of(page: &mut String, time: &KernelTime, floor: Option<f64>) {
    let each = if time.workload.resets_of_each().is_some() {
        "reset, sent or received"
    } else {
        "request"
    };
    let multiple = time
        .ns_per_unit
        .zip(floor)
        .map(|(nanoseconds, floor)| nanoseconds.median / floor);
    line!(
        page,
        "| {} | {each} | {} | {} | {} | {} |",
        time.workload.title(),
        spread(time.ns_per_unit, 0),
        number(multiple, 2),
        number(time.runs_per_unit, 1),
        number(time.beyond_empty(floor), 0)
    );
}

fn render_bounds(page: &mut String, bounds: &[Bound]) {
    line!(page, "## Promises and goals\n");
    line!(
        page,
        "Medians are judged; in parentheses the lowest and the highest value. A ratio whose median \
         misses a limit that some rounds keep is undecided.\n"
    );
    line!(page, "| measure | measured | promised | goal |");
    line!(page, "| --- | --- | --- | --- |");
    for bound in bounds {
        let measured = format!("{} {}", spread(bound.measured, bound.digits()), bound.unit);
        line!(
            page,
            "| {} | {} | {} | {} |",
            bound.what,
            measured.trim_end(),
            verdict(bound.promise),
            verdict(bound.goal)
        );
    }
    line!(page);
}

fn verdict(verdict: Option<Verdict>) -> String {
    verdict.map_or_else(String::new, |verdict| {
        let (side, value) = (verdict.limit.side.word(), verdict.limit.value);
        let outcome = match verdict.outcome {
            Outcome::Holds => "",
            Outcome::Missed => ", **missed**",
            Outcome::Undecided => ", undecided",
        };
        format!("{side} {value}{outcome}")
    })
}

fn render_not_compared(page: &mut String) {
    line!(page, "## Not compared\n");
    for (tool, why) in NOT_COMPARED {
        line!(page, "* {tool}: {why}.");
    }
}
