//! Consoles and declarations, and what must come of them.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use super::*;
use crate::vm::results::KernelResult;
use crate::vm::runs::RUNS;

/// A guest in which all is as [`DECLARED`] says.
const CONSOLE: &str = "\
[    1.0] noise\r
@@begin\r
@@made debian=6.1.192-3~bpo12+1 day=2026-11-29 programs=0123456789ab\r
@@check run=kprobe code=0\r
{\"schema\":\"rstmon.check/1\",\"kernel\":\"6.1.0-57-cloud-amd64\",\"mode\":\"probe\",\"degradations\":[{\"id\":\"no-kernel-reason\"}],\
\"hooks\":[{\"hook\":\"tcp_reset\",\"attached\":true},\
{\"hook\":\"nf_send_reset\",\"attached\":false,\"waits_for_module\":\"nf_reject_ipv4\"}]}\r
@@lab run=kprobe number=1\r
{\"scenario\":\"port-closed\",\"family\":\"ipv4\",\"verdict\":\"matched\",\"detail\":[]}\r
{\"scenario\":\"stray-reset\",\"family\":\"ipv4\",\"verdict\":\"not-visible\",\"detail\":[\"no drops\"]}\r
{\"scenario\":\"mptcp\",\"family\":\"ipv4\",\"verdict\":\"not-run\",\"detail\":[\"no MPTCP\"]}\r
@@lab-end run=kprobe code=0\r
@@check run=fentry code=4\r
{\"schema\":\"rstmon.check/1\",\"problems\":[{\"message\":\"no trampolines\"}]}\r
@@variants\r
{\"hook\":\"tcp_reset\",\"variant\":\"kprobe\",\"attached\":true}\r
{\"hook\":\"tcp_reset\",\"variant\":\"fentry\",\"attached\":false,\"refusal\":\"ENOTSUPP\"}\r
@@dmesg\r
@@done\r
";

const DECLARED: &str = r#"
    [[run-missing]]
    names = ["fentry"]
    why = "w"
    [[variant-missing]]
    names = ["fentry_tcp_reset"]
    why = "w"
    [[degraded]]
    names = ["no-kernel-reason"]
    why = "w"
    [[unseen]]
    names = ["stray-reset"]
    why = "w"
    [[not-run]]
    names = ["mptcp"]
    why = "w"
"#;

fn judged_by(declared: &str, console: &str) -> Report {
    let declared = Declaration::parse(declared).unwrap();
    let runs = ["kprobe", "fentry"].map(|name| find_run(name).unwrap());
    judge("6.1".parse().unwrap(), &runs, &declared, console)
}

fn judged(console: &str) -> Report {
    judged_by(DECLARED, console)
}

/// Fails with exactly these lines.
fn assert_failures(report: &Report, expected: &[&str]) {
    let failed = report.lines.iter().filter(|line| line.contains("FAILED"));
    let failed: Vec<&String> = failed.collect();
    assert_eq!(failed.len(), expected.len(), "{:#?}", report.lines);
    assert_eq!(report.failed, expected.len());
    for (line, expected) in failed.iter().zip(expected) {
        assert!(line.contains(expected), "{line} has no {expected}");
    }
}

#[test]
fn a_guest_that_shows_what_is_declared_passes() {
    let report = judged(CONSOLE);
    assert_failures(&report, &[]);
    // Two checks, three scenarios and the run, two variants and their sum, the log, the end.
    assert_eq!(report.passed, 11, "{:#?}", report.lines);
    let text = report.lines.join("\n");
    assert!(text.contains("1 seen, 1 not visible, 1 not run, 0 told otherwise, all as declared"));
    assert!(text.contains("check fentry ... ok\n     not to be had: no trampolines"));
}

/// A run that is recorded has all runs; whether all were made is judged elsewhere.
fn recordable(report: &Report) -> Result<&KernelResult, String> {
    report.recordable(&RUNS.iter().collect::<Vec<_>>())
}

#[test]
fn what_a_guest_showed_is_gathered_as_a_result() {
    let report = judged(CONSOLE);
    let result = recordable(&report).unwrap();
    let made = Made {
        debian: "6.1.192-3~bpo12+1".to_owned(),
        day: "2026-11-29".to_owned(),
        programs: "0123456789ab".to_owned(),
    };
    assert!(CONSOLE.contains(&format!("\n{}\r\n", made_marker(&made))));
    assert_eq!(result.made, made);
    assert_eq!(result.release, "6.1.0-57-cloud-amd64");
    assert_eq!(result.attached, 1);
    let refused: Vec<&str> = result.refused.iter().map(String::as_str).collect();
    assert_eq!(refused, ["fentry_tcp_reset"]);
    assert_eq!(result.ways["fentry"], Way::default());
    let way = &result.ways["kprobe"];
    assert_eq!(way.mode.as_deref(), Some("probe"));
    assert_eq!(
        way.degraded,
        BTreeSet::from(["no-kernel-reason".to_owned()])
    );
    let lab = way.lab.as_ref().unwrap();
    assert_eq!(
        (lab.played, lab.seen, lab.not_visible, lab.not_run),
        (2, 1, 1, 1)
    );
    assert_eq!(lab.unseen["stray-reset"], "not-visible");
    assert_eq!(lab.unseen["mptcp"], "not-run");
}

#[test]
fn of_a_lab_that_is_repeated_the_last_is_kept() {
    let race = DECLARED.replace("[[unseen]]", "[[races]]");
    let begin = CONSOLE.find("@@lab").unwrap();
    let end = CONSOLE.find("@@check run=fentry").unwrap();
    let again = CONSOLE[begin..end]
        .replace("number=1", "number=2")
        .replace("not-visible", "matched");
    let report = judged_by(
        &race,
        &(CONSOLE[..end].to_owned() + &again + &CONSOLE[end..]),
    );
    assert_failures(&report, &[]);
    let lab = recordable(&report).unwrap().ways["kprobe"].lab.clone();
    assert_eq!(lab.map(|lab| (lab.played, lab.seen)), Some((2, 2)));
}

#[test]
fn what_failed_is_of_a_part_or_does_not_tell_how_it_was_made_is_not_recorded() {
    let failed = judged(&CONSOLE.replacen("not-visible", "matched", 1));
    assert_eq!(recordable(&failed), Err("1 failed".to_owned()));
    let report = judged(CONSOLE);
    assert!(report.recordable(&[&RUNS[0]]).is_err());
    for (from, to) in [("@@made", "@@unmade"), ("\"kernel\"", "\"kernels\"")] {
        let why = recordable(&judged(&CONSOLE.replace(from, to))).map(drop);
        assert_eq!(
            why,
            Err("its console does not tell how it was made".to_owned())
        );
    }
}

#[test]
fn what_is_seen_although_it_is_declared_away_fails_too() {
    let cases = [
        (
            "\"not-visible\"",
            "\"matched\"",
            "stray-reset/ipv4 ... FAILED: seen, declared otherwise",
        ),
        (
            "\"matched\"",
            "\"not-visible\"",
            "port-closed/ipv4 ... FAILED: not visible, declared",
        ),
        (
            "\"not-run\"",
            "\"matched\"",
            "mptcp/ipv4 ... FAILED: seen, declared otherwise",
        ),
        (
            "\"matched\"",
            "\"not-run\"",
            "port-closed/ipv4 ... FAILED: not run, declared",
        ),
        (
            "\"matched\"",
            "\"skipped\"",
            "port-closed/ipv4 ... FAILED: not run, declared",
        ),
        (
            "\"attached\":false,\"refusal\"",
            "\"attached\":true,\"refusal\"",
            "attached, declared",
        ),
        (
            "\"kprobe\",\"attached\":true",
            "\"kprobe\",\"attached\":false",
            "variant kprobe_tcp_res",
        ),
        (
            "no-kernel-reason",
            "cgroups-unseen",
            "degraded is cgroups-unseen, declared is no-kernel",
        ),
        (
            "\"mode\":\"probe\"",
            "\"mode\":\"classic\"",
            "the mode is classic, not probe",
        ),
        (
            "fentry code=4",
            "fentry code=0",
            "exit code 0, declared missing",
        ),
        (
            "run=kprobe code=0\r\n{\"schema",
            "run=kprobe code=4\r\n{\"schema",
            "kprobe ... FAILED",
        ),
    ];
    for (from, to, failure) in cases {
        let console = CONSOLE.replacen(from, to, 1);
        assert_ne!(console, CONSOLE, "{from}");
        let report = judged(&console);
        let text = report.lines.join("\n");
        assert!(text.contains(failure), "{failure}: {text}");
        assert!(report.failed > 0, "{failure}");
    }
}

#[test]
fn either_is_right_where_it_is_a_race() {
    let race = DECLARED.replace("[[unseen]]", "[[races]]");
    for verdict in ["not-visible", "matched"] {
        let console = CONSOLE.replacen("not-visible", verdict, 1);
        assert_failures(&judged_by(&race, &console), &[]);
    }
    let differs = CONSOLE.replacen("not-visible", "differs", 1);
    assert_failures(&judged_by(&race, &differs), &["differs: no drops"]);
}

#[test]
fn a_known_defect_is_declared_and_its_end_is_noticed() {
    let defect = DECLARED.replace("[[unseen]]", "[[mistold]]");
    let differs = CONSOLE.replacen("not-visible", "differs", 1);
    let differs = differs.replace("@@lab-end run=kprobe code=0", "@@lab-end run=kprobe code=1");
    assert_failures(&judged_by(&defect, &differs), &[]);
    let mended = CONSOLE.replacen("not-visible", "matched", 1);
    assert_failures(&judged_by(&defect, &mended), &["seen, declared otherwise"]);
}

#[test]
fn a_declared_name_that_nothing_has_fails() {
    let renamed = DECLARED.replace("stray-reset", "stray-resets");
    let expected = [
        "stray-reset/ipv4 ... FAILED: not visible",
        "no such scenario: stray-resets",
    ];
    assert_failures(&judged_by(&renamed, CONSOLE), &expected);
    let renamed = DECLARED.replace("fentry_tcp_reset", "fentry_tcp_resets");
    let expected = [
        "not attached: ENOTSUPP",
        "there is no variant fentry_tcp_resets",
    ];
    assert_failures(&judged_by(&renamed, CONSOLE), &expected);
}

#[test]
fn a_hook_that_neither_attached_nor_waits_fails() {
    let lost = CONSOLE.replace("\"waits_for_module\":\"nf_reject_ipv4\"", "\"x\":0");
    assert_failures(&judged(&lost), &["\"nf_send_reset\" is not attached"]);
}

#[test]
fn what_was_not_made_fails() {
    let without = |from: &str, to: &str| {
        let begin = CONSOLE.find(from).unwrap();
        let end = begin + CONSOLE[begin..].find(to).unwrap();
        judged(&(CONSOLE[..begin].to_owned() + &CONSOLE[end..]))
    };
    assert_failures(
        &without("@@lab run", "@@check run=fentry"),
        &["lab kprobe ... FAILED"],
    );
    assert_failures(
        &without("@@check run=fentry", "@@variants"),
        &["check fentry ... FAILED"],
    );
    assert_failures(
        &without("@@variants", "@@dmesg"),
        &["every variant ... FAILED: it was not"],
    );
}

#[test]
fn a_warning_fails() {
    let warned = CONSOLE.replace("@@dmesg\r\n", "@@dmesg\r\nWARNING: x\r\n");
    assert_failures(&judged(&warned), &["kernel log ... FAILED: WARNING: x"]);
}

#[test]
fn a_guest_that_dies_fails_and_its_last_words_are_shown() {
    let begun = CONSOLE.split("@@lab-end").next().unwrap().to_owned();
    let panic = "[    6.386955] Kernel panic: y\n[    6.387288] RIP: z\n";
    let died = judged(&(begun + panic));
    // The log, and that there was no end: not each line of the panic, nor what was not made.
    assert_failures(
        &died,
        &[
            "kernel log ... FAILED: [    6.386955] Kernel panic: y",
            "its end",
        ],
    );
    assert!(
        died.lines
            .join("\n")
            .ends_with("     [    6.387288] RIP: z")
    );
}

#[test]
fn a_torn_result_a_lab_that_shows_nothing_and_one_that_hangs_fail() {
    let torn = CONSOLE.replace(
        "@@lab-end",
        "{\"scenario\":\"port-closed\",\"fam\n@@lab-end",
    );
    assert_failures(&judged(&torn), &["output ... FAILED: no result"]);
    let ended = |code: u8| {
        let begin = CONSOLE.find("{\"scenario").unwrap();
        let end = CONSOLE.find("@@lab-end").unwrap();
        let silent = CONSOLE[..begin].to_owned() + &CONSOLE[end..];
        let end = "@@lab-end run=kprobe code=";
        judged(&silent.replace(&format!("{end}0"), &format!("{end}{code}")))
    };
    assert_failures(&ended(0), &["no scenario was run"]);
    assert_failures(&ended(1), &["exit code 1"]);
    assert_failures(&ended(143), &["it took too long"]);
}
