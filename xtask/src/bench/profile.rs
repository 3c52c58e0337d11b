//! Where the agent's own processor time goes while it reports every reset of a storm: what a goal
//! that does not hold would have to save. Called once by `run_bench`, under the paced load of refused
//! connections, so that nothing is left out.
//!
//! By perf's samples of the processor's clock, each counted to the part of rstmon whose function it
//! was taken in; what no part owns is the library's or the kernel's.

use super::Workshop;
use super::load::{Load, Pace};
use super::observers::{Agent, Running};
use super::statistics::as_number;
use crate::process::read_output;
use anyhow::{Context, ensure};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// Samples a second of each thread: no multiple of what the agent does on time.
const SAMPLES_PER_SECOND: &str = "2999";
/// A part whose functions have less than this is shown with the rest.
const LEAST_SHARE: f64 = 0.01;
/// Functions that are shown.
const SHOWN_FUNCTIONS: usize = 15;
/// Where the agent's own functions are.
const CRATE: &str = "rstmon::";
/// What its two sides share.
const COMMON_CRATE: &str = "rstmon_common::";
/// What frees the memory of a type, whose name it bears.
const DROPS: &str = "core::ptr::drop_in_place<";
/// What has too few samples to be shown.
const REST: &str = "the rest";

/// Where the samples fell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Profile {
    /// How hard the load drove: resets, sent and received.
    pub(super) resets_per_second: f64,
    /// Samples in all.
    pub(super) samples: u64,
    /// By part, the largest first.
    pub(super) parts: Vec<Share>,
    /// Of functions, the largest first.
    pub(super) functions: Vec<Share>,
}

/// What has a share of the samples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Share {
    /// Its name.
    pub(super) name: String,
    /// Its part of all.
    pub(super) share: f64,
}

/// Takes the profile.
pub(super) fn measure_profile(storm: &Load, shop: &Workshop) -> anyhow::Result<Profile> {
    let agent = Agent::start(shop)?;
    let file = shop.scratch.path().join("profile.data");
    let mut record = Command::new("perf");
    record
        .args(["record", "-q", "-e", "cpu-clock", "-F", SAMPLES_PER_SECOND])
        .args(["-p", &agent.pid().to_string(), "-o"])
        .arg(&file)
        .stdout(Stdio::null());
    let mut perf = Running::spawn("perf", &mut record, shop)?;
    perf.wait_until(&shop.interrupt, |_| Ok(file.exists()))?;
    let work = storm.run_at(Pace::Paced, shop);
    perf.end()?;
    agent.end()?;
    let resets_of_each = storm.workload.resets_of_each().unwrap_or(1);
    let resets_per_second = work?.rate * as_number(resets_of_each);
    parse_profile(&read_report(&file)?, resets_per_second)
}

/// A line a function: samples, separator, where it is, name.
fn read_report(file: &Path) -> anyhow::Result<String> {
    let report = read_output(
        Command::new("perf")
            .args(["report", "-q", "--stdio", "--no-children", "-g", "none"])
            .args(["-F", "sample,sym", "-t", ";", "-i"])
            .arg(file),
    )?;
    Ok(String::from_utf8_lossy(&report).into_owned())
}

fn parse_profile(report: &str, resets_per_second: f64) -> anyhow::Result<Profile> {
    let mut functions = BTreeMap::<String, u64>::new();
    let mut parts = BTreeMap::<String, u64>::new();
    for line in report.lines().filter(|line| !line.trim().is_empty()) {
        let (count, symbol) = parse_line(line)
            .with_context(|| format!("perf report printed something unknown: {line}"))?;
        *functions.entry(symbol.name.to_owned()).or_default() += count;
        *parts.entry(symbol.part()).or_default() += count;
    }
    let samples = functions.values().sum();
    ensure!(samples > 0, "perf took no sample");
    let mut functions = shares(functions, samples);
    functions.truncate(SHOWN_FUNCTIONS);
    Ok(Profile {
        resets_per_second,
        samples,
        parts: with_rest(shares(parts, samples)),
        functions,
    })
}

/// A function, as perf names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Symbol<'a> {
    is_of_kernel: bool,
    name: &'a str,
}

impl Symbol<'_> {
    /// The part of rstmon that it belongs to: the module below the crate's root, also where it
    /// implements a trait for another's type.
    fn part(self) -> String {
        if self.is_of_kernel {
            return "the kernel, for it".to_owned();
        }
        if self.name.contains(COMMON_CRATE) {
            return "`rstmon-common`".to_owned();
        }
        let own = (!self.name.starts_with(DROPS)).then(|| self.name.split_once(CRATE));
        let Some((_, path)) = own.flatten() else {
            return "libraries: memory, hashing, tables".to_owned();
        };
        let end = path.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
        format!("`{}`", &path[..end.unwrap_or(path.len())])
    }
}

fn parse_line(line: &str) -> Option<(u64, Symbol<'_>)> {
    let (count, symbol) = line.split_once(';')?;
    let (place, name) = symbol.trim().split_once(' ')?;
    let symbol = Symbol {
        is_of_kernel: place == "[k]",
        name: name.trim(),
    };
    Some((count.trim().parse().ok()?, symbol))
}

fn shares(counts: BTreeMap<String, u64>, samples: u64) -> Vec<Share> {
    let mut shares: Vec<Share> = counts
        .into_iter()
        .map(|(name, count)| Share {
            name,
            share: as_number(count) / as_number(samples),
        })
        .collect();
    shares.sort_by(|a, b| b.share.total_cmp(&a.share));
    shares
}

/// Puts the small ones together.
fn with_rest(shares: Vec<Share>) -> Vec<Share> {
    let (mut shown, small): (Vec<Share>, Vec<Share>) = shares
        .into_iter()
        .partition(|share| share.share >= LEAST_SHARE);
    let share: f64 = small.iter().map(|small| small.share).sum();
    if share > 0.0 {
        let name = REST.to_owned();
        shown.push(Share { name, share });
    }
    shown
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::{Symbol, measure_profile, parse_line, parse_profile};
    use crate::bench::load::{Load, Workload};
    use crate::bench::testing::{can_run, rstmon, workshop};

    const REPORT: &str = "\n \
        50        ;[.] <&str as rstmon::sink::jsonl::json::JsonValue>::write\n \
        30        ;[.] rstmon::board::Board::record\n \
        15        ;[k] finish_task_switch.isra.0\n \
        4         ;[.] lru::LruCache<K,V,S>::put\n \
        1         ;[.] rstmon::sink::jsonl::EventLines::render\n\n";

    #[test]
    fn samples_are_counted_to_the_parts_of_rstmon() {
        let profile = parse_profile(REPORT, 1.0).unwrap();
        assert_eq!(profile.samples, 100);
        let parts: Vec<(&str, f64)> = profile
            .parts
            .iter()
            .map(|part| (part.name.as_str(), part.share))
            .collect();
        assert_eq!(
            parts,
            [
                ("`sink`", 0.51),
                ("`board`", 0.3),
                ("the kernel, for it", 0.15),
                ("libraries: memory, hashing, tables", 0.04),
            ]
        );
        assert_eq!(profile.functions.len(), 5);
        assert!((profile.functions[0].share - 0.5).abs() < 1e-9);
    }

    #[test]
    fn what_bears_a_name_of_rstmon_is_not_always_its_part() {
        for (name, part) in [
            ("rstmon_common::wire::RawEvent::x", "`rstmon-common`"),
            (
                "core::ptr::drop_in_place<rstmon::board::Board>",
                "libraries: memory, hashing, tables",
            ),
        ] {
            let is_of_kernel = false;
            assert_eq!(Symbol { is_of_kernel, name }.part(), part);
        }
    }

    #[test]
    fn small_parts_are_the_rest() {
        let report = "999;[.] rstmon::event::decode\n1;[k] x\n";
        let names: Vec<String> = parse_profile(report, 1.0)
            .unwrap()
            .parts
            .into_iter()
            .map(|part| part.name)
            .collect();
        assert_eq!(names, ["`event`", "the rest"]);
    }

    #[test]
    fn a_report_of_another_form_is_refused() {
        for bad in ["", "5 [.] x\n", "x;[.] y\n", "5;x\n"] {
            assert!(parse_profile(bad, 1.0).is_err(), "{bad:?}");
        }
        let symbol = Symbol {
            is_of_kernel: false,
            name: "a b<c>",
        };
        assert_eq!(parse_line(" 7 ;[.] a b<c>"), Some((7, symbol)));
    }

    #[test]
    fn a_real_agent_has_its_profile() {
        if !can_run(&["perf"]) {
            return;
        }
        let Some(rstmon) = rstmon() else {
            return;
        };
        let shop = workshop(rstmon);
        let storm = Load::prepare(Workload::Storm, &shop).unwrap();
        let profile = measure_profile(&storm, &shop).unwrap();
        assert!(profile.samples > 10, "{profile:?}");
        assert!(
            profile.parts.iter().any(|part| part.name == "`sink`"),
            "{profile:?}"
        );
    }
}
