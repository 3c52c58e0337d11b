//! What rstmon itself did in a paced storm (events seen and lost, CPU time, memory) and how long it takes
//! from exec to the hooks. Called by `run_bench`, apart from the throughput runs: here the events
//! go to a file in memory, since the last line says what was lost.

use super::load::{Load, as_number};
use super::observers::{Running, rstmon_command, start_rstmon};
use super::statistics::median;
use super::{Workshop, settle};
use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The end record is far shorter than this, so it lies whole in the last stretch of the output.
const LAST_STRETCH: u64 = 64 * 1024;
const MEMORY_FILES: &str = "/dev/shm";
const START_SCHEMA: &str = "rstmon.start/1";
const END_SCHEMA: &str = "rstmon.end/1";

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

/// One paced storm.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CaptureRound {
    /// Connections refused, a second.
    pub(super) refused_per_second: f64,
    /// Connections refused: each is one reset sent and one received.
    pub(super) refused: u64,
    /// Resets that the kernel says it sent (`OutRsts` of /proc/net/snmp), from the hooks being
    /// attached until just before SIGINT.
    pub(super) out_rsts: u64,
    /// Events that reached the user side.
    pub(super) seen: u64,
    /// Events that were written.
    pub(super) written: u64,
    /// Events lost by stage.
    pub(super) lost: BTreeMap<String, u64>,
    /// Resets counted in the kernel by kind.
    pub(super) kernel_counts: BTreeMap<String, u64>,
    /// CPU time of the process in its own code since it watched, seconds.
    pub(super) user_seconds: f64,
    /// CPU time of the process in the kernel since then, seconds.
    pub(super) system_seconds: f64,
    /// Most memory resident at any time, MiB.
    pub(super) peak_mib: f64,
}

impl CaptureRound {
    /// Events lost at all stages.
    pub(super) fn lost_in_all(&self) -> u64 {
        self.lost.values().sum()
    }
}

/// Every storm, and the medians that the table shows.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Capture {
    /// Median CPU time in the process's own code by the number of events written, nanoseconds.
    pub(super) user_ns_per_event: Option<f64>,
    /// Median CPU time of the process in the kernel by the number of events written, nanoseconds.
    pub(super) system_ns_per_event: Option<f64>,
    /// Highest of all rounds.
    pub(super) peak_mib: f64,
    /// Sum of all rounds.
    pub(super) lost: u64,
    /// The rounds.
    pub(super) rounds: Vec<CaptureRound>,
}

/// A paced storm whose events go to a file in memory.
pub(super) fn measure_capture(storm: &Load, shop: &Workshop) -> anyhow::Result<CaptureRound> {
    let directory = Path::new(MEMORY_FILES);
    let file = if directory.is_dir() {
        tempfile::NamedTempFile::new_in(directory)
    } else {
        tempfile::NamedTempFile::new()
    };
    let file = file.context("cannot create the file for the events")?;
    let stdout = Stdio::from(
        file.reopen()
            .context("cannot open the file for the events")?,
    );
    let running = start_rstmon(shop, stdout)?;
    let out_rsts_before = read_out_rsts()?;
    let work = storm.run_paced(shop)?;
    settle(shop)?;
    let out_rsts = read_out_rsts()?.saturating_sub(out_rsts_before);
    let ended = running.end()?;
    let end = read_end_record(file.as_file())?;
    ensure!(
        end.seen == end.written + end.filtered,
        "the end record does not add up: seen {}, written {}, filtered {}",
        end.seen,
        end.written,
        end.filtered
    );
    Ok(CaptureRound {
        refused_per_second: work.rate,
        refused: work.count,
        out_rsts,
        seen: end.seen,
        written: end.written,
        lost: end.lost,
        kernel_counts: end.kernel_counts,
        user_seconds: ended.cpu.user.as_secs_f64(),
        system_seconds: ended.cpu.system.as_secs_f64(),
        peak_mib: as_number(ended.peak_kib) / 1024.0,
    })
}

/// The rounds together. None of no rounds.
pub(super) fn summarize(rounds: Vec<CaptureRound>) -> Option<Capture> {
    if rounds.is_empty() {
        return None;
    }
    let per_event = |seconds: fn(&CaptureRound) -> f64| {
        let values: Vec<f64> = rounds
            .iter()
            .filter(|round| round.written > 0)
            .map(|round| seconds(round) * 1e9 / as_number(round.written))
            .collect();
        median(&values)
    };
    Some(Capture {
        user_ns_per_event: per_event(|round| round.user_seconds),
        system_ns_per_event: per_event(|round| round.system_seconds),
        peak_mib: rounds
            .iter()
            .map(|round| round.peak_mib)
            .fold(0.0, f64::max),
        lost: rounds.iter().map(CaptureRound::lost_in_all).sum(),
        rounds,
    })
}

/// From exec to the line that says that the hooks are attached.
pub(super) fn measure_start(shop: &Workshop) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    let mut running = Running::spawn("rstmon", rstmon_command(shop).stdout(Stdio::piped()), shop)?;
    let stdout = running
        .child_mut()
        .stdout
        .take()
        .context("rstmon has no standard output")?;
    let mut lines = BufReader::new(stdout);
    let mut first = String::new();
    lines
        .read_line(&mut first)
        .context("cannot read from rstmon")?;
    let elapsed = begin.elapsed();
    if !first.contains(START_SCHEMA) {
        // Its end says why; a first line of another kind is a fault of its own.
        running.end()?;
        bail!("the first line of rstmon is no {START_SCHEMA}: {first:?}");
    }
    // Read on, so that rstmon never waits for us while it ends.
    let reader = std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    running.end()?;
    // The pipe ended with rstmon; what the reader met matters to nobody.
    let _ = reader.join();
    Ok(elapsed)
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

fn read_out_rsts() -> anyhow::Result<u64> {
    let path = "/proc/net/snmp";
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    parse_out_rsts(&text).with_context(|| format!("{path} has no OutRsts"))
}

/// `OutRsts` of the pair of lines `Tcp:`: names, then values.
fn parse_out_rsts(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let column = names
        .split_whitespace()
        .position(|name| name == "OutRsts")?;
    values.split_whitespace().nth(column)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a failed test panics"
    )]

    use super::{CaptureRound, parse_end_record, parse_out_rsts, summarize};
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

    #[test]
    fn out_rsts_is_found_by_its_name() {
        let snmp = "Ip: Forwarding OutRsts\nIp: 1 99\nTcp: RtoMin MaxConn OutRsts InCsumErrors\n\
                    Tcp: 200 -1 1234 0\n";
        assert_eq!(parse_out_rsts(snmp), Some(1234));
        assert_eq!(parse_out_rsts("Tcp: RtoMin\nTcp: 200\n"), None);
        assert_eq!(parse_out_rsts("Tcp: RtoMin OutRsts\n"), None);
    }

    #[test]
    fn a_summary_adds_losses_and_takes_the_highest_memory() {
        let round = |written, lost, peak_mib| CaptureRound {
            refused_per_second: 1.0,
            refused: 1,
            out_rsts: 1,
            seen: written,
            written,
            lost: BTreeMap::from([("ring".to_owned(), lost), ("budget".to_owned(), 1)]),
            kernel_counts: BTreeMap::new(),
            user_seconds: 1.0,
            system_seconds: 2.0,
            peak_mib,
        };
        let capture = summarize(vec![
            round(1_000_000, 0, 20.0),
            round(0, 2, 30.0),
            round(500_000, 0, 10.0),
        ])
        .unwrap();
        assert_eq!(capture.lost, 5);
        assert!((capture.peak_mib - 30.0).abs() < 1e-9);
        assert_eq!(capture.user_ns_per_event, Some(1500.0));
        assert_eq!(capture.system_ns_per_event, Some(3000.0));
        assert!(summarize(Vec::new()).is_none());
    }
}
