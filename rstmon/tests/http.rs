//! No false alarm: thousands of clean HTTP requests, and tcpdump as the witness.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

mod support;

use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use support::programs::{Nginx, Tcpdump, WireRst, installed};
use support::{Family, Trace, bpf_works, in_private_netns};

/// Requests of the whole test at least.
const REQUESTS: u64 = 10_000;
/// Requests of one curl.
const CURL_REQUESTS: u64 = 200;
/// What a load generator that stops in the middle of its requests causes: it closes connections
/// with an answer unread or still under way.
const SENT_BY_STOPPED: [&str; 3] = [
    "close-unread-data",
    "data-after-close",
    "segment-after-close",
];
/// What a server then answers to a segment that the client's FIN or RST has overtaken: both go their
/// way on a processor each.
const SENT_TO_STOPPED: [&str; 2] = ["segment-after-close", "stale-segment"];
/// The same, where it arrives.
const RECEIVED_FROM_STOPPED: [&str; 2] = ["peer-aborted", "peer-data-after-close"];
/// A RST for a connection that the server had closed, or that a first RST had ended.
const STRAY_FROM_STOPPED: [&str; 2] = ["time-wait-assassination", "stray-reset"];

/// Requests that wrk made in a second, each on a connection of its own or not.
fn run_wrk(family: Family, keep_alive: bool) -> u64 {
    let mut wrk = Command::new("wrk");
    wrk.args(["-t", "1", "-c", "8", "-d", "1s"]);
    if !keep_alive {
        wrk.args(["-H", "Connection: close"]);
    }
    let output = wrk.arg(Nginx::url(family, "/")).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}");
    assert!(!told.contains("Non-2xx"), "{told}");
    let before = told.split(" requests in").next().unwrap();
    before
        .rsplit(char::is_whitespace)
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

fn run_curl(family: Family, keep_alive: bool) -> u64 {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail", "-o", "/dev/null"]);
    if !keep_alive {
        curl.args(["-H", "Connection: close"]);
    }
    let url = format!("{}[1-{CURL_REQUESTS}]", Nginx::url(family, "/"));
    // The brackets of an IPv6 address are no range to curl, those of the path are.
    let output = curl.arg(url).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    CURL_REQUESTS
}

/// The two ends of the RST as it was on the wire.
fn direction(event: &Value) -> (SocketAddr, SocketAddr) {
    let end = |side: &str| {
        let address: IpAddr = event[format!("{side}_addr")]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let port = event[format!("{side}_port")].as_u64().unwrap();
        SocketAddr::new(address, u16::try_from(port).unwrap())
    };
    if event["kind"] == "sent" {
        (end("local"), end("remote"))
    } else {
        (end("remote"), end("local"))
    }
}

fn is_of(event: &Value, rst: &WireRst) -> bool {
    direction(event) == (rst.from, rst.to)
        && event["rst_seq"]
            .as_u64()
            .is_none_or(|seq| seq == u64::from(rst.seq))
}

fn is_of_stopped_client(event: &Value) -> bool {
    let cause = event["cause"].as_str().unwrap();
    match event["kind"].as_str().unwrap() {
        "sent" if event["comm"] == "wrk" => SENT_BY_STOPPED.contains(&cause),
        "sent" => SENT_TO_STOPPED.contains(&cause) && was_connected(event),
        // Where the capture does not see the segment of a received RST, it cannot tell a socket that
        // aborts from one that is gone, and says that it guesses.
        "received" if cause == "peer-gone" => {
            event["confidence"] == "guess" && event["rst_flags"].is_null()
        }
        "received" => RECEIVED_FROM_STOPPED.contains(&cause),
        "stray" => STRAY_FROM_STOPPED.contains(&cause),
        _ => false,
    }
}

/// Whether the evidence says that this end had the connection a moment ago.
fn was_connected(event: &Value) -> bool {
    let evidence = event["evidence"].as_array().unwrap();
    evidence
        .iter()
        .any(|fact| fact.as_str().unwrap().starts_with("closed_ago_ms="))
}

#[test]
fn clean_requests_give_no_event_that_tcpdump_does_not_show_as_rst() {
    if !bpf_works() || !installed(&["nginx", "wrk", "curl", "tcpdump"]) {
        return;
    }
    in_private_netns(|netns| {
        let nginx = Nginx::start(None);
        let trace = Trace::start(&[&format!("netns {netns}")]);
        let tcpdump = Tcpdump::start();
        let mut requests = 0;
        for family in Family::BOTH {
            for keep_alive in [true, false] {
                requests += run_curl(family, keep_alive) + run_wrk(family, keep_alive);
            }
        }
        assert!(requests >= REQUESTS, "only {requests} requests");
        let on_wire = tcpdump.stop();
        drop(nginx);
        let (lines, status) = trace.interrupt();
        assert!(status.success());
        let (events, end) = lines.split_at(lines.len() - 1);
        for event in events {
            assert!(
                on_wire.iter().any(|rst| is_of(event, rst)),
                "no RST: {event:#}"
            );
            assert!(is_of_stopped_client(event), "{event:#}");
        }
        for rst in &on_wire {
            let sent = |event: &&Value| event["kind"] == "sent" && is_of(event, rst);
            assert_eq!(events.iter().filter(sent).count(), 1, "{rst:?}");
        }
        let lost = end[0]["lost"].as_object().unwrap();
        assert!(lost.values().all(|lost| *lost == 0), "{lost:?}");
    });
}
