//! `cargo xtask bench`: what rstmon costs, beside nothing and beside other tools, in one run on this
//! machine. Called by xtask's `main`.
//!
//! Always holds: throughput under an observer is measured between two runs that nobody watches, so a
//! ratio compares what the machine did within seconds; every process started here is ended here, and
//! the kernel's settings are put back, also on an error and on SIGINT or SIGTERM.

mod bounds;
mod capture;
mod idle;
mod kernel_time;
mod load;
mod observers;
mod profile;
mod report;
mod snmp;
mod start;
mod statistics;
#[cfg(test)]
mod testing;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use load::{Load, Workload};
use observers::Observer;
use profile::Profile;
use report::{Report, Starts, WorkloadReport};
use statistics::median;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// Names another rstmon than the one of this workspace.
const RSTMON_VARIABLE: &str = "RSTMON_BIN";
/// Held while a bench runs, so that there is one at a time.
const LOCK: &str = "/run/rstmon-bench.lock";
/// Starts of which the median is taken.
const STARTS: usize = 10;
/// Most rounds of what rstmon itself does under a load of resets: counts are exact or they are not.
const MOST_CAPTURE_ROUNDS: u32 = 3;
/// Between an observer's end and the next start: the kernel takes hooks off after a grace period.
const SETTLE_TIME: Duration = Duration::from_millis(200);

/// Form of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// A table for people
    Text,
    /// The page docs/performance.md
    Markdown,
    /// One JSON object, schema rstmon.bench/4
    Json,
}

/// What a bench that checks fails for. What is undecided is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Strictness {
    /// A promise that is missed
    Promises,
    /// A promise or a goal that is missed
    Goals,
}

/// Arguments of `cargo xtask bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Rounds; each measures every observer once, and nothing before and after it
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
    /// Only these loads
    #[arg(long, value_enum, value_name = "LOAD", value_delimiter = ',')]
    pub(crate) only: Vec<Workload>,
    /// Time of each measurement
    #[arg(long, value_name = "S", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
    /// Form of the report
    #[arg(short, long, value_enum, default_value_t = ReportFormat::Text)]
    pub(crate) output: ReportFormat,
    /// Fail where a promise, or a goal, is missed
    #[arg(long, value_enum, value_name = "WHAT", num_args = 0..=1, default_missing_value = "promises")]
    pub(crate) check: Option<Strictness>,
    /// Measure although others use the processors
    #[arg(long)]
    pub(crate) force: bool,
}

/// What all measurements share.
#[derive(Debug)]
struct Workshop {
    rstmon: PathBuf,
    scratch: TempDir,
    seconds: u32,
    interrupt: Interrupt,
    _only_bench: File,
}

impl Workshop {
    fn duration(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds))
    }
}

/// Whether SIGINT or SIGTERM came. Measurements turn it into an error, so that whatever was
/// started or changed is dropped and thereby ended or put back.
#[derive(Clone, Debug, Default)]
struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    fn register() -> anyhow::Result<Self> {
        let interrupt = Self::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&interrupt.0))
                .context("cannot handle signals")?;
        }
        Ok(interrupt)
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.is_set(), "interrupted");
        Ok(())
    }
}

/// Whether the binary to measure is another than the one of this workspace, so that none need be built.
pub(crate) fn is_about_another_binary() -> bool {
    std::env::var_os(RSTMON_VARIABLE).is_some()
}

/// Measures and prints the report to standard output. Without `--check` true; with it, whether
/// no bound that was measured is missed.
pub(crate) fn run_bench(args: &BenchArgs) -> anyhow::Result<bool> {
    let shop = prepare(args)?;
    let mut report = Report::new(args, &shop.rstmon)?;
    let wanted = |load: &Workload| args.only.is_empty() || args.only.contains(load);
    for workload in Workload::all().filter(wanted) {
        measure_load(
            &Load::prepare(workload, &shop)?,
            args.runs,
            &shop,
            &mut report,
        )?;
    }
    report.check_bounds();
    let text = match args.output {
        ReportFormat::Text => report.render_text(),
        ReportFormat::Markdown => report.render_markdown(),
        ReportFormat::Json => serde_json::to_string_pretty(&report)? + "\n",
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("cannot print the report")?;
    Ok(args.check.is_none_or(|strictness| report.holds(strictness)))
}

fn prepare(args: &BenchArgs) -> anyhow::Result<Workshop> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the bench loads BPF programs: run it as root"
    );
    let rstmon = match std::env::var_os(RSTMON_VARIABLE) {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/rstmon"),
    };
    if !rstmon.is_file() {
        bail!(
            "{} is missing: run `cargo xtask build` first",
            rstmon.display()
        );
    }
    let shop = Workshop {
        rstmon,
        scratch: tempfile::tempdir().context("cannot create a directory for the bench")?,
        seconds: args.seconds,
        interrupt: Interrupt::register()?,
        _only_bench: lock_out_others()?,
    };
    idle::require_idle(args.force)?;
    shop.interrupt.check()?;
    Ok(shop)
}

/// Two benches at once would measure each other, and put the kernel's settings back to each other's.
fn lock_out_others() -> anyhow::Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(LOCK)
        .with_context(|| format!("cannot open {LOCK}"))?;
    file.try_lock().with_context(|| {
        format!("cannot lock {LOCK}: if another bench runs, wait until it has ended")
    })?;
    Ok(file)
}

/// All that is measured under one load.
fn measure_load(
    load: &Load,
    runs: u32,
    shop: &Workshop,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.workloads.push(measure_throughput(load, runs, shop)?);
    let title = load.workload.title();
    let mut rounds = Vec::new();
    for round in 1..=runs {
        progress(&format!("{title}, kernel time, round {round} of {runs}"));
        rounds.push(kernel_time::measure_kernel_time(load, shop)?);
        settle(shop)?;
    }
    report
        .kernel_time
        .extend(kernel_time::summarize(load.workload, &rounds));
    for (observer, pace) in capture::captures_of(load.workload) {
        let runs = runs.min(MOST_CAPTURE_ROUNDS);
        let mut rounds = Vec::new();
        for round in 1..=runs {
            let name = observer.title();
            progress(&format!("{title}, {name} itself, round {round} of {runs}"));
            rounds.push(capture::measure_capture(*observer, load, *pace, shop)?);
            settle(shop)?;
        }
        report
            .captures
            .extend(capture::summarize(*observer, load.workload, *pace, rounds));
    }
    match load.workload {
        Workload::Storm => {
            progress("the agent's profile");
            report.profile = Some(take_profile(load, shop)?);
            settle(shop)?;
            measure_starts(shop, report)
        }
        Workload::Flood => {
            progress("a million flows");
            report.flows = Some(capture::measure_flows(shop)?);
            settle(shop)
        }
        _ => Ok(()),
    }
}

/// The profile, or why there is none: it explains the other numbers, which stand without.
fn take_profile(storm: &Load, shop: &Workshop) -> anyhow::Result<Result<Profile, String>> {
    let profile = profile::measure_profile(storm, shop);
    shop.interrupt.check()?;
    Ok(profile.map_err(|error| format!("{error:#}")))
}

fn measure_starts(shop: &Workshop, report: &mut Report) -> anyhow::Result<()> {
    for observer in [Observer::Trace, Observer::Agent] {
        let mut milliseconds = Vec::new();
        for start in 1..=STARTS {
            let name = observer.title();
            progress(&format!("{name}, start {start} of {STARTS}"));
            milliseconds.push(start::measure_start(observer, shop)?.as_secs_f64() * 1e3);
            settle(shop)?;
        }
        report.starts.push(Starts {
            observer,
            milliseconds,
        });
    }
    Ok(())
}

/// Every observer once a round, between two runs of the load that nobody watches, with which it is
/// compared: a machine's speed drifts. The first of a round changes from round to round.
fn measure_throughput(load: &Load, runs: u32, shop: &Workshop) -> anyhow::Result<WorkloadReport> {
    let mut report = WorkloadReport::new(load.workload);
    for round in 1..=runs {
        progress(&format!(
            "{}, round {round} of {runs}",
            load.workload.title()
        ));
        let mut order = Observer::compared();
        let first = round as usize % order.len();
        order.rotate_left(first);
        let mut before = measure_alone(load, &mut report, shop)?;
        let mut alone = vec![before];
        for observer in order {
            if report.is_missing(observer) {
                continue;
            }
            let rate = measure_once(observer, load, &mut report, shop)?;
            // Of one that failed, too, hooks come off, and time has gone by.
            settle(shop)?;
            let after = measure_alone(load, &mut report, shop)?;
            if let Some(rate) = rate {
                report.note_rate(observer, rate, f64::midpoint(before, after));
            }
            alone.push(after);
            before = after;
        }
        let alone = median(&alone).context("no rate under nothing")?;
        report.note_rate(Observer::Nothing, alone, alone);
        report.end_round();
    }
    report.summarize();
    Ok(report)
}

/// The rate of a load that nobody watches.
fn measure_alone(load: &Load, report: &mut WorkloadReport, shop: &Workshop) -> anyhow::Result<f64> {
    let rate = measure_once(Observer::Nothing, load, report, shop)?;
    rate.context("a load that nobody watches has a rate")
}

/// The rate of one load under one observer. A comparison that cannot run here is noted and left out,
/// and one that fails in a round costs that round; the bench is about rstmon, which must run.
fn measure_once(
    observer: Observer,
    load: &Load,
    report: &mut WorkloadReport,
    shop: &Workshop,
) -> anyhow::Result<Option<f64>> {
    let running = match observer.start(shop) {
        Ok(running) => running,
        Err(error) => {
            shop.interrupt.check()?;
            if observer.is_rstmon() {
                return Err(error);
            }
            report.note_missing(observer, format!("{error:#}"));
            return Ok(None);
        }
    };
    let work = load.run(shop);
    shop.interrupt.check()?;
    let ended = running.map(observers::Watching::end).transpose();
    let rate = work?.rate;
    let ended = match ended {
        Err(error) if !observer.is_rstmon() => {
            progress(&format!("{}: {error:#}", observer.title()));
            report.note_lost_round(observer, format!("{error:#}"));
            return Ok(None);
        }
        ended => ended?,
    };
    if let Some(ended) = ended {
        let missed = observer.parse_missed(&ended.messages);
        report.note_cost(observer, ended.cpu.user + ended.cpu.system, missed);
    }
    Ok(Some(rate))
}

/// Lets the kernel take the former observer's hooks off.
fn settle(shop: &Workshop) -> anyhow::Result<()> {
    thread::sleep(SETTLE_TIME);
    shop.interrupt.check()
}

/// Says what is going on. Whether anybody reads it changes nothing.
fn progress(what: &str) {
    let _ = writeln!(std::io::stderr(), "bench: {what}");
}
