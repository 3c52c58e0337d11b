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
fn a_recording_among_the_event_lines_is_refused() {
    let (code, message) = failure(&["trace", "-w", "-"]);
    assert_eq!(code, Some(2), "{message}");
    assert!(message.contains("./-"), "{message}");
    assert!(!std::path::Path::new("-").exists());
}

#[test]
fn connect_none_is_a_capture_of_ones_own() {
    if !bpf_works() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.rst");
    let none = ["trace", "--connect", "none", "--duration", "1s"];
    for own in [
        &["-w", file.to_str().unwrap()][..],
        &["--mode", "tracepoint"],
        &[
            "--max-events-per-sec",
            "5",
            "--btf",
            "/sys/kernel/btf/vmlinux",
        ],
    ] {
        let (code, message) = failure(&[&none, own].concat());
        assert_eq!(code, Some(0), "{own:?}: {message}");
    }
    assert!(file.exists());
    let top = [
        "top",
        "-b",
        "-n",
        "1",
        "--connect",
        "none",
        "--mode",
        "tracepoint",
    ];
    let (code, message) = failure(&top);
    assert_eq!(code, Some(0), "{message}");
    let (code, message) = failure(&["top", "-b", "--connect", "/nowhere", "--mode", "tracepoint"]);
    assert_eq!(code, Some(2), "{message}");
    assert!(message.contains("--mode"), "{message}");
    // A recording has been captured already.
    let (code, message) = failure(&["trace", "--connect", "none", "-r", "any"]);
    assert_eq!(code, Some(2), "{message}");
}

#[test]
fn classic_mode_is_told_with_its_own_check() {
    if !bpf_works() {
        return;
    }
    let line = "trace --mode classic --duration 1s -o text";
    let (code, message) = failure(&line.split(' ').collect::<Vec<_>>());
    assert_eq!(code, Some(0), "{message}");
    assert!(
        message.contains("`rstmon check --mode classic`"),
        "{message}"
    );
    assert!(!message.contains("classic-mode"), "{message}");
}

/// Words that bash offers where the line of its script that has `before` says so.
fn offered(script: &str, before: &str) -> Vec<String> {
    let (_, after) = script.split_once(before).expect(before);
    let words = after.split_once("compgen -W \"").expect("words").1;
    let words = words.split_once('"').expect("their end").0;
    words.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn completion_offers_what_is_fixed() {
    let output = rstmon().args(["completions", "bash"]).output().unwrap();
    let script = String::from_utf8(output.stdout).unwrap();
    for command in ["trace", "check", "agent", "config", "lab", "top"] {
        let of_command = format!("rstmon__subcmd__{command})");
        let (_, own) = script.rsplit_once(&of_command).expect(command);
        let modes = offered(own, "--mode)");
        assert_eq!(
            modes,
            ["auto", "probe", "tracepoint", "classic"],
            "{command}"
        );
    }
    let of = |command: &str| {
        let of_command = format!("rstmon__subcmd__{command})");
        script.rsplit_once(&of_command).expect(command).1
    };
    assert_eq!(offered(of("trace"), "--ebpf-log)")[0], "error");
    assert_eq!(
        offered(of("agent"), "--events)"),
        ["stdout", "journald", "off"]
    );
    // Every page that there is, and no other.
    let (_, refusal) = failure(&["man", "no-such-page"]);
    let (_, pages) = refusal.split_once("pages:").expect("the pages");
    let lists = |command: &str| {
        let (_, words) = of(command).split_once("opts=\"").expect("words");
        let words = words.split_once('"').expect("their end").0;
        words
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let man = lists("man");
    let man: Vec<&String> = man.iter().filter(|it| !it.starts_with('-')).collect();
    let mut pages: Vec<&str> = pages.split_whitespace().collect();
    pages.sort_unstable();
    let mut man: Vec<&str> = man.into_iter().map(String::as_str).collect();
    man.sort_unstable();
    assert_eq!(man, pages);
    let lab = lists("lab");
    for scenario in rstmon_lab::scenarios() {
        assert!(lab.iter().any(|it| it == scenario.id), "{}", scenario.id);
    }
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
