//! Paths as hosts really have them, and paths that nobody would have.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use super::parse_workload;
use crate::event::printable::printable;
use crate::event::workload::{Container, ContainerId, Runtime, Workload};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Two ids and a pod's uid; in paths `{a}`, `{b}`, `{uid}`, `{u_i_d}`.
const A: &str = "8c3f0e6b5d4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a0";
const B: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const UID: &str = "2f6b1c1e-0d3a-4c55-9a43-3a1b2c3d4e5f";
/// Of a static pod.
const STATIC_UID: &str = "5b4a39281706f5e4d3c2b1a09f8e7d6c";

fn filled(text: &str) -> String {
    text.replace("{a}", A)
        .replace("{b}", B)
        .replace("{uid}", UID)
        .replace("{u_i_d}", &UID.replace('-', "_"))
        .replace("{static}", STATIC_UID)
}

/// `container runtime name pod unit`, `-` for what is not known.
fn shown(workload: Option<&Workload>) -> String {
    let container = workload.and_then(|workload| workload.container.as_ref());
    let pod = workload.and_then(|workload| workload.pod.as_ref());
    let unit = workload.and_then(|workload| workload.unit.as_deref());
    [
        container.and_then(Container::id).map(ContainerId::as_str),
        container.and_then(Container::runtime).map(Runtime::name),
        container.and_then(Container::name),
        pod.map(|pod| pod.uid.as_str()),
        unit,
    ]
    .map(|field| field.unwrap_or("-"))
    .join(" ")
}

fn assert_paths(table: &[(&str, &str)]) {
    for (path, expected) in table {
        let path = filled(path);
        let workload = parse_workload(&path);
        assert_eq!(shown(workload.as_ref()), filled(expected), "{path}");
    }
}

#[test]
fn units_of_systemd() {
    assert_paths(&[
        ("/", "- - - - -"),
        ("/init.scope", "- - - - init.scope"),
        ("/system.slice", "- - - - system.slice"),
        ("/system.slice/nginx.service", "- - - - nginx.service"),
        ("/system.slice/sshd.socket", "- - - - sshd.socket"),
        (
            "/system.slice/system-getty.slice/getty@tty1.service",
            "- - - - getty@tty1.service",
        ),
        (
            r"/system.slice/system-postgresql.slice/postgresql@15\x2dmain.service",
            r"- - - - postgresql@15\x2dmain.service",
        ),
        // What a service makes below itself is no unit.
        (
            "/system.slice/foo.service/worker.service",
            "- - - - foo.service",
        ),
        (
            "/system.slice/foo.service/supervisor",
            "- - - - foo.service",
        ),
        ("/system.slice/_cpu.service", "- - - - cpu.service"),
        (
            "/user.slice/user-1000.slice/session-3.scope",
            "- - - - session-3.scope",
        ),
        ("/user.slice/user-1000.slice", "- - - - user-1000.slice"),
        (
            "/user.slice/user-1000.slice/user@1000.service",
            "- - - - user@1000.service",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/init.scope",
            "- - - - init.scope",
        ),
        (
            r"/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox\x2desr-4242.scope",
            r"- - - - app-gnome-firefox\x2desr-4242.scope",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/x.service",
            "- - - - web.service",
        ),
        // No unit lies below what is none.
        ("/mine/nginx.service", "- - - - -"),
        ("/process_api/dd6ca57157b425ad8c78b6ec870052f0", "- - - - -"),
        ("/.service", "- - - - -"),
        ("/a b.service", "- - - - -"),
    ]);
}

#[test]
fn docker() {
    assert_paths(&[
        ("/system.slice/docker-{a}.scope", "{a} docker - - -"),
        ("/docker/{a}", "{a} docker - - -"),
        ("/docker/{a}/init.scope", "{a} docker - - -"),
        // Rootless.
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{a}.scope",
            "{a} docker - - user@1000.service",
        ),
        // With a cgroup of the user's choice.
        ("/batch/{a}", "{a} - - - -"),
        ("/batch.slice/docker-{a}.scope", "{a} docker - - -"),
        ("/ecs/b0a1/{a}", "{a} - - - -"),
        ("/system.slice/docker.service", "- - - - docker.service"),
        // Short, long, or in capitals: no id.
        ("/docker/0123456789ab", "- - - - -"),
        ("/docker/{a}0", "- - - - -"),
        (
            "/system.slice/docker-{a}0.scope",
            "- - - - docker-{a}0.scope",
        ),
        (
            "/system.slice/docker-0123456789ab.scope",
            "0123456789ab docker - - -",
        ),
        (
            "/system.slice/docker-DEADBEEFDEADBEEF.scope",
            "- - - - docker-DEADBEEFDEADBEEF.scope",
        ),
    ]);
}

#[test]
fn podman() {
    assert_paths(&[
        (
            "/machine.slice/libpod-{a}.scope/container",
            "{a} podman - - -",
        ),
        (
            "/machine.slice/libpod-{a}.scope/container/init.scope",
            "{a} podman - - -",
        ),
        (
            "/machine.slice/libpod-conmon-{a}.scope",
            "- - - - libpod-conmon-{a}.scope",
        ),
        (
            "/machine.slice/machine-libpod_pod_{b}.slice/libpod-{a}.scope",
            "{a} podman - - -",
        ),
        ("/libpod_parent/libpod-{a}", "{a} podman - - -"),
        ("/libpod_parent/conmon", "- - - - -"),
        ("/libpod_parent/{b}/libpod-{a}", "{a} podman - - -"),
        ("/libpod_parent/{b}/conmon", "- - - - -"),
        // Quadlets: the unit holds the container.
        (
            "/system.slice/web.service/libpod-payload-{a}",
            "{a} podman - - web.service",
        ),
        (
            "/system.slice/web.service/libpod-payload-{a}/init.scope",
            "{a} podman - - web.service",
        ),
        ("/system.slice/web.service/runtime", "- - - - web.service"),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/libpod-payload-{a}",
            "{a} podman - - web.service",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{a}.scope/container",
            "{a} podman - - user@1000.service",
        ),
    ]);
}

#[test]
fn kubernetes() {
    assert_paths(&[
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{u_i_d}.slice/cri-containerd-{a}.scope",
            "{a} containerd - {uid} -",
        ),
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{u_i_d}.slice/crio-{a}.scope",
            "{a} cri-o - {uid} -",
        ),
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{u_i_d}.slice/crio-{a}.scope/container",
            "{a} cri-o - {uid} -",
        ),
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{u_i_d}.slice/crio-conmon-{a}.scope",
            "- - - {uid} crio-conmon-{a}.scope",
        ),
        // Guaranteed.
        (
            "/kubepods.slice/kubepods-pod{u_i_d}.slice/docker-{a}.scope",
            "{a} docker - {uid} -",
        ),
        (
            "/kubepods.slice/kubepods-pod{static}.slice/cri-containerd-{a}.scope",
            "{a} containerd - {static} -",
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice",
            "- - - - kubepods-burstable.slice",
        ),
        ("/kubepods.slice/kubepods-pod{u_i_d}.slice", "- - - {uid} -"),
        // cgroupfs
        ("/kubepods/burstable/pod{uid}/{a}", "{a} - - {uid} -"),
        (
            "/kubepods/besteffort/pod{uid}/crio-{a}",
            "{a} cri-o - {uid} -",
        ),
        (
            "/kubepods/besteffort/pod{uid}/crio-conmon-{a}",
            "- - - {uid} -",
        ),
        ("/kubepods/pod{uid}/{a}", "{a} - - {uid} -"),
        ("/kubepods/pod{static}/{a}", "{a} - - {static} -"),
        // runc, told a path for systemd while it writes cgroups itself.
        (
            "/system.slice/containerd.service/kubepods-burstable-pod{u_i_d}.slice:cri-containerd:{a}",
            "{a} containerd - {uid} containerd.service",
        ),
        // The kubelet's tree below a cgroup of its own.
        (
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{u_i_d}.slice/cri-containerd-{a}.scope",
            "{a} containerd - {uid} -",
        ),
        // No pods.
        ("/pod{uid}/{a}", "{a} - - - -"),
        (
            "/machine.slice/my-pod{u_i_d}.slice/x.service",
            "- - - - x.service",
        ),
        ("/kubepods/podx/{a}", "{a} - - - -"),
    ]);
}

#[test]
fn containers_within_containers() {
    assert_paths(&[
        // kind: the node is a container, its pods are none of this host's kubelet but all there is.
        (
            "/system.slice/docker-{b}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{u_i_d}.slice/cri-containerd-{a}.scope",
            "{a} containerd - {uid} -",
        ),
        (
            "/docker/{b}/kubelet/kubepods/besteffort/pod{uid}/{a}",
            "{a} - - {uid} -",
        ),
        // What systemd runs in a container is no unit of this host's.
        (
            "/system.slice/docker-{b}.scope/system.slice/containerd.service",
            "{b} docker - - -",
        ),
        ("/docker/{b}/docker/{a}", "{a} docker - - -"),
        // A cluster within a pod.
        (
            "/kubepods/pod{uid}/{b}/kubepods/pod{static}/{a}",
            "{a} - - {uid} -",
        ),
        (
            "/lxc.payload.box/system.slice/docker-{a}.scope",
            "{a} docker - - -",
        ),
    ]);
}

#[test]
fn machines() {
    assert_paths(&[
        ("/lxc.payload.box", "- lxc box - -"),
        (
            "/lxc.payload.box/system.slice/nginx.service",
            "- lxc box - -",
        ),
        ("/lxc/101/ns/init.scope", "- lxc 101 - -"),
        ("/lxc.payload/box", "- lxc box - -"),
        ("/lxc.monitor.box", "- - - - -"),
        ("/lxc.monitor/101", "- - - - -"),
        (
            r"/machine.slice/systemd-nspawn@my\x2dbox.service/payload/system.slice/a.service",
            r"- systemd-nspawn my-box - systemd-nspawn@my\x2dbox.service",
        ),
        (
            "/machine.slice/systemd-nspawn@box.service/supervisor",
            "- - - - systemd-nspawn@box.service",
        ),
        (
            r"/machine.slice/machine-my\x2dbox.scope/payload",
            r"- systemd-nspawn my-box - machine-my\x2dbox.scope",
        ),
        // A virtual machine.
        (
            r"/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt",
            r"- - - - machine-qemu\x2d1\x2dvm.scope",
        ),
        // What the escapes stand for is made printable again.
        (
            r"/machine.slice/systemd-nspawn@a\x1b[2J\xff.service/payload",
            r"- systemd-nspawn a\x1b[2J\xff - -",
        ),
    ]);
}

#[test]
fn paths_of_another_cgroup_namespace() {
    assert_paths(&[
        ("/../../system.slice/docker-{a}.scope", "{a} docker - - -"),
        ("/../nginx.service", "- - - - nginx.service"),
        ("/../pod{uid}/{a}", "{a} - - - -"),
        ("/..", "- - - - -"),
    ]);
}

/// Pieces that mean something, in any order.
fn any_component() -> impl Strategy<Value = String> {
    let known = select(vec![
        "kubepods",
        "kubepods.slice",
        "kubepods-pod{u_i_d}.slice",
        "pod{uid}",
        "docker",
        "{a}",
        "{b}",
        "docker-{a}.scope",
        "libpod-{b}.scope",
        "libpod_parent",
        "lxc",
        "lxc.payload.",
        "..",
        ".",
        "systemd-nspawn@.service",
        "machine-.scope",
        "payload",
        "user@1.service",
        ".slice",
        "\\x",
        ":",
        "cri-containerd:{a}",
        "x:cri-containerd:{a}",
        "_",
        "a\u{1b}.service",
        "é.scope",
        "\\xé.service",
        "systemd-nspawn@\\x.service",
        "systemd-nspawn@\\x1é.service",
        "docker-",
        "-pod.slice",
    ]);
    prop_oneof![3 => known.prop_map(filled), 1 => "\\PC{0,40}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_path_is_read_without_harm(components in vec(any_component(), 0..8)) {
        check(&components.join("/"))?;
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in vec(any::<u8>(), 0..200)) {
        check(&printable(&bytes))?;
    }
}

fn check(path: &str) -> Result<(), TestCaseError> {
    let path = printable(path.as_bytes());
    let Some(workload) = parse_workload(&path) else {
        return Ok(());
    };
    prop_assert!(workload.is_contained() || workload.unit.is_some());
    if let Some(id) = workload.container.as_ref().and_then(Container::id) {
        let id = id.as_str();
        prop_assert!((12..=64).contains(&id.len()));
        prop_assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    let text = shown(Some(&workload));
    prop_assert_eq!(printable(text.as_bytes()), text.as_str());
    Ok(())
}
