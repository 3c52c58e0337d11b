//! How `rstmon trace` ends when the reader of its output does not read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::Read;
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use support::{Family, bpf_works, closed_port, in_private_netns, rstmon};

/// Refused connections: their events are more than a pipe takes.
const REFUSED: usize = 300;

/// Starts rstmon with these arguments, and reads no more than its start line.
fn start_unread(args: &[&str]) -> Child {
    let mut child = rstmon()
        .args(["trace", "-o", "jsonl"])
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = child.stdout.as_mut().unwrap();
    let mut byte = [0];
    while byte != *b"\n" {
        stdout.read_exact(&mut byte).expect("a start line");
    }
    child
}

/// Waits for the end without reading: exit code and standard error.
fn end_unread(child: &mut Child, within: Duration) -> (Option<i32>, String) {
    let deadline = Instant::now() + within;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it does not end within {within:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut stderr = String::new();
    let mut pipe = child.stderr.take().unwrap();
    pipe.read_to_string(&mut stderr).unwrap();
    (status.code(), stderr)
}

fn refuse_connections() {
    let target = closed_port(Family::V4);
    for _ in 0..REFUSED {
        TcpStream::connect(target).expect_err("nobody listens");
    }
}

#[test]
fn a_reader_that_does_not_read_does_not_hold_up_sigterm_and_the_loss_is_counted() {
    if !bpf_works() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("all.rstmon");
    let path = file.to_str().unwrap().to_owned();
    let stderr = in_private_netns(move |netns| {
        let mut child = start_unread(&["-w", &path, &format!("netns {netns}")]);
        refuse_connections();
        std::thread::sleep(Duration::from_millis(500));
        let pid = Pid::from_raw(child.id().cast_signed());
        kill(pid, Signal::SIGTERM).unwrap();
        let (code, stderr) = end_unread(&mut child, Duration::from_secs(10));
        assert_eq!(code, Some(1), "{stderr}");
        stderr
    });
    // The recording is whole, and says what standard output did not get.
    let replayed = rstmon()
        .args(["trace", "-o", "jsonl", "-r", file.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(replayed.status.success(), "{replayed:?}");
    let lines: Vec<Value> = String::from_utf8(replayed.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of_test = |line: &&Value| line["schema"] == "rstmon.event/1";
    assert!(lines.iter().filter(of_test).count() >= 2 * REFUSED);
    let lost = lines.last().unwrap()["lost"]["output-stuck"]
        .as_u64()
        .unwrap();
    assert!(lost > 0);
    assert!(
        stderr.contains(&format!("{lost} events were not written")),
        "{stderr}"
    );
}

#[test]
fn a_reader_that_does_not_read_does_not_hold_up_the_duration() {
    if !bpf_works() {
        return;
    }
    in_private_netns(|netns| {
        let mut child = start_unread(&["--duration", "2s", &format!("netns {netns}")]);
        refuse_connections();
        let (code, stderr) = end_unread(&mut child, Duration::from_secs(12));
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("events were not written"), "{stderr}");
    });
}
