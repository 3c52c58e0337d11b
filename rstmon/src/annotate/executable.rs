//! The executable of a process, by pid; where the host has version 1 cgroups, its cgroup too.
//!
//! Called by [`super::Annotator`] for the owner of a socket. A pid is a weak name: what runs under
//! it now is believed only if it had started before the event, and, where the start of the owner
//! is known, if it is that very process. What is not believed is `None`.

use super::process::ProcessDir;
use super::workload::process_cgroup::parse_process_cgroup;
use crate::event::printable::printable;
use lru::LruCache;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Processes remembered; the least recently used goes first.
const PROCESSES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);
/// How long an answer is taken without looking again, found or not, nanoseconds.
const FRESH_NS: u64 = 1_000_000_000;
/// How long an answer outlives its process, nanoseconds: a reset often follows an exit.
const OUTLIVES_NS: u64 = 10_000_000_000;

/// What a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// Path as the process's mount namespace has it, printable.
    pub path: Arc<str>,
    /// The file was removed or replaced since the process started it. A file whose name really
    /// ends in ` (deleted)` cannot be told from that.
    pub deleted: bool,
}

/// A process, and when it must have been alive.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Process id.
    pub pid: u32,
    /// When it started, clock ticks since boot, where that is known.
    pub start_ticks: Option<u64>,
    /// A time at which it lived, monotonic nanoseconds: that of the event.
    pub mono_ns: u64,
}

#[derive(Clone, Debug)]
struct Found {
    start_ticks: u64,
    executable: Option<Executable>,
    /// None also where [`Executables::reads_cgroups`] is off.
    cgroup: Option<Arc<str>>,
}

#[derive(Debug)]
struct Entry {
    /// None: no such process, or it may not be read.
    found: Option<Found>,
    /// When it was read, by the event that asked.
    read_ns: u64,
    /// When the process was last seen alive.
    alive_ns: u64,
}

/// Bounded memory of executables.
#[derive(Debug)]
pub struct Executables {
    proc_root: PathBuf,
    reads_cgroups: bool,
    ticks_per_second: u64,
    /// How long this host had been suspended at the last look into `/proc`. A process seen by then
    /// started by then, so its entry needs no later value.
    suspended_ns: u64,
    entries: LruCache<u32, Entry>,
}

impl Executables {
    /// Nothing known yet. `proc_root` is `/proc`, or another in tests. `reads_cgroups`: whether
    /// [`Self::resolve_cgroup`] is to answer, for one more read a process.
    #[must_use]
    pub fn new(proc_root: &Path, reads_cgroups: bool) -> Self {
        let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten();
        Self {
            proc_root: proc_root.to_owned(),
            reads_cgroups,
            // USER_HZ is 100 on every architecture that Linux still has BPF for.
            ticks_per_second: ticks
                .and_then(|ticks| u64::try_from(ticks).ok())
                .unwrap_or(100),
            suspended_ns: 0,
            entries: LruCache::new(PROCESSES),
        }
    }

    /// Whether [`Self::resolve`] would answer from memory.
    #[must_use]
    pub fn is_fresh(&self, wanted: &Wanted) -> bool {
        self.entries
            .peek(&wanted.pid)
            .is_some_and(|entry| wanted.mono_ns.saturating_sub(entry.read_ns) < FRESH_NS)
    }

    /// The executable of a process. At most four short reads below `/proc`.
    pub fn resolve(&mut self, wanted: &Wanted) -> Option<&Executable> {
        self.find(wanted)?.executable.as_ref()
    }

    /// The cgroup of a process that tells most of its workload ([`parse_process_cgroup`]). As many
    /// reads, and none after [`Self::resolve`].
    pub fn resolve_cgroup(&mut self, wanted: &Wanted) -> Option<&Arc<str>> {
        self.find(wanted)?.cgroup.as_ref()
    }

    fn find(&mut self, wanted: &Wanted) -> Option<&Found> {
        if !self.is_fresh(wanted) {
            self.refresh(wanted);
        }
        let latest_start = self.ticks_at(wanted.mono_ns);
        let found = self.entries.get(&wanted.pid)?.found.as_ref()?;
        let same_process = match wanted.start_ticks {
            Some(start) => start == found.start_ticks,
            None => found.start_ticks <= latest_start,
        };
        same_process.then_some(found)
    }

    fn refresh(&mut self, wanted: &Wanted) {
        let now = wanted.mono_ns;
        self.suspended_ns = read_suspended_ns();
        let found = self.read_found(wanted.pid);
        let alive = found.is_some();
        if let Some(old) = self.entries.get_mut(&wanted.pid)
            && !alive
            && now.saturating_sub(old.alive_ns) < OUTLIVES_NS
        {
            old.read_ns = now;
            return;
        }
        let entry = Entry {
            found,
            read_ns: now,
            alive_ns: now,
        };
        self.entries.put(wanted.pid, entry);
    }

    fn read_found(&self, pid: u32) -> Option<Found> {
        let process = ProcessDir::open(&self.proc_root, pid).ok()?;
        let start_ticks = process.read_stat().ok()?.start_ticks;
        let executable = process
            .read_link("exe")
            .ok()
            .map(|link| parse_executable(&link));
        let cgroup = self
            .reads_cgroups
            .then(|| process.read_file("cgroup").ok())
            .flatten()
            .and_then(|cgroups| parse_process_cgroup(&cgroups));
        Some(Found {
            start_ticks,
            executable,
            cgroup,
        })
    }

    /// The clock ticks since boot at a monotonic time. Start times count suspend, the monotonic
    /// clock does not.
    pub(super) fn ticks_at(&self, mono_ns: u64) -> u64 {
        let ns = u128::from(mono_ns) + u128::from(self.suspended_ns);
        u64::try_from(ns * u128::from(self.ticks_per_second) / 1_000_000_000).unwrap_or(u64::MAX)
    }
}

/// How long this host was suspended since boot. Zero if a clock cannot be read, which only makes
/// the answer `None` more often.
fn read_suspended_ns() -> u64 {
    let read = |clock| clock_gettime(clock).map(std::time::Duration::from);
    match (
        read(ClockId::CLOCK_BOOTTIME),
        read(ClockId::CLOCK_MONOTONIC),
    ) {
        (Ok(boot), Ok(monotonic)) => {
            u64::try_from(boot.saturating_sub(monotonic).as_nanos()).unwrap_or(u64::MAX)
        }
        _ => 0,
    }
}

/// Takes the kernel's mark of a removed file (`d_path`) off the path.
fn parse_executable(link: &[u8]) -> Executable {
    let kept = link.strip_suffix(b" (deleted)");
    Executable {
        path: printable(kept.unwrap_or(link)).into(),
        deleted: kept.is_some(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::process::{Command, Stdio};

    const SECOND: u64 = 1_000_000_000;

    fn fake_process(root: &Path, pid: u32, start: u64, exe: &str) {
        let dir = root.join(pid.to_string());
        fs::create_dir_all(&dir).unwrap();
        let line = format!("{pid} (x) S 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 {start} 9 9\n");
        fs::write(dir.join("stat"), line).unwrap();
        let _ = fs::remove_file(dir.join("exe"));
        symlink(exe, dir.join("exe")).unwrap();
    }

    fn path_of(executables: &mut Executables, wanted: Wanted) -> Option<Arc<str>> {
        executables.resolve(&wanted).map(|found| found.path.clone())
    }

    fn at(seconds: u64) -> Wanted {
        Wanted {
            pid: 7,
            start_ticks: None,
            mono_ns: seconds * SECOND,
        }
    }

    #[test]
    fn a_real_process_is_resolved_and_a_removed_file_marked() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("sleeper");
        fs::copy(fs::canonicalize("/bin/sleep").unwrap(), &program).unwrap();
        let mut child = Command::new(&program)
            .arg("60")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        fs::remove_file(&program).unwrap();
        let mut executables = Executables::new(Path::new("/proc"), true);
        let wanted = Wanted {
            pid: child.id(),
            start_ticks: None,
            mono_ns: u64::MAX / 2,
        };
        let found = executables.resolve(&wanted).cloned();
        child.kill().unwrap();
        child.wait().unwrap();
        let expected = Executable {
            path: program.display().to_string().into(),
            deleted: true,
        };
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn a_process_that_started_after_the_event_is_not_its_owner() {
        let root = tempfile::tempdir().unwrap();
        // 50 seconds after boot; suspend can only move the limit up.
        fake_process(root.path(), 7, 5_000_000_000_000, "/new");
        let mut executables = Executables::new(root.path(), true);
        assert_eq!(path_of(&mut executables, at(49)), None);
    }

    #[test]
    fn another_start_time_is_another_process() {
        let root = tempfile::tempdir().unwrap();
        fake_process(root.path(), 7, 1000, "/old");
        let mut executables = Executables::new(root.path(), true);
        let same = Wanted {
            start_ticks: Some(1000),
            ..at(50)
        };
        let another = Wanted {
            start_ticks: Some(999),
            ..at(50)
        };
        assert_eq!(path_of(&mut executables, same).as_deref(), Some("/old"));
        assert_eq!(path_of(&mut executables, another), None);
    }

    #[test]
    fn an_answer_is_kept_a_second_and_outlives_its_process_by_ten() {
        let root = tempfile::tempdir().unwrap();
        fake_process(root.path(), 7, 1000, "/one");
        let mut executables = Executables::new(root.path(), true);
        assert_eq!(path_of(&mut executables, at(50)).as_deref(), Some("/one"));
        fake_process(root.path(), 7, 1000, "/two");
        let soon = Wanted {
            mono_ns: 50 * SECOND + 1,
            ..at(50)
        };
        assert_eq!(path_of(&mut executables, soon).as_deref(), Some("/one"));
        assert_eq!(path_of(&mut executables, at(52)).as_deref(), Some("/two"));
        fs::remove_dir_all(root.path().join("7")).unwrap();
        assert_eq!(path_of(&mut executables, at(55)).as_deref(), Some("/two"));
        assert_eq!(path_of(&mut executables, at(70)), None);
    }

    #[test]
    fn absence_is_remembered_and_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let mut executables = Executables::new(root.path(), true);
        assert_eq!(path_of(&mut executables, at(50)), None);
        assert!(executables.is_fresh(&at(50)));
        fake_process(root.path(), 7, 1000, "/late");
        assert_eq!(path_of(&mut executables, at(50)), None);
        assert_eq!(path_of(&mut executables, at(60)).as_deref(), Some("/late"));
    }

    #[test]
    fn the_cgroup_is_that_of_the_very_process() {
        let root = tempfile::tempdir().unwrap();
        fake_process(root.path(), 7, 1000, "/x");
        let cgroups = "4:pids:/\n1:name=systemd:/system.slice/web.service\n0::/\n";
        fs::write(root.path().join("7/cgroup"), cgroups).unwrap();
        let mut executables = Executables::new(root.path(), true);
        let mut cgroup = |start_ticks| {
            let wanted = Wanted {
                start_ticks,
                ..at(50)
            };
            executables.resolve_cgroup(&wanted).cloned()
        };
        let expected = Some("/system.slice/web.service".into());
        assert_eq!(cgroup(None), expected);
        assert_eq!(cgroup(Some(1000)), expected);
        assert_eq!(cgroup(Some(999)), None);
        let mut without = Executables::new(root.path(), false);
        assert_eq!(without.resolve_cgroup(&at(50)), None);
        assert!(without.resolve(&at(50)).is_some());
    }

    #[test]
    fn a_hostile_path_is_made_printable() {
        assert_eq!(
            parse_executable(b"/a\x1b]0;x\x07").path,
            r"/a\x1b]0;x\x07".into()
        );
    }
}
