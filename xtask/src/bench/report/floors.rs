//! What the goals that do not hold would need: what programs that do nothing take already, what
//! reporting every event takes of the machine, and where the agent's own time goes. A part of the page
//! docs/performance.md; its numbers are computed from what was measured in the same run, and from the
//! goals.

use super::{Report, number};
use crate::bench::bounds::USER_NS_GOAL;
use crate::bench::kernel_time::KernelTime;
use crate::bench::load::{Pace, Workload};
use crate::bench::observers::Observer;
use crate::bench::profile::{Profile, Share};
use crate::bench::statistics::as_number;
use std::fmt::Write;

impl Report {
    /// The section. Empty if nothing of it was measured.
    pub(super) fn render_floors(&self) -> String {
        let mut lines: Vec<String> = [Workload::Storm, Workload::Connections]
            .into_iter()
            .filter_map(|workload| self.floor_of_programs(workload))
            .collect();
        lines.extend(self.cost_of_reporting());
        let mut section = String::new();
        if !lines.is_empty() {
            section.push_str("## Floors\n\n");
            for line in lines {
                section.push_str(&line);
                section.push('\n');
            }
            section.push('\n');
        }
        if let Some(profile) = &self.profile {
            section.push_str("## Where the agent's own time goes\n\n");
            match profile {
                Ok(profile) => section.push_str(&render_profile(profile)),
                Err(why) => {
                    let _ = writeln!(section, "Not measured: {why}.\n");
                }
            }
        }
        section
    }

    /// What programs that do nothing would take where those of rstmon run.
    fn floor_of_programs(&self, workload: Workload) -> Option<String> {
        let time = self
            .kernel_time
            .iter()
            .find(|time| time.workload == workload)?;
        let (runs, empty) = (time.runs_per_unit?, self.empty_program_ns()?);
        let each = match workload {
            Workload::Storm | Workload::Flood | Workload::Mass => "Reset",
            Workload::Keepalive | Workload::Connections | Workload::Proxy => {
                "Request, with both ends of its connection on this machine"
            }
        };
        Some(format!(
            "* {each}: programs run {} times. Where they do nothing that takes {} ns of the {} \
             measured.",
            number(Some(runs), 1),
            number(Some(runs * empty), 0),
            number(median_of(time), 0)
        ))
    }

    /// What part of the machine the agent needs to report every event of a storm.
    fn cost_of_reporting(&self) -> Option<String> {
        let capture = self.captures.iter().find(|capture| {
            (capture.observer, capture.workload, capture.pace)
                == (Observer::Agent, Workload::Storm, Pace::Paced)
        })?;
        let storm = self
            .workloads
            .iter()
            .find(|report| report.workload == Workload::Storm)?;
        let resets = storm.of(Observer::Nothing)?.median_rate?
            * as_number(Workload::Storm.resets_of_each()?);
        let user = capture.user_ns_per_event?.median;
        let system = capture.system_ns_per_event?.median;
        let processors = as_number(u64::try_from(self.machine.processors).ok()?);
        let share = resets * (user + system) / 1e9 / processors;
        let goal = USER_NS_GOAL.value;
        let at_goal = resets * goal / 1e9 / processors;
        Some(format!(
            "* Storm: {resets:.0} events a second, if nobody watches. Where the agent reports all of \
             them, each takes {user:.0} ns of its user time and {system:.0} ns of its system time, \
             together {:.1} % of this machine's {processors:.0} processors, which the load cannot \
             have; at {goal:.0} ns of user time and nothing else it would be {:.1} %. Beyond the storm \
             budget, once a flood has gone on for a second, a part is reported.",
            share * 100.0,
            at_goal * 100.0,
        ))
    }
}

fn median_of(time: &KernelTime) -> Option<f64> {
    time.ns_per_unit.map(|spread| spread.median)
}

/// Writing to a string cannot fail.
fn render_profile(profile: &Profile) -> String {
    let mut text = format!(
        "With everything on, under {:.0} resets a second; {} samples of the processor's clock, of all \
         its threads. Modules of rstmon are named.\n\n",
        profile.resets_per_second, profile.samples
    );
    render_shares(&mut text, "part", &profile.parts, ToOwned::to_owned);
    text.push_str("\nThe functions with most of it:\n\n");
    render_shares(&mut text, "function", &profile.functions, |name| {
        format!("`{}`", name.replace('|', "/"))
    });
    text.push('\n');
    text
}

fn render_shares(text: &mut String, title: &str, shares: &[Share], cell: impl Fn(&str) -> String) {
    let _ = writeln!(text, "| {title} | of its time |\n| --- | --- |");
    for share in shares {
        let _ = writeln!(
            text,
            "| {} | {:.1} % |",
            cell(&share.name),
            share.share * 100.0
        );
    }
}
