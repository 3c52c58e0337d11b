//! Which processes are related: the parent and the process group of each.
//!
//! Asked by [`super::holders`] for the processes among which a server shares its connections. A
//! process is read once; what it says of its parent is kept while the pid is there, so that the
//! children of a master that died stay its children.

use super::ReadBudget;
use super::process::{ProcessDir, parse_pid};
use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Processes remembered at most; the ones beyond are related to nobody.
const PROCESSES: usize = 8_192;
/// How long the list of processes is taken as it is, nanoseconds.
const FRESH_NS: u64 = 1_000_000_000;
/// Ancestors looked at, from a process up.
const GENERATIONS: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Relation {
    parent: u32,
    group: u32,
    start_ticks: u64,
}

/// The processes of this host.
#[derive(Debug)]
pub(super) struct ProcessTree {
    proc_root: PathBuf,
    known: HashMap<u32, Relation>,
    listed_ns: Option<u64>,
}

impl ProcessTree {
    /// Knows no process yet. `proc_root` is `/proc`.
    pub(super) fn new(proc_root: &Path) -> Self {
        Self {
            proc_root: proc_root.to_owned(),
            known: HashMap::new(),
            listed_ns: None,
        }
    }

    /// How many processes are known.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Reads the processes that came since the last time, as far as the budget goes; the rest is
    /// read the next time. At most once in [`FRESH_NS`].
    pub(super) fn refresh(&mut self, now_ns: u64, budget: &mut ReadBudget) {
        let is_fresh = |listed| now_ns.saturating_sub(listed) < FRESH_NS;
        if self.listed_ns.is_some_and(is_fresh) {
            return;
        }
        let Ok(entries) = std::fs::read_dir(&self.proc_root) else {
            return;
        };
        self.listed_ns = Some(now_ns);
        let alive: HashSet<u32> = entries
            .filter_map(|entry| parse_pid(entry.ok()?.file_name().as_bytes()))
            .collect();
        self.known.retain(|pid, _| alive.contains(pid));
        for pid in alive {
            if self.known.contains_key(&pid) {
                continue;
            }
            if self.known.len() >= PROCESSES || !budget.take_spare(now_ns, 1) {
                return;
            }
            // One that is gone by now has no relatives to find.
            let stat = ProcessDir::open(&self.proc_root, pid).and_then(|dir| dir.read_stat());
            if let Ok(stat) = stat {
                let relation = Relation {
                    parent: stat.parent,
                    group: stat.group,
                    start_ticks: stat.start_ticks,
                };
                self.known.insert(pid, relation);
            }
        }
    }

    /// The pid belongs to another process than the one that was read: it is read anew.
    pub(super) fn forget(&mut self, pid: u32) {
        self.known.remove(&pid);
    }

    /// Pid and start of the process, its descendants, and the other processes of its group; the
    /// newest first. Nobody for process 1: all descend from it.
    pub(super) fn relatives(&self, pid: u32) -> Vec<(u32, u64)> {
        if pid <= 1 {
            return Vec::new();
        }
        // A leader that is gone leaves its pid as the number of the group.
        let group = match self.known.get(&pid) {
            Some(relation) if relation.group != 0 => relation.group,
            _ => pid,
        };
        let mut relatives: Vec<(u32, u64)> = self
            .known
            .iter()
            .filter(|&(&other, relation)| relation.group == group || self.descends(other, pid))
            .map(|(&other, relation)| (other, relation.start_ticks))
            .collect();
        relatives
            .sort_unstable_by_key(|&(other, start_ticks)| std::cmp::Reverse((start_ticks, other)));
        relatives
    }

    /// Whether `pid` is `ancestor` or descends from it.
    fn descends(&self, pid: u32, ancestor: u32) -> bool {
        let parent_of = |pid: &u32| self.known.get(pid).map(|relation| relation.parent);
        std::iter::successors(Some(pid), parent_of)
            .take(GENERATIONS)
            .any(|pid| pid == ancestor)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]
    use super::*;
    use std::fs;

    const SECOND: u64 = 1_000_000_000;

    fn add_process(root: &Path, pid: u32, parent: u32, group: u32, start_ticks: u64) {
        let dir = root.join(pid.to_string());
        fs::create_dir_all(&dir).unwrap();
        let line = format!(
            "{pid} (x) S {parent} {group} 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 {start_ticks} 9 9\n"
        );
        fs::write(dir.join("stat"), line).unwrap();
    }

    fn pids_of(tree: &ProcessTree, pid: u32) -> Vec<u32> {
        let relatives = tree.relatives(pid).into_iter();
        relatives.map(|(pid, _)| pid).collect()
    }

    #[test]
    fn descendants_and_the_group_are_relatives_newest_first() {
        let root = tempfile::tempdir().unwrap();
        add_process(root.path(), 1, 0, 1, 1);
        add_process(root.path(), 10, 1, 10, 100);
        add_process(root.path(), 11, 10, 10, 101);
        add_process(root.path(), 12, 11, 12, 103);
        add_process(root.path(), 13, 1, 10, 102);
        add_process(root.path(), 20, 1, 20, 104);
        let mut tree = ProcessTree::new(root.path());
        tree.refresh(0, &mut ReadBudget::full());
        assert_eq!(pids_of(&tree, 10), [12, 13, 11, 10]);
        assert_eq!(pids_of(&tree, 20), [20]);
        assert!(pids_of(&tree, 1).is_empty());
        assert!(pids_of(&tree, 99).is_empty());
    }

    #[test]
    fn the_workers_of_a_master_that_died_stay_its_own() {
        let root = tempfile::tempdir().unwrap();
        add_process(root.path(), 10, 1, 10, 100);
        add_process(root.path(), 11, 10, 11, 101);
        let mut tree = ProcessTree::new(root.path());
        let mut budget = ReadBudget::full();
        tree.refresh(0, &mut budget);
        fs::remove_dir_all(root.path().join("10")).unwrap();
        tree.refresh(SECOND - 1, &mut budget);
        assert_eq!(pids_of(&tree, 10), [11, 10], "not looked at again so soon");
        tree.refresh(SECOND, &mut budget);
        assert_eq!(pids_of(&tree, 10), [11]);
    }

    #[test]
    fn parents_in_a_circle_end_and_the_budget_limits_a_pass() {
        let root = tempfile::tempdir().unwrap();
        add_process(root.path(), 10, 11, 10, 100);
        add_process(root.path(), 11, 10, 11, 101);
        let mut tree = ProcessTree::new(root.path());
        let mut budget = ReadBudget::full();
        while budget.take_spare(0, 1) {}
        tree.refresh(0, &mut budget);
        assert_eq!(tree.len(), 0);
        tree.refresh(SECOND, &mut budget);
        assert_eq!(pids_of(&tree, 10), [11, 10]);
        assert!(pids_of(&tree, 12).is_empty());
    }
}
