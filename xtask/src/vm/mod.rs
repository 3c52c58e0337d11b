//! `vm`: `rstmon check`, every variant of every hook and `rstmon lab` on real Debian kernels, in QEMU,
//! in every way to capture, compared with what `docs/kernel-support.toml` declares.
//!
//! [`args`] says what is meant, [`record`] names the kernels, [`kernels`] gets them through [`apt`]
//! from the archives that [`mirrors`] finds, [`initramfs`] packs what runs in the guest, [`boot`] runs
//! it, [`judge`] reads the console, [`results`] keeps what it gave where that is asked for. Everything
//! is kept below `target/vm`, so that a second run downloads nothing. Always emulation: a `/dev/kvm`
//! that cannot boot a stock kernel is common.

mod apt;
mod args;
mod boot;
mod declared;
mod document;
mod here;
mod initramfs;
mod judge;
mod kernels;
mod mirrors;
mod packages;
mod programs;
mod record;
mod results;
mod runs;
mod target;

pub(crate) use args::VmArgs;
pub(crate) use here::DeclaredHere;

use crate::process::{cargo, output_of, root, run};
use anyhow::{Context, Result, bail};
use declared::Declaration;
use judge::Report;
use kernels::Kernel;
use record::Record;
use results::{Made, Results, contradictions};
use runs::Run;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use target::{Arch, Target};

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct VmOutcome {
    /// Results that are as declared.
    pub(crate) passed: usize,
    /// Those that are not.
    pub(crate) failed: usize,
    /// Kernels that could not be had, through nobody's fault.
    pub(crate) not_run: usize,
}

/// An error says why this machine has no way to Debian's kernels.
pub(crate) fn can_get_kernels() -> Result<()> {
    mirrors::read_mirrors().map(drop)
}

/// What of the arguments needs no machine.
pub(crate) fn run_without_machines(args: &VmArgs) -> Result<bool> {
    if args.document {
        write_document()?;
    }
    if args.record {
        let mut record = Record::read()?;
        let targets = args.targets(&record)?;
        for arch in [Arch::Amd64, Arch::Arm64] {
            let targets = targets.iter().copied().filter(|target| target.arch == arch);
            let targets: Vec<Target> = targets.collect();
            if targets.is_empty() {
                continue;
            }
            for target in kernels::record_newest(arch, &targets, &mut record)? {
                println!("vm {target}: Debian has no such kernel");
            }
        }
        record.write()?;
    }
    Ok(args.document || args.record)
}

/// Makes the page. Its reasons must be those of its numbers.
fn write_document() -> Result<()> {
    let declared = Declaration::read(&declaration_path())?;
    let results = Results::read(&results_path())?;
    let found: Vec<String> = results
        .iter()
        .flat_map(|(target, result)| contradictions(target, result, &declared))
        .collect();
    if !found.is_empty() {
        bail!(
            "docs/kernel-results.toml and docs/kernel-support.toml contradict each other; run those \
             kernels with --record-results: {}",
            found.join("; ")
        );
    }
    let text = document::render(&declared, &Record::read()?, &results);
    std::fs::write(document_path(), text).context("cannot write docs/kernel-support.md")
}

/// What all machines have in common.
struct Plan {
    runs: Vec<&'static Run>,
    declared: Declaration,
    guests: BTreeMap<Arch, Guest>,
    repeat: u32,
    today: String,
}

/// What runs in the guests of one architecture.
struct Guest {
    binary: PathBuf,
    busybox: PathBuf,
    /// Which eBPF programs are in the binary.
    programs: String,
}

impl Plan {
    fn prepare(args: &VmArgs, targets: &[Target]) -> Result<Self> {
        let mut guests = BTreeMap::new();
        for arch in [Arch::Amd64, Arch::Arm64] {
            if targets.iter().any(|target| target.arch == arch) {
                guests.insert(arch, Guest::prepare(arch)?);
            }
        }
        let today = output_of("date", &["-u", "+%F"]).context("cannot ask date for the day")?;
        Ok(Self {
            runs: args.runs(),
            declared: Declaration::read(&declaration_path())?,
            guests,
            repeat: args.repeat,
            today: today.trim().to_owned(),
        })
    }
}

impl Guest {
    fn prepare(arch: Arch) -> Result<Self> {
        let binary = build_static(arch)?;
        if arch != Arch::Amd64 {
            // Once, before the machines' threads would all want apt for it.
            kernels::get_programs(arch)?;
        }
        Ok(Self {
            programs: programs::digest_of(&binary)?,
            busybox: kernels::get_busybox(arch)?,
            binary,
        })
    }
}

/// What the kernels gave so far, and whether it is to be kept. Machines that end at the same time
/// report one after the other.
struct Tally<'a> {
    args: &'a VmArgs,
    runs: &'a [&'static Run],
    outcome: VmOutcome,
    not_run: Vec<(Target, &'static str)>,
}

impl<'a> Tally<'a> {
    const fn new(args: &'a VmArgs, runs: &'a [&'static Run]) -> Self {
        Self {
            args,
            runs,
            outcome: VmOutcome {
                passed: 0,
                failed: 0,
                not_run: 0,
            },
            not_run: Vec::new(),
        }
    }

    /// Prints what came of one kernel, counts it, and keeps what it gave if that was asked for.
    fn add(&mut self, target: Target, report: &Report, note: Option<&str>, seconds: u64) {
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
        self.outcome.passed += report.passed;
        self.outcome.failed += report.failed;
        if self.args.record_results {
            self.record(target, report);
        }
        println!(
            "vm {target}: {} passed, {} failed, in {seconds} s",
            report.passed, report.failed
        );
    }

    fn record(&mut self, target: Target, report: &Report) {
        match report.recordable(self.runs) {
            Err(why) => println!("vm {target}: not recorded: {why}"),
            Ok(result) => match Results::record(&results_path(), target, result.clone()) {
                Ok(()) => println!("vm {target}: recorded in docs/kernel-results.toml"),
                Err(error) => {
                    println!("test vm {target} recorded ... FAILED: {error:#}");
                    self.outcome.failed += 1;
                }
            },
        }
    }

    /// What all of it came to. What was not run is never a pass in silence: whoever reads the end of
    /// the output must see it.
    fn end(mut self) -> Result<VmOutcome> {
        for (target, why) in &self.not_run {
            println!("vm {target}: NOT RUN, {why}");
        }
        self.outcome.not_run = self.not_run.len();
        if self.outcome.passed + self.outcome.failed == 0 {
            bail!("not one of these kernels was run");
        }
        if self.args.record_results
            && let Err(error) = write_document()
        {
            println!("test vm docs/kernel-support.md written ... FAILED: {error:#}");
            self.outcome.failed += 1;
        }
        Ok(self.outcome)
    }
}

/// Judges what the kernels said last time.
fn judge_again(args: &VmArgs) -> Result<VmOutcome> {
    let declared = Declaration::read(&declaration_path())?;
    let runs = args.runs();
    let mut tally = Tally::new(args, &runs);
    for target in args.targets(&Record::read()?)? {
        let log = boot::log_path(target);
        if !log.is_file() {
            tally.not_run.push((target, "it was not booted yet"));
            continue;
        }
        let console =
            std::fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
        let console = String::from_utf8_lossy(&console);
        let report = judge::judge(target, &runs, &declared, &console);
        tally.add(target, &report, None, 0);
    }
    tally.end()
}

/// Gets the kernels, then boots them, some beside each other.
pub(crate) fn run_vm(args: &VmArgs) -> Result<VmOutcome> {
    if args.again {
        return judge_again(args);
    }
    let record = Record::read()?;
    let targets = args.targets(&record)?;
    let plan = Plan::prepare(args, &targets)?;
    let mut tally = Tally::new(args, &plan.runs);
    let mut waiting = VecDeque::new();
    for target in targets {
        match kernels::get_kernel(target, &record) {
            Ok(Some(kernel)) => waiting.push_back((target, kernel)),
            Ok(None) => {
                let why = "Debian serves no such kernel any more";
                tally.not_run.push((target, why));
            }
            Err(error) => {
                let report = judge::unbootable(target, &format!("cannot get it: {error:#}"));
                tally.add(target, &report, None, 0);
            }
        }
    }
    let waiting = Mutex::new(waiting);
    // Not in the loop's head, which would hold the lock while the machine runs.
    let next = || locked(&waiting).pop_front();
    let tally = Mutex::new(tally);
    std::thread::scope(|scope| {
        for _ in 0..args.jobs {
            scope.spawn(|| {
                while let Some((target, kernel)) = next() {
                    let started = Instant::now();
                    let report = boot_kernel(target, &kernel, &plan)
                        .unwrap_or_else(|error| judge::unbootable(target, &format!("{error:#}")));
                    let seconds = started.elapsed().as_secs();
                    locked(&tally).add(target, &report, kernel.note.as_deref(), seconds);
                }
            });
        }
    });
    tally
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .end()
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Boots one kernel and judges what it said.
fn boot_kernel(target: Target, kernel: &Kernel, plan: &Plan) -> Result<Report> {
    boot::forget_log(target)?;
    let guest = plan.guests.get(&target.arch);
    let guest = guest.context("nothing was prepared for this architecture")?;
    let made = Made {
        debian: kernel.version.clone(),
        day: plan.today.clone(),
        programs: guest.programs.clone(),
    };
    let init = initramfs::init_script(&plan.runs, plan.repeat, &made);
    let image = initramfs::pack(target, kernel, &guest.binary, &guest.busybox, &init)
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

fn results_path() -> PathBuf {
    root().join("docs/kernel-results.toml")
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
    fn the_page_is_what_the_command_makes_of_the_results() {
        let declared = Declaration::read(&declaration_path()).unwrap();
        let results = Results::read(&results_path()).unwrap();
        let text = std::fs::read_to_string(document_path()).unwrap();
        let rendered = document::render(&declared, &Record::read().unwrap(), &results);
        // Not both texts, which are long.
        assert!(text == rendered, "run `cargo xtask vm --document`");
    }

    #[test]
    fn the_results_are_of_the_matrix_as_declared_and_as_the_command_writes_them() {
        let declared = Declaration::read(&declaration_path()).unwrap();
        let results = Results::read(&results_path()).unwrap();
        let record = Record::read().unwrap();
        for (target, result) in results.iter() {
            assert!(record.pins(target).is_some(), "{target} is not recorded");
            let none: [String; 0] = [];
            assert_eq!(contradictions(target, result, &declared), none);
            let names: Vec<&str> = result.ways.keys().map(String::as_str).collect();
            assert_eq!(names.len(), runs::RUNS.len(), "{target} has {names:?}");
        }
        let text = std::fs::read_to_string(results_path()).unwrap();
        assert_eq!(text, results.render().unwrap());
    }

    #[test]
    fn kernels_that_are_not_run_are_counted_apart_and_alone_are_an_error() {
        let args = VmArgs::ends().unwrap();
        let absent = ("6.12".parse().unwrap(), "why");
        let mut tally = Tally::new(&args, &[]);
        tally.not_run.push(absent);
        assert!(tally.end().is_err());
        let mut tally = Tally::new(&args, &[]);
        tally.not_run.push(absent);
        let report = judge::unbootable("6.1".parse().unwrap(), "its checksum is another");
        tally.add("6.1".parse().unwrap(), &report, None, 0);
        let outcome = tally.end().unwrap();
        assert_eq!((outcome.failed, outcome.not_run), (1, 1));
    }
}
