//! One process, read through its open `/proc/PID` directory.
//!
//! Called by the other modules of `annotate`. The directory stays bound to the process that had
//! the pid when it was opened: once that one is gone every read fails (ESRCH), so no answer ever
//! mixes two processes that had the same pid.

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

/// The largest file of a process that is read whole, bytes. `stat` and `status` are far smaller.
const SMALL_FILE: u64 = 16 * 1024;

/// The open directory of one process.
#[derive(Debug)]
pub(super) struct ProcessDir {
    fd: OwnedFd,
}

/// What `/proc/PID/stat` tells (`proc_pid_stat(5)`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProcessStat {
    /// Name of the process's first thread, as it is: not escaped.
    pub(super) comm: Vec<u8>,
    /// Process id of the parent; 0: none in this pid namespace.
    pub(super) parent: u32,
    /// Process group; 0: of another pid namespace.
    pub(super) group: u32,
    /// When it started, clock ticks since boot, suspend counted.
    pub(super) start_ticks: u64,
}

impl ProcessDir {
    /// Opens the directory of `pid` below `proc_root`.
    pub(super) fn open(proc_root: &Path, pid: u32) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(&proc_root.join(pid.to_string()), flags, Mode::empty())?;
        Ok(Self { fd })
    }

    /// Reads `stat`.
    pub(super) fn read_stat(&self) -> io::Result<ProcessStat> {
        let text = self.read_file("stat")?;
        parse_stat(&text).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// Reads the effective uid from `status`. The owner of the directory will not do: it is root
    /// for a process that is not dumpable.
    pub(super) fn read_uid(&self) -> io::Result<u32> {
        let text = self.read_file("status")?;
        parse_effective_uid(&text).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// Reads the inode number of the network namespace.
    pub(super) fn read_netns(&self) -> io::Result<u32> {
        let link = self.read_link("ns/net")?;
        parse_numbered(&link, b"net:[")
            .and_then(|number| u32::try_from(number).ok())
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// Walks the descriptors: calls `take` for each, with the inode of those that are sockets, until
    /// it breaks.
    pub(super) fn walk_descriptors(
        &self,
        mut take: impl FnMut(Option<u64>) -> io::Result<ControlFlow<()>>,
    ) -> io::Result<()> {
        let descriptors = self.open_dir("fd")?;
        for entry in Dir::from_fd(descriptors.try_clone()?)?.iter() {
            let entry = entry?;
            let link = match readlinkat(&descriptors, entry.file_name()) {
                Ok(link) => link,
                // `.` and `..` are no links; a descriptor may be closed by now.
                Err(Errno::EINVAL | Errno::ENOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            if take(parse_numbered(link.as_bytes(), b"socket:["))?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Reads a symbolic link below the directory.
    pub(super) fn read_link(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(readlinkat(&self.fd, name)?.into_vec())
    }

    /// Opens a file below the directory.
    pub(super) fn open_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        Ok(File::from(openat(&self.fd, name, flags, Mode::empty())?))
    }

    /// Opens a directory below the directory.
    pub(super) fn open_dir(&self, name: &str) -> io::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(openat(&self.fd, name, flags, Mode::empty())?)
    }

    /// Reads a small file below the directory.
    pub(super) fn read_file(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(1024);
        self.open_file(name)?
            .take(SMALL_FILE)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// The number of a link such as `socket:[123]`, given what comes before it.
pub(super) fn parse_numbered(link: &[u8], prefix: &[u8]) -> Option<u64> {
    let digits = link.strip_prefix(prefix)?.strip_suffix(b"]")?;
    parse_decimal(digits)
}

/// A number in decimal digits and nothing else.
pub(super) fn parse_decimal(digits: &[u8]) -> Option<u64> {
    if !digits.first()?.is_ascii_digit() {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A process id in decimal digits and nothing else.
pub(super) fn parse_pid(digits: &[u8]) -> Option<u32> {
    u32::try_from(parse_decimal(digits)?).ok()
}

/// What is wanted of a process's `stat`. The name stands in parentheses and may hold parentheses,
/// blanks and line ends itself, so it ends at the last one.
fn parse_stat(text: &[u8]) -> Option<ProcessStat> {
    /// Places among the fields after the name, of which the first is field 3: `ppid` 4, `pgrp` 5,
    /// `starttime` 22. Each is counted on from the one before.
    const PARENT: usize = 1;
    const GROUP: usize = 0;
    const START_TIME: usize = 22 - 6;
    let open = text.iter().position(|&byte| byte == b'(')?;
    let close = text.iter().rposition(|&byte| byte == b')')?;
    let comm = text.get(open + 1..close)?.to_vec();
    let rest = text.get(close + 1..)?;
    let mut fields = rest
        .split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty());
    let parent = parse_pid(fields.nth(PARENT)?)?;
    let group = parse_pid(fields.nth(GROUP)?)?;
    let start_ticks = parse_decimal(fields.nth(START_TIME)?)?;
    Some(ProcessStat {
        comm,
        parent,
        group,
        start_ticks,
    })
}

/// The second number of the line `Uid:` (real, effective, saved, file system).
fn parse_effective_uid(text: &[u8]) -> Option<u32> {
    let line = text
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"Uid:"))?;
    let mut fields = line
        .split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty());
    u32::try_from(parse_decimal(fields.nth(1)?)?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_shift_the_fields() {
        let stat =
            parse_stat(b"7 (a) R (1 2\n) S 1 6 5 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4242 9 9\n");
        let expected = ProcessStat {
            comm: b"a) R (1 2\n".to_vec(),
            parent: 1,
            group: 6,
            start_ticks: 4242,
        };
        assert_eq!(stat, Some(expected));
    }

    #[test]
    fn broken_stat_is_refused() {
        for text in [
            &b""[..],
            b"7",
            b"7 (",
            b"7 )(",
            b"7 (a) S 1 2",
            b"7 (a) S 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 x",
        ] {
            assert_eq!(parse_stat(text), None);
        }
    }

    #[test]
    fn the_effective_uid_is_taken_and_a_name_cannot_fake_it() {
        // The kernel escapes line ends in the line Name, so Uid at the start of a line is its own.
        assert_eq!(
            parse_effective_uid(b"Name:\ta\\nUid: 7 7\nUid:\t1000\t33\t0\t0\n"),
            Some(33)
        );
        assert_eq!(parse_effective_uid(b"Name:\ta\n"), None);
        assert_eq!(parse_effective_uid(b"Uid:\t1\t99999999999\n"), None);
    }

    #[test]
    fn links_are_parsed_strictly() {
        assert_eq!(parse_numbered(b"socket:[12]", b"socket:["), Some(12));
        for link in [
            &b"socket:[]"[..],
            b"socket:[+1]",
            b"socket:[1",
            b"/tmp/socket:[1]",
            b"socket:[99999999999999999999]",
        ] {
            assert_eq!(parse_numbered(link, b"socket:["), None);
        }
    }

    #[test]
    fn this_process_can_be_read() {
        let dir = ProcessDir::open(Path::new("/proc"), std::process::id()).unwrap();
        assert!(dir.read_stat().unwrap().start_ticks > 0);
        assert_eq!(dir.read_uid().unwrap(), nix::unistd::geteuid().as_raw());
        assert!(dir.read_netns().unwrap() > 0);
    }
}
