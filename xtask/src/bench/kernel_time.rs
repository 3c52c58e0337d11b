//! Time that BPF programs take in the kernel, from the kernel's own statistics
//! (`kernel.bpf_stats_enabled`). Called once per round by `run_bench`, apart from the throughput
//! runs: the statistics read the clock twice per run, which they measure as well (about 55 ns).

use super::load::{Load, Workload};
use super::observers::{Running, start_empty_program, start_trace};
use super::statistics::{Spread, as_number, median};
use super::{Workshop, settle};
use crate::process::read_output;
use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const STATISTICS_SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// A kernel setting changed for a while. Dropped, also on an error, it is put back; signals end
/// the bench through an error as well.
#[derive(Debug)]
struct Setting {
    path: PathBuf,
    former: String,
}

impl Setting {
    fn set(path: &Path, value: &str) -> anyhow::Result<Self> {
        let former =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let setting = Self {
            path: path.to_owned(),
            former: former.trim().to_owned(),
        };
        fs::write(path, value)
            .with_context(|| format!("cannot write {value} to {}", path.display()))?;
        Ok(setting)
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        if let Err(error) = fs::write(&self.path, &self.former) {
            super::progress(&format!(
                "cannot put {} back to {}: {error}; do it by hand",
                self.path.display(),
                self.former
            ));
        }
    }
}

/// One program as `bpftool prog show -j` lists it. The kernel gives times and runs only while it
/// keeps statistics, and bpftool only where they are not zero.
#[derive(Clone, Debug, Deserialize)]
struct ListedProgram {
    id: u32,
    #[serde(default)]
    name: String,
    #[serde(default)]
    run_time_ns: u64,
    #[serde(default)]
    run_cnt: u64,
}

/// What one program did between two listings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProgramRuns {
    name: String,
    nanoseconds: u64,
    runs: u64,
}

/// One measurement with statistics.
#[derive(Clone, Debug)]
pub(super) struct KernelRound {
    programs: Vec<ProgramRuns>,
    /// Resets or requests.
    units: u64,
    empty_ns: Option<f64>,
}

/// Kernel time over all rounds of a load.
#[derive(Clone, Debug, Serialize)]
pub(super) struct KernelTime {
    /// The load.
    pub(super) workload: Workload,
    /// By program, those that ran; ordered by name.
    pub(super) programs: Vec<ProgramTime>,
    /// Time of all programs together by the number of resets, sent and received, of a load
    /// of resets, or by the number of requests.
    pub(super) ns_per_unit: Option<Spread>,
    /// Runs of all programs together by the same number.
    pub(super) runs_per_unit: Option<f64>,
    /// Median time of a run of a program that does nothing: what each run above includes.
    pub(super) empty_program_ns: Option<f64>,
}

impl KernelTime {
    /// `ns_per_unit` as a multiple of the empty program.
    pub(super) fn multiple_of_empty(&self) -> Option<f64> {
        Some(self.ns_per_unit?.median / self.empty_program_ns?)
    }

    /// What of `ns_per_unit` as many runs of a program that does nothing would not have taken, at
    /// so much a run: without the statistics' own clock and the way into a program.
    pub(super) fn beyond_empty(&self, empty_program_ns: Option<f64>) -> Option<f64> {
        Some(self.ns_per_unit?.median - self.runs_per_unit? * empty_program_ns?)
    }
}

/// Kernel time of one program.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ProgramTime {
    /// Its name.
    pub(super) name: String,
    /// Nanoseconds per run, of each round.
    pub(super) ns_per_run: Spread,
    /// Runs in all rounds.
    pub(super) runs: u64,
    /// Whether it runs for each reset that is sent or received.
    pub(super) is_reset_hook: bool,
}

/// A load watched by rstmon, with statistics; a storm watched by a program that does nothing, too.
pub(super) fn measure_kernel_time(load: &Load, shop: &Workshop) -> anyhow::Result<KernelRound> {
    let _statistics = Setting::set(Path::new(STATISTICS_SWITCH), "1")?;
    let rstmon = start_trace(shop, Stdio::null())?;
    let (programs, count) = run_and_count(&rstmon, load, shop)?;
    rstmon.end()?;
    settle(shop)?;
    // bpftrace may be missing; the multiple of the empty program then stays unknown.
    let empty_ns = (load.workload == Workload::Storm)
        .then(|| measure_empty_program(load, shop).ok())
        .flatten();
    shop.interrupt.check()?;
    Ok(KernelRound {
        programs,
        units: count * load.workload.resets_of_each().unwrap_or(1),
        empty_ns,
    })
}

fn measure_empty_program(storm: &Load, shop: &Workshop) -> anyhow::Result<f64> {
    let running = start_empty_program(shop)?;
    let (programs, _) = run_and_count(&running, storm, shop)?;
    running.end()?;
    let nanoseconds: u64 = programs.iter().map(|program| program.nanoseconds).sum();
    let runs: u64 = programs.iter().map(|program| program.runs).sum();
    ensure!(runs > 0, "the empty programs did not run");
    Ok(as_number(nanoseconds) / as_number(runs))
}

/// What the observer's programs did under the load, and what the load did.
fn run_and_count(
    observer: &Running,
    load: &Load,
    shop: &Workshop,
) -> anyhow::Result<(Vec<ProgramRuns>, u64)> {
    let ids = observer.program_ids()?;
    ensure!(!ids.is_empty(), "the observer holds no BPF program");
    let before = list_programs()?;
    let work = load.run(shop)?;
    let after = list_programs()?;
    Ok((difference(&before, &after, &ids), work.count))
}

fn list_programs() -> anyhow::Result<Vec<ListedProgram>> {
    parse_programs(&read_output(
        Command::new("bpftool").args(["prog", "show", "-j"]),
    )?)
}

fn parse_programs(json: &[u8]) -> anyhow::Result<Vec<ListedProgram>> {
    serde_json::from_slice(json).context("bpftool prog show -j printed something unknown")
}

/// The programs of `ids` that ran between the listings.
fn difference(
    before: &[ListedProgram],
    after: &[ListedProgram],
    ids: &BTreeSet<u32>,
) -> Vec<ProgramRuns> {
    after
        .iter()
        .filter(|program| ids.contains(&program.id))
        .map(|program| {
            let former = before.iter().find(|former| former.id == program.id);
            let (time, runs) = former.map_or((0, 0), |former| (former.run_time_ns, former.run_cnt));
            ProgramRuns {
                name: program.name.clone(),
                nanoseconds: program.run_time_ns.saturating_sub(time),
                runs: program.run_cnt.saturating_sub(runs),
            }
        })
        .filter(|program| program.runs > 0)
        .collect()
}

/// Whether a program's name is that of a hook on sending or receiving a reset. The kernel keeps
/// 15 bytes of a name, and bpftool the rest only where the program has BTF.
fn is_reset_hook(name: &str) -> bool {
    let cut = ["tcp_send", "tcp_rece"];
    name.contains("reset")
        || ["raw_tp_", "tp_btf_"]
            .iter()
            .filter_map(|variant| name.strip_prefix(variant))
            .any(|hook| cut.contains(&hook))
}

/// The rounds together. None of no rounds.
pub(super) fn summarize(workload: Workload, rounds: &[KernelRound]) -> Option<KernelTime> {
    if rounds.is_empty() {
        return None;
    }
    let mut by_name: BTreeMap<&str, (Vec<f64>, u64)> = BTreeMap::new();
    for program in rounds.iter().flat_map(|round| &round.programs) {
        let (times, runs) = by_name.entry(&program.name).or_default();
        times.push(as_number(program.nanoseconds) / as_number(program.runs));
        *runs += program.runs;
    }
    let programs: Vec<ProgramTime> = by_name
        .into_iter()
        .filter_map(|(name, (times, runs))| {
            Some(ProgramTime {
                name: name.to_owned(),
                ns_per_run: Spread::of(&times)?,
                runs,
                is_reset_hook: is_reset_hook(name),
            })
        })
        .collect();
    let per_unit: Vec<f64> = rounds.iter().map(ns_per_unit).collect();
    let runs: u64 = programs.iter().map(|program| program.runs).sum();
    let units: u64 = rounds.iter().map(|round| round.units).sum();
    let empty: Vec<f64> = rounds.iter().filter_map(|round| round.empty_ns).collect();
    Some(KernelTime {
        workload,
        programs,
        ns_per_unit: Spread::of(&per_unit),
        runs_per_unit: (units > 0).then(|| as_number(runs) / as_number(units)),
        empty_program_ns: median(&empty),
    })
}

fn ns_per_unit(round: &KernelRound) -> f64 {
    let sum: u64 = round
        .programs
        .iter()
        .map(|program| program.nanoseconds)
        .sum();
    as_number(sum) / as_number(round.units)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a failed test panics"
    )]

    use super::{
        KernelRound, KernelTime, ProgramRuns, Setting, Spread, Workload, difference, is_reset_hook,
        parse_programs, summarize,
    };
    use std::collections::BTreeSet;
    use std::fs;

    const BEFORE: &[u8] = br#"[{"id":7,"type":"cgroup_skb","tag":"00","gpl_compatible":true},
        {"id":11,"type":"raw_tracepoint","name":"raw_tp_tcp_send_reset","run_time_ns":1000,"run_cnt":10},
        {"id":12,"type":"raw_tracepoint","name":"raw_tp_kfree_skb"}]"#;
    const AFTER: &[u8] = br#"[{"id":7,"type":"cgroup_skb","tag":"00","run_time_ns":9,"run_cnt":9},
        {"id":11,"type":"raw_tracepoint","name":"raw_tp_tcp_send_reset","run_time_ns":4000,"run_cnt":20},
        {"id":12,"type":"raw_tracepoint","name":"raw_tp_kfree_skb","run_time_ns":600,"run_cnt":3},
        {"id":13,"type":"raw_tracepoint","name":"raw_tp_unused"}]"#;

    #[test]
    fn only_own_programs_that_ran_count_and_only_since_the_first_listing() {
        let ids = BTreeSet::from([11, 12, 13]);
        let before = parse_programs(BEFORE).unwrap();
        let after = parse_programs(AFTER).unwrap();
        let runs = |name: &str, nanoseconds, runs| ProgramRuns {
            name: name.to_owned(),
            nanoseconds,
            runs,
        };
        assert_eq!(
            difference(&before, &after, &ids),
            [
                runs("raw_tp_tcp_send_reset", 3000, 10),
                runs("raw_tp_kfree_skb", 600, 3)
            ]
        );
    }

    #[test]
    fn what_is_no_list_of_programs_is_refused() {
        assert!(parse_programs(b"").is_err());
        assert!(parse_programs(br#"{"error":"permission"}"#).is_err());
        assert!(parse_programs(br#"[{"name":"no id"}]"#).is_err());
    }

    #[test]
    fn reset_hooks_are_known_by_whole_and_by_cut_names() {
        assert!(is_reset_hook("raw_tp_tcp_receive_reset"));
        assert!(is_reset_hook("raw_tp_tcp_rece"));
        assert!(is_reset_hook("tp_btf_tcp_rece"));
        assert!(is_reset_hook("kprobe_tcp_v4_send_reset"));
        assert!(!is_reset_hook("raw_tp_kfree_skb"));
        assert!(!is_reset_hook("raw_tp_inet_soc"));
    }

    #[test]
    fn a_summary_takes_the_median_of_the_rounds() {
        let round = |nanoseconds, units| KernelRound {
            programs: vec![ProgramRuns {
                name: "reset".to_owned(),
                nanoseconds,
                runs: 10,
            }],
            units,
            empty_ns: None,
        };
        let time = summarize(
            Workload::Storm,
            &[round(1000, 10), round(5000, 10), round(2000, 10)],
        )
        .unwrap();
        let spread = Spread {
            median: 200.0,
            lowest: 100.0,
            highest: 500.0,
        };
        assert_eq!(time.ns_per_unit, Some(spread));
        assert!((time.programs[0].ns_per_run.median - 200.0).abs() < 1e-9);
        assert_eq!(time.programs[0].runs, 30);
        assert_eq!(time.empty_program_ns, None);
        assert_eq!(time.multiple_of_empty(), None);
        let beside_empty = KernelTime {
            empty_program_ns: Some(80.0),
            ..time
        };
        assert_eq!(beside_empty.multiple_of_empty(), Some(2.5));
        // Each of the rounds' units was one run.
        assert_eq!(beside_empty.beyond_empty(Some(80.0)), Some(120.0));
        assert_eq!(beside_empty.beyond_empty(None), None);
        assert!(summarize(Workload::Storm, &[]).is_none());
    }

    #[test]
    fn a_setting_is_put_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("switch");
        fs::write(&path, "0\n").unwrap();
        let setting = Setting::set(&path, "1").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1");
        drop(setting);
        assert_eq!(fs::read_to_string(&path).unwrap(), "0");
    }
}
