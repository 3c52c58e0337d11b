//! The cgroup of a process that says most about its workload, from `/proc/PID/cgroup`.
//!
//! Called by `annotate::executable`, on hosts that have version 1 hierarchies. There a container
//! runtime may make its cgroups in those only, and the socket's cgroup, which is one of version 2,
//! is the root.

use super::path::parse_workload;
use crate::event::printable::printable;
use crate::event::workload::Workload;
use std::sync::Arc;

/// What the kernel puts behind the path of a cgroup that was removed (`proc_cgroup_show`).
const DELETED: &[u8] = b" (deleted)";

/// The path, printable, of the first hierarchy that tells a container or pod; else systemd's own,
/// for the unit; None where neither tells anything. `cgroups`: the lines
/// `NUMBER:CONTROLLERS:PATH` of `cgroups(7)`.
#[must_use]
pub fn parse_process_cgroup(cgroups: &[u8]) -> Option<Arc<str>> {
    let mut of_systemd = None;
    for line in cgroups.split(|&byte| byte == b'\n') {
        let mut fields = line.splitn(3, |&byte| byte == b':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let path = printable(path.strip_suffix(DELETED).unwrap_or(path));
        let workload = parse_workload(&path);
        if workload.as_ref().is_some_and(Workload::is_contained) {
            return Some(path.into());
        }
        if controllers == b"name=systemd" && workload.is_some() {
            of_systemd = Some(path.into());
        }
    }
    of_systemd
}

#[cfg(test)]
mod tests {
    use super::parse_process_cgroup;

    const ID: &str = "8c3f0e6b5d4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a0";

    #[test]
    fn the_line_that_tells_most_is_taken() {
        for (cgroups, expected) in [
            // Docker with cgroupfs on a hybrid host.
            (
                "12:pids:/docker/{id}\n1:name=systemd:/docker/{id}\n0::/system.slice/containerd.service\n",
                Some("/docker/{id}"),
            ),
            (
                "12:pids:/\n4:memory:/kubepods/pod2f6b1c1e-0d3a-4c55-9a43-3a1b2c3d4e5f/{id}\n0::/\n",
                Some("/kubepods/pod2f6b1c1e-0d3a-4c55-9a43-3a1b2c3d4e5f/{id}"),
            ),
            (
                "4:memory:/user.slice\n1:name=systemd:/system.slice/nginx.service\n0::/\n",
                Some("/system.slice/nginx.service"),
            ),
            (
                "4:cpu,cpuacct:/docker/{id} (deleted)\n",
                Some("/docker/{id}"),
            ),
            // A path may hold colons.
            (
                "4:memory:/x.slice:docker:{id}\n",
                Some("/x.slice:docker:{id}"),
            ),
            ("9:name=systemd:/\n4:memory:/process_api/1\n0::/\n", None),
            ("", None),
            ("\n::\n:::\n1:a\n", None),
        ] {
            let filled = |text: &str| text.replace("{id}", ID);
            assert_eq!(
                parse_process_cgroup(filled(cgroups).as_bytes()).as_deref(),
                expected.map(filled).as_deref(),
                "{cgroups}"
            );
        }
    }

    #[test]
    fn hostile_bytes_come_out_printable() {
        let path = parse_process_cgroup(b"1:name=systemd:/system.slice/a\xff\x1b.service\n");
        assert_eq!(path.as_deref(), Some(r"/system.slice/a\xff\x1b.service"));
    }
}
