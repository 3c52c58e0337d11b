//! Every network namespace that can be seen, and its counters.
//!
//! One with a process in it is read through `/proc/PID/net`; one that only a name holds
//! (`ip netns add`, a pod's sandbox) is entered by this thread, which takes CAP_SYS_ADMIN.

use super::snmp::SnmpCounters;
use nix::sched::{CloneFlags, setns};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Folders in which namespaces are kept by name.
const NAMED: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// Where namespaces are looked for.
#[derive(Clone, Debug)]
pub struct Namespaces {
    pub(super) proc_root: PathBuf,
    pub(super) named: Vec<PathBuf>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// By the namespace's inode.
    pub(super) counters: BTreeMap<u64, SnmpCounters>,
    /// Inodes of the namespaces that could not be read.
    pub(super) unreadable: BTreeSet<u64>,
}

impl Namespaces {
    /// Those of this host.
    #[must_use]
    pub fn of_host() -> Self {
        Self {
            proc_root: PathBuf::from("/proc"),
            named: NAMED.map(PathBuf::from).to_vec(),
        }
    }

    /// Reads the counters of all.
    pub(super) fn read(&mut self) -> Found {
        let mut found = Found::default();
        let mut unreadable = BTreeMap::new();
        for (inode, net) in self.by_process() {
            if found.counters.contains_key(&inode) {
                continue;
            }
            // The process may end meanwhile; another one of the namespace will do.
            match read_counters(&net) {
                Ok(counters) => {
                    unreadable.remove(&inode);
                    found.counters.insert(inode, counters);
                }
                Err(error) => {
                    unreadable.insert(inode, error);
                }
            }
        }
        for (inode, path) in self.by_name() {
            if found.counters.contains_key(&inode) {
                continue;
            }
            match within(&path, || read_counters(Path::new("/proc/thread-self/net"))) {
                Ok(counters) => {
                    unreadable.remove(&inode);
                    found.counters.insert(inode, counters);
                }
                Err(error) => {
                    unreadable.insert(inode, error);
                }
            }
        }
        found.unreadable = unreadable.into_keys().collect();
        found
    }

    /// Namespaces with a process, by inode, each process's `net` folder.
    fn by_process(&self) -> Vec<(u64, PathBuf)> {
        let Ok(entries) = fs::read_dir(&self.proc_root) else {
            return Vec::new();
        };
        let processes = entries.filter_map(|entry| {
            let path = entry.ok()?.path();
            let is_pid = path.file_name()?.to_str()?.parse::<u32>().is_ok();
            is_pid.then_some(path)
        });
        processes
            .filter_map(|path| {
                let inode = fs::metadata(path.join("ns/net")).ok()?.ino();
                Some((inode, path.join("net")))
            })
            .collect()
    }

    fn by_name(&self) -> Vec<(u64, PathBuf)> {
        let folders = self
            .named
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok());
        folders
            .flatten()
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                Some((fs::metadata(&path).ok()?.ino(), path))
            })
            .collect()
    }
}

fn read_counters(net: &Path) -> io::Result<SnmpCounters> {
    let mut counters = SnmpCounters::parse(&fs::read_to_string(net.join("snmp"))?);
    counters.add(&SnmpCounters::parse(&fs::read_to_string(
        net.join("netstat"),
    )?));
    Ok(counters)
}

/// Runs `read` with this thread in another network namespace.
fn within<T>(namespace: &Path, read: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let own = File::open("/proc/thread-self/ns/net")?;
    let other = File::open(namespace)?;
    setns(&other, CloneFlags::CLONE_NEWNET)?;
    let outcome = read();
    setns(&own, CloneFlags::CLONE_NEWNET)?;
    outcome
}
