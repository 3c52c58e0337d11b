//! The observers that the bench compares: how each starts, how it is known to watch, how it ends
//! and what it used. Called by `run_bench`. An observer never outlives its [`Running`].

use super::{Interrupt, Workshop};
use anyhow::{Context, anyhow, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long an observer may take until it watches, and until it has ended after SIGINT.
const START_LIMIT: Duration = Duration::from_secs(20);
const END_LIMIT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// An observer that attaches one hook after the other is done when nothing changed for this long.
const QUIET_TIME: Duration = Duration::from_millis(300);

/// The same two tracepoints that rstmon stands on, printed with the fields that every kernel has.
const BPFTRACE_PRINT: &str = r#"
tracepoint:tcp:tcp_send_reset { printf("sent %p %d\n", args->skaddr, args->state); }
tracepoint:tcp:tcp_receive_reset { printf("received %p %d %d\n", args->skaddr, args->sport, args->dport); }
"#;
/// A program that does nothing: what the kernel's statistics measure of themselves.
const BPFTRACE_EMPTY: &str = "tracepoint:tcp:tcp_send_reset { }";
/// bpftrace before 0.18 looks for the tracepoints below debugfs only. It gets one in a mount
/// namespace of its own, so that the host's mounts stay as they are.
const BPFTRACE_WITH_DEBUGFS: &str = "[ -d /sys/kernel/debug/tracing/events ] || \
    mount -t debugfs debugfs /sys/kernel/debug || exit 1; exec bpftrace -e \"$1\"";

/// Who watches while the load runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Observer {
    /// Nobody: what the others are compared with.
    Nothing,
    /// `rstmon trace -o jsonl`, to /dev/null.
    Rstmon,
    /// tcpdump, writing the resets of loopback to a file.
    Tcpdump,
    /// bpftrace, printing the two reset tracepoints to /dev/null.
    Bpftrace,
}

impl Observer {
    /// Every observer, in the order of the report.
    pub(super) const ALL: [Self; 4] = [Self::Nothing, Self::Rstmon, Self::Tcpdump, Self::Bpftrace];

    /// What the table calls it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Rstmon => "rstmon",
            Self::Tcpdump => "tcpdump",
            Self::Bpftrace => "bpftrace",
        }
    }

    /// Starts the observer and waits until it watches. None of nothing.
    pub(super) fn start(self, shop: &Workshop) -> anyhow::Result<Option<Running>> {
        match self {
            Self::Nothing => Ok(None),
            Self::Rstmon => start_rstmon(shop, Stdio::null()).map(Some),
            Self::Tcpdump => start_tcpdump(shop).map(Some),
            Self::Bpftrace => start_bpftrace(shop, BPFTRACE_PRINT, 2).map(Some),
        }
    }
}

/// `rstmon trace -o jsonl`, watching.
pub(super) fn start_rstmon(shop: &Workshop, stdout: Stdio) -> anyhow::Result<Running> {
    let mut running = Running::spawn("rstmon", rstmon_command(shop).stdout(stdout), shop)?;
    running.wait_for_bpf("link_type:", 1, &shop.interrupt)?;
    Ok(running)
}

/// The command whose cost this bench is about.
pub(super) fn rstmon_command(shop: &Workshop) -> Command {
    let mut command = Command::new(&shop.rstmon);
    command.args(["trace", "-o", "jsonl"]);
    command
}

/// A program that does nothing on the tracepoint of sent resets.
pub(super) fn start_empty_program(shop: &Workshop) -> anyhow::Result<Running> {
    start_bpftrace(shop, BPFTRACE_EMPTY, 1)
}

fn start_tcpdump(shop: &Workshop) -> anyhow::Result<Running> {
    let file = shop.scratch.path().join("resets.pcap");
    let mut command = Command::new("tcpdump");
    // As root it would change its user and could not write below our directory.
    command.args(["-Z", "root", "-i", "lo", "-w"]).arg(file);
    command
        .arg("tcp[tcpflags] & tcp-rst != 0")
        .stdout(Stdio::null());
    let mut running = Running::spawn("tcpdump", &mut command, shop)?;
    running.wait_until(&shop.interrupt, |running| {
        Ok(running.messages().contains("listening on"))
    })?;
    Ok(running)
}

fn start_bpftrace(shop: &Workshop, program: &str, programs: usize) -> anyhow::Result<Running> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", BPFTRACE_WITH_DEBUGFS, "sh", program]);
    command.stdout(Stdio::null());
    let mut running = Running::spawn("bpftrace", &mut command, shop)?;
    running.wait_for_bpf("prog_type:", programs, &shop.interrupt)?;
    Ok(running)
}

/// A process that watches. Dropped without [`Running::end`], it is killed.
#[derive(Debug)]
pub(super) struct Running {
    name: &'static str,
    child: Child,
    stderr: PathBuf,
    /// What it had used when it began to watch, so that its start is not counted to the load.
    used_at_start: CpuTime,
    ended: bool,
}

/// CPU time of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CpuTime {
    /// In its own code.
    pub(super) user: Duration,
    /// In the kernel on its account; programs that run in softirq are on nobody's.
    pub(super) system: Duration,
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
pub(super) struct Ended {
    /// From when it watched to its end.
    pub(super) cpu: CpuTime,
    /// Most memory resident at any time, KiB.
    pub(super) peak_kib: u64,
    /// What it wrote to standard error.
    pub(super) messages: String,
}

impl Running {
    /// Starts the process with its messages in a file.
    pub(super) fn spawn(
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

    /// The process, to take its standard output.
    pub(super) fn child_mut(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Ids of the BPF programs that the process holds, itself or through a link.
    pub(super) fn program_ids(&self) -> anyhow::Result<BTreeSet<u32>> {
        Ok(parse_program_ids(&self.read_fdinfo()?))
    }

    /// Ends the process with SIGINT, as a person does, and says what it used.
    pub(super) fn end(mut self) -> anyhow::Result<Ended> {
        if let Some(status) = self.child.try_wait()? {
            self.ended = true;
            bail!(
                "{} ended by itself with {status}: {}",
                self.name,
                self.last_message()
            );
        }
        let peak_kib = self.read_peak_memory()?;
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
        ensure!(
            status.success(),
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

    /// Waits until so many open files are of the kind that `key` marks in fdinfo, and no more come.
    fn wait_for_bpf(&mut self, key: &str, minimum: usize, stop: &Interrupt) -> anyhow::Result<()> {
        let mut last = (0, Instant::now());
        self.wait_until(stop, |running| {
            let count = running.read_fdinfo()?.matches(key).count();
            if count != last.0 {
                last = (count, Instant::now());
            }
            Ok(count >= minimum && last.1.elapsed() >= QUIET_TIME)
        })
    }

    fn wait_until(
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

    fn read_peak_memory(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        parse_peak_memory(&status).with_context(|| format!("{path} has no VmHWM"))
    }

    fn messages(&self) -> String {
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
pub(super) fn signal(child: &Child, signal: Signal) -> anyhow::Result<()> {
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

/// `VmHWM` of /proc/PID/status, KiB.
fn parse_peak_memory(status: &str) -> Option<u64> {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Packets that tcpdump says the kernel dropped, which it did not see though they matched.
pub(super) fn parse_tcpdump_drops(messages: &str) -> Option<u64> {
    messages
        .lines()
        .find_map(|line| line.trim().strip_suffix("packets dropped by kernel"))
        .and_then(|count| count.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::{CpuTime, parse_peak_memory, parse_program_ids, parse_tcpdump_drops, parse_used};
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
    fn the_peak_memory_is_the_high_water_mark() {
        assert_eq!(
            parse_peak_memory("VmRSS:\t  10 kB\nVmHWM:\t   20480 kB\n"),
            Some(20480)
        );
        assert_eq!(parse_peak_memory("VmRSS:\t  10 kB\n"), None);
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

    #[test]
    fn the_drops_of_tcpdump_are_read() {
        let messages = "tcpdump: listening on lo\n7 packets captured\n8 packets received by filter\n\
                        3 packets dropped by kernel\n";
        assert_eq!(parse_tcpdump_drops(messages), Some(3));
        assert_eq!(parse_tcpdump_drops("tcpdump: listening on lo\n"), None);
    }
}
