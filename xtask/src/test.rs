//! `test`: every layer, one after the other, and the sums.
//!
//! A layer that fails does not hide the later ones. The last line is `N passed, N failed`.

use crate::build::{build_release, release_binary};
use crate::process::{as_root, cargo, is_root};
use crate::setup::{Purpose, set_up};
use crate::vm::{VmArgs, run_vm};
use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Arguments of `test`.
#[derive(Debug, Default, Args)]
pub(crate) struct TestArgs {
    /// Leave the virtual machines out
    #[arg(long)]
    quick: bool,
}

/// Oldest and newest kernel of the matrix.
const VM_KERNELS: [&str; 2] = ["5.10", "7.3"];
/// The eBPF programs are no member that cargo builds by default: they have their own target.
const WORKSPACE: &[&str] = &["--workspace", "--exclude", "rstmon-ebpf", "--locked"];

/// What the layers gave so far.
#[derive(Debug, Default)]
struct Sums {
    passed: usize,
    failed: usize,
}

impl Sums {
    fn add(&mut self, name: &str, passed: bool) {
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        if passed {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }
}

/// Runs all layers; whether all passed.
pub(crate) fn run_tests(args: &TestArgs) -> Result<bool> {
    set_up(Purpose::Test)?;
    let mut sums = Sums::default();
    headline("format and lints");
    sums.add("cargo fmt", succeeds(cargo(&["fmt", "--all", "--check"])));
    let lints = ["--all-targets", "--", "-D", "warnings"];
    sums.add(
        "cargo clippy",
        succeeds(with(with(cargo(&["clippy"]), WORKSPACE), &lints)),
    );
    sums.add("cargo clippy of the eBPF programs", succeeds(ebpf_clippy()));
    headline("unit, binary and kernel tests");
    cargo_test(&mut sums)?;
    headline("lab on this kernel");
    build_release()?;
    lab(&mut sums)?;
    if !args.quick {
        headline("lab on Debian's kernels");
        let kernels = VM_KERNELS.map(str::to_owned).to_vec();
        let outcome = run_vm(&VmArgs {
            kernels,
            ..VmArgs::default()
        })?;
        sums.passed += outcome.passed;
        sums.failed += outcome.failed;
    }
    println!("\n{} passed, {} failed", sums.passed, sums.failed);
    Ok(sums.failed == 0)
}

fn headline(text: &str) {
    println!("\n== {text}");
}

fn with(mut command: Command, args: &[&str]) -> Command {
    command.args(args);
    command
}

fn succeeds(mut command: Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}

fn ebpf_clippy() -> Command {
    let mut command = cargo(&[
        "clippy",
        "--locked",
        "--package",
        "rstmon-ebpf",
        "--release",
    ]);
    command
        .args([
            "--target",
            "bpfel-unknown-none",
            "-Z",
            "build-std=core",
            "--",
            "-D",
            "warnings",
        ])
        // The stable compiler takes the unstable flag from whoever asks this way.
        .env("RUSTC_BOOTSTRAP", "1");
    command
}

/// Runs the tests of all crates, and takes their sums from what the harness prints.
fn cargo_test(sums: &mut Sums) -> Result<()> {
    let mut command = with(with(cargo(&["test"]), WORKSPACE), &["--no-fail-fast"]);
    if is_root() && Path::new("/sys/kernel/btf/vmlinux").exists() {
        command.env("RSTMON_REQUIRE_BPF", "1");
    }
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo test")?;
    let stdout = child.stdout.take().context("cargo test has no output")?;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        if let Some((passed, failed)) = harness_sums(&line) {
            sums.passed += passed;
            sums.failed += failed;
        }
    }
    if !child.wait()?.success() && sums.failed == 0 {
        sums.add("cargo test", false);
    }
    Ok(())
}

/// The numbers in `test result: ok. 3 passed; 1 failed; …`.
fn harness_sums(line: &str) -> Option<(usize, usize)> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |unit: &str| {
        let before = rest.split(unit).next()?;
        before
            .rsplit(' ')
            .find(|word| !word.is_empty())?
            .parse()
            .ok()
    };
    Some((number(" passed")?, number(" failed")?))
}

/// The whole lab against the release binary, in the mode that this kernel gets by itself.
fn lab(sums: &mut Sums) -> Result<()> {
    let binary = release_binary();
    let output = as_root(&binary.to_string_lossy())
        .args(["lab", "-o", "json"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start the lab")?;
    let before = sums.passed + sums.failed;
    for line in output.stdout.lines() {
        let result: Value = serde_json::from_str(&line?).context("the lab printed no JSON")?;
        let word = |key: &str| result[key].as_str().unwrap_or("?").to_owned();
        let verdict = word("verdict");
        let name = format!("lab {}/{} ({verdict})", word("scenario"), word("family"));
        let passed = matches!(verdict.as_str(), "matched" | "undiagnosed" | "not-visible");
        sums.add(&name, passed);
        for detail in result["detail"].as_array().into_iter().flatten() {
            println!("     {}", detail.as_str().unwrap_or("?"));
        }
    }
    if !output.status.success() || sums.passed + sums.failed == before {
        sums.add("lab as a whole", false);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_taken_from_the_harness() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; finished";
        assert_eq!(harness_sums(line), Some((12, 3)));
        assert_eq!(harness_sums("test a ... ok"), None);
    }
}
