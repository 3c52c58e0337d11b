//! `rstmon lab` on the real kernel: several of them beside each other, each with all scenarios, in
//! orders of their own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

mod support;

use serde_json::Value;
use std::io::Read;
use std::process::{Child, Stdio};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};
use support::{bpf_works, rstmon};

/// A lab mostly waits: four take hardly longer than one, which is under a minute.
const LIMIT: Duration = Duration::from_secs(400);

/// On a kernel that runs no program while process 1 is interrupted, a lab meets that once in a while.
const MOST_PASSED_OVER: usize = 2;

/// A running lab, and who reads what it prints.
struct Running {
    child: Child,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
}

fn read_all(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).expect("UTF-8");
        text
    })
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let mut child = rstmon()
            .args(["lab", "-o", "json", "--witness"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("rstmon starts");
        Self {
            stdout: read_all(child.stdout.take().unwrap()),
            stderr: read_all(child.stderr.take().unwrap()),
            child,
        }
    }

    /// Its results, once it has ended well.
    fn results(mut self, deadline: Instant) -> Vec<Value> {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                self.child.kill().unwrap();
                panic!("the lab does not end");
            }
            sleep(Duration::from_millis(50));
        };
        let stdout = self.stdout.join().unwrap();
        let results: Vec<Value> = stdout
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line is JSON"))
            .collect();
        let bad: Vec<&Value> = results
            .iter()
            .filter(|it| it["verdict"] == "differs" || it["verdict"] == "failed")
            .collect();
        let stderr = self.stderr.join().unwrap();
        assert!(status.success(), "{stderr}{bad:#?}");
        results
    }
}

#[test]
fn four_labs_at_once_see_only_their_own() {
    if !bpf_works() {
        return;
    }
    let seeds = ["1", "2", "3", "4"];
    let deadline = Instant::now() + LIMIT;
    let labs = seeds.map(|seed| Running::start(&["--shuffle", seed]));
    let results = labs.map(|lab| lab.results(deadline));
    let of_known = rstmon_lab::scenarios().count() * rstmon_lab::Family::ALL.len();
    for lab in results {
        assert_eq!(lab.len(), of_known);
        let seen = lab.iter().filter(|it| it["verdict"] == "matched").count();
        assert!(seen > of_known / 2, "only {seen} of {of_known} were seen");
        let passed_over = lab.iter().filter(|it| it["verdict"] == "passed-over");
        assert!(passed_over.count() <= MOST_PASSED_OVER, "{lab:#?}");
    }
}

#[test]
fn what_is_repeated_is_told_each_time() {
    if !bpf_works() {
        return;
    }
    let args = ["port-closed", "linger-abort", "--repeat", "3"];
    let results = Running::start(&args).results(Instant::now() + LIMIT);
    let rounds: Vec<u64> = results
        .iter()
        .filter_map(|it| it["round"].as_u64())
        .collect();
    assert_eq!(rounds, [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
}
