//! A disk that fills up in the middle of a line: what is written of recordings, JSON lines and the event
//! log stays readable or is said to be cut off, and what is missing is counted or said.
//!
//! The disk is a small tmpfs; root makes it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

mod support;

use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use support::agent::{Agent, refuse};
use support::guard::Guarded;
use support::programs::{wait_for, wait_until};
use support::{Family, abort, bpf_works, connected, rstmon};

/// Size of the disk. It takes whole pages, and lines end anywhere within one: the last is cut nearly
/// always.
const DISK: &str = "size=64k";
/// Connections that are refused: two events each, far more than the disk holds.
const REFUSED: usize = 1_000;

/// A disk that is soon full, gone with the test.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", DISK, "rstmon-test"])
            .arg(folder.path())
            .status();
        assert!(mounted.is_ok_and(|it| it.success()), "root may mount");
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that a failed test has left may hold a file.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Runs `trace` with its output in a file until it ends by itself, while more is refused than the disk
/// holds: its exit code and what it said.
fn trace_until_it_fails(args: &[&str], output: File) -> (Option<i32>, String) {
    let said = tempfile::NamedTempFile::new().unwrap();
    let mut trace = Guarded::start(
        rstmon()
            .args(["trace", "--duration", "20s"])
            .args(args)
            .stdout(output)
            .stderr(Stdio::from(said.reopen().unwrap())),
    );
    wait_until("the disk to be full", || {
        refuse(REFUSED);
        trace.try_wait().unwrap().is_some()
    });
    let code = wait_for(&mut trace, Duration::from_secs(10));
    (code, fs::read_to_string(said.path()).unwrap())
}

/// The whole lines of a file, and what is left of the last one.
fn lines_and_rest(path: &Path) -> (Vec<Value>, String) {
    // What is cut may be cut within a letter.
    let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    let (whole, rest) = text.rsplit_once('\n').unwrap_or(("", &text));
    let lines = whole.lines().map(serde_json::from_str);
    let lines = lines.map(|line| line.expect("whole lines are JSON"));
    (lines.collect(), rest.to_owned())
}

#[test]
fn json_lines_that_do_not_fit_end_trace_with_an_error() {
    if !bpf_works() {
        return;
    }
    let disk = SmallDisk::mount();
    let path = disk.path("resets.jsonl");
    let output = File::create(&path).unwrap();
    let (code, said) = trace_until_it_fails(&["-o", "jsonl"], output);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("No space left"), "{said}");
    let (lines, _) = lines_and_rest(&path);
    assert!(lines.len() > 10, "{}", lines.len());
    // No end is put behind it: that would be read as a line.
    assert!(lines.iter().all(|line| line["schema"] != "rstmon.end/1"));
}

#[test]
fn a_recording_that_does_not_fit_is_said_and_read_up_to_there() {
    if !bpf_works() {
        return;
    }
    let disk = SmallDisk::mount();
    let path = disk.path("resets.rstmon");
    let path = path.to_str().unwrap();
    let nothing = File::create("/dev/null").unwrap();
    let (code, said) = trace_until_it_fails(&["-o", "jsonl", "-w", path], nothing);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("No space left") && said.contains(path),
        "{said}"
    );
    let read = rstmon()
        .args(["trace", "-o", "jsonl", "-r", path])
        .output()
        .unwrap();
    let said = String::from_utf8(read.stderr).unwrap();
    assert_eq!(read.status.code(), Some(1), "{said}");
    assert!(said.contains("cut off"), "{said}");
    let events = String::from_utf8(read.stdout).unwrap();
    assert!(events.lines().count() > 10, "{events}");
    for line in events.lines() {
        serde_json::from_str::<Value>(line).expect("JSON");
    }
}

/// Events of a log whose last line may be on its way.
fn logged(log: &Path) -> u32 {
    let (lines, _) = lines_and_rest(log);
    let is_event = |line: &&Value| line["schema"] == "rstmon.event/1";
    lines.iter().filter(is_event).count() as u32
}

#[test]
fn an_event_log_that_does_not_fit_ends_with_a_whole_line_and_counts_the_rest() {
    if !bpf_works() {
        return;
    }
    let disk = SmallDisk::mount();
    let log = disk.path("events.jsonl");
    let mut agent = Agent::new();
    agent.run(&["--events-file", log.to_str().unwrap()]);
    let filler = disk.path("filler");
    fs::write(&filler, vec![b'x'; 30 << 10]).unwrap();
    wait_until("the loss", || {
        refuse(REFUSED);
        let page = agent.scrape();
        page.sum("rstmon_events_lost_total", &["event-log"]) >= 1.0
    });
    wait_until("the complaint", || agent.stderr().contains("No space left"));
    // Each event is there or counted as lost, here or before: tests beside this one make storms.
    wait_until("equal sums", || {
        let page = agent.scrape();
        let lost = page.sum("rstmon_events_lost_total", &[]);
        let seen = page.sum("rstmon_resets_total", &[]);
        (f64::from(logged(&log)) + lost - seen).abs() < 0.5
    });
    let before = logged(&log);
    fs::remove_file(&filler).unwrap();
    abort(connected(Family::V4).1);
    wait_until("the event", || logged(&log) > before);
    // Said after the line is written.
    wait_until("the all-clear", || {
        agent.stderr().contains("can be written again")
    });
    assert!(agent.end(Signal::SIGTERM).success());
    assert_eq!(lines_and_rest(&log).1, "", "the last line is whole");
}
