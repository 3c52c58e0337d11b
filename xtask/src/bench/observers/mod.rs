//! The observers that the bench compares. [`DECLARED`] says who there is: how each starts and what it
//! says it missed. Called by `run_bench`. An observer never outlives its [`Watching`].

mod agent;
mod bpftrace;
mod metrics_page;
mod running;

use super::{RSTMON_VARIABLE, Workshop};
use serde::Serialize;
use std::path::Path;
use std::process::{Command, Stdio};

pub(super) use agent::{Agent, Daemon};
pub(super) use bpftrace::start_empty_program;
pub(super) use running::{Ended, Running, signal};

/// Where files lie in memory.
const MEMORY_FILES: &str = "/dev/shm";

/// Who watches while the load runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Observer {
    /// Nobody: what the others are compared with.
    Nothing,
    /// `rstmon agent`, with everything on.
    Agent,
    /// `rstmon trace`.
    Trace,
    /// A BPF program that does nothing.
    Empty,
    /// tcpdump.
    Tcpdump,
    /// bpftrace.
    Bpftrace,
    /// perf.
    Perf,
}

/// An observer that watches.
pub(super) trait Watching {
    /// Ends it and says what it used. Dropped without, it is killed.
    fn end(self: Box<Self>) -> anyhow::Result<Ended>;
}

impl Watching for Running {
    fn end(self: Box<Self>) -> anyhow::Result<Ended> {
        Running::end(*self)
    }
}

/// An observer that was started, where there is one to start.
type Started = anyhow::Result<Option<Box<dyn Watching>>>;

/// An observer, as it is declared.
struct Declaration {
    observer: Observer,
    /// What the tables call it.
    title: &'static str,
    /// What it does, in a sentence.
    about: &'static str,
    /// Starts it and waits until it watches. None of nothing.
    start: fn(&Workshop) -> Started,
    /// What it says on standard error that it missed, if it says so.
    missed: fn(&str) -> Option<u64>,
}

/// Every observer, in the order of the report and of [`Observer`].
const DECLARED: [Declaration; 7] = [
    Declaration {
        observer: Observer::Nothing,
        title: "nothing",
        about: "nobody watches",
        start: |_| Ok(None),
        missed: |_| None,
    },
    Declaration {
        observer: Observer::Agent,
        title: "rstmon agent",
        about: "with everything on: all metrics, those by peer and by closed port too, events to a \
                file in memory, a scrape each second, and one `rstmon top` attached; its CPU time \
                includes that of `top`",
        start: |shop| watching(Agent::start(shop)),
        missed: |_| None,
    },
    Declaration {
        observer: Observer::Trace,
        title: "rstmon trace",
        about: "`rstmon trace -o jsonl` to /dev/null",
        start: |shop| watching(start_trace(shop, Stdio::null())),
        missed: |_| None,
    },
    Declaration {
        observer: Observer::Empty,
        title: "empty programs",
        about: "a BPF program that does nothing on each of the two reset tracepoints, attached by \
                bpftrace in the classic way: what such programs cost before they do anything (rstmon's \
                are raw ones, for which the kernel makes no record; bpftrace attaches none)",
        start: |shop| watching(start_empty_program(shop)),
        missed: |_| None,
    },
    Declaration {
        observer: Observer::Tcpdump,
        title: "tcpdump",
        about: "writes the resets of loopback (`tcp[tcpflags] & tcp-rst != 0`) to a file",
        start: |shop| watching(start_tcpdump(shop)),
        missed: parse_tcpdump_drops,
    },
    Declaration {
        observer: Observer::Bpftrace,
        title: "bpftrace",
        about: "prints both ends of each connection at the two reset tracepoints to /dev/null",
        start: |shop| watching(bpftrace::start_printing(shop)),
        missed: |messages| Some(bpftrace::parse_lost(messages)),
    },
    Declaration {
        observer: Observer::Perf,
        title: "perf record",
        about: "records the two reset tracepoints of all CPUs to a file",
        start: |shop| watching(start_perf(shop)),
        missed: |_| None,
    },
];

/// Tools that a reader may look for, and why they are not measured.
pub(super) const NOT_COMPARED: [(&str, &str); 3] = [
    (
        "retis",
        "neither Debian nor the registry of Rust crates has its collector; the Python package of that name only reads its files",
    ),
    (
        "pwru, ptcpdump, Inspektor Gadget",
        "Debian has no package of them",
    ),
    (
        "tcpdrop of bcc",
        "shows dropped packets; a reset that the host sends or obeys is none",
    ),
];

fn watching(started: anyhow::Result<impl Watching + 'static>) -> Started {
    Ok(Some(Box::new(started?)))
}

impl Observer {
    /// How many there are.
    pub(super) const COUNT: usize = DECLARED.len();

    /// Every observer, in the order of the report.
    pub(super) fn all() -> [Self; Self::COUNT] {
        DECLARED.each_ref().map(|declared| declared.observer)
    }

    /// Those that are compared with a run that nobody watches.
    pub(super) fn compared() -> Vec<Self> {
        let mut all = Self::all().to_vec();
        all.retain(|observer| *observer != Self::Nothing);
        all
    }

    fn declared(self) -> &'static Declaration {
        &DECLARED[self as usize]
    }

    /// What the tables call it.
    pub(super) fn title(self) -> &'static str {
        self.declared().title
    }

    /// What it does, in a sentence.
    pub(super) fn about(self) -> &'static str {
        self.declared().about
    }

    /// Whether the bench is about it, so that it must run.
    pub(super) fn is_rstmon(self) -> bool {
        matches!(self, Self::Agent | Self::Trace)
    }

    /// Starts the observer and waits until it watches. None of nothing.
    pub(super) fn start(self, shop: &Workshop) -> Started {
        (self.declared().start)(shop)
    }

    /// What it says that it missed.
    pub(super) fn parse_missed(self, messages: &str) -> Option<u64> {
        (self.declared().missed)(messages)
    }
}

/// `rstmon trace -o jsonl`, watching.
pub(super) fn start_trace(shop: &Workshop, stdout: Stdio) -> anyhow::Result<Running> {
    let mut running = Running::spawn("trace", trace_command(shop).stdout(stdout), shop)?;
    running.wait_for_bpf("link_type:", 1, &shop.interrupt)?;
    Ok(running)
}

/// `rstmon trace -o jsonl`.
pub(super) fn trace_command(shop: &Workshop) -> Command {
    let mut command = rstmon_command(shop);
    command.args(["trace", "-o", "jsonl"]);
    command
}

/// rstmon, without the variable that named it: the agent takes those of this name for settings.
fn rstmon_command(shop: &Workshop) -> Command {
    let mut command = Command::new(&shop.rstmon);
    command.env_remove(RSTMON_VARIABLE);
    command
}

/// A directory for events, in memory where there is one for that.
pub(super) fn folder_in_memory() -> std::io::Result<tempfile::TempDir> {
    let memory = Path::new(MEMORY_FILES);
    if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    }
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

/// Packets that tcpdump says the kernel dropped, which it did not see though they matched.
fn parse_tcpdump_drops(messages: &str) -> Option<u64> {
    messages
        .lines()
        .find_map(|line| line.trim().strip_suffix("packets dropped by kernel"))
        .and_then(|count| count.trim().parse().ok())
}

fn start_perf(shop: &Workshop) -> anyhow::Result<Running> {
    let file = shop.scratch.path().join("resets.perf");
    let mut command = Command::new("perf");
    // Without build ids, so that it does not read its file again at its end.
    command.args(["record", "-q", "-a", "-B", "-N", "-o"]);
    command.arg(file).arg("-e");
    command
        .arg("tcp:tcp_send_reset,tcp:tcp_receive_reset")
        .stdout(Stdio::null());
    let mut running = Running::spawn("perf", &mut command, shop)?;
    running.wait_for_open("anon_inode:[perf_event]", 2, &shop.interrupt)?;
    Ok(running)
}

#[cfg(test)]
mod tests {
    use super::{DECLARED, Observer, parse_tcpdump_drops};

    #[test]
    fn every_observer_is_declared_in_its_place() {
        for (index, declared) in DECLARED.iter().enumerate() {
            assert_eq!(declared.observer as usize, index, "{}", declared.title);
        }
        assert_eq!(Observer::Perf as usize + 1, Observer::COUNT);
    }

    #[test]
    fn the_drops_of_tcpdump_are_read() {
        let messages = "tcpdump: listening on lo\n7 packets captured\n8 packets received by filter\n\
                        3 packets dropped by kernel\n";
        assert_eq!(parse_tcpdump_drops(messages), Some(3));
        assert_eq!(parse_tcpdump_drops("tcpdump: listening on lo\n"), None);
    }
}
