//! `rstmon explain` as a user runs it, and docs/causes.md against it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use serde_json::Value;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn explain() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rstmon"));
    command
        .arg("explain")
        .env("LANG", "C.UTF-8")
        .env_remove("LC_ALL");
    command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
    command
}

fn run(args: &[&str]) -> Output {
    explain().args(args).output().unwrap()
}

fn stdout_of(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    assert!(output.stderr.is_empty(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json_of(args: &[&str]) -> Value {
    let json: Value = serde_json::from_str(&stdout_of(args)).unwrap();
    assert_eq!(json["schema"], "rstmon.explain/1");
    json
}

#[test]
fn the_document_is_what_the_command_prints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let written = std::fs::read_to_string(root.join("docs/causes.md")).unwrap_or_default();
    assert!(
        written == stdout_of(&["--all", "-o", "markdown"]),
        "docs/causes.md is not what the pages say; write it anew with\n  \
         cargo run -p rstmon -- explain --all -o markdown > docs/causes.md"
    );
}

#[test]
fn without_an_argument_it_lists() {
    let list = stdout_of(&[]);
    let place = |words: &str| {
        list.find(words)
            .unwrap_or_else(|| panic!("{words}: {list}"))
    };
    let order = [
        "Sent by this host\n  port-closed ",
        "Received by this host\n  connection-refused ",
        "Either\n  undiagnosed ",
        "Topics\n  common ",
    ]
    .map(place);
    assert!(order.is_sorted());
    assert!(
        list.lines().all(|line| line.chars().count() <= 80),
        "{list}"
    );
    assert!(!list.contains('\u{1b}'));
}

#[test]
fn with_an_id_it_shows_the_page() {
    let page = stdout_of(&["close-unread-data"]);
    assert!(
        page.starts_with("close-unread-data: the application closed"),
        "{page}"
    );
    for words in [
        "\nWho did it\n",
        "\n  kernel_reason=TCP_ABORT_ON_CLOSE\n",
        "\n      rstmon trace 'cause close-unread-data'\n",
        "TcpExtTCPAbortOnClose",
        "\n      lingering_close on;\n",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let topic = stdout_of(&["half-close"]);
    assert!(topic.contains("RFC 1122 4.2.2.13"), "{topic}");
}

#[test]
fn an_unknown_id_is_a_usage_error_with_a_suggestion() {
    let output = run(&["keepalive-rase"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), output.stdout.len()),
        (Some(2), 0),
        "{error}"
    );
    assert!(error.contains("'keepalive-rase'"), "{error}");
    assert!(error.contains("did you mean keepalive-race?"), "{error}");
    let error = String::from_utf8(run(&["zzzzzz"]).stderr).unwrap();
    assert!(error.contains("`rstmon explain` lists them all"), "{error}");
    assert_eq!(run(&["paws", "--all"]).status.code(), Some(2));
}

#[test]
fn machines_get_json() {
    let list = json_of(&["-o", "json"]);
    let all = json_of(&["--all", "-o", "json"]);
    for group in ["causes", "topics"] {
        let ids = |json: &Value| -> Vec<Value> {
            let rows = json[group].as_array().unwrap();
            rows.iter().map(|row| row["id"].clone()).collect()
        };
        assert_eq!(ids(&list), ids(&all));
    }
    let row = &list["causes"][0];
    assert_eq!(
        (&row["id"], &row["direction"]),
        (&"port-closed".into(), &"sent".into())
    );
    let page = json_of(&["port-closed", "-o", "json"]);
    assert_eq!(page["cause"], all["causes"][0]);
    assert_eq!(page["cause"]["harm"], "depends");
    assert!(page["cause"]["remedies"][0]["lines"][0].is_string());
    assert_eq!(
        json_of(&["common", "-o", "json"])["topic"],
        all["topics"][0]
    );
}

#[test]
fn one_page_of_the_document_can_be_had() {
    let page = stdout_of(&["paws", "-o", "markdown"]);
    assert!(page.starts_with("### paws\n"), "{page}");
    let document = stdout_of(&["--all", "-o", "markdown"]);
    assert!(document.contains(&page));
}

#[test]
fn headings_are_bold_only_where_wanted() {
    let with = |variables: &[(&str, &str)]| {
        let output = explain()
            .arg("paws")
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        output.stdout.starts_with(b"\x1b[1mpaws: ")
    };
    assert!(!with(&[]));
    assert!(with(&[("CLICOLOR_FORCE", "1")]));
    assert!(!with(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let mut child = explain()
        .arg("--all")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // More than a pipe holds is to be written, so the rest of it fails.
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
}
