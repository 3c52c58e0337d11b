//! What a user reads when a command cannot do what was asked: one context, and the right file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

mod support;

use support::{bpf_works, rstmon};

/// Exit code and standard error of a command that ends by itself.
fn failure(args: &[&str]) -> (Option<i32>, String) {
    let output = rstmon().args(args).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), message)
}

#[test]
fn a_recording_that_cannot_be_read_is_named_once() {
    let folder = std::env::temp_dir();
    let (code, message) = failure(&["trace", "-r", folder.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert_eq!(message.matches("recording").count(), 1, "{message}");
    assert!(
        message.contains(folder.to_str().unwrap()) && message.contains("directory"),
        "{message}"
    );
}

#[test]
fn what_a_replay_cannot_heed_is_refused() {
    for ignored in [
        ["--max-events-per-sec", "5"],
        ["--ebpf-log", "debug"],
        ["--mode", "probe"],
    ] {
        let (code, message) = failure(&["trace", "-r", "any", ignored[0], ignored[1]]);
        assert_eq!(code, Some(2), "{message}");
        assert!(message.contains(ignored[0]), "{message}");
    }
}

#[test]
fn what_cannot_be_heeded_beside_another_flag_is_refused() {
    let capture = ["--max-events-per-sec 5", "--ebpf-log debug", "--btf any"];
    for (command, source) in [
        ("trace", "--connect any"),
        ("top", "--connect any"),
        ("top", "-r any"),
    ] {
        for ignored in capture {
            let line = format!("{command} {source} {ignored}");
            let (code, message) = failure(&line.split(' ').collect::<Vec<_>>());
            assert_eq!(code, Some(2), "{line}: {message}");
        }
    }
    let (code, message) = failure(&["trace", "-r", "any", "--join", "-o", "jsonl"]);
    assert_eq!(code, Some(2), "{message}");
    assert!(message.contains("`story`"), "{message}");
}

#[test]
fn a_recording_that_cannot_be_written_is_named_once() {
    if !bpf_works() {
        return;
    }
    let (code, message) = failure(&["trace", "-w", "/dev/full", "--duration", "1s"]);
    assert_eq!(code, Some(1));
    assert_eq!(
        message.matches("recording /dev/full").count(),
        1,
        "{message}"
    );
    assert!(!message.contains("the events"), "{message}");
}

#[test]
fn the_help_of_trace_says_what_the_arrows_mean() {
    let output = rstmon().args(["trace", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for (arrow, ascii, kind) in [
        ("→", "->", "sent"),
        ("←", "<-", "received"),
        ("↚", "x-", "rejected"),
        ("⇠", "?-", "stray"),
    ] {
        let legend = help.lines().find(|line| line.contains(arrow)).expect(arrow);
        assert!(legend.contains(ascii) && legend.contains(kind), "{legend}");
    }
}
