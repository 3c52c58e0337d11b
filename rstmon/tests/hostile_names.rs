//! Names that somebody chose to break the output: of a process, its executable, its cgroup.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

mod support;

use serde_json::Value;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::skip::cannot_run;
use support::{Family, Trace, bpf_works, cgroup_hierarchy, closed_port, in_private_netns, rstmon};

/// A colour, a byte that is no UTF-8, what ends a JSON string, a bell, line ends. Bash writes a line
/// at a time, and the kernel takes what one write holds.
const COMM: &[u8] = b"\x1b[31m\r\xff\"{}\\\x07\n";
const COMM_SHOWN: &str = r#"\x1b[31m\x0d\xff"{}\\x07\x0a"#;
/// The title of the terminal, a line end, a byte that is no UTF-8.
const EXE: &[u8] = b"\x1b]0;title\x07\n\xff\"exe";
const EXE_SHOWN: &str = r#"\x1b]0;title\x07\x0a\xff"exe"#;
/// The screen cleared, a bidirectional override; the kernel takes no line end here.
const CGROUP: &[u8] = b"rstmon-test-\x1b[2J\xfe\"\t\xe2\x80\xae";
const CGROUP_SHOWN: &str = r#"/rstmon-test-\x1b[2J\xfe"\x09\u{202e}"#;

/// A cgroup of this test, gone with it.
struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// None, and it is said, where there is no version 2 hierarchy that takes it.
    fn create() -> Option<Self> {
        let Some(root) = cgroup_hierarchy("cgroup2") else {
            cannot_run("no cgroup2 hierarchy with a root of its own is mounted here");
            return None;
        };
        let path = root.join(OsStr::from_bytes(CGROUP));
        let _ = std::fs::remove_dir(&path);
        if let Err(error) = std::fs::create_dir(&path) {
            cannot_run(&format!("a cgroup cannot be made: {error}"));
            return None;
        }
        Some(Self { path })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// A shell with these names whose connection to `port` of loopback is refused; it lives until its
/// standard input ends.
fn start_hostile(directory: &Path, cgroup: &Cgroup, port: u16) -> Child {
    let exe = directory.join(OsStr::from_bytes(EXE));
    support::programs::copy_program("/bin/bash", &exe);
    let procs = cgroup.path.join("cgroup.procs");
    let script = r#"printf %s "$NAME" > /proc/$$/comm; echo $$ > "$PROCS"
        { exec 3<>"/dev/tcp/127.0.0.1/$PORT"; } 2>/dev/null; read -r line"#;
    Command::new(exe)
        .args(["-c", script])
        .env("NAME", OsStr::from_bytes(COMM))
        .env("PROCS", procs)
        .env("PORT", port.to_string())
        .stdin(Stdio::piped())
        .spawn()
        .expect("bash starts under any name")
}

/// Every text in a value, keys aside.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::Object(members) => members.values().flat_map(texts).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// What is printed of a recording, which also holds what the filter did not want.
fn replay(path: &str, format: &str, filter: &str) -> String {
    let output = rstmon()
        .args([
            "trace", "-o", format, "--color", "never", "-r", path, filter,
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn names_that_would_break_lines_or_terminals_are_escaped() {
    if !bpf_works() {
        return;
    }
    let Some(cgroup) = Cgroup::create() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let recording = path.join("hostile.rstmon").to_str().unwrap().to_owned();
    let file = recording.clone();
    let event = in_private_netns(move |netns| {
        let filter = format!("netns {netns} and kind received");
        let mut trace = Trace::start(&["-c", "1", "-w", &file, &filter]);
        let mut child = start_hostile(&path, &cgroup, closed_port(Family::V4).port());
        let event = trace.event("received RST", |event| event["kind"] == "received");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(event["pid"], child.id());
        assert_eq!(event["cgroup"], CGROUP_SHOWN);
        let (_, status) = trace.rest();
        assert!(status.success());
        event
    });
    assert_eq!(event["comm"], COMM_SHOWN);
    assert!(event["exe"].as_str().unwrap().ends_with(EXE_SHOWN));
    for text in texts(&event) {
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    let filter = format!("kind received and netns {}", event["netns"]);
    let lines = replay(&recording, "jsonl", &filter);
    let again: Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
    assert_eq!(again, event);
    let shown = replay(&recording, "text", &filter);
    let (line, rest) = shown.split_once('\n').unwrap();
    assert_eq!(rest, "", "one event, one line");
    assert!(line.contains(COMM_SHOWN), "{line}");
    assert!(!line.chars().any(char::is_control), "{line:?}");
}
