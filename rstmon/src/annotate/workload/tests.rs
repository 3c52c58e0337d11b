//! Workloads against a temporary host.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use super::*;
use std::fs;

const ID: &str = "8c3f0e6b5d4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a0";
const UID: &str = "2f6b1c1e-0d3a-4c55-9a43-3a1b2c3d4e5f";
const SECOND: u64 = 1_000_000_000;

fn of_pod() -> Arc<str> {
    format!("/kubepods/burstable/pod{UID}/{ID}").into()
}

fn of_docker() -> Arc<str> {
    format!("/system.slice/docker-{ID}.scope").into()
}

fn log_container(root: &Path) {
    let logs = root.join("var/log/containers");
    fs::create_dir_all(&logs).unwrap();
    fs::write(logs.join(format!("web-1_shop_web-{ID}.log")), "").unwrap();
}

fn name_docker(root: &Path, name: &str) {
    let directory = root.join("var/lib/docker/containers").join(ID);
    fs::create_dir_all(&directory).unwrap();
    let text = format!(r#"{{"Name":"/{name}"}}"#);
    fs::write(directory.join("config.v2.json"), text).unwrap();
}

/// `container namespace/pod` once names may be read.
fn names(workloads: &mut Workloads, path: &Arc<str>, now_ns: u64) -> String {
    if !workloads.is_fresh(path, now_ns) {
        workloads.read_names(path, now_ns);
    }
    assert!(workloads.is_fresh(path, now_ns));
    let workload = workloads.resolve(path).unwrap();
    let container = workload.container.as_ref().and_then(Container::name);
    let pod = workload
        .pod_names()
        .map(|pod| format!("{}/{}", pod.namespace, pod.name));
    format!(
        "{} {}",
        container.unwrap_or("-"),
        pod.as_deref().unwrap_or("-")
    )
}

#[test]
fn what_the_path_tells_needs_no_reading() {
    let mut workloads = Workloads::new(Path::new("/nonexistent"));
    for (path, is_fresh) in [
        ("/", true),
        ("/system.slice/nginx.service", true),
        ("/mine", true),
        (&of_docker(), false),
    ] {
        let path = path.into();
        assert_eq!(workloads.is_fresh(&path, SECOND), is_fresh, "{path}");
    }
    let unit = workloads.resolve(&"/system.slice/nginx.service".into());
    assert_eq!(unit.unwrap().unit.as_deref(), Some("nginx.service"));
    let container = workloads.resolve(&of_docker()).unwrap();
    assert!(container.is_contained());
    assert!(workloads.resolve(&"/mine".into()).is_none());
}

#[test]
fn the_kubelets_logs_name_pod_and_container() {
    let root = tempfile::tempdir().unwrap();
    log_container(root.path());
    let mut workloads = Workloads::new(root.path());
    assert_eq!(names(&mut workloads, &of_pod(), SECOND), "web shop/web-1");
    // A process of the pod that is in none of its containers.
    let pods = root.path().join("var/log/pods");
    fs::create_dir_all(pods.join(format!("shop_web-1_{UID}"))).unwrap();
    let monitor: Arc<str> = format!("/kubepods/burstable/pod{UID}/crio-conmon-{ID}").into();
    assert_eq!(names(&mut workloads, &monitor, 9 * SECOND), "- shop/web-1");
}

#[test]
fn absence_is_remembered_and_forgotten() {
    let root = tempfile::tempdir().unwrap();
    let mut workloads = Workloads::new(root.path());
    assert_eq!(names(&mut workloads, &of_pod(), SECOND), "- -");
    log_container(root.path());
    assert_eq!(names(&mut workloads, &of_pod(), 5 * SECOND), "- -");
    assert_eq!(
        names(&mut workloads, &of_pod(), 7 * SECOND),
        "web shop/web-1"
    );
}

#[test]
fn a_name_outlives_its_file_and_a_new_one_replaces_it() {
    let root = tempfile::tempdir().unwrap();
    name_docker(root.path(), "web");
    let mut workloads = Workloads::new(root.path());
    assert_eq!(names(&mut workloads, &of_docker(), SECOND), "web -");
    name_docker(root.path(), "shop");
    assert_eq!(names(&mut workloads, &of_docker(), 50 * SECOND), "web -");
    assert_eq!(names(&mut workloads, &of_docker(), 70 * SECOND), "shop -");
    fs::remove_dir_all(root.path().join("var")).unwrap();
    assert_eq!(names(&mut workloads, &of_docker(), 200 * SECOND), "shop -");
}

#[test]
fn the_runtime_of_a_bare_id_is_found_with_its_file() {
    let root = tempfile::tempdir().unwrap();
    name_docker(root.path(), "web");
    let mut workloads = Workloads::new(root.path());
    let path: Arc<str> = format!("/batch/{ID}").into();
    let runtime = |workloads: &mut Workloads| {
        let workload = workloads.resolve(&path).unwrap();
        workload.container.as_ref().unwrap().runtime()
    };
    assert_eq!(runtime(&mut workloads), None);
    assert_eq!(names(&mut workloads, &path, SECOND), "web -");
    assert_eq!(
        runtime(&mut workloads),
        Some(crate::event::workload::Runtime::Docker)
    );
}
