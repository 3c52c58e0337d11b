//! Which measures of a report have a promise or a goal, and how each compares. Asked when everything was
//! measured.

use super::{Report, WorkloadReport};
use crate::bench::bounds::{self, Bound, Limit};
use crate::bench::capture::{Capture, CaptureRound};
use crate::bench::kernel_time::KernelTime;
use crate::bench::load::{Pace, Workload};
use crate::bench::observers::Observer;
use crate::bench::statistics::{Spread, as_number};

impl Report {
    /// Compares what was measured with what is promised and with the goals, after everything was
    /// measured.
    pub(in crate::bench) fn check_bounds(&mut self) {
        let mut bounds = Vec::new();
        for report in &self.workloads {
            bounds.extend(bounds_of_rates(report));
        }
        bounds.extend(self.bounds_of_captures());
        for time in &self.kernel_time {
            bounds.extend(bounds_of_kernel_time(time));
        }
        bounds.extend(self.starts.iter().map(|starts| {
            let what = format!("{}, exec to hooks attached", starts.observer.title());
            let start = Spread::of(&starts.milliseconds);
            // The promise is older than the agent.
            let promise = (starts.observer == Observer::Trace).then_some(bounds::START_MS);
            Bound::new(what, start, "ms", promise, Some(bounds::START_MS_GOAL))
        }));
        self.bounds = bounds;
    }

    fn bounds_of_captures(&self) -> Vec<Bound> {
        let mut bounds = Vec::new();
        for capture in &self.captures {
            bounds.extend(bounds_of_capture(capture));
        }
        if !self.captures.is_empty() {
            let miscounted = self.captures.iter().map(|capture| capture.miscounted);
            let of_flows = self.flows.iter().map(CaptureRound::miscounted);
            let most = miscounted.chain(of_flows).max().map(single);
            let what = "resets sent, counted by rstmon beside OutRsts, largest difference";
            let exact = Some(bounds::NONE);
            bounds.push(Bound::new(what, most, "resets", exact, exact));
        }
        if let Some(flows) = &self.flows {
            let what = "rstmon agent, memory after a million flows";
            let goal = Some(bounds::FLOWS_MIB_GOAL);
            bounds.push(Bound::new(
                what,
                flows.resident_mib.map(Spread::single),
                "MiB",
                None,
                goal,
            ));
        }
        bounds
    }
}

fn bounds_of_rates(report: &WorkloadReport) -> Vec<Bound> {
    let mut bounds = Vec::new();
    for observer in [Observer::Trace, Observer::Agent] {
        let (promise, goal) = bounds::least_ratio(report.workload, observer);
        if promise.is_some() || goal.is_some() {
            let ratio = report.of(observer).and_then(|report| report.ratio);
            let what = format!(
                "{}, {} to nothing",
                report.workload.title(),
                observer.title()
            );
            bounds.push(Bound::new(what, ratio, "", promise, goal));
        }
    }
    if report.workload == Workload::Storm {
        for other in [Observer::Tcpdump, Observer::Bpftrace] {
            let what = format!(
                "{}, rstmon agent to {}",
                report.workload.title(),
                other.title()
            );
            let ratio = report.ratio_between(Observer::Agent, other);
            bounds.push(Bound::new(what, ratio, "", None, Some(bounds::ABOVE)));
        }
    }
    bounds
}

fn bounds_of_capture(capture: &Capture) -> Vec<Bound> {
    let mut bounds = Vec::new();
    let load = match capture.pace {
        Pace::Full => capture.workload.title().to_owned(),
        Pace::Paced => format!(
            "{}, up to 150,000 resets a second",
            capture.workload.title()
        ),
    };
    let name = capture.observer.title();
    let nothing = Some(bounds::NONE);
    let (promise, goal): (Option<Limit>, Option<Limit>) = match (capture.workload, capture.pace) {
        (Workload::Storm, Pace::Paced) => (nothing, nothing),
        (Workload::Storm | Workload::Mass, Pace::Full) => (None, nothing),
        // A flood is beyond the storm budget, which leaves events out on purpose.
        _ => (None, None),
    };
    if goal.is_some() {
        let what = format!("{load}, {name}, events lost");
        let lost = Some(single(capture.lost));
        bounds.push(Bound::new(what, lost, "events", promise, goal));
    }
    match (capture.observer, capture.workload, capture.pace) {
        (Observer::Trace, Workload::Storm, Pace::Paced) => {
            let what = format!("{load}, {name}, most memory");
            let (peak, promise) = (
                Some(Spread::single(capture.peak_mib)),
                Some(bounds::PEAK_MIB),
            );
            bounds.push(Bound::new(what, peak, "MiB", promise, None));
        }
        (Observer::Agent, Workload::Storm, _) => {
            let what = format!("{load}, {name}, user CPU time an event");
            let (user, goal) = (capture.user_ns_per_event, Some(bounds::USER_NS_GOAL));
            bounds.push(Bound::new(what, user, "ns", None, goal));
        }
        _ => {}
    }
    bounds
}

fn bounds_of_kernel_time(time: &KernelTime) -> Vec<Bound> {
    let load = time.workload.title();
    match time.workload {
        Workload::Storm => {
            let hooks = time.programs.iter().filter(|program| program.is_reset_hook);
            let mut bounds: Vec<Bound> = hooks
                .map(|program| {
                    let what = format!("{load}, kernel time a run of {}", program.name);
                    let measured = Some(program.ns_per_run);
                    Bound::new(what, measured, "ns", Some(bounds::KERNEL_NS), None)
                })
                .collect();
            bounds.push(Bound::new(
                format!("{load}, kernel time a reset, all programs"),
                time.ns_per_unit,
                "ns",
                Some(bounds::KERNEL_NS),
                Some(bounds::KERNEL_NS_GOAL),
            ));
            bounds
        }
        Workload::Connections => vec![Bound::new(
            format!("{load}, kernel time a connection, all programs"),
            time.ns_per_unit,
            "ns",
            None,
            Some(bounds::CONNECTION_NS_GOAL),
        )],
        // Where each is reported.
        Workload::Mass => vec![Bound::new(
            format!("{load}, kernel time a reset, all programs"),
            time.ns_per_unit,
            "ns",
            None,
            Some(bounds::KERNEL_NS_GOAL),
        )],
        _ => Vec::new(),
    }
}

/// A count that is one over all rounds.
fn single(count: u64) -> Spread {
    Spread::single(as_number(count))
}
