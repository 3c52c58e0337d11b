//! What an agent can still do once its hooks are attached: of capabilities and system calls.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

mod support;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use rstmon::agent::privilege::drop_privileges;
use std::fs::{self, File};
use std::io::Write;
use std::process::Stdio;
use std::ptr::null;
use support::agent::Agent;
use support::{bpf_works, is_role};

/// CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF (capabilities(7)).
const KEPT: u64 = 1 << 2 | 1 << 19 | 1 << 21 | 1 << 38 | 1 << 39;

/// The value of a field of a thread's `status`.
fn field<'s>(status: &'s str, name: &str) -> &'s str {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.expect("the kernel tells it")
        .trim_start_matches(':')
        .trim()
}

#[test]
fn no_thread_of_the_agent_keeps_more_than_it_uses() {
    if !bpf_works() {
        return;
    }
    let agent = Agent::start(&[]);
    agent.scrape();
    let threads: Vec<_> = fs::read_dir(format!("/proc/{}/task", agent.pid()))
        .unwrap()
        // The one that looks for the owners of old sockets may end meanwhile.
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path().join("status")).ok())
        .collect();
    assert!(threads.len() >= 3, "{}", threads.len());
    for status in threads {
        let name = field(&status, "Name");
        for set in ["CapEff", "CapPrm"] {
            let held = u64::from_str_radix(field(&status, set), 16).unwrap();
            assert_eq!(held & !KEPT, 0, "{name}: {held:x}");
        }
        assert_eq!(field(&status, "CapInh"), "0000000000000000", "{name}");
        assert_eq!(field(&status, "NoNewPrivs"), "1", "{name}");
        assert_eq!(field(&status, "Seccomp"), "2", "{name}");
    }
    // And nothing of a complaint.
    let expected = format!("rstmon: listening on {}\n", agent.address);
    assert_eq!(agent.stderr(), expected);
}

/// What the child says in the end: one that plays no role ends well, too.
const WAS_PLAYED: &str = "the intruder has tried everything";

#[test]
fn what_only_an_intruder_would_call_fails_and_the_rest_works() {
    let mut role = support::role("intruder");
    let output = role.stdout(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains(WAS_PLAYED),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Child of the test above: gives up what an agent does, then tries.
#[test]
fn role() {
    if !is_role("intruder") {
        return;
    }
    drop_privileges();
    refused();
    // The audit enters network namespaces, in its own thread.
    let read = std::thread::spawn(|| {
        let own = File::open("/proc/thread-self/ns/net").unwrap();
        let entered = setns(&own, CloneFlags::CLONE_NEWNET);
        // Others than root are refused by the kernel itself.
        let is_root = nix::unistd::geteuid().is_root();
        let expected = if is_root { Ok(()) } else { Err(Errno::EPERM) };
        assert_eq!(entered, expected);
        fs::read_to_string("/proc/1/net/snmp").map(|text| text.len())
    });
    assert!(read.join().unwrap().unwrap() > 0);
    // Not `print!`, which the test harness keeps to itself.
    let said = std::io::stdout().write_all(WAS_PLAYED.as_bytes());
    said.unwrap();
}

/// Calls with arguments that would fail with another error, if the kernel were asked.
fn refused() {
    let no_process = i64::from(i32::MAX);
    let namespaces = i64::from(libc::CLONE_NEWNS | libc::CLONE_FS);
    let calls: [(&str, libc::c_long, [i64; 2], Errno); 16] = [
        ("execve", libc::SYS_execve, [0, 0], Errno::EPERM),
        ("execveat", libc::SYS_execveat, [-1, 0], Errno::EPERM),
        ("ptrace", libc::SYS_ptrace, [16, no_process], Errno::EPERM),
        (
            "process_vm_readv",
            libc::SYS_process_vm_readv,
            [no_process, 0],
            Errno::EPERM,
        ),
        (
            "process_vm_writev",
            libc::SYS_process_vm_writev,
            [no_process, 0],
            Errno::EPERM,
        ),
        ("kill", libc::SYS_kill, [no_process, 0], Errno::EPERM),
        ("tgkill", libc::SYS_tgkill, [no_process, 1], Errno::EPERM),
        (
            "pidfd_send_signal",
            libc::SYS_pidfd_send_signal,
            [-1, 0],
            Errno::EPERM,
        ),
        (
            "open_by_handle_at",
            libc::SYS_open_by_handle_at,
            [-1, 0],
            Errno::EPERM,
        ),
        ("mount", libc::SYS_mount, [0, 0], Errno::EPERM),
        ("move_mount", libc::SYS_move_mount, [-1, 0], Errno::EPERM),
        ("unshare", libc::SYS_unshare, [0, 0], Errno::EPERM),
        ("setns", libc::SYS_setns, [-1, 0], Errno::EPERM),
        (
            "io_uring_setup",
            libc::SYS_io_uring_setup,
            [0, 0],
            Errno::EPERM,
        ),
        ("clone", libc::SYS_clone, [namespaces, 0], Errno::EPERM),
        ("clone3", libc::SYS_clone3, [0, 0], Errno::ENOSYS),
    ];
    for (name, number, [first, second], expected) in calls {
        // SAFETY: no argument points to anything, and a call that were made would fail at once.
        let outcome =
            unsafe { libc::syscall(number, first, second, null::<u8>(), 0_i64, 0_i64, 0_i64) };
        let error = Errno::last();
        assert_eq!((outcome, error), (-1, expected), "{name}");
    }
}
