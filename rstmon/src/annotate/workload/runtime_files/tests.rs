//! Trees as the runtimes leave them, and broken ones.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use super::*;
use std::fs;

const ID: &str = "8c3f0e6b5d4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a0";

fn id() -> ContainerId {
    ContainerId::parse(ID).unwrap()
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path.replace("{id}", ID));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text.replace("{id}", ID)).unwrap();
}

/// `runtime name namespace/pod` of the only file of a host.
fn described(path: &str, text: &str, runtime: Option<Runtime>) -> Option<String> {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), path, text);
    let described = RuntimeFiles::new(root.path()).read(&id(), runtime, 1)?;
    let pod = described
        .pod
        .map(|pod| format!("{}/{}", pod.namespace, pod.name));
    Some(format!(
        "{} {} {}",
        described.runtime,
        described.name.as_deref().unwrap_or("-"),
        pod.as_deref().unwrap_or("-")
    ))
}

const DOCKER_FILE: &str = "var/lib/docker/containers/{id}/config.v2.json";
const CONTAINERD_FILE: &str =
    "run/containerd/io.containerd.runtime.v2.task/k8s.io/{id}/config.json";
const CRI_O_FILE: &str = "run/containers/storage/overlay-containers/{id}/userdata/config.json";
const PODMAN_FILE: &str = "var/lib/containers/storage/overlay-containers/containers.json";

#[test]
fn docker_tells_its_name_and_the_kubelets_labels() {
    let plain = r#"{"ID":"{id}","Name":"/web","Config":{"Image":"nginx","Labels":{"a":"b"}}}"#;
    for runtime in [None, Some(Runtime::Docker)] {
        let found = described(DOCKER_FILE, plain, runtime);
        assert_eq!(found.as_deref(), Some("docker web -"));
    }
    let of_pod = r#"{"Name":"/k8s_web_web-1_shop_uid_0","Config":{"Labels":{
        "io.kubernetes.container.name":"web","io.kubernetes.pod.name":"web-1",
        "io.kubernetes.pod.namespace":"shop"}}}"#;
    let found = described(DOCKER_FILE, of_pod, None);
    assert_eq!(found.as_deref(), Some("docker web shop/web-1"));
    let bare = described(DOCKER_FILE, r#"{"Config":{"Labels":null}}"#, None);
    assert_eq!(bare.as_deref(), Some("docker - -"));
    // Another runtime's container is not looked for here.
    assert_eq!(described(DOCKER_FILE, plain, Some(Runtime::CriO)), None);
}

#[test]
fn containerd_tells_the_kubelets_annotations() {
    let of_pod = r#"{"ociVersion":"1.1.0","process":{"args":["a"]},"annotations":{
        "io.kubernetes.cri.container-type":"container","io.kubernetes.cri.container-name":"web",
        "io.kubernetes.cri.sandbox-name":"web-1","io.kubernetes.cri.sandbox-namespace":"shop"}}"#;
    for runtime in [None, Some(Runtime::Containerd)] {
        let found = described(CONTAINERD_FILE, of_pod, runtime);
        assert_eq!(found.as_deref(), Some("containerd web shop/web-1"));
    }
    let sandbox = r#"{"annotations":{"io.kubernetes.cri.sandbox-name":"web-1",
        "io.kubernetes.cri.sandbox-namespace":"shop"}}"#;
    let found = described(CONTAINERD_FILE, sandbox, None);
    assert_eq!(found.as_deref(), Some("containerd - shop/web-1"));
    let k3s = CONTAINERD_FILE.replace("containerd/io", "k3s/containerd/io");
    let found = described(&k3s, of_pod, None);
    assert_eq!(found.as_deref(), Some("containerd web shop/web-1"));
    let moby = CONTAINERD_FILE.replace("k8s.io", "moby");
    let found = described(&moby, "{}", None);
    assert_eq!(found.as_deref(), Some("docker - -"));
    let nerdctl = CONTAINERD_FILE.replace("k8s.io", "default");
    let found = described(&nerdctl, r#"{"annotations":{"nerdctl/name":"web"}}"#, None);
    assert_eq!(found.as_deref(), Some("containerd web -"));
}

#[test]
fn cri_o_tells_the_kubelets_annotations() {
    let of_pod = r#"{"annotations":{"io.kubernetes.cri-o.Name":"k8s_web_web-1_shop_uid_0",
        "io.kubernetes.container.name":"web","io.kubernetes.pod.name":"web-1",
        "io.kubernetes.pod.namespace":"shop"}}"#;
    for runtime in [None, Some(Runtime::CriO)] {
        let found = described(CRI_O_FILE, of_pod, runtime);
        assert_eq!(found.as_deref(), Some("cri-o web shop/web-1"));
    }
    let sandbox = of_pod.replace(r#""web""#, r#""POD""#);
    let found = described(CRI_O_FILE, &sandbox, None);
    assert_eq!(found.as_deref(), Some("cri-o - shop/web-1"));
    // Podman's.
    let podman = r#"{"annotations":{"io.container.manager":"libpod"}}"#;
    assert_eq!(described(CRI_O_FILE, podman, None), None);
}

#[test]
fn podman_tells_its_names_and_a_renamed_container_is_seen() {
    let list = r#"[{"id":"x"},{"id":"{id}","names":["web"],"image":"1","metadata":"{}"}]"#;
    let volatile = PODMAN_FILE.replace("containers.json", "volatile-containers.json");
    for path in [PODMAN_FILE, &volatile] {
        let found = described(path, list, Some(Runtime::Podman));
        assert_eq!(found.as_deref(), Some("podman web -"));
    }

    let root = tempfile::tempdir().unwrap();
    let mut files = RuntimeFiles::new(root.path());
    assert_eq!(files.read(&id(), Some(Runtime::Podman), 1), None);
    write(root.path(), PODMAN_FILE, list);
    assert_eq!(files.read(&id(), Some(Runtime::Podman), RELIST_NS), None);
    let mut name = |now_ns| {
        let described = files.read(&id(), Some(Runtime::Podman), now_ns);
        described.unwrap().name
    };
    assert_eq!(name(2 * RELIST_NS).as_deref(), Some("web"));
    write(root.path(), PODMAN_FILE, &list.replace("web", "shop"));
    let later = SystemTime::now() + std::time::Duration::from_secs(9);
    let file = File::options()
        .append(true)
        .open(root.path().join(PODMAN_FILE));
    file.unwrap().set_modified(later).unwrap();
    assert_eq!(name(4 * RELIST_NS).as_deref(), Some("shop"));
}

#[test]
fn broken_and_hostile_files_tell_nothing_false() {
    for text in [
        "",
        "[]",
        "{",
        "null",
        r#"{"Name":7}"#,
        "\u{0}",
        &"[".repeat(100_000),
    ] {
        assert_eq!(described(DOCKER_FILE, text, None), None, "{text:.20}");
        assert_eq!(
            described(PODMAN_FILE, text, Some(Runtime::Podman)),
            None,
            "{text:.20}"
        );
    }
    let escaped = described(DOCKER_FILE, r#"{"Name":"/a\u001b[2J"}"#, None);
    assert_eq!(escaped.as_deref(), Some(r"docker a\x1b[2J -"));
    let no_pod = r#"{"annotations":{"io.kubernetes.cri.sandbox-name":"../x",
        "io.kubernetes.cri.sandbox-namespace":"shop"}}"#;
    let found = described(CONTAINERD_FILE, no_pod, None);
    assert_eq!(found.as_deref(), Some("containerd - -"));
}

#[test]
fn a_file_that_is_too_long_or_a_pipe_is_passed_over() {
    let long = format!(r#"{{"Name":"/web"}}{}"#, " ".repeat(4 << 20));
    assert_eq!(described(DOCKER_FILE, &long, None), None);

    let root = tempfile::tempdir().unwrap();
    write(root.path(), DOCKER_FILE, "");
    let path = root.path().join(DOCKER_FILE.replace("{id}", ID));
    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(RuntimeFiles::new(root.path()).read(&id(), None, 1), None);
}

#[test]
fn a_short_id_names_no_file() {
    let root = tempfile::tempdir().unwrap();
    let short = ContainerId::parse(&ID[..12]).unwrap();
    let path = format!(
        "var/lib/docker/containers/{short}/config.v2.json",
        short = short.as_str()
    );
    write(root.path(), &path, r#"{"Name":"/web"}"#);
    assert_eq!(RuntimeFiles::new(root.path()).read(&short, None, 1), None);
}
