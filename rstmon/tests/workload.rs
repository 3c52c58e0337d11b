//! Containers as `rstmon trace` names them, with real cgroups of this host and real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics, one that cannot run says so"
)]

mod support;

use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use support::skip::cannot_run;
use support::{Family, Trace, bpf_works, cgroup_hierarchy, closed_port, in_private_netns, is};

const ID: &str = "8c3f0e6b5d4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a0";

/// A cgroup of this test, gone with it.
struct Cgroup {
    path: PathBuf,
    /// The part of the path that is below the hierarchy's root.
    below_root: String,
    /// Its hierarchy, where that is this test's own.
    _mounted: Option<Mounted>,
}

/// A hierarchy of a test's own, gone with it.
struct Mounted(tempfile::TempDir);

impl Mounted {
    /// One of version 1 that controls nothing, which kernels of hosts with version 2 only make, too.
    fn hierarchy(file_system: &str) -> Option<Self> {
        if file_system != "cgroup" {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let name = format!("none,name=rstmon-test-{}", std::process::id());
        let mount = Command::new("mount")
            .args(["-t", file_system, "-o", &name, "none"])
            .arg(folder.path())
            .status();
        let is_mounted = mount.is_ok_and(|it| it.success());
        is_mounted.then_some(Self(folder))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

impl Cgroup {
    /// Makes `below_root` in the first hierarchy of this kind. None, and it is said, if there is none or
    /// it takes no cgroups.
    fn create(file_system: &str, below_root: &str) -> Option<Self> {
        let here = cgroup_hierarchy(file_system);
        let mounted = match here {
            Some(_) => None,
            None => Mounted::hierarchy(file_system),
        };
        let of_its_own = || mounted.as_ref().map(|it| it.0.path().to_owned());
        let Some(root) = here.or_else(of_its_own) else {
            cannot_run(&format!("no {file_system} hierarchy can be had here"));
            return None;
        };
        let below_root = below_root.replace("{pid}", &std::process::id().to_string());
        let path = root.join(&below_root);
        if let Err(error) = fs::create_dir_all(&path) {
            cannot_run(&format!(
                "the cgroup {} cannot be made: {error}",
                path.display()
            ));
            return None;
        }
        let below_root = format!("/{below_root}");
        Some(Self {
            path,
            below_root,
            _mounted: mounted,
        })
    }

    /// Starts a process of the cgroup whose connection to `port` of loopback is refused.
    fn refuse(&self, port: u16) -> Child {
        let script = format!(
            "echo $$ > {}/cgroup.procs && {{ exec 3<>/dev/tcp/127.0.0.1/{port}; }} 2>/dev/null; \
             exec sleep 60",
            self.path.display()
        );
        Command::new("bash")
            .args(["-c", &script])
            .spawn()
            .expect("bash starts")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The one above is this test's too.
        let _ = fs::remove_dir(&self.path);
        let _ = self.path.parent().map(fs::remove_dir);
    }
}

/// The event of a process of the cgroup whose connection was refused.
fn refused_event(cgroup: &Cgroup, netns: u64) -> Value {
    let mut trace = Trace::start(&[&format!("netns {netns} and kind received")]);
    let mut child = cgroup.refuse(closed_port(Family::V4).port());
    let event = trace.event("received RST", |event| {
        is(event, "received", "connection-refused")
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(event["pid"], child.id());
    event
}

#[test]
fn a_socket_in_a_container_of_version_2_has_its_id() {
    if !bpf_works() {
        return;
    }
    let path = format!("rstmon-test-{{pid}}.slice/docker-{ID}.scope");
    let Some(cgroup) = Cgroup::create("cgroup2", &path) else {
        return;
    };
    in_private_netns(move |netns| {
        let event = refused_event(&cgroup, netns);
        assert_eq!(event["cgroup"], cgroup.below_root);
        assert_eq!(event["container_id"], ID);
        assert_eq!(event["container_runtime"], "docker");
        assert_eq!(event["unit"], Value::Null);
    });
}

#[test]
fn a_socket_in_a_unit_has_its_name_and_a_filter_finds_it() {
    if !bpf_works() {
        return;
    }
    let path = "rstmon-test-{pid}.slice/rstmon-test.service";
    let Some(cgroup) = Cgroup::create("cgroup2", path) else {
        return;
    };
    in_private_netns(move |netns| {
        let filter = format!("netns {netns} and unit rstmon-test and not container '*'");
        let mut trace = Trace::start(&[&filter]);
        let mut child = cgroup.refuse(closed_port(Family::V4).port());
        let event = trace.event("received RST", |event| event["kind"] == "received");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(event["unit"], "rstmon-test.service");
    });
}

#[test]
fn a_process_in_a_container_of_version_1_has_its_id() {
    if !bpf_works() {
        return;
    }
    let path = format!("rstmon-test-{{pid}}/libpod-{ID}");
    let Some(cgroup) = Cgroup::create("cgroup", &path) else {
        return;
    };
    in_private_netns(move |netns| {
        let event = refused_event(&cgroup, netns);
        assert_ne!(event["cgroup"], cgroup.below_root);
        assert_eq!(event["container_id"], ID);
        assert_eq!(event["container_runtime"], "podman");
    });
}
