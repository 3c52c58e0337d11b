//! What a running process costs, as the kernel counts it: for the tests of rest and storm.

use std::path::Path;
use std::time::{Duration, Instant};

/// Time on a CPU that the threads of a process have had.
pub fn cpu_time(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(|task| thread_time(&task.unwrap().path())).sum()
}

/// The same of its first thread: of an agent, the one that captures.
pub fn main_thread_time(pid: u32) -> Duration {
    thread_time(Path::new(&format!("/proc/{pid}/task/{pid}")))
}

fn thread_time(task: &Path) -> Duration {
    let text = std::fs::read_to_string(task.join("schedstat")).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// Part of a core that a process takes when nothing happens: the least of three times three seconds,
/// since others may send resets meanwhile.
pub fn cores_at_rest(pid: u32) -> f64 {
    let rest = (0..3).map(|_| {
        let (began, before) = (Instant::now(), cpu_time(pid));
        std::thread::sleep(Duration::from_secs(3));
        cpu_time(pid).saturating_sub(before).as_secs_f64() / began.elapsed().as_secs_f64()
    });
    rest.fold(f64::INFINITY, f64::min)
}

/// The most memory that a process has had, in KiB.
pub fn peak_memory_kib(pid: u32) -> u64 {
    memory_kib(pid, "VmHWM:")
}

/// The memory that a process has, in KiB: what it has written and what it shares with its file.
pub fn resident_memory_kib(pid: u32) -> u64 {
    memory_kib(pid, "VmRSS:")
}

fn memory_kib(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let amount = line.unwrap().split_whitespace().next().unwrap();
    amount.parse().unwrap()
}
