//! The names of containers, from the files in which their runtimes keep them.
//!
//! Called by [`super::Workloads`], by the container's whole id. What is read where:
//!
//! * Docker: `config.v2.json` of the container, in its state directory.
//! * containerd: the annotations in `config.json` of the running task's bundle.
//! * CRI-O: the annotations in `config.json` of the container's directory in the storage.
//! * Podman: the list of containers of the storage, `containers.json`, root's only: another user's
//!   storage lies where that user likes.
//!
//! Files beyond [`FILE_BYTES`] are not read, a list not more than once in [`RELIST_NS`]. What does not parse, or holds no name, tells nothing.

use super::kubelet::pod_names;
use crate::event::printable::printable;
use crate::event::workload::{ContainerId, PodNames, Runtime};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Longest file that is read, bytes. The description of a container takes some ten thousand, that
/// of all containers of a storage about a thousand each.
const FILE_BYTES: u64 = 4 << 20;
/// Time between two readings of a list of containers, nanoseconds. A long one takes some ten
/// milliseconds.
const RELIST_NS: u64 = 1_000_000_000;
/// Containers of one storage that are remembered at most.
const STORED: usize = 8_192;

/// Where Docker keeps its containers, below the root of the host.
const DOCKER: &[&str] = &[
    "var/lib/docker/containers",
    "var/snap/docker/common/var-lib-docker/containers",
];
/// State directories of containerd, of k3s and MicroK8s too.
const CONTAINERD: &[&str] = &[
    "run/containerd",
    "run/k3s/containerd",
    "var/snap/microk8s/common/run/containerd",
];
/// Namespaces of containerd: of the kubelet, of Docker, of `nerdctl`.
const CONTAINERD_NAMESPACES: &[(&str, Runtime)] = &[
    ("k8s.io", Runtime::Containerd),
    ("moby", Runtime::Docker),
    ("default", Runtime::Containerd),
];
/// Storages that Podman and CRI-O share.
const STORAGES: &[&str] = &["run/containers/storage", "var/lib/containers/storage"];
/// Drivers of a storage; each has its own list of containers.
const STORAGE_DRIVERS: &[&str] = &["overlay-containers", "vfs-containers", "btrfs-containers"];
/// Lists of containers: the lasting ones, and those that end with a restart.
const STORAGE_LISTS: &[&str] = &["containers.json", "volatile-containers.json"];

/// What a runtime says of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) runtime: Runtime,
    pub(super) name: Option<Arc<str>>,
    pub(super) pod: Option<PodNames>,
}

/// Reader of the files; remembers the lists of the storages.
#[derive(Debug)]
pub(super) struct RuntimeFiles {
    host_root: PathBuf,
    lists: Vec<StorageList>,
}

impl RuntimeFiles {
    /// `host_root` is `/`, or where the host's root is mounted.
    pub(super) fn new(host_root: &Path) -> Self {
        let lists = storage_directories(host_root)
            .flat_map(|directory| STORAGE_LISTS.iter().map(move |name| directory.join(name)))
            .map(StorageList::new)
            .collect();
        Self {
            host_root: host_root.to_owned(),
            lists,
        }
    }

    /// What is known of the container, asking only the runtime that has it where that is known.
    /// `now_ns` is the monotonic time.
    pub(super) fn read(
        &mut self,
        id: &ContainerId,
        runtime: Option<Runtime>,
        now_ns: u64,
    ) -> Option<Described> {
        if !id.is_full() {
            return None;
        }
        match runtime {
            Some(Runtime::Docker) => self.read_docker(id),
            Some(Runtime::Containerd) => self.read_containerd(id),
            Some(Runtime::CriO) => self.read_cri_o(id),
            Some(Runtime::Podman) => self.read_podman(id, now_ns),
            Some(Runtime::Lxc | Runtime::Nspawn) => None,
            // Docker first: containerd has its containers too, without their names.
            None => self
                .read_docker(id)
                .or_else(|| self.read_containerd(id))
                .or_else(|| self.read_cri_o(id)),
        }
    }

    fn read_docker(&self, id: &ContainerId) -> Option<Described> {
        DOCKER.iter().find_map(|directory| {
            let path = self.host_root.join(directory).join(id.as_str());
            let container: DockerContainer = read_json(&path.join("config.v2.json"))?;
            let labels = container.config.unwrap_or_default().labels;
            let own_name = container.name.map(|name| match name.strip_prefix('/') {
                Some(rest) => rest.to_owned(),
                None => name,
            });
            Some(
                labels
                    .unwrap_or_default()
                    .describe(Runtime::Docker, own_name),
            )
        })
    }

    fn read_containerd(&self, id: &ContainerId) -> Option<Described> {
        CONTAINERD.iter().find_map(|directory| {
            let tasks = self
                .host_root
                .join(directory)
                .join("io.containerd.runtime.v2.task");
            CONTAINERD_NAMESPACES
                .iter()
                .find_map(|(namespace, runtime)| {
                    let bundle = tasks.join(namespace).join(id.as_str());
                    let spec: RuntimeSpec = read_json(&bundle.join("config.json"))?;
                    Some(
                        spec.annotations
                            .unwrap_or_default()
                            .describe(*runtime, None),
                    )
                })
        })
    }

    fn read_cri_o(&self, id: &ContainerId) -> Option<Described> {
        storage_directories(&self.host_root).find_map(|directory| {
            let path = directory.join(id.as_str()).join("userdata/config.json");
            let annotations = read_json::<RuntimeSpec>(&path)?.annotations?;
            // Podman has such a file too.
            annotations.cri_o_name.as_ref()?;
            Some(annotations.describe(Runtime::CriO, None))
        })
    }

    fn read_podman(&mut self, id: &ContainerId, now_ns: u64) -> Option<Described> {
        let name = self.lists.iter_mut().find_map(|list| {
            list.refresh(now_ns);
            list.names.get(id).cloned()
        })?;
        Some(Described {
            runtime: Runtime::Podman,
            name: Some(name),
            pod: None,
        })
    }
}

fn storage_directories(host_root: &Path) -> impl Iterator<Item = PathBuf> {
    STORAGES.iter().flat_map(move |storage| {
        let storage = host_root.join(storage);
        STORAGE_DRIVERS
            .iter()
            .map(move |driver| storage.join(driver))
    })
}

/// A list of containers as it was last read.
#[derive(Debug)]
struct StorageList {
    path: PathBuf,
    read_ns: Option<u64>,
    modified: Option<SystemTime>,
    names: HashMap<ContainerId, Arc<str>>,
}

impl StorageList {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            read_ns: None,
            modified: None,
            names: HashMap::new(),
        }
    }

    /// Reads the list again if it was written, unless that was done a short while ago.
    fn refresh(&mut self, now_ns: u64) {
        let is_recent = |read| now_ns.saturating_sub(read) < RELIST_NS;
        if self.read_ns.is_some_and(is_recent) {
            return;
        }
        self.read_ns = Some(now_ns);
        let modified = std::fs::metadata(&self.path)
            .and_then(|metadata| metadata.modified())
            .ok();
        if modified == self.modified {
            return;
        }
        self.modified = modified;
        self.names = read_json::<Vec<StoredContainer>>(&self.path)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|container| {
                let name = container.names.as_ref()?.first()?;
                Some((ContainerId::parse(&container.id)?, shown_name(name)?))
            })
            .take(STORED)
            .collect();
    }
}

/// An entry of `containers.json`.
#[derive(Deserialize)]
struct StoredContainer {
    id: String,
    names: Option<Vec<String>>,
}

/// `config.v2.json`.
#[derive(Deserialize)]
struct DockerContainer {
    #[serde(rename = "Name")]
    name: Option<String>,
    #[serde(rename = "Config")]
    config: Option<DockerConfig>,
}

#[derive(Default, Deserialize)]
struct DockerConfig {
    #[serde(rename = "Labels")]
    labels: Option<Labels>,
}

/// `config.json` of the OCI runtime specification.
#[derive(Deserialize)]
struct RuntimeSpec {
    annotations: Option<Labels>,
}

/// What the kubelet and the runtimes note at a container.
#[derive(Default, Deserialize)]
struct Labels {
    #[serde(rename = "io.kubernetes.container.name")]
    container: Option<String>,
    #[serde(rename = "io.kubernetes.pod.name")]
    pod: Option<String>,
    #[serde(rename = "io.kubernetes.pod.namespace")]
    namespace: Option<String>,
    #[serde(rename = "io.kubernetes.cri-o.Name")]
    cri_o_name: Option<String>,
    #[serde(rename = "io.kubernetes.cri.container-name")]
    cri_container: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-name")]
    cri_pod: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-namespace")]
    cri_namespace: Option<String>,
    #[serde(rename = "nerdctl/name")]
    nerdctl_name: Option<String>,
}

impl Labels {
    /// `own_name`: what the runtime calls the container; within a pod that is made up of the names
    /// of pod and container, and the kubelet's name is the better one.
    fn describe(self, runtime: Runtime, own_name: Option<String>) -> Described {
        let pod = self
            .pod
            .or(self.cri_pod)
            .zip(self.namespace.or(self.cri_namespace))
            .and_then(|(pod, namespace)| pod_names(&namespace, &pod));
        let name = self.container.or(self.cri_container);
        let name = match &pod {
            Some(_) => name.filter(|name| !is_sandbox(name)),
            None => name.or(self.nerdctl_name).or(own_name),
        };
        Described {
            runtime,
            name: name.and_then(|name| shown_name(&name)),
            pod,
        }
    }
}

/// What the kubelet calls the container that only holds a pod's namespaces.
fn is_sandbox(name: &str) -> bool {
    name == "POD"
}

/// Printable; None if empty.
fn shown_name(name: &str) -> Option<Arc<str>> {
    (!name.is_empty()).then(|| printable(name.as_bytes()).into())
}

/// None if there is no such file, it may not be read, is too long, or is not what it should be.
fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let mut bytes = Vec::new();
    // A pipe in the place of the file is not waited for.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .ok()?;
    file.take(FILE_BYTES + 1).read_to_end(&mut bytes).ok()?;
    let is_whole = u64::try_from(bytes.len()).is_ok_and(|length| length <= FILE_BYTES);
    is_whole.then(|| serde_json::from_slice(&bytes).ok())?
}

#[cfg(test)]
mod tests;
