//! What `rstmon trace` makes of a terminal that is closed, and of an agent that ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

mod support;

use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::agent::Agent;
use support::programs::{wait_for, wait_until};
use support::{bpf_works, rstmon};

/// Starts it and waits for its start line; nothing of it is shown after that.
fn start(command: &mut Command) -> Child {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert!(line.contains("rstmon.start/1"), "{line}");
    // Kept open: a reader that leaves is an end, too.
    std::thread::spawn(move || while stdout.read_line(&mut line).is_ok_and(|read| read > 0) {});
    child
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

fn recording(path: &Path) -> Command {
    let mut command = rstmon();
    command.args(["trace", "-o", "jsonl", "port 1", "-w"]);
    command.arg(path);
    command
}

fn assert_is_whole(recording: &Path) {
    let mut replay = rstmon();
    let replayed = replay.args(["trace", "-o", "jsonl", "-r"]).arg(recording);
    let output = replayed.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut lines = output.stdout.trim_ascii_end().rsplit(|byte| *byte == b'\n');
    let end: Value = serde_json::from_slice(lines.next().unwrap()).unwrap();
    assert_eq!(end["schema"], "rstmon.end/1");
}

#[test]
fn a_terminal_that_is_closed_ends_the_recording() {
    if !bpf_works() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.rst");
    let mut command = recording(&file);
    // Whoever runs the tests may have it ignored, as nohup(1) does.
    let heed = || {
        // SAFETY: no handler is installed.
        unsafe { signal(Signal::SIGHUP, SigHandler::SigDfl) }?;
        Ok(())
    };
    // SAFETY: signal(2) may be called between fork and exec.
    unsafe { command.pre_exec(heed) };
    let mut child = start(&mut command);
    send(&child, Signal::SIGHUP);
    assert_eq!(wait_for(&mut child, Duration::from_secs(10)), Some(0));
    assert_is_whole(&file);
}

#[test]
fn nohup_is_heeded() {
    if !bpf_works() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.rst");
    let mut command = recording(&file);
    let ignore = || {
        // SAFETY: ignoring a signal installs no handler.
        unsafe { signal(Signal::SIGHUP, SigHandler::SigIgn) }?;
        Ok(())
    };
    // SAFETY: the child of a fork may call sigaction(2).
    unsafe { command.pre_exec(ignore) };
    let mut child = start(&mut command);
    send(&child, Signal::SIGHUP);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(child.try_wait().unwrap(), None, "it has ended");
    send(&child, Signal::SIGTERM);
    assert_eq!(wait_for(&mut child, Duration::from_secs(10)), Some(0));
    assert_is_whole(&file);
}

#[test]
fn an_agent_that_ends_is_told_of_and_one_that_is_left_is_not() {
    if !bpf_works() {
        return;
    }
    let mut agent = Agent::start(&[]);
    let trace = |form: &str| {
        let mut command = rstmon();
        command.args(["trace", "-o", form, "port 1", "--connect"]);
        command.arg(agent.path("socket"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let clients = |agent: &Agent, count: f64| {
        wait_until("the clients", || {
            (agent.scrape().sum("rstmon_socket_clients", &[]) - count).abs() < 0.5
        });
    };
    let said = |child: Child| {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let (left, lines, text) = (trace("text"), trace("jsonl"), trace("text"));
    clients(&agent, 3.0);
    send(&left, Signal::SIGTERM);
    let left = said(left);
    assert!(!left.contains("has ended"), "{left}");
    clients(&agent, 2.0);
    assert!(agent.end(Signal::SIGTERM).success());
    let words = "rstmon: the agent has ended";
    assert!(said(lines).contains(words));
    let text = said(text);
    assert!(text.contains(words) && text.contains("0 resets"), "{text}");
}
