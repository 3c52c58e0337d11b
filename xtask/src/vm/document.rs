//! `docs/kernel-support.md`, for people: what the kernels gave when they were last run, and from the
//! declaration the reasons for what they did not. Pure.

use super::declared::{Declaration, EVERY, Rule};
use super::record::{Pins, Record, version_of};
use super::results::{KernelResult, Results, Way};
use super::runs::{RUNS, Run};
use super::target::{Arch, Target};
use std::fmt::Write as _;

const HEAD: &str = "\
<!-- Made by `cargo xtask vm --document` from kernel-results.toml, kernel-support.toml and xtask/kernels.toml. -->

# What each kernel gives

`cargo xtask vm` boots these kernels of Debian in QEMU, attaches every variant of every hook, makes
each cause happen (`rstmon lab`) in every way to capture, and fails where anything differs from what
stands here, in either direction.

| way to capture | how |
| --- | --- |
| `tracepoint` | `--mode tracepoint`: raw tracepoints alone, as where probes are refused |
| `fentry`, `kprobe` | `--mode probe`, each way into functions alone; `auto` takes fentry first |
| `classic` | `--mode classic`: the tracepoints by their format files |
| `btf-file`, `btf-file-tracepoint` | the kernel's own BTF is hidden, and a file with it given by `--btf FILE`; all raw tracepoints are plain ones then, elsewhere most are entered by their BTF |

The numbers are what the last whole run of each kernel gave: of all results that were played, each a
scenario with one IP version, how many were seen, all of it and as what it was. Which were not stands by
name in [kernel-results.toml](kernel-results.toml); why, below. “–” is a way that the kernel does not
allow, “not run” a kernel of which no whole run is kept. The eBPF programs are named by a digest of
their code, which each architecture has its own of: where it is another than that of the other
kernels, it was run with older or newer ones.
";

/// Stands where there is no result.
const NOT_RUN: &str = "not run";

/// Writes it out.
pub(super) fn render(declared: &Declaration, record: &Record, results: &Results) -> String {
    let mut text = HEAD.to_owned();
    for (arch, title) in [(Arch::Amd64, "x86-64"), (Arch::Arm64, "arm64")] {
        let targets = record.targets().filter(|target| target.arch == arch);
        let kernels = targets.map(|target| (target, record.pins(target), results.of(target)));
        render_kernels(&mut text, title, &kernels.collect::<Vec<_>>());
    }
    render_rules(
        &mut text,
        "Ways that are not to be had",
        &declared.run_missing,
    );
    render_rules(
        &mut text,
        "Hooks that are not to be had",
        &declared.variant_missing,
    );
    render_rules(
        &mut text,
        "Degraded, as `rstmon check` says it",
        &declared.degraded,
    );
    render_rules(&mut text, "Not seen, or not whole", &declared.unseen);
    render_rules(&mut text, "Told as another cause", &declared.mistold);
    render_rules(
        &mut text,
        "Seen at one time and not at another",
        &declared.races,
    );
    render_rules(&mut text, "Not played", &declared.not_run);
    text
}

fn lab_runs() -> impl Iterator<Item = &'static Run> {
    RUNS.iter().filter(|run| run.has_lab)
}

/// A kernel of the matrix, the packages that are recorded of it, and what it gave.
type Row<'a> = (Target, Option<&'a Pins>, Option<&'a KernelResult>);

/// The tables of an architecture: what each way gave, and how that was found out.
fn render_kernels(text: &mut String, title: &str, kernels: &[Row<'_>]) {
    let names: Vec<&str> = lab_runs().map(|run| run.name).collect();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\n## Linux on {title}\n\n| Linux | {} |\n| --- |{}\n",
        names.join(" | "),
        " ---: |".repeat(names.len())
    );
    for (target, _, result) in kernels {
        let cells: Vec<String> = lab_runs().map(|run| cell(*result, run)).collect();
        let _ = writeln!(text, "| {} | {} |", target.version, cells.join(" | "));
    }
    text.push_str(
        "\n| Linux | Debian's version | release | last run | eBPF programs | variants of hooks |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for (target, pins, result) in kernels {
        let recorded = pins.map_or("", |pins| version_of(pins));
        let row = result.map_or_else(
            || format!("{recorded} | | {NOT_RUN} | |"),
            |result| made(result, recorded),
        );
        let _ = writeln!(text, "| {} | {row} |", target.version);
    }
}

/// What one way to capture gave.
fn cell(result: Option<&KernelResult>, run: &Run) -> String {
    let way = result.and_then(|result| result.ways.get(run.name));
    let lab = match way {
        Some(Way { mode: None, .. }) => return "–".to_owned(),
        Some(Way { lab: Some(lab), .. }) => lab,
        _ => return NOT_RUN.to_owned(),
    };
    let mut cell = format!("{} of {}", lab.seen, lab.played);
    if lab.not_run > 0 {
        let _ = write!(cell, ", {} not played", lab.not_run);
    }
    cell
}

/// How a kernel was run; `recorded` is the version that would be booted today.
fn made(result: &KernelResult, recorded: &str) -> String {
    let KernelResult { release, made, .. } = result;
    let mut debian = made.debian.clone();
    if debian != recorded {
        let _ = write!(debian, ", since then {recorded} is recorded");
    }
    let mut variants = format!("{} attached", result.attached);
    if !result.refused.is_empty() {
        let _ = write!(variants, ", {} refused", result.refused.len());
    }
    format!(
        "{debian} | {release} | {} | `{}` | {variants}",
        made.day, made.programs
    )
}

fn render_rules(text: &mut String, title: &str, rules: &[Rule]) {
    if rules.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n## {title}\n");
    for rule in rules {
        let quoted = |names: &[String]| -> String {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            names.join(", ")
        };
        let mut names = quoted(&rule.names);
        if rule.names == [EVERY] {
            names = format!("every scenario but {}", quoted(&rule.but));
        }
        let _ = writeln!(text, "* {}: {}.\n  {}", scope(rule), names, rule.why.trim());
    }
}

/// Where a rule holds, in words.
fn scope(rule: &Rule) -> String {
    let ranges: Vec<&str> = rule.kernels.iter().map(|(text, _)| text.as_str()).collect();
    let kernels = if ranges == ["..", "..-arm64"] {
        "every kernel".to_owned()
    } else {
        ranges
            .iter()
            .map(|text| words(text))
            .collect::<Vec<_>>()
            .join(", ")
    };
    if rule.runs.is_empty() {
        return kernels;
    }
    format!("{kernels}, {}", rule.runs.join(", "))
}

/// A range of kernels in words.
fn words(range: &str) -> String {
    let (versions, arch) = match range.strip_suffix("-arm64") {
        Some(versions) => (versions, " on arm64"),
        None => (range, ""),
    };
    let versions = match versions.split_once("..") {
        None => format!("Linux {versions}"),
        Some(("", "")) => "Linux".to_owned(),
        Some(("", last)) => format!("Linux up to {last}"),
        Some((first, "")) => format!("Linux {first} and later"),
        Some((first, last)) => format!("Linux {first} to {last}"),
    };
    versions + arch
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use crate::vm::results::tests::sample;

    #[test]
    fn a_kernel_shows_what_it_gave_and_how_that_was_found_out() {
        let result = sample();
        let cells = |result: Option<&KernelResult>| -> Vec<String> {
            lab_runs().map(|run| cell(result, run)).collect()
        };
        let shown = cells(Some(&result));
        // In the order of the runs: tracepoint, fentry, kprobe.
        assert_eq!(shown[..3], ["not run", "–", "3 of 8, 2 not played"]);
        assert!(cells(None).iter().all(|cell| cell == "not run"));
        let same = made(&result, "6.1.192-3~bpo12+1");
        let expected = "6.1.192-3~bpo12+1 | 6.1.0-57-cloud-amd64 | 2026-11-29 | `0123456789ab` | \
                        31 attached, 1 refused";
        assert_eq!(same, expected);
        assert!(made(&result, "6.1.193-1").starts_with("6.1.192-3~bpo12+1, since then 6.1.193-1"));
    }

    #[test]
    fn a_kernel_without_a_result_stands_in_both_tables_as_not_run() {
        let mut text = String::new();
        let target = "6.1".parse().unwrap();
        let other = "6.12".parse().unwrap();
        let result = sample();
        let rows = [(target, None, None), (other, None, Some(&result))];
        render_kernels(&mut text, "x86-64", &rows);
        assert_eq!(text.matches("| 6.1 |").count(), 2);
        // Six ways and the last run of the one, four ways of the other.
        assert_eq!(text.matches("not run").count(), 11, "{text}");
        // Every table has one head, and rows of its width.
        let mut widths = Vec::new();
        for line in text.lines().chain([""]) {
            if line.starts_with('|') {
                widths.push(line.matches('|').count());
            } else {
                assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
                widths.clear();
            }
        }
    }

    #[test]
    fn ranges_are_put_into_words() {
        let cases = [
            ("6.12", "Linux 6.12"),
            ("..6.9", "Linux up to 6.9"),
            ("6.10..", "Linux 6.10 and later"),
            ("6.10..7.1", "Linux 6.10 to 7.1"),
            ("6.1-arm64", "Linux 6.1 on arm64"),
            ("..-arm64", "Linux on arm64"),
        ];
        for (range, expected) in cases {
            assert_eq!(words(range), expected);
        }
    }
}
