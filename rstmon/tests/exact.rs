//! The exact count: after a storm, ours equals the kernel's own, to the last reset. And the storm
//! budget: what of a storm is reported.
//!
//! The counts are of the whole host, on which others reset connections too: those are shown as
//! events, each of which is one that was counted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed test panics"
)]

mod support;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};
use serde_json::Value;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use support::{Family, Trace, bpf_works, closed_port, in_private_netns, out_rsts};

/// Held by the test that runs: each counts the whole host's resets.
static ALONE: Mutex<()> = Mutex::new(());

/// Connections that are refused.
const STORM: u64 = 200_000;
/// Threads that connect.
const THREADS: u64 = 2;

#[test]
fn after_a_storm_of_200000_refused_connections_sent_equals_out_rsts() {
    if !bpf_works() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (ready, namespaces) = channel();
    let storms: Vec<_> = (0..THREADS)
        .map(|_| {
            let ready = ready.clone();
            let (go, start) = channel::<()>();
            let thread = std::thread::spawn(move || {
                in_private_netns(move |netns| {
                    ready.send(netns).unwrap();
                    start.recv().unwrap();
                    storm(STORM / THREADS)
                })
            });
            (go, thread)
        })
        .collect();
    let own: Vec<String> = namespaces
        .iter()
        .take(storms.len())
        .map(|netns| netns.to_string())
        .collect();
    let others = format!("kind sent and not netns in ({})", own.join(", "));
    let trace = Trace::start(&[&others]);
    for (go, _) in &storms {
        go.send(()).unwrap();
    }
    let sent: u64 = storms
        .into_iter()
        .map(|(_, thread)| thread.join().unwrap())
        .sum();
    let (lines, status) = trace.interrupt();
    assert!(status.success());
    let end = lines.last().unwrap();
    assert_eq!(end["schema"], "rstmon.end/1");
    assert!(sent >= STORM, "{sent}");
    let is_event = |line: &&Value| line["kind"] == "sent";
    let shown = lines.iter().filter(is_event).count() as u64;
    let lost = sum(&end["lost"]);
    let counted = end["kernel_counts"]["sent"].as_u64().unwrap();
    // Of what was lost, some may have been of others.
    let of_others = shown..=shown + lost;
    assert!(
        counted >= sent && of_others.contains(&(counted - sent)),
        "counted {counted}, sent {sent}, of others {of_others:?}: {end}"
    );
}

/// Without a filter, hooks only count while the budget is spent, by a way of their own.
#[test]
fn what_is_only_counted_is_counted_once() {
    if !bpf_works() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let trace = Trace::start(&["--max-events-per-sec", "64"]);
    let sent = in_private_netns(|_| storm(STORM));
    let (lines, status) = trace.interrupt();
    assert!(status.success());
    let end = lines.last().unwrap();
    let count = |of: &str, name: &str| end[of][name].as_u64().unwrap();
    assert!(count("lost", "storm-budget") > STORM, "{end}");
    // Others on this host reset connections too, but nothing like as many.
    let others = STORM / 20;
    for (kind, there_were) in [("sent", sent), ("received", STORM)] {
        let counted = count("kernel_counts", kind);
        assert!(
            (there_were..there_were + others).contains(&counted),
            "{kind}: {counted} of {there_were}: {end}"
        );
    }
    let seen = end["seen"].as_u64().unwrap();
    let lost = sum(&end["lost"]);
    assert_eq!(sum(&end["kernel_counts"]), seen + lost, "{end}");
}

/// Of the counts of an object.
fn sum(counts: &Value) -> u64 {
    let counts = counts.as_object().unwrap().values();
    counts.map(|count| count.as_u64().unwrap()).sum()
}

/// Events a second that the flood's capture may report, at least: one thread makes many times more.
const BUDGET: u64 = 2000;
/// Events that a CPU draws from the budget at once.
const PORTION: u64 = 64;

/// What the flood's thread tells.
struct Ebbed {
    /// CPUs that it ran on.
    cpus: u64,
    /// When everything was to be reported again, and how many connections were refused since.
    since_ns: u64,
    refused: usize,
}

#[test]
fn of_a_flood_beyond_the_budget_a_sixteenth_is_reported_until_it_ebbs() {
    if !bpf_works() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (ready, namespace) = channel();
    let (go, start) = channel::<()>();
    let flood = std::thread::spawn(move || {
        in_private_netns(move |netns| {
            ready.send(netns).unwrap();
            start.recv().unwrap();
            flood_and_ebb()
        })
    });
    let own = format!("kind sent and netns {}", namespace.recv().unwrap());
    let a_cpu = BUDGET.div_ceil(online_cpus());
    let trace = Trace::start(&["--max-events-per-sec", &a_cpu.to_string(), &own]);
    go.send(()).unwrap();
    let ebbed = flood.join().unwrap();
    let (lines, status) = trace.interrupt();
    assert!(status.success());
    let times: Vec<u64> = lines
        .iter()
        .filter(|line| line["kind"] == "sent")
        .map(|line| line["mono_ns"].as_u64().unwrap())
        .collect();
    let in_second = |second: u64| {
        let begin = times.first().unwrap() + second * 1_000_000_000;
        let end = begin + 1_000_000_000;
        times
            .iter()
            .filter(|time| (begin..end).contains(*time))
            .count() as u64
    };
    let drawn = |limit: u64| limit.next_multiple_of(PORTION);
    // What the CPU of the first connection drew and did not use stays its own.
    let left = (ebbed.cpus - 1) * (PORTION - 1);
    let whole = a_cpu * online_cpus();
    let reported: Vec<u64> = (0..3).map(in_second).collect();
    let sample = drawn(whole / 16);
    assert_eq!(
        reported,
        [drawn(whole) - left, sample, sample],
        "of {} events; {:?}",
        times.len(),
        lines.last()
    );
    let late = times.iter().filter(|time| **time >= ebbed.since_ns);
    assert_eq!(
        late.count(),
        ebbed.refused,
        "after the flood every event is reported"
    );
}

/// A flood that begins on one CPU and goes on with another, where there are two, and then ebbs.
fn flood_and_ebb() -> Ebbed {
    let target = closed_port(Family::V4);
    let cpus = own_cpus();
    let (first, last) = (*cpus.first().unwrap(), *cpus.last().unwrap());
    run_on(last);
    TcpStream::connect(target).expect_err("nobody listens");
    run_on(first);
    let end = Instant::now() + Duration::from_millis(3500);
    while Instant::now() < end {
        TcpStream::connect(target).expect_err("nobody listens");
    }
    // The rest of this second and the whole next one are still the sample's.
    ebb(target, 450);
    Ebbed {
        cpus: if first == last { 1 } else { 2 },
        since_ns: monotonic_ns(),
        refused: ebb(target, 200),
    }
}

/// CPUs as the budget counts them.
fn online_cpus() -> u64 {
    let online = sysconf(SysconfVar::_NPROCESSORS_ONLN).unwrap();
    online.unwrap().try_into().unwrap()
}

/// The CPUs that this thread may run on.
fn own_cpus() -> Vec<usize> {
    let own = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let is_own = |cpu: &usize| own.is_set(*cpu).unwrap();
    (0..CpuSet::count()).filter(is_own).collect()
}

/// This thread runs on that CPU only, and so does what the loopback device delivers of it.
fn run_on(cpu: usize) {
    let mut only = CpuSet::new();
    only.set(cpu).unwrap();
    sched_setaffinity(Pid::from_raw(0), &only).unwrap();
}

/// Refused connections at 200 a second.
fn ebb(target: SocketAddr, connections: usize) -> usize {
    for _ in 0..connections {
        TcpStream::connect(target).expect_err("nobody listens");
        std::thread::sleep(Duration::from_millis(5));
    }
    connections
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    Duration::from(now).as_nanos().try_into().unwrap()
}

/// Refused connections in this thread's namespace; returns the RSTs that the kernel counted.
fn storm(connections: u64) -> u64 {
    let before = out_rsts();
    let target = closed_port(Family::V4);
    for _ in 0..connections {
        TcpStream::connect(target).expect_err("nobody listens");
    }
    out_rsts() - before
}
