//! `vm`: `rstmon check`, every variant of every hook and `rstmon lab` on real Debian kernels, in QEMU,
//! in every way to capture, compared with what `docs/kernel-support.toml` declares.
//!
//! [`record`] names the kernels, [`kernels`] gets them through [`apt`] from the archives that
//! [`mirrors`] finds, [`initramfs`] packs what runs in the guest, [`boot`] runs it, [`judge`] reads the
//! console. Everything is kept below `target/vm`, so that a second run downloads nothing. Always
//! emulation: a `/dev/kvm` that cannot boot a stock kernel is common.

mod apt;
mod boot;
mod declared;
mod document;
mod initramfs;
mod judge;
mod kernels;
mod mirrors;
mod packages;
mod record;
mod runs;
mod target;

pub(crate) use target::Arch;

use crate::process::{cargo, root, run};
use anyhow::{Context, Result, bail};
use clap::Args;
use declared::Declaration;
use judge::Report;
use kernels::Kernel;
use record::Record;
use runs::{RUNS, Run};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use target::{Target, Version};

/// Arguments of `vm`.
#[derive(Debug, Args)]
pub(crate) struct VmArgs {
    /// Kernels, as X.Y; all recorded ones of the architecture without any
    #[arg(value_name = "KERNEL")]
    kernels: Vec<Version>,
    /// Their architecture
    #[arg(long, value_enum, default_value_t)]
    pub(crate) arch: Arch,
    /// How often the lab runs in each way to capture, from the second time in random order
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Only the runs of this mode, or the run of this name
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    mode: Option<String>,
    /// How many machines run beside each other
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    jobs: u32,
    /// Boot nothing: record the newest packages of these kernels in xtask/kernels.toml
    #[arg(long, conflicts_with_all = ["repeat", "mode", "document"])]
    record: bool,
    /// Boot nothing: compare the consoles of the last run with the declaration as it is now
    #[arg(long)]
    again: bool,
    /// Boot nothing: write docs/kernel-support.md from docs/kernel-support.toml
    #[arg(long)]
    pub(crate) document: bool,
}

impl VmArgs {
    /// What continuous integration has time for: the oldest and the newest kernel.
    pub(crate) fn ends() -> Result<Self> {
        let all = Self {
            kernels: Vec::new(),
            arch: Arch::default(),
            repeat: 1,
            mode: None,
            jobs: 2,
            record: false,
            again: false,
            document: false,
        };
        let targets = all.targets(&Record::read()?)?;
        let ends = targets.first().into_iter().chain(targets.last());
        Ok(Self {
            kernels: ends.map(|target| target.version).collect(),
            ..all
        })
    }

    /// The kernels that are meant.
    fn targets(&self, record: &Record) -> Result<Vec<Target>> {
        let arch = self.arch;
        let named = self.kernels.iter();
        let named: Vec<Target> = named.map(|&version| Target { arch, version }).collect();
        if !named.is_empty() {
            return Ok(named);
        }
        let recorded: Vec<Target> = record.targets().filter(|it| it.arch == arch).collect();
        if recorded.is_empty() {
            bail!("no kernel is recorded; `cargo xtask vm --record KERNEL…` does it");
        }
        Ok(recorded)
    }

    /// The runs that are meant.
    fn runs(&self) -> Vec<&'static Run> {
        let is_meant = |run: &&Run| self.mode.as_ref().is_none_or(|word| run.is_called(word));
        RUNS.iter().filter(is_meant).collect()
    }
}

/// A mode, or the name of a run.
fn parse_mode(text: &str) -> Result<String, String> {
    if RUNS.iter().any(|run| run.is_called(text)) {
        return Ok(text.to_owned());
    }
    let names: Vec<&str> = RUNS.iter().map(|run| run.name).collect();
    Err(format!(
        "give probe, tracepoint, classic, or one of {}",
        names.join(", ")
    ))
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct VmOutcome {
    /// Results that are as declared.
    pub(crate) passed: usize,
    /// Those that are not.
    pub(crate) failed: usize,
}

/// An error says why this machine has no way to Debian's kernels.
pub(crate) fn can_get_kernels() -> Result<()> {
    mirrors::read_mirrors().map(drop)
}

/// What of the arguments needs no machine.
pub(crate) fn run_without_machines(args: &VmArgs) -> Result<bool> {
    if args.document {
        let declared = Declaration::read(&declaration_path())?;
        let text = document::render(&declared, &Record::read()?);
        std::fs::write(document_path(), text).context("cannot write docs/kernel-support.md")?;
    }
    if args.record {
        let mut record = Record::read()?;
        let targets = args.targets(&record)?;
        for target in kernels::record_newest(args.arch, &targets, &mut record)? {
            println!("vm {target}: Debian has no such kernel");
        }
        record.write()?;
    }
    Ok(args.document || args.record)
}

/// What all machines have in common.
struct Plan<'a> {
    runs: Vec<&'static Run>,
    declared: Declaration,
    binary: &'a Path,
    busybox: &'a Path,
    init: String,
    repeat: u32,
}

/// Judges what the kernels said last time.
fn judge_again(args: &VmArgs) -> Result<VmOutcome> {
    let declared = Declaration::read(&declaration_path())?;
    let mut outcome = VmOutcome::default();
    for target in args.targets(&Record::read()?)? {
        let console = std::fs::read(boot::log_path(target))
            .with_context(|| format!("{target} was not booted yet"))?;
        let console = String::from_utf8_lossy(&console);
        let report = judge::judge(target, &args.runs(), &declared, &console);
        tell(target, &report, None, 0);
        outcome.add(&report);
    }
    Ok(outcome)
}

/// Gets the kernels, then boots them, some beside each other.
pub(crate) fn run_vm(args: &VmArgs) -> Result<VmOutcome> {
    if args.again {
        return judge_again(args);
    }
    let record = Record::read()?;
    let declared = Declaration::read(&declaration_path())?;
    let targets = args.targets(&record)?;
    let runs = args.runs();
    let plan = Plan {
        init: initramfs::init_script(&runs, args.repeat),
        runs,
        declared,
        binary: &build_static(args.arch)?,
        busybox: &kernels::get_busybox(args.arch)?,
        repeat: args.repeat,
    };
    if args.arch != Arch::Amd64 {
        // Once, before the machines' threads would all want apt for it.
        kernels::get_programs(args.arch)?;
    }
    let mut outcome = VmOutcome::default();
    let mut not_served = Vec::new();
    let mut waiting = VecDeque::new();
    for target in targets {
        match kernels::get_kernel(target, &record) {
            Ok(Some(kernel)) => waiting.push_back((target, kernel)),
            Ok(None) => not_served.push(target),
            Err(error) => {
                let report = judge::unbootable(target, &format!("cannot get it: {error:#}"));
                tell(target, &report, None, 0);
                outcome.add(&report);
            }
        }
    }
    let waiting = Mutex::new(waiting);
    // Not in the loop's head, which would hold the lock while the machine runs.
    let next = || locked(&waiting).pop_front();
    let outcome = Mutex::new(outcome);
    std::thread::scope(|scope| {
        for _ in 0..args.jobs {
            scope.spawn(|| {
                while let Some((target, kernel)) = next() {
                    let started = Instant::now();
                    let report = boot_kernel(target, &kernel, &plan)
                        .unwrap_or_else(|error| judge::unbootable(target, &format!("{error:#}")));
                    let mut outcome = locked(&outcome);
                    tell(
                        target,
                        &report,
                        kernel.note.as_deref(),
                        started.elapsed().as_secs(),
                    );
                    outcome.add(&report);
                }
            });
        }
    });
    // Never a pass in silence: whoever reads the end of the output must see it.
    for target in &not_served {
        println!("vm {target}: NOT RUN, Debian serves no such kernel any more");
    }
    let outcome = *locked(&outcome);
    if outcome == VmOutcome::default() {
        bail!("not one of these kernels could be booted");
    }
    Ok(outcome)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl VmOutcome {
    const fn add(&mut self, report: &Report) {
        self.passed += report.passed;
        self.failed += report.failed;
    }
}

/// Prints what came of one kernel.
fn tell(target: Target, report: &Report, note: Option<&str>, seconds: u64) {
    for line in &report.lines {
        println!("{line}");
    }
    if report.failed > 0 && boot::log_path(target).is_file() {
        println!(
            "     the console of {target} is kept in {}",
            boot::log_path(target).display()
        );
    }
    if let Some(note) = note {
        println!("vm {target}: NOTE: {note}");
    }
    println!(
        "vm {target}: {} passed, {} failed, in {seconds} s",
        report.passed, report.failed
    );
}

/// Boots one kernel and judges what it said.
fn boot_kernel(target: Target, kernel: &Kernel, plan: &Plan<'_>) -> Result<Report> {
    boot::forget_log(target)?;
    let image = initramfs::pack(target, kernel, plan.binary, plan.busybox, &plan.init)
        .with_context(|| format!("cannot pack the initramfs for {target}"))?;
    let labs = plan.runs.iter().filter(|run| run.has_lab).count();
    let labs = u32::try_from(labs).unwrap_or(u32::MAX) * plan.repeat;
    let console = boot::boot(target, kernel, &image, labs)?;
    Ok(judge::judge(target, &plan.runs, &plan.declared, &console))
}

/// Where kernels, images and logs are kept.
fn cache() -> PathBuf {
    root().join("target/vm")
}

fn declaration_path() -> PathBuf {
    root().join("docs/kernel-support.toml")
}

fn document_path() -> PathBuf {
    root().join("docs/kernel-support.md")
}

/// Builds the binary that runs in the guest. The compiler's own linker makes a static binary of it;
/// a C toolchain of another architecture only compiles what some crates have in C.
fn build_static(arch: Arch) -> Result<PathBuf> {
    let target = arch.rust_target();
    let variable = target.to_ascii_uppercase().replace('-', "_");
    let mut build = cargo(&["build", "--release", "--locked", "--package", "rstmon"]);
    build
        .args(["--target", target])
        .env(format!("CARGO_TARGET_{variable}_LINKER"), "rust-lld");
    if let Some(compiler) = arch.c_compiler() {
        build.env(format!("CC_{}", target.replace('-', "_")), compiler);
    }
    run(&mut build).context("cannot build the static binary for the virtual machines")?;
    Ok(root().join("target").join(target).join("release/rstmon"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;

    #[test]
    fn a_mode_means_its_runs_and_a_name_its_run() {
        let runs = |word: &str| {
            let args = VmArgs {
                mode: Some(parse_mode(word).unwrap()),
                ..VmArgs::ends().unwrap()
            };
            args.runs().iter().map(|run| run.name).collect::<Vec<_>>()
        };
        assert_eq!(runs("tracepoint"), ["tracepoint", "btf-file-tracepoint"]);
        assert_eq!(runs("kprobe"), ["kprobe"]);
        assert!(runs("probe").contains(&"fentry") && !runs("probe").contains(&"classic"));
        assert!(parse_mode("fast").is_err());
    }

    #[test]
    fn the_ends_are_the_oldest_and_the_newest_recorded() {
        let record = Record::read().unwrap();
        let targets = VmArgs::ends().unwrap().targets(&record).unwrap();
        let recorded: Vec<Target> = record
            .targets()
            .filter(|it| it.arch == Arch::Amd64)
            .collect();
        assert_eq!(targets.len(), 2);
        assert_eq!(
            (targets[0], targets[1]),
            (recorded[0], recorded[recorded.len() - 1])
        );
    }

    #[test]
    fn the_document_is_what_the_command_makes_of_the_declaration() {
        let declared = Declaration::read(&declaration_path()).unwrap();
        let text = std::fs::read_to_string(document_path()).unwrap();
        let rendered = document::render(&declared, &Record::read().unwrap());
        assert_eq!(text, rendered, "run `cargo xtask vm --document`");
    }
}
