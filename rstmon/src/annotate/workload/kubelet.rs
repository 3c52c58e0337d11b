//! The names of pods and containers, from what the kubelet leaves in the log directory.
//!
//! Called by [`super::Workloads`]. The kubelet keeps a directory a pod,
//! `pods/NAMESPACE_POD_UID`, and a link a container, `containers/POD_NAMESPACE_CONTAINER-ID.log`.
//! Only the names of the entries are read, no entry is opened. A name of Kubernetes holds no
//! underscore, so they come apart in one way.
//!
//! A directory is read up to [`ENTRIES`] entries, both at most once in [`RESCAN_NS`]: however many
//! there are, that is some ten milliseconds in five seconds.

use crate::event::workload::{ContainerId, PodNames, PodUid};
use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Entries of one directory that are read at most. The kubelet runs some hundred pods on a host.
pub(super) const ENTRIES: usize = 8_192;
/// Time between two readings of the directories, nanoseconds.
const RESCAN_NS: u64 = 5_000_000_000;

/// The log directory as it was last read.
#[derive(Debug)]
pub(super) struct KubeletLogs {
    log_dir: PathBuf,
    scanned_ns: Option<u64>,
    pods: HashMap<PodUid, PodNames>,
    containers: HashMap<ContainerId, LoggedContainer>,
    cut_short: u64,
}

/// What the name of a container's link tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoggedContainer {
    pub(super) pod: PodNames,
    pub(super) name: Arc<str>,
}

impl KubeletLogs {
    /// Nothing read yet. `log_dir` is `/var/log`.
    pub(super) fn new(log_dir: PathBuf) -> Self {
        Self {
            log_dir,
            scanned_ns: None,
            pods: HashMap::new(),
            containers: HashMap::new(),
            cut_short: 0,
        }
    }

    /// Names of a pod, by its uid.
    pub(super) fn pod(&self, uid: &PodUid) -> Option<&PodNames> {
        self.pods.get(uid)
    }

    /// Names of a container, by its id.
    pub(super) fn container(&self, id: &ContainerId) -> Option<&LoggedContainer> {
        self.containers.get(id)
    }

    /// How often a directory had more entries than are read.
    pub(super) const fn cut_short(&self) -> u64 {
        self.cut_short
    }

    /// Reads the directories again, unless that was done a short while ago.
    pub(super) fn refresh(&mut self, now_ns: u64) {
        let is_recent = |scanned| now_ns.saturating_sub(scanned) < RESCAN_NS;
        if self.scanned_ns.is_some_and(is_recent) {
            return;
        }
        self.scanned_ns = Some(now_ns);
        let pods = read_names(&self.log_dir.join("pods"), parse_pod_directory);
        let containers = read_names(&self.log_dir.join("containers"), parse_container_link);
        self.cut_short += u64::from(pods.is_cut_short) + u64::from(containers.is_cut_short);
        self.pods = pods.entries.into_iter().collect();
        self.containers = containers.entries.into_iter().collect();
    }
}

struct Listing<T> {
    entries: Vec<T>,
    is_cut_short: bool,
}

/// What `parse` makes of the names of the first [`ENTRIES`] entries. Nothing if the directory
/// cannot be read: most hosts run no kubelet.
fn read_names<T>(directory: &Path, parse: impl Fn(&str) -> Option<T>) -> Listing<T> {
    let mut names = fs::read_dir(directory).into_iter().flatten().flatten();
    let entries = names
        .by_ref()
        .take(ENTRIES)
        .filter_map(|entry| parse(std::str::from_utf8(entry.file_name().as_bytes()).ok()?))
        .collect();
    Listing {
        entries,
        is_cut_short: names.next().is_some(),
    }
}

/// `NAMESPACE_POD_UID`.
fn parse_pod_directory(name: &str) -> Option<(PodUid, PodNames)> {
    let mut parts = name.split('_');
    let (namespace, pod, uid) = (parts.next()?, parts.next()?, parts.next()?);
    let names = pod_names(namespace, pod).filter(|_| parts.next().is_none())?;
    Some((PodUid::parse(uid)?, names))
}

/// `POD_NAMESPACE_CONTAINER-ID.log`.
fn parse_container_link(name: &str) -> Option<(ContainerId, LoggedContainer)> {
    let (names, id) = name.strip_suffix(".log")?.rsplit_once('-')?;
    let mut parts = names.split('_');
    let (pod, namespace, container) = (parts.next()?, parts.next()?, parts.next()?);
    let is_name = is_kubernetes_name(container) && parts.next().is_none();
    let logged = LoggedContainer {
        pod: pod_names(namespace, pod).filter(|_| is_name)?,
        name: container.into(),
    };
    Some((ContainerId::parse(id)?, logged))
}

/// The names, if they are such as Kubernetes gives.
pub(super) fn pod_names(namespace: &str, name: &str) -> Option<PodNames> {
    let are_names = is_kubernetes_name(namespace) && is_kubernetes_name(name);
    are_names.then(|| PodNames {
        namespace: namespace.into(),
        name: name.into(),
    })
}

/// Whether this could be the name of a pod, a namespace or a container: a subdomain name of RFC
/// 1123.
fn is_kubernetes_name(name: &str) -> bool {
    let is_allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    (1..=253).contains(&name.len()) && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use std::time::{Duration, Instant};

    const ID: &str = "8c3f0e6b5d4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a0";
    const UID: &str = "2f6b1c1e-0d3a-4c55-9a43-3a1b2c3d4e5f";

    #[test]
    fn names_come_apart() {
        let (uid, names) =
            parse_pod_directory(&format!("kube-system_coredns-5d78c9869d-x2k4f_{UID}")).unwrap();
        assert_eq!(uid.as_str(), UID);
        let names = (&*names.namespace, &*names.name);
        assert_eq!(names, ("kube-system", "coredns-5d78c9869d-x2k4f"));

        let (id, logged) =
            parse_container_link(&format!("etcd-node1_kube-system_etcd-main-{ID}.log")).unwrap();
        assert_eq!(id.as_str(), ID);
        assert_eq!(&*logged.name, "etcd-main");
        assert_eq!(&*logged.pod.namespace, "kube-system");
        assert_eq!(&*logged.pod.name, "etcd-node1");
    }

    #[test]
    fn what_the_kubelet_would_not_write_is_passed_over() {
        for name in [
            "",
            "a_b",
            "a_b_c",
            &format!("a_b_c_{UID}"),
            &format!("_b_{UID}"),
            &format!("a_B_{UID}"),
            &format!("a_b\u{1b}_{UID}"),
        ] {
            assert_eq!(parse_pod_directory(name), None, "{name:?}");
        }
        for name in [
            "",
            ".log",
            "a_b_c-x.log",
            &format!("a_b_c-{ID}"),
            &format!("a_b-{ID}.log"),
            &format!("a_b_c_d-{ID}.log"),
            &format!("a_b_-{ID}.log"),
        ] {
            assert_eq!(parse_container_link(name), None, "{name:?}");
        }
    }

    #[test]
    fn is_read_again_after_a_while_and_not_before() {
        let root = tempfile::tempdir().unwrap();
        let mut logs = KubeletLogs::new(root.path().to_owned());
        let uid = PodUid::parse(UID).unwrap();
        logs.refresh(1);
        fs::create_dir_all(root.path().join(format!("pods/shop_web-1_{UID}"))).unwrap();
        logs.refresh(RESCAN_NS);
        assert_eq!(logs.pod(&uid), None);
        logs.refresh(RESCAN_NS + 1);
        assert_eq!(logs.pod(&uid).map(|names| &*names.name), Some("web-1"));
        assert_eq!(logs.cut_short(), 0);
    }

    #[test]
    fn a_huge_directory_is_not_read_to_its_end_and_that_is_counted() {
        let root = tempfile::tempdir().unwrap();
        let pods = root.path().join("pods");
        fs::create_dir(&pods).unwrap();
        for number in 0..ENTRIES + 100 {
            let uid = format!("{number:032x}");
            fs::write(pods.join(format!("shop_web-{number}_{uid}")), "").unwrap();
        }
        let mut logs = KubeletLogs::new(root.path().to_owned());
        let begun = Instant::now();
        logs.refresh(1);
        let taken = begun.elapsed();
        assert_eq!(logs.pods.len(), ENTRIES);
        assert_eq!(logs.cut_short(), 1);
        // Some 10 ms on an idle machine; the tests of a busy one run at once.
        assert!(taken < Duration::from_secs(1), "{taken:?}");
    }
}
