//! What `rstmon trace -r` says of a recording that is cut, and of an output that takes nothing: needs no
//! kernel, as the recording is written here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

mod support;

use bytemuck::Zeroable;
use rstmon::event::annotation::Annotation;
use rstmon::event::capture::CaptureFacts;
use rstmon::sink::recording::Writer;
use rstmon::sink::totals::Totals;
use rstmon_common::wire::{self, RawEvent};
use serde_json::Value;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use support::rstmon;

const RECORDS: u64 = 6;

/// A recording of so many resets, when it was made of which two were lost.
fn recording() -> Vec<u8> {
    let facts = CaptureFacts {
        abi: wire::ABI,
        mode: "probe".to_owned(),
        ..CaptureFacts::default()
    };
    let mut writer = Writer::new(Vec::new(), &facts).unwrap();
    for n in 1..=RECORDS {
        let raw = RawEvent {
            abi: wire::ABI,
            have: wire::HAVE_TUPLE,
            kind: wire::KIND_SENT,
            hook: wire::HOOK_TCP_SEND_RESET,
            family: wire::AF_INET,
            mono_ns: n * 1_000_000_000,
            ..RawEvent::zeroed()
        };
        writer.write_record(&raw, &Annotation::default()).unwrap();
    }
    let mut totals = Totals::default();
    totals.lost.insert("ring-full".into(), 2);
    writer.finish(&totals).unwrap()
}

/// Replays a file: exit code, standard output and standard error.
fn replay(file: &Path, args: &[&str], stdout: Stdio) -> (Option<i32>, String, String) {
    let trace = rstmon()
        .args(["trace", "-r", file.to_str().unwrap(), "--color", "never"])
        .args(args)
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = trace.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn last_line(text: &str) -> Value {
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
fn what_a_cut_recording_lost_is_not_called_nothing() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let whole = recording();
    for (bytes, code, lost) in [
        (&whole[..], 0, "; 2 lost (2 ring-full)\n"),
        (
            &whole[..whole.len() - 3],
            1,
            "; what was lost is not known\n",
        ),
    ] {
        std::fs::write(file.path(), bytes).unwrap();
        let (ended, shown, said) = replay(file.path(), &["-o", "text"], Stdio::piped());
        assert_eq!(ended, Some(code), "{said}");
        assert_eq!(shown.lines().count() as u64, RECORDS, "{shown}");
        assert!(said.contains(lost), "{said}");
        let (ended, shown, said) = replay(file.path(), &["-o", "jsonl"], Stdio::piped());
        assert_eq!(ended, Some(code), "{said}");
        let last = last_line(&shown);
        if code == 0 {
            assert_eq!(last["lost"]["ring-full"], 2);
        } else {
            assert_eq!(last["schema"], "rstmon.event/1", "{last}");
            assert_eq!(shown.lines().count() as u64, 1 + RECORDS, "{shown}");
        }
    }
}

#[test]
fn what_was_lost_is_not_known_before_the_end_of_a_recording() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), recording()).unwrap();
    let (code, _, said) = replay(file.path(), &["-c", "2", "-o", "text"], Stdio::piped());
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.starts_with("2 resets: ") && said.contains("; what was lost is not known\n"),
        "{said}"
    );
    let (code, shown, said) = replay(file.path(), &["-c", "2", "-o", "jsonl"], Stdio::piped());
    assert_eq!(code, Some(0), "{said}");
    let end = last_line(&shown);
    assert_eq!(end["schema"], "rstmon.end/1");
    assert_eq!(end["written"], 2);
    assert_eq!(end["lost"], serde_json::json!({}));
}

#[test]
fn what_a_full_disk_did_not_take_is_lost() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), recording()).unwrap();
    let full = File::create("/dev/full").unwrap();
    let (code, _, said) = replay(file.path(), &["-o", "text"], full.into());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("No space left"), "{said}");
    assert!(
        said.contains("0 resets; 8 lost (6 output-failed, 2 ring-full)"),
        "{said}"
    );
    let whole = recording();
    std::fs::write(file.path(), &whole[..whole.len() - 3]).unwrap();
    let full = File::create("/dev/full").unwrap();
    let (code, _, said) = replay(file.path(), &["-o", "text"], full.into());
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("0 resets; what was lost is not known"),
        "{said}"
    );
}
