//! The event log of `rstmon agent`: whole, in order and once, through storms, kills, hang-ups and a full
//! disk.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

mod support;

use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use support::agent::{Agent, assert_nothing_fell, refuse, sum};
use support::programs::wait_until;
use support::{Family, abort, bpf_works, connected};

/// An agent with an event log in its folder, and where that is.
fn start_with_log() -> (Agent, PathBuf) {
    let mut agent = Agent::new();
    let log = agent.path("events.jsonl");
    agent.run(&["--events-file", log.to_str().unwrap()]);
    (agent, log)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "the last line is whole"
    );
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect()
}

#[test]
fn the_event_log_ends_with_totals_that_the_metrics_had() {
    if !bpf_works() {
        return;
    }
    let (mut agent, log) = start_with_log();
    let (client, server) = connected(Family::V4);
    let port = server.local_addr().unwrap().port();
    abort(server);
    drop(client);
    wait_until("the event in the log", || {
        lines(&log)
            .iter()
            .any(|line| line["local_port"] == port && line["cause"] == "linger-abort")
    });
    let sent = sum(&agent.scrape(), "rstmon_resets_total", "sent");
    assert!(agent.end(Signal::SIGTERM).success());
    let lines = lines(&log);
    assert_eq!(lines.first().unwrap()["schema"], "rstmon.start/1");
    let end = lines.last().unwrap();
    assert_eq!(end["schema"], "rstmon.end/1");
    assert!(end["kernel_counts"]["sent"].as_f64().unwrap() >= sent);
    assert!(
        !agent.path("socket").exists(),
        "the socket's file is removed"
    );
}

#[test]
fn every_event_of_a_storm_is_in_the_log_once_and_in_order() {
    if !bpf_works() {
        return;
    }
    let (mut agent, log) = start_with_log();
    refuse(5_000);
    wait_until("the storm", || {
        sum(&agent.scrape(), "rstmon_resets_total", "sent") >= 5_000.0
    });
    assert!(agent.end(Signal::SIGTERM).success());
    let lines = lines(&log);
    let events = lines
        .iter()
        .filter(|line| line["schema"] == "rstmon.event/1");
    let numbers: Vec<u64> = events
        .map(|line| line["seq_no"].as_u64().unwrap())
        .collect();
    assert!(numbers.len() >= 10_000, "{} events", numbers.len());
    assert!(
        numbers
            .into_iter()
            .eq(1..=lines.last().unwrap()["seen"].as_u64().unwrap())
    );
}

#[test]
fn a_kill_leaves_whole_lines_and_a_restart_starts_from_zero() {
    if !bpf_works() {
        return;
    }
    let (mut agent, log) = start_with_log();
    let began = agent.scrape().sum("process_start_time_seconds", &[]);
    let storm = std::thread::spawn(|| refuse(20_000));
    wait_until("the storm", || {
        sum(&agent.scrape(), "rstmon_resets_total", "sent") > 2_000.0
    });
    agent.end(Signal::SIGKILL);
    storm.join().unwrap();
    assert!(agent.path("socket").exists(), "nobody could remove it");
    agent.run(&["--events-file", log.to_str().unwrap()]);
    let metrics = agent.scrape();
    assert!(sum(&metrics, "rstmon_resets_total", "sent") < 2_000.0);
    assert!(metrics.sum("process_start_time_seconds", &[]) >= began);
    assert!(agent.end(Signal::SIGTERM).success());
    let starts = lines(&log)
        .iter()
        .filter(|line| line["schema"] == "rstmon.start/1")
        .count();
    assert_eq!(starts, 2);
}

#[test]
fn a_hangup_opens_the_log_again_and_takes_the_configuration_over() {
    if !bpf_works() {
        return;
    }
    let mut agent = Agent::start(&[]);
    agent.end(Signal::SIGTERM);
    let (config, log) = (agent.path("rstmon.toml"), agent.path("events.jsonl"));
    let write = |filter: &str| {
        let file = log.display();
        fs::write(
            &config,
            format!("[events]\nfile = \"{file}\"\nfilter = \"{filter}\"\n"),
        )
        .unwrap();
    };
    write("kind sent and cause paws");
    agent.run(&["--config", config.to_str().unwrap()]);
    let before = {
        abort(connected(Family::V4).1);
        agent.scrape()
    };
    fs::rename(&log, agent.path("moved")).unwrap();
    write("cause linger-abort");
    agent.signal(Signal::SIGHUP);
    wait_until("the file to be opened again", || log.exists());
    abort(connected(Family::V6).1);
    wait_until("the event", || {
        lines(&log)
            .iter()
            .any(|line| line["cause"] == "linger-abort")
    });
    assert!(
        lines(&agent.path("moved"))
            .iter()
            .all(|line| line["cause"] != "linger-abort")
    );
    fs::write(&config, "[events]\nfillter = \"\"\n").unwrap();
    agent.signal(Signal::SIGHUP);
    wait_until("the complaint", || {
        agent.stderr().contains("rstmon.toml:2: `events.fillter`")
    });
    let after = agent.scrape();
    assert_nothing_fell(&before, &after);
    assert!(after.sum("rstmon_config_last_reload_successful", &[]) < 0.5);
    assert!(
        agent
            .get("/-/ready")
            .is_some_and(|(status, _)| status == 200)
    );
}

#[test]
fn a_full_disk_costs_the_log_and_nothing_else() {
    if !bpf_works() {
        return;
    }
    let agent = Agent::start(&["--events-file", "/dev/full"]);
    abort(connected(Family::V4).1);
    wait_until("the loss", || {
        let lost = agent
            .scrape()
            .sum("rstmon_events_lost_total", &["event-log"]);
        lost >= 1.0
    });
    assert!(
        agent.stderr().contains("/dev/full: No space left"),
        "{}",
        agent.stderr()
    );
    assert!(sum(&agent.scrape(), "rstmon_resets_total", "sent") >= 1.0);
    assert!(
        agent
            .get("/-/ready")
            .is_some_and(|(status, _)| status == 200)
    );
}
