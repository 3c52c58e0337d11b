//! `soak`: an agent under everything at once for a long time, and whether it stays as it was.
//!
//! Called by `main`. Storms of refused connections, the whole lab over and over (namespaces and
//! processes that come and go), scrapes each second, clients of the socket that come and vanish. After
//! the warm-up, a fifth of the time, memory and descriptors must not grow; at the end nothing is in
//! flight, and the sums of the page agree.

use crate::build::release_binary;
use crate::process::is_root;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Arguments of `soak`.
#[derive(Debug, Args)]
pub(crate) struct SoakArgs {
    /// How long
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
}

/// Refused connections of one storm, and the time between two.
const STORM: usize = 50_000;
const STORM_INTERVAL: Duration = Duration::from_secs(15);
/// Memory may grow by this much after the warm-up.
const GROWTH: f64 = 1.10;

/// The agent and the loads on it.
struct Soak {
    agent: Child,
    folder: PathBuf,
    address: String,
    stop: AtomicBool,
}

/// What the agent takes at a moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    resident_kib: u64,
    descriptors: usize,
}

/// Runs it; whether everything stayed as it was.
pub(crate) fn run_soak(args: &SoakArgs) -> Result<bool> {
    ensure!(
        is_root(),
        "the agent needs root: run `sudo cargo xtask soak`"
    );
    let folder = std::env::temp_dir().join(format!("rstmon-soak-{}", std::process::id()));
    fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let address = format!("127.0.0.1:{port}");
    let agent = Command::new(release_binary())
        .args([
            "agent",
            "--web.listen-address",
            &address,
            "--audit-interval",
            "5s",
        ])
        .arg("--socket")
        .arg(folder.join("socket"))
        .arg("--events-file")
        .arg(folder.join("events.jsonl"))
        .args(["--events-max-size", "32MiB", "--events-keep", "1"])
        .spawn()
        .context("cannot start the agent")?;
    let mut soak = Soak {
        agent,
        folder,
        address,
        stop: AtomicBool::new(false),
    };
    let outcome = soak.run(Duration::from_secs(args.minutes * 60));
    soak.stop.store(true, Ordering::Relaxed);
    // Only what this command started.
    let _ = Command::new("kill")
        .arg(soak.agent.id().to_string())
        .status();
    let ended = soak.agent.wait();
    fs::remove_dir_all(&soak.folder)?;
    let held = outcome?;
    Ok(held && ended?.success())
}

impl Soak {
    fn run(&self, time: Duration) -> Result<bool> {
        std::thread::sleep(Duration::from_secs(2));
        let began = Instant::now();
        let (samples, slowest) = std::thread::scope(|scope| {
            scope.spawn(|| self.repeat(STORM_INTERVAL, storm));
            scope.spawn(|| self.repeat(Duration::from_secs(1), lab));
            scope.spawn(|| self.repeat(Duration::from_millis(700), || client(&self.folder)));
            let watched = self.watch(began, time);
            self.stop.store(true, Ordering::Relaxed);
            watched
        })?;
        std::thread::sleep(Duration::from_secs(2));
        self.judge(&samples, slowest)
    }

    /// Does something over and over until the end.
    fn repeat(&self, interval: Duration, work: impl Fn()) {
        while !self.stop.load(Ordering::Relaxed) {
            work();
            std::thread::sleep(interval);
        }
    }

    /// Scrapes and samples each second; returns the samples and the slowest scrape.
    fn watch(&self, began: Instant, time: Duration) -> Result<(Vec<Sample>, Duration)> {
        let mut samples = Vec::new();
        let mut slowest = Duration::ZERO;
        while began.elapsed() < time {
            let scrape = Instant::now();
            self.scrape()?;
            slowest = slowest.max(scrape.elapsed());
            samples.push(self.sample()?);
            if samples.len() % 60 == 0
                && let Some(sample) = samples.last()
            {
                println!("{:>5} s  {sample:?}", began.elapsed().as_secs());
            }
            std::thread::sleep(Duration::from_secs(1).saturating_sub(scrape.elapsed()));
        }
        Ok((samples, slowest))
    }

    fn sample(&self) -> Result<Sample> {
        let process = PathBuf::from(format!("/proc/{}", self.agent.id()));
        let status = fs::read_to_string(process.join("status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|it| it.split_whitespace().next()?.parse().ok());
        Ok(Sample {
            resident_kib: resident.context("the agent has ended")?,
            descriptors: fs::read_dir(process.join("fd"))?.count(),
        })
    }

    fn scrape(&self) -> Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        if !page.starts_with("HTTP/1.0 200") && !page.starts_with("HTTP/1.1 200") {
            bail!(
                "the scrape failed: {}",
                page.lines().next().unwrap_or_default()
            );
        }
        Ok(page)
    }

    fn judge(&self, samples: &[Sample], slowest: Duration) -> Result<bool> {
        let warm = samples.get(samples.len() / 5..).unwrap_or_default();
        let half = warm.len() / 2;
        let highest = |part: Option<&[Sample]>, of: fn(&Sample) -> u64| -> f64 {
            let highest = part
                .unwrap_or_default()
                .iter()
                .map(of)
                .max()
                .unwrap_or_default();
            f64::from(u32::try_from(highest).unwrap_or(u32::MAX))
        };
        let mut held = true;
        let mut say = |name: &str, holds: bool, figures: String| {
            println!(
                "soak {name} ... {} ({figures})",
                if holds { "ok" } else { "FAILED" }
            );
            held &= holds;
        };
        for (name, of) in [
            ("resident KiB", (|it| it.resident_kib) as fn(&Sample) -> u64),
            ("descriptors", |it| it.descriptors as u64),
        ] {
            let (first, second) = (highest(warm.get(..half), of), highest(warm.get(half..), of));
            let figures = format!("highest of each half after the warm-up: {first}, {second}");
            say(name, second <= first * GROWTH, figures);
        }
        let page = self.scrape()?;
        let sum = |family: &str| -> f64 {
            let values = page.lines().filter(|line| {
                let rest = line.strip_prefix(family);
                rest.is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
            });
            let values = values.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
            values.sum()
        };
        let (resets, kernel) = (
            sum("rstmon_resets_total"),
            sum("rstmon_kernel_resets_total"),
        );
        let agree = (resets - kernel).abs() < 0.5 && resets > 0.0;
        say("sums agree", agree, format!("{resets}, {kernel}"));
        let in_flight = sum("rstmon_events_in_flight");
        say(
            "nothing is in flight",
            in_flight < 0.5,
            format!("{in_flight}"),
        );
        let unaccounted = sum("rstmon_unaccounted_resets");
        say(
            "nothing is unaccounted",
            unaccounted < 0.5,
            format!("{unaccounted}"),
        );
        println!("slowest scrape: {} ms", slowest.as_millis());
        Ok(held)
    }
}

/// Connections to a port of loopback that nobody listens on.
fn storm() {
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    if let Ok(closed) = closed {
        for _ in 0..STORM {
            // Refused is what is wanted.
            let _ = TcpStream::connect(closed);
        }
    }
}

/// The whole lab once.
fn lab() {
    // What it finds is the business of its own test.
    let _ = Command::new(release_binary())
        .arg("lab")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// A client that reads a little and vanishes.
fn client(folder: &Path) {
    if let Ok(mut stream) = UnixStream::connect(folder.join("socket")) {
        let _ = stream.write_all(b"{\"rstmon\":1,\"want\":\"board\",\"every_ms\":100}\n");
        let mut line = String::new();
        for _ in 0..3 {
            let _ = BufReader::new(&stream).read_line(&mut line);
        }
    }
}
