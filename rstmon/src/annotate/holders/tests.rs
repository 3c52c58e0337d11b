//! Holders of a listener's connections, on trees of `/proc` made for the test.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use super::*;
use std::fs;
use std::os::unix::fs::symlink;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
/// Master of the server of these tests.
const MASTER: u32 = 10;

/// A `/proc` of which the test says who holds what.
struct FakeProc {
    root: tempfile::TempDir,
}

impl FakeProc {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { root }
    }

    /// A process, its parent, when it started, and the sockets that it holds.
    fn process(&self, pid: u32, parent: u32, start_ticks: u64, sockets: &[u64]) {
        let dir = self.root.path().join(pid.to_string());
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("fd")).unwrap();
        let stat = format!(
            "{pid} (p{pid}) S {parent} {pid} 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 {start_ticks} 9 9\n"
        );
        fs::write(dir.join("stat"), stat).unwrap();
        symlink("/dev/null", dir.join("fd/0")).unwrap();
        for (index, inode) in sockets.iter().enumerate() {
            symlink(
                format!("socket:[{inode}]"),
                dir.join(format!("fd/{}", index + 3)),
            )
            .unwrap();
        }
    }

    fn end(&self, pid: u32) {
        fs::remove_dir_all(self.root.path().join(pid.to_string())).unwrap();
    }

    fn holders(&self) -> Holders {
        Holders::new(self.root.path())
    }
}

fn wanted(inode: u64, mono_ns: u64) -> Wanted {
    Wanted {
        inode,
        listener: MASTER,
        mono_ns,
        latest_start: 1_000,
    }
}

fn pid_of(answer: &Answer) -> Option<u32> {
    match answer {
        Answer::Held(holder) => Some(holder.process.pid),
        Answer::NotFound | Answer::Skipped => None,
    }
}

#[test]
fn the_worker_that_holds_it_is_found_not_the_master_nor_another_server() {
    let proc = FakeProc::new();
    proc.process(MASTER, 1, 100, &[500]);
    proc.process(11, MASTER, 101, &[500, 700]);
    proc.process(12, MASTER, 102, &[500, 701]);
    proc.process(20, 1, 103, &[702]);
    let mut holders = proc.holders();
    let mut budget = ReadBudget::full();
    let held = Answer::Held(Holder {
        process: Process {
            pid: 11,
            comm: "p11".into(),
        },
        start_ticks: 101,
    });
    assert_eq!(holders.resolve(&wanted(700, 0), &mut budget), held);
    let other = holders.resolve(&wanted(702, SECOND), &mut budget);
    assert_eq!(other, Answer::NotFound);
}

#[test]
fn of_several_holders_it_is_the_newest_that_was_there() {
    let proc = FakeProc::new();
    proc.process(MASTER, 1, 100, &[700]);
    proc.process(11, MASTER, 101, &[700]);
    proc.process(12, MASTER, 1_001, &[700]);
    let mut budget = ReadBudget::full();
    let answer = proc.holders().resolve(&wanted(700, 0), &mut budget);
    assert_eq!(pid_of(&answer), Some(11), "12 started after the event");
}

#[test]
fn connections_that_a_search_came_by_are_remembered() {
    let proc = FakeProc::new();
    proc.process(MASTER, 1, 100, &[]);
    proc.process(12, MASTER, 102, &[699]);
    proc.process(11, MASTER, 101, &[700, 701]);
    let mut holders = proc.holders();
    let mut budget = ReadBudget::full();
    let first = holders.resolve(&wanted(699, SECOND), &mut budget);
    assert_eq!(pid_of(&first), Some(12));
    proc.process(11, MASTER, 101, &[]);
    let soon = holders.resolve(&wanted(700, SECOND + MILLISECOND), &mut budget);
    assert_eq!(pid_of(&soon), Some(11));
    proc.end(11);
    let later = holders.resolve(&wanted(701, 5 * SECOND), &mut budget);
    assert_eq!(pid_of(&later), Some(11));
    let too_late = holders.resolve(&wanted(701, 2 * REMEMBERED_NS), &mut budget);
    assert_eq!(pid_of(&too_late), None);
}

#[test]
fn a_server_is_not_searched_again_at_once() {
    let proc = FakeProc::new();
    proc.process(MASTER, 1, 100, &[]);
    proc.process(11, MASTER, 101, &[]);
    let mut holders = proc.holders();
    let mut budget = ReadBudget::full();
    holders.resolve(&wanted(700, SECOND), &mut budget);
    proc.process(11, MASTER, 101, &[700]);
    let at = |ms: u64| wanted(700, SECOND + ms * MILLISECOND);
    assert_eq!(holders.resolve(&at(99), &mut budget), Answer::Skipped);
    assert_eq!(pid_of(&holders.resolve(&at(100), &mut budget)), Some(11));
}

#[test]
fn a_pid_that_was_used_again_is_read_anew() {
    let proc = FakeProc::new();
    proc.process(MASTER, 1, 100, &[]);
    proc.process(11, MASTER, 101, &[]);
    let mut holders = proc.holders();
    let mut budget = ReadBudget::full();
    holders.resolve(&wanted(700, SECOND), &mut budget);
    // Another program, with another parent, of which the tree does not know yet.
    proc.process(11, 1, 900, &[701]);
    holders.resolve(&wanted(700, SECOND + SEARCHED_NS), &mut budget);
    let later = holders.resolve(&wanted(702, 3 * SECOND), &mut budget);
    assert_eq!(later, Answer::NotFound);
    assert_eq!(holders.tree.relatives(MASTER), [(MASTER, 100)]);
}

#[test]
fn a_server_with_too_many_descriptors_costs_half_the_budget_and_is_counted() {
    let proc = FakeProc::new();
    proc.process(MASTER, 1, 100, &[]);
    let many: Vec<u64> = (1_000..1_000 + 10_000).collect();
    proc.process(11, MASTER, 101, &many);
    let mut holders = proc.holders();
    let mut budget = ReadBudget::full();
    let answer = holders.resolve(&wanted(700, 0), &mut budget);
    assert_eq!(answer, Answer::Skipped);
    let mut left = 0;
    while budget.take(0, 1) {
        left += 1;
    }
    assert_eq!(left, crate::annotate::READS_PER_SECOND / 2);
}
