//! `rstmon agent --check-config`: what would end a start, without a start.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

mod support;

use std::path::Path;
use support::{bpf_works, rstmon};

/// Exit code and standard error of an agent that does not come to run.
fn agent(args: &[&str], folder: &Path) -> (Option<i32>, String) {
    let mut command = rstmon();
    command.args(["agent", "--web.listen-address", "", "--socket"]);
    command.arg(folder.join("socket"));
    let output = command.args(args).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), message)
}

#[test]
fn what_ends_a_start_is_found_in_the_same_words() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("file"), "no BTF").unwrap();
    let starts = bpf_works();
    for wrong in [
        ["--socket-group", "nosuchgrp"],
        ["--events-file", "/nosuch/x"],
        ["--events-file", &at("file/x")],
        ["--events-file", &at("")],
        ["--btf", "/nosuch"],
        ["--btf", &at("file")],
    ] {
        let (code, found) = agent(&["--check-config", wrong[0], wrong[1]], folder.path());
        assert_eq!(code, Some(2), "{wrong:?}: {found}");
        if starts {
            let (code, said) = agent(&wrong, folder.path());
            assert_eq!(code, Some(1), "{wrong:?}: {said}");
            assert_eq!(found, said, "{wrong:?}");
        }
    }
}

#[test]
fn what_is_right_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("events.jsonl");
    let args = ["--check-config", "--events-file", log.to_str().unwrap()];
    let group = ["--socket-group", "root"];
    let (code, said) = agent(&[&args[..], &group].concat(), folder.path());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("is right"), "{said}");
    assert!(!log.exists(), "only a start makes it");
    std::fs::write(&log, "half a line").unwrap();
    assert_eq!(agent(&args, folder.path()).0, Some(0));
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "half a line");
}
