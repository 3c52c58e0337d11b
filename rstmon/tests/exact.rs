//! The exact count: after a storm, ours equals the kernel's own, to the last reset.
//!
//! The counts are of the whole host, on which others reset connections too: those are shown as
//! events, each of which is one that was counted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed test panics"
)]

mod support;

use serde_json::Value;
use std::net::TcpStream;
use std::sync::mpsc::channel;
use support::{Family, Trace, bpf_works, closed_port, in_private_netns, out_rsts};

/// Connections that are refused.
const STORM: u64 = 200_000;
/// Threads that connect.
const THREADS: u64 = 2;

#[test]
fn after_a_storm_of_200000_refused_connections_sent_equals_out_rsts() {
    if !bpf_works() {
        return;
    }
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
    let lost: u64 = end["lost"]
        .as_object()
        .unwrap()
        .values()
        .map(|count| count.as_u64().unwrap())
        .sum();
    let counted = end["kernel_counts"]["sent"].as_u64().unwrap();
    // Of what was lost, some may have been of others.
    let of_others = shown..=shown + lost;
    assert!(
        counted >= sent && of_others.contains(&(counted - sent)),
        "counted {counted}, sent {sent}, of others {of_others:?}: {end}"
    );
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
