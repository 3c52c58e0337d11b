//! `docs/kernel-support.md`, for people, from the declaration and the record. Pure.
//!
//! A run of `cargo xtask vm` fails where a kernel differs from the declaration, so this is also what
//! the kernels gave.

use super::declared::{Declaration, EVERY, Rule};
use super::record::Record;
use super::runs::{RUNS, Run};
use super::target::{Arch, Target};
use std::fmt::Write as _;

const HEAD: &str = "\
<!-- Made by `cargo xtask vm --document` from kernel-support.toml and xtask/kernels.toml. -->

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

A number is how many of the lab's scenarios are not seen there, not whole, told otherwise or not played; “only” is how many are played;
below stands which, and why. “–” is a way that the kernel does not allow.
";

/// Writes it out.
pub(super) fn render(declared: &Declaration, record: &Record) -> String {
    let mut text = HEAD.to_owned();
    for (arch, title) in [(Arch::Amd64, "x86-64"), (Arch::Arm64, "arm64")] {
        render_kernels(&mut text, title, arch, declared, record);
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

/// The table of an architecture.
fn render_kernels(
    text: &mut String,
    title: &str,
    arch: Arch,
    declared: &Declaration,
    record: &Record,
) {
    let names: Vec<&str> = lab_runs().map(|run| run.name).collect();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\n## Linux on {title}\n\n| Linux | Debian's version | {} |\n| --- | --- |{}\n",
        names.join(" | "),
        " ---: |".repeat(names.len())
    );
    for target in record.targets().filter(|target| target.arch == arch) {
        let version = record.pins(target).and_then(|pins| pins.values().next());
        let version = version.map_or("?", |pin| pin.version.as_str());
        let cells: Vec<String> = lab_runs().map(|run| cell(declared, target, run)).collect();
        let cells = cells.join(" | ");
        let _ = writeln!(text, "| {} | {version} | {cells} |", target.version);
    }
}

/// How many scenarios one run does not show.
fn cell(declared: &Declaration, target: Target, run: &Run) -> String {
    if declared.is_missing(target, run) {
        return "–".to_owned();
    }
    if let Some(played) = declared.only_played(target, run) {
        return format!("only {}", played.len());
    }
    match declared.scenarios(target, run).len() {
        0 => "all".to_owned(),
        count => format!("−{count}"),
    }
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
    use super::words;

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
