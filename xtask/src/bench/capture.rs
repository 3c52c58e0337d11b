//! What rstmon itself did under a load of resets: events seen and lost, counts beside the kernel's own,
//! CPU time, memory. Called by `run_bench`, apart from the throughput runs: here the events of
//! `rstmon trace` go to a file in memory, since the last line says what was lost; the agent says it in
//! its metrics.

use super::load::{Limits, Load, Pace, Work, Workload, run_flood};
use super::observers::{Agent, Ended, Observer, folder_in_memory, start_trace};
use super::snmp::read_out_rsts;
use super::statistics::{Spread, as_number};
use super::{Workshop, settle};
use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::process::Stdio;
use std::time::Duration;

/// The end record is far shorter than this, so it lies whole in the last stretch of the output.
const LAST_STRETCH: u64 = 64 * 1024;
const END_SCHEMA: &str = "rstmon.end/1";
/// Stages that lose what was diagnosed already.
const STAGES_AFTER_DIAGNOSIS: [&str; 2] = ["event-log", "socket-client"];
/// Flows after which the agent's memory is looked at, and how many begin in a second: each is a reset
/// sent and one received, and none may be left out by the storm budget.
const FLOWS: u32 = 1_000_000;
const FLOWS_PER_SECOND: u32 = 50_000;
/// A flood of them that takes longer is given up.
const FLOWS_LIMIT: Duration = Duration::from_mins(2);

/// The last line of `rstmon trace -o jsonl`, as far as the bench needs it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct EndRecord {
    schema: String,
    seen: u64,
    written: u64,
    filtered: u64,
    lost: BTreeMap<String, u64>,
    kernel_counts: BTreeMap<String, u64>,
}

/// One load watched by rstmon.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CaptureRound {
    /// Connections refused, reset or answered, a second.
    pub(super) rate: f64,
    /// The same in all: each is one reset sent and one received.
    pub(super) count: u64,
    /// Resets that the kernel says it sent (`OutRsts` of /proc/net/snmp), from the hooks being
    /// attached until just before the end.
    pub(super) out_rsts: u64,
    /// Resets sent as rstmon counted them.
    pub(super) sent: u64,
    /// Resets of all kinds as rstmon counted them.
    pub(super) counted: u64,
    /// Events that were reported.
    pub(super) reported: u64,
    /// Events lost by stage.
    pub(super) lost: BTreeMap<String, u64>,
    /// CPU time of the process in its own code since it watched, seconds.
    pub(super) user_seconds: f64,
    /// CPU time of the process in the kernel since then, seconds.
    pub(super) system_seconds: f64,
    /// Most memory resident at any time, MiB.
    pub(super) peak_mib: f64,
    /// Memory resident after the load, MiB; of the agent.
    pub(super) resident_mib: Option<f64>,
}

impl CaptureRound {
    /// Events lost at all stages.
    pub(super) fn lost_in_all(&self) -> u64 {
        self.lost.values().sum()
    }

    /// How far rstmon's count of resets sent is from the kernel's.
    pub(super) fn miscounted(&self) -> u64 {
        self.sent.abs_diff(self.out_rsts)
    }
}

/// Every round of a load watched by rstmon, and the medians that the table shows.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Capture {
    /// Who watched.
    pub(super) observer: Observer,
    /// The load.
    pub(super) workload: Workload,
    /// How hard it drove.
    pub(super) pace: Pace,
    /// CPU time in the process's own code by the number of events reported, nanoseconds.
    pub(super) user_ns_per_event: Option<Spread>,
    /// CPU time of the process in the kernel by the number of events reported, nanoseconds.
    pub(super) system_ns_per_event: Option<Spread>,
    /// Highest of all rounds.
    pub(super) peak_mib: f64,
    /// Sum of all rounds.
    pub(super) lost: u64,
    /// Largest difference of a round.
    pub(super) miscounted: u64,
    /// The rounds.
    pub(super) rounds: Vec<CaptureRound>,
}

/// What is watched in this way: who, and how hard the load drives.
pub(super) fn captures_of(workload: Workload) -> &'static [(Observer, Pace)] {
    const BOTH: &[(Observer, Pace)] =
        &[(Observer::Trace, Pace::Full), (Observer::Agent, Pace::Full)];
    match workload {
        Workload::Storm => &[
            (Observer::Trace, Pace::Paced),
            (Observer::Trace, Pace::Full),
            (Observer::Agent, Pace::Paced),
            (Observer::Agent, Pace::Full),
        ],
        Workload::Flood | Workload::Mass => BOTH,
        Workload::Keepalive | Workload::Connections | Workload::Proxy => &[],
    }
}

/// One load watched by rstmon.
pub(super) fn measure_capture(
    observer: Observer,
    load: &Load,
    pace: Pace,
    shop: &Workshop,
) -> anyhow::Result<CaptureRound> {
    match observer {
        Observer::Trace => watch_by_trace(shop, || load.run_at(pace, shop)),
        Observer::Agent => watch_by_agent(shop, || load.run_at(pace, shop)),
        _ => bail!("{} reports no events to the bench", observer.title()),
    }
}

/// The agent after a million flows.
pub(super) fn measure_flows(shop: &Workshop) -> anyhow::Result<CaptureRound> {
    let limits = Limits {
        duration: FLOWS_LIMIT,
        syns: FLOWS,
        rate: Some(FLOWS_PER_SECOND),
    };
    watch_by_agent(shop, || run_flood(limits, &shop.interrupt))
}

fn watch_by_trace(
    shop: &Workshop,
    run: impl Fn() -> anyhow::Result<Work>,
) -> anyhow::Result<CaptureRound> {
    let folder = folder_in_memory().context("cannot create a directory for the events")?;
    let path = folder.path().join("events.jsonl");
    let output = File::create(&path).context("cannot create the file for the events")?;
    let running = start_trace(shop, Stdio::from(output))?;
    let before = read_out_rsts()?;
    let work = run()?;
    settle(shop)?;
    let out_rsts = read_out_rsts()?.saturating_sub(before);
    let ended = running.end()?;
    let file = File::open(&path).context("cannot open the file of the events")?;
    let end = read_end_record(&file)?;
    ensure!(
        end.seen == end.written + end.filtered,
        "the end record does not add up: seen {}, written {}, filtered {}",
        end.seen,
        end.written,
        end.filtered
    );
    let counts = Counts {
        out_rsts,
        sent: end.kernel_counts.get("sent").copied().unwrap_or_default(),
        counted: end.kernel_counts.values().sum(),
        reported: end.written,
        lost: end.lost,
    };
    Ok(as_round(work, counts, &ended, None))
}

fn watch_by_agent(
    shop: &Workshop,
    run: impl Fn() -> anyhow::Result<Work>,
) -> anyhow::Result<CaptureRound> {
    let agent = Agent::start(shop)?;
    let before = read_out_rsts()?;
    let work = run()?;
    settle(shop)?;
    let counts = agent.counts()?;
    let out_rsts = read_out_rsts()?.saturating_sub(before);
    let resident = agent.resident_kib()?;
    let (ended, _) = agent.end()?;
    let undiagnosed = counts
        .lost
        .iter()
        .filter(|(stage, _)| !STAGES_AFTER_DIAGNOSIS.contains(&stage.as_str()));
    let undiagnosed: u64 = undiagnosed.map(|(_, lost)| lost).sum();
    let counts = Counts {
        out_rsts,
        sent: counts.sent,
        counted: counts.counted,
        reported: counts.counted.saturating_sub(undiagnosed),
        lost: counts.lost,
    };
    Ok(as_round(work, counts, &ended, Some(resident)))
}

struct Counts {
    out_rsts: u64,
    sent: u64,
    counted: u64,
    reported: u64,
    lost: BTreeMap<String, u64>,
}

fn as_round(work: Work, counts: Counts, ended: &Ended, resident_kib: Option<u64>) -> CaptureRound {
    let as_mib = |kib| as_number(kib) / 1024.0;
    CaptureRound {
        rate: work.rate,
        count: work.count,
        out_rsts: counts.out_rsts,
        sent: counts.sent,
        counted: counts.counted,
        reported: counts.reported,
        lost: counts.lost,
        user_seconds: ended.cpu.user.as_secs_f64(),
        system_seconds: ended.cpu.system.as_secs_f64(),
        peak_mib: as_mib(ended.peak_kib),
        resident_mib: resident_kib.map(as_mib),
    }
}

/// The rounds together. None of no rounds.
pub(super) fn summarize(
    observer: Observer,
    workload: Workload,
    pace: Pace,
    rounds: Vec<CaptureRound>,
) -> Option<Capture> {
    if rounds.is_empty() {
        return None;
    }
    let per_event = |seconds: fn(&CaptureRound) -> f64| {
        let values: Vec<f64> = rounds
            .iter()
            .filter(|round| round.reported > 0)
            .map(|round| seconds(round) * 1e9 / as_number(round.reported))
            .collect();
        Spread::of(&values)
    };
    Some(Capture {
        observer,
        workload,
        pace,
        user_ns_per_event: per_event(|round| round.user_seconds),
        system_ns_per_event: per_event(|round| round.system_seconds),
        peak_mib: rounds
            .iter()
            .map(|round| round.peak_mib)
            .fold(0.0, f64::max),
        lost: rounds.iter().map(CaptureRound::lost_in_all).sum(),
        miscounted: rounds
            .iter()
            .map(CaptureRound::miscounted)
            .max()
            .unwrap_or_default(),
        rounds,
    })
}

/// The end record in the last stretch of the output.
fn read_end_record(mut file: &File) -> anyhow::Result<EndRecord> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(LAST_STRETCH)))?;
    let mut stretch = Vec::new();
    file.read_to_end(&mut stretch)
        .context("cannot read the events")?;
    parse_end_record(&String::from_utf8_lossy(&stretch))
}

fn parse_end_record(output: &str) -> anyhow::Result<EndRecord> {
    let line = output
        .lines()
        .next_back()
        .context("rstmon printed nothing")?;
    let record: EndRecord = serde_json::from_str(line)
        .with_context(|| format!("the last line of rstmon is no end record: {line}"))?;
    ensure!(
        record.schema == END_SCHEMA,
        "the last line of rstmon is no {END_SCHEMA}: {line}"
    );
    Ok(record)
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a failed test panics"
    )]

    use super::{CaptureRound, Observer, Pace, Spread, Workload, parse_end_record, summarize};
    use std::collections::BTreeMap;

    const END: &str = r#"{"schema":"rstmon.end/1","seen":9,"written":7,"filtered":2,"lost":{"ring":3,"budget":1},"kernel_counts":{"sent":6,"received":7},"more":true}"#;

    #[test]
    fn the_last_line_is_the_end_record() {
        let output = format!("cut in the middle\"}}\n{{\"schema\":\"rstmon.event/1\"}}\n{END}\n");
        let record = parse_end_record(&output).unwrap();
        assert_eq!((record.seen, record.written, record.filtered), (9, 7, 2));
        assert_eq!(record.lost["ring"], 3);
        assert_eq!(record.kernel_counts["received"], 7);
    }

    #[test]
    fn a_run_without_an_end_record_is_refused() {
        assert!(parse_end_record("").is_err());
        assert!(parse_end_record("{\"schema\":\"rstmon.event/1\"}\n").is_err());
        assert!(parse_end_record(&END.replace("end/1", "end/2")).is_err());
        assert!(parse_end_record(&END[..40]).is_err());
        assert!(parse_end_record(&END.replace("\"ring\":3", "\"ring\":-3")).is_err());
    }

    /// A round of the tests, here and of the report.
    pub(in crate::bench) fn round(reported: u64, ring_lost: u64, peak_mib: f64) -> CaptureRound {
        CaptureRound {
            rate: 1.0,
            count: reported / 2,
            out_rsts: reported / 2,
            sent: reported / 2,
            counted: reported + ring_lost + 1,
            reported,
            lost: BTreeMap::from([("ring".to_owned(), ring_lost), ("budget".to_owned(), 1)]),
            user_seconds: 1.0,
            system_seconds: 2.0,
            peak_mib,
            resident_mib: None,
        }
    }

    #[test]
    fn a_summary_adds_losses_and_takes_the_highest_memory() {
        let mut miscounted = round(500_000, 0, 10.0);
        miscounted.sent += 3;
        let rounds = vec![round(1_000_000, 0, 20.0), round(0, 2, 30.0), miscounted];
        let capture = summarize(Observer::Agent, Workload::Storm, Pace::Full, rounds).unwrap();
        assert_eq!(capture.lost, 5);
        assert_eq!(capture.miscounted, 3);
        assert!((capture.peak_mib - 30.0).abs() < 1e-9);
        let median = |spread: Option<Spread>| spread.map(|spread| spread.median);
        assert_eq!(median(capture.user_ns_per_event), Some(1500.0));
        assert_eq!(median(capture.system_ns_per_event), Some(3000.0));
        let none = summarize(Observer::Agent, Workload::Storm, Pace::Full, Vec::new());
        assert!(none.is_none());
    }
}
