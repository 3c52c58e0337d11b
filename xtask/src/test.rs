//! `test`: every layer, one after the other, and the sums.
//!
//! A layer that fails does not hide the later ones. The last line is `N passed, N skipped, N failed`: a
//! test that cannot run here says so in a line of its own and is none that has passed.

use crate::build::{build_release, release_binary};
use crate::dist::{DistArgs, run_dist};
use crate::process::{as_root, can_be_root, cargo, is_root, output_of};
use crate::setup::{Purpose, set_up};
use crate::vm::{DeclaredHere, VmArgs, can_get_kernels, run_vm};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Arguments of `test`.
#[derive(Debug, Default, Args)]
pub(crate) struct TestArgs {
    /// Leave the packages and the virtual machines out
    #[arg(long)]
    quick: bool,
    /// Only these layers
    #[arg(
        long,
        value_name = "LAYER",
        value_delimiter = ',',
        conflicts_with = "quick"
    )]
    only: Vec<Layer>,
}

impl TestArgs {
    /// What to run, in order.
    fn layers(&self) -> Vec<Layer> {
        let all = Layer::value_variants().iter().copied();
        all.filter(|layer| {
            if self.only.is_empty() {
                !(self.quick && matches!(layer, Layer::Packages | Layer::Vm))
            } else {
                self.only.contains(layer)
            }
        })
        .collect()
    }
}

/// A layer of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Layer {
    /// Format and lints
    Lints,
    /// Unit, binary and kernel tests
    Tests,
    /// The lab on this kernel
    Lab,
    /// The packages, one of them installed and purged
    Packages,
    /// The lab on Debian's kernels, in QEMU
    Vm,
}

impl Layer {
    fn title(self) -> &'static str {
        match self {
            Self::Lints => "format and lints",
            Self::Tests => "unit, binary and kernel tests",
            Self::Lab => "lab on this kernel",
            Self::Packages => "packages",
            Self::Vm => "lab on Debian's kernels",
        }
    }

    fn purpose(self) -> Option<Purpose> {
        match self {
            Self::Lints => None,
            Self::Tests | Self::Lab => Some(Purpose::Tests),
            Self::Packages => Some(Purpose::Packages),
            Self::Vm => Some(Purpose::Machines),
        }
    }

    /// An error is what kept the layer from its end.
    fn run(self, sums: &mut Sums) -> Result<()> {
        match self {
            Self::Lints => lints(sums),
            Self::Tests => {
                cargo_test(
                    sums,
                    with(with(cargo(&["test"]), WORKSPACE), &["--no-fail-fast"]),
                )?;
                load_tests(sums)?;
            }
            Self::Lab => lab(sums)?,
            Self::Packages => sums.add(
                "packages install, work and leave nothing",
                run_dist(&DistArgs { test: true })?,
            ),
            Self::Vm => {
                let outcome = run_vm(&VmArgs::ends()?)?;
                sums.passed += outcome.passed;
                sums.failed += outcome.failed;
                if outcome.not_run > 0 {
                    // Of so few kernels none may be left out.
                    sums.add("every kernel was run", false);
                }
            }
        }
        Ok(())
    }
}

/// The eBPF programs are no member that cargo builds by default: they have their own target.
const WORKSPACE: &[&str] = &["--workspace", "--exclude", "rstmon-ebpf", "--locked"];

/// What the layers gave so far.
#[derive(Debug, Default)]
struct Sums {
    passed: usize,
    failed: usize,
    skipped: usize,
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

    /// Takes tests that the harness counts as passed, and that have said that they cannot run here.
    const fn skip(&mut self, tests: usize) {
        self.passed = self.passed.saturating_sub(tests);
        self.skipped += tests;
    }
}

/// Runs the layers; whether all passed.
pub(crate) fn run_tests(args: &TestArgs) -> Result<bool> {
    let mut layers = args.layers();
    let mut left_out = None;
    // Who asks for the virtual machines by name is told of the error instead.
    if args.only.is_empty()
        && layers.contains(&Layer::Vm)
        && let Err(error) = can_get_kernels()
    {
        layers.retain(|layer| *layer != Layer::Vm);
        left_out = Some(format!("NOT RUN: {}: {error:#}", Layer::Vm.title()));
    }
    let purposes: Vec<Purpose> = layers.iter().filter_map(|layer| layer.purpose()).collect();
    set_up(&purposes)?;
    let mut sums = Sums::default();
    for layer in layers {
        let started = Instant::now();
        println!("\n== {}", layer.title());
        if let Err(error) = layer.run(&mut sums) {
            println!("error: {error:#}");
            sums.add(layer.title(), false);
        }
        println!("== {}: {} s", layer.title(), started.elapsed().as_secs());
    }
    if let Some(left_out) = left_out {
        println!("\n{left_out}");
    }
    println!(
        "\n{} passed, {} skipped, {} failed",
        sums.passed, sums.skipped, sums.failed
    );
    Ok(sums.failed == 0)
}

fn lints(sums: &mut Sums) {
    sums.add("cargo fmt", succeeds(cargo(&["fmt", "--all", "--check"])));
    let lints = ["--all-targets", "--", "-D", "warnings"];
    sums.add(
        "cargo clippy",
        succeeds(with(with(cargo(&["clippy"]), WORKSPACE), &lints)),
    );
    sums.add("cargo clippy of the eBPF programs", succeeds(ebpf_clippy()));
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

/// Holds the release binary to what is promised of it under load. The tests that measure it need no
/// release build of their own.
fn load_tests(sums: &mut Sums) -> Result<()> {
    build_release()?;
    let mut command = cargo(&["test", "--locked", "--package", "rstmon", "--no-fail-fast"]);
    command
        .args(["--test", "top_load", "--test", "agent_load"])
        // What costs a processor time is measured: one after the other.
        .args(["--", "--test-threads=1"])
        .env("RSTMON_TEST_RELEASE_BINARY", release_binary());
    cargo_test(sums, command)
}

/// Runs tests, and takes their sums from what the harness prints.
fn cargo_test(sums: &mut Sums, mut command: Command) -> Result<()> {
    let failed_before = sums.failed;
    let has_btf = Path::new("/sys/kernel/btf/vmlinux").exists();
    if has_btf && can_be_root() {
        command.env("RSTMON_REQUIRE_BPF", "1");
        if let Some((variable, runner)) = root_runner() {
            command.env(variable, runner);
        }
    } else {
        let root = can_be_root();
        println!("NOT RUN: kernel tests (root or sudo: {root}, kernel BTF: {has_btf})");
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start cargo test")?;
    let stderr = child
        .stderr
        .take()
        .context("cargo test has no standard error")?;
    let skips = std::thread::spawn(move || shown_skips(stderr));
    let stdout = child.stdout.take().context("cargo test has no output")?;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        if let Some((passed, failed)) = harness_sums(&line) {
            sums.passed += passed;
            sums.failed += failed;
        }
    }
    // What shows lines does not panic.
    sums.skip(skips.join().unwrap_or_default());
    if !child.wait()?.success() && sums.failed == failed_before {
        sums.add("cargo test", false);
    }
    Ok(())
}

/// Hands standard error on, and counts the tests that say there that they cannot run.
fn shown_skips(stderr: impl Read) -> usize {
    let mut skips = 0;
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        eprintln!("{}", String::from_utf8_lossy(&line));
        skips += usize::from(says_skipped(&line));
    }
    skips
}

/// Whether a line is that of a test as a whole (`rstmon/tests/support/skip.rs`). What a test leaves out
/// of what it does begins with `SKIPPED:`.
fn says_skipped(line: &[u8]) -> bool {
    line.starts_with(b"SKIPPED test ")
}

/// The variable that makes cargo run test binaries as root, and its value; `None` where this process
/// is root. The kernel tests would otherwise skip themselves, and pass.
fn root_runner() -> Option<(String, &'static str)> {
    if is_root() {
        return None;
    }
    let version = output_of("rustc", &["-vV"])?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))?;
    Some((runner_variable(host), "sudo --preserve-env"))
}

/// Cargo's name for the runner of a target.
fn runner_variable(target: &str) -> String {
    let target = target.to_ascii_uppercase().replace('-', "_");
    format!("CARGO_TARGET_{target}_RUNNER")
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
    build_release()?;
    let binary = release_binary();
    let here = DeclaredHere::read(&mode_here(&binary)?)?;
    let output = as_root(&binary.to_string_lossy())
        .args(["lab", "-o", "json", "--witness"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start the lab")?;
    let mut verdicts = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        verdicts.push(lab_result(sums, &here, line));
    }
    // What is declared to be told otherwise fails the lab, and is no failure here.
    let told_otherwise = verdicts.iter().any(|verdict| verdict == "differs");
    let is_as_due = match output.status.code() {
        Some(0) => !told_otherwise,
        Some(1) => told_otherwise,
        _ => false,
    };
    if verdicts.is_empty() || !is_as_due {
        sums.add("lab as a whole", false);
    }
    Ok(())
}

/// The mode that `rstmon check` finds for this machine.
fn mode_here(binary: &Path) -> Result<String> {
    let output = as_root(&binary.to_string_lossy())
        .args(["check", "-o", "json"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start rstmon check")?;
    let report: Value =
        serde_json::from_slice(&output.stdout).context("rstmon check printed no JSON")?;
    let mode = report["mode"].as_str();
    Ok(mode.context("rstmon check found no mode here")?.to_owned())
}

/// Counts one result of the lab and gives its verdict. A line that is none fails too: nothing else belongs
/// there.
fn lab_result(sums: &mut Sums, here: &DeclaredHere, line: &str) -> String {
    let Ok(result) = serde_json::from_str::<Value>(line) else {
        println!("     {line}");
        sums.add("lab output", false);
        return String::new();
    };
    let word = |key: &str| result[key].as_str().unwrap_or("?").to_owned();
    let (id, family, verdict) = (word("scenario"), word("family"), word("verdict"));
    let name = format!("lab {id}/{family} ({verdict})");
    let difference = here.difference(&id, &family, &verdict);
    if verdict == "not-run" {
        println!("SKIPPED test {name}");
        sums.skipped += 1;
    } else {
        sums.add(&name, difference.is_none());
    }
    let details = result["detail"].as_array().into_iter().flatten();
    let details = details.map(|detail| detail.as_str().unwrap_or("?"));
    for said in details.chain(difference.as_deref()) {
        println!("     {said}");
    }
    verdict
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

    #[test]
    fn a_test_that_could_not_run_is_none_that_passed() {
        let said = "   Compiling rstmon\nSKIPPED test a: no nft\nSKIPPED: one of many\n\n\
                    SKIPPED test b::c: no BTF\n";
        let mut sums = Sums {
            passed: 5,
            ..Sums::default()
        };
        sums.skip(shown_skips(said.as_bytes()));
        assert_eq!((sums.passed, sums.skipped, sums.failed), (3, 2, 0));
    }

    #[test]
    fn the_runner_is_named_as_cargo_reads_it() {
        assert_eq!(
            runner_variable("x86_64-unknown-linux-gnu"),
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER"
        );
    }

    #[test]
    fn layers_are_left_out_as_asked() {
        let quick = TestArgs {
            quick: true,
            only: Vec::new(),
        };
        assert_eq!(quick.layers(), [Layer::Lints, Layer::Tests, Layer::Lab]);
        let only = TestArgs {
            quick: false,
            only: vec![Layer::Vm, Layer::Lints],
        };
        assert_eq!(only.layers(), [Layer::Lints, Layer::Vm]);
        let all = TestArgs::default().layers();
        assert_eq!(all, Layer::value_variants());
    }

    #[test]
    fn a_result_of_the_lab_counts_by_its_verdict() {
        let here = DeclaredHere::of("6.18", "tracepoint");
        let sums_of = |line: &str| {
            let mut sums = Sums::default();
            lab_result(&mut sums, &here, line);
            (sums.passed, sums.skipped, sums.failed)
        };
        let result = |verdict: &str| {
            format!(
                r#"{{"scenario":"linger-abort","family":"ipv4","verdict":"{verdict}","detail":["d"]}}"#
            )
        };
        for passed in ["matched", "passed-over"] {
            assert_eq!(sums_of(&result(passed)), (1, 0, 0), "{passed}");
        }
        assert_eq!(sums_of(&result("not-run")), (0, 1, 0));
        // That scenario is seen on every kernel, in this mode.
        for failed in ["not-visible", "differs", "undiagnosed", "skipped"] {
            assert_eq!(sums_of(&result(failed)), (0, 0, 1), "{failed}");
        }
        assert_eq!(sums_of("{\"scenario\":\"torn"), (0, 0, 1));
    }
}
