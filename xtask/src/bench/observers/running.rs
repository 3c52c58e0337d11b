//! One process that watches: how it is known to watch, how it ends and what it used. It never outlives
//! its [`Running`]. Called by the observers.

use crate::bench::{Interrupt, Workshop};
use anyhow::{Context, anyhow, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long an observer may take until it watches, and until it has ended after SIGINT.
const START_LIMIT: Duration = Duration::from_secs(20);
const END_LIMIT: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// An observer that attaches one hook after the other is done when nothing changed for this long.
const QUIET_TIME: Duration = Duration::from_millis(300);

/// A process that watches. Dropped without [`Running::end`], it is killed.
#[derive(Debug)]
pub(in crate::bench) struct Running {
    name: &'static str,
    child: Child,
    stderr: PathBuf,
    /// What it had used when it began to watch, so that its start is not counted to the load.
    used_at_start: CpuTime,
    ended: bool,
}

/// CPU time of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::bench) struct CpuTime {
    /// In its own code.
    pub(in crate::bench) user: Duration,
    /// In the kernel on its account; programs that run in softirq are on nobody's.
    pub(in crate::bench) system: Duration,
}

impl std::ops::Add for CpuTime {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            user: self.user + other.user,
            system: self.system + other.system,
        }
    }
}

impl CpuTime {
    fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// What an observer used and said.
#[derive(Clone, Debug)]
pub(in crate::bench) struct Ended {
    /// From when it watched to its end.
    pub(in crate::bench) cpu: CpuTime,
    /// Most memory resident at any time, KiB.
    pub(in crate::bench) peak_kib: u64,
    /// What it wrote to standard error.
    pub(in crate::bench) messages: String,
}

impl Running {
    /// Starts the process with its messages in a file.
    pub(in crate::bench) fn spawn(
        name: &'static str,
        command: &mut Command,
        shop: &Workshop,
    ) -> anyhow::Result<Self> {
        let stderr = shop.scratch.path().join(format!("{name}.stderr"));
        let file = File::create(&stderr).with_context(|| format!("create {}", stderr.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stderr(file)
            .spawn()
            .with_context(|| {
                format!(
                    "cannot start {name} ({})",
                    command.get_program().to_string_lossy()
                )
            })?;
        Ok(Self {
            name,
            child,
            stderr,
            used_at_start: CpuTime::default(),
            ended: false,
        })
    }

    /// The number of the process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process, to take its standard output.
    pub(in crate::bench) fn child_mut(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Ids of the BPF programs that the process holds, itself or through a link.
    pub(in crate::bench) fn program_ids(&self) -> anyhow::Result<BTreeSet<u32>> {
        Ok(parse_program_ids(&self.read_fdinfo()?))
    }

    /// Ends the process with SIGINT, as a person does, and says what it used.
    pub(in crate::bench) fn end(mut self) -> anyhow::Result<Ended> {
        if let Some(status) = self.child.try_wait()? {
            self.ended = true;
            bail!(
                "{} ended by itself with {status}: {}",
                self.name,
                self.last_message()
            );
        }
        let peak_kib = self.read_memory("VmHWM")?;
        let before = read_used_by_children()?;
        signal(&self.child, Signal::SIGINT)?;
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(
                begin.elapsed() < END_LIMIT,
                "{} does not end on SIGINT",
                self.name
            );
            thread::sleep(POLL_INTERVAL);
        };
        self.ended = true;
        // No other child is waited for in between, so the difference is this child's.
        let used = read_used_by_children()?.since(before);
        // perf ends by the signal itself.
        ensure!(
            status.success() || status.signal() == Some(Signal::SIGINT as i32),
            "{} ended with {status} after SIGINT: {}",
            self.name,
            self.last_message()
        );
        Ok(Ended {
            cpu: used.since(self.used_at_start),
            peak_kib,
            messages: self.messages(),
        })
    }

    /// Waits until fdinfo has so many lines with `key`, and no more come.
    pub(super) fn wait_for_bpf(
        &mut self,
        key: &str,
        minimum: usize,
        stop: &Interrupt,
    ) -> anyhow::Result<()> {
        self.wait_for_count(minimum, stop, |running| {
            Ok(running.read_fdinfo()?.matches(key).count())
        })
    }

    /// Waits until so many open files are of this kind, and no more come.
    pub(super) fn wait_for_open(
        &mut self,
        kind: &str,
        minimum: usize,
        stop: &Interrupt,
    ) -> anyhow::Result<()> {
        self.wait_for_count(minimum, stop, |running| running.count_open(kind))
    }

    fn wait_for_count(
        &mut self,
        minimum: usize,
        stop: &Interrupt,
        count: impl Fn(&Self) -> anyhow::Result<usize>,
    ) -> anyhow::Result<()> {
        let mut last = (0, Instant::now());
        self.wait_until(stop, |running| {
            let count = count(running)?;
            if count != last.0 {
                last = (count, Instant::now());
            }
            Ok(count >= minimum && last.1.elapsed() >= QUIET_TIME)
        })
    }

    /// Waits until it watches, as `watches` finds out.
    pub(in crate::bench) fn wait_until(
        &mut self,
        interrupt: &Interrupt,
        mut watches: impl FnMut(&Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let begin = Instant::now();
        loop {
            interrupt.check()?;
            if let Some(status) = self.child.try_wait()? {
                self.ended = true;
                bail!(
                    "{} ended at its start with {status}: {}",
                    self.name,
                    self.last_message()
                );
            }
            if watches(self)? {
                self.used_at_start = self.read_used()?;
                return Ok(());
            }
            ensure!(
                begin.elapsed() < START_LIMIT,
                "{} does not watch after {} s: {}",
                self.name,
                START_LIMIT.as_secs(),
                self.last_message()
            );
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// How many of the process's open files are of this kind, as the links of /proc/PID/fd say it.
    fn count_open(&self, kind: &str) -> anyhow::Result<usize> {
        let directory = format!("/proc/{}/fd", self.child.id());
        let entries = fs::read_dir(&directory).with_context(|| format!("read {directory}"))?;
        Ok(entries
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .filter(|target| target.as_os_str() == kind)
            .count())
    }

    /// The fdinfo of every open file. A file that is closed meanwhile is left out.
    fn read_fdinfo(&self) -> anyhow::Result<String> {
        let directory = format!("/proc/{}/fdinfo", self.child.id());
        let mut all = String::new();
        let entries = fs::read_dir(&directory).with_context(|| format!("read {directory}"))?;
        for entry in entries {
            let path = entry.with_context(|| format!("read {directory}"))?.path();
            all.push_str(&fs::read_to_string(path).unwrap_or_default());
            all.push('\n');
        }
        Ok(all)
    }

    fn read_used(&self) -> anyhow::Result<CpuTime> {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let ticks = sysconf(SysconfVar::CLK_TCK)?.context("the clock has no tick")?;
        parse_used(&stat, u32::try_from(ticks)?).with_context(|| format!("{path} has no times"))
    }

    /// Memory by its name in /proc/PID/status, KiB: `VmHWM` is the most that was ever resident,
    /// `VmRSS` what is.
    pub(in crate::bench) fn read_memory(&self, name: &str) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        parse_memory(&status, name).with_context(|| format!("{path} has no {name}"))
    }

    pub(super) fn messages(&self) -> String {
        read_messages(&self.stderr)
    }

    fn last_message(&self) -> String {
        let messages = self.messages();
        let last: Vec<&str> = messages.lines().rev().take(3).collect();
        if last.is_empty() {
            return "it said nothing".to_owned();
        }
        last.into_iter().rev().collect::<Vec<_>>().join("; ")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            // Both fail only where the process is gone, which is what is wanted.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Sends a signal to a child that was not waited for yet, so its id cannot be another's.
pub(in crate::bench) fn signal(child: &Child, signal: Signal) -> anyhow::Result<()> {
    let id = i32::try_from(child.id()).map_err(|_| anyhow!("{} is no process id", child.id()))?;
    kill(Pid::from_raw(id), signal).with_context(|| format!("cannot send {signal} to {id}"))
}

/// What a process said; not UTF-8 and not readable is nothing that could be waited for.
fn read_messages(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// CPU time of all children that were waited for.
fn read_used_by_children() -> anyhow::Result<CpuTime> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("cannot ask for CPU times")?;
    Ok(CpuTime {
        user: as_duration(usage.user_time()),
        system: as_duration(usage.system_time()),
    })
}

/// `utime` and `stime` of /proc/PID/stat, the 14th and 15th field, in ticks of which a second has
/// so many. The second field is a name that may hold anything, also spaces and parentheses.
fn parse_used(stat: &str, ticks_per_second: u32) -> Option<CpuTime> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut times = after_name.split_whitespace().skip(11).map(|ticks| {
        let ticks: u32 = ticks.parse().ok()?;
        Some(Duration::from_secs(u64::from(ticks)) / ticks_per_second)
    });
    Some(CpuTime {
        user: times.next()??,
        system: times.next()??,
    })
}

fn as_duration(time: nix::sys::time::TimeVal) -> Duration {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

/// Program ids in fdinfo: both a program's file and a link's have a line `prog_id:`.
fn parse_program_ids(fdinfo: &str) -> BTreeSet<u32> {
    fdinfo
        .lines()
        .filter_map(|line| line.strip_prefix("prog_id:"))
        .filter_map(|id| id.trim().parse().ok())
        .collect()
}

/// A line of /proc/PID/status that is an amount of memory, KiB.
fn parse_memory(status: &str, name: &str) -> Option<u64> {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{CpuTime, parse_memory, parse_program_ids, parse_used};
    use std::time::Duration;

    #[test]
    fn the_ids_of_programs_and_links_are_read_once() {
        let fdinfo = "pos:\t0\nprog_type:\t5\nprog_id:\t197\n\nlink_type:\traw_tracepoint\n\
                      link_id:\t3\nprog_id:\t197\nprog_id:\t12\nmap_id:\t9\n";
        assert_eq!(
            parse_program_ids(fdinfo).into_iter().collect::<Vec<_>>(),
            [12, 197]
        );
    }

    #[test]
    fn memory_is_found_by_its_whole_name() {
        let status = "VmHWM:\t   20480 kB\nVmRSS:\t  10 kB\nVmSwapX:\t 7 kB\n";
        assert_eq!(parse_memory(status, "VmHWM"), Some(20480));
        assert_eq!(parse_memory(status, "VmRSS"), Some(10));
        assert_eq!(parse_memory(status, "VmSwap"), None);
    }

    #[test]
    fn cpu_times_are_found_behind_any_name() {
        let stat = "7 (a) S 9) R 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 1 0 999";
        let used = CpuTime {
            user: Duration::from_millis(1500),
            system: Duration::from_millis(250),
        };
        assert_eq!(parse_used(stat, 100), Some(used));
        assert_eq!(parse_used("7 (a) R 1 2 3", 100), None);
        assert_eq!(parse_used("", 100), None);
    }
}
