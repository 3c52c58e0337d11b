//! The exact count: after a storm, ours equals the kernel's own, to the last reset.
//!
//! In a test binary of its own, because the counts are of the whole host.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed test panics"
)]

mod support;

use std::net::TcpStream;
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
    let host_before = out_rsts();
    let trace = Trace::start(&["kind sent and cause undiagnosed"]);
    let sent_in_namespaces: u64 = (0..THREADS)
        .map(|_| std::thread::spawn(|| in_private_netns(|_| storm(STORM / THREADS))))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    let (lines, status) = trace.interrupt();
    let sent_on_host = out_rsts() - host_before;
    assert!(status.success());
    let end = lines.last().unwrap();
    assert_eq!(end["schema"], "rstmon.end/1");
    assert!(sent_in_namespaces >= STORM, "{sent_in_namespaces}");
    assert_eq!(
        end["kernel_counts"]["sent"].as_u64().unwrap(),
        sent_in_namespaces + sent_on_host,
        "{end}"
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
