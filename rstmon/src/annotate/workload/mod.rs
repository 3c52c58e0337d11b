//! What a cgroup belongs to: container, pod, unit, with the names that people call them by.
//!
//! Called by [`super::Annotator`] with the path of a socket's cgroup, or, where the version 2
//! hierarchy does not tell ([`process_cgroup`]), of its owner's. The path alone gives ids and units
//! (`path`); names come from files that the kubelet and the runtimes leave on the host (`kubelet`,
//! `runtime_files`). Only the latter reads, so only it needs the annotator's leave.
//!
//! Always holds: what was found of a path stays when its files go; every memory is bounded.

mod kubelet;
mod path;
pub mod process_cgroup;
mod runtime_files;

use crate::event::workload::{Container, Workload};
use kubelet::KubeletLogs;
use lru::LruCache;
use runtime_files::RuntimeFiles;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

/// Paths remembered; the least recently used goes first.
const PATHS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);
/// How long a name that was not found is not looked for again, nanoseconds.
const ABSENT_NS: u64 = 5_000_000_000;
/// How long names are believed, nanoseconds: a container of Docker or Podman can be renamed.
const NAMED_NS: u64 = 60_000_000_000;
/// Reads that [`Workloads::read_names`] takes at most, by their time: some twenty files are looked
/// for, and one of them is parsed.
pub const READS_OF_NAMES: u32 = 10;

/// Bounded memory of workloads.
#[derive(Debug)]
pub struct Workloads {
    entries: LruCache<Arc<str>, Entry>,
    kubelet: KubeletLogs,
    runtimes: RuntimeFiles,
}

#[derive(Debug)]
struct Entry {
    workload: Option<Arc<Workload>>,
    /// When names were last looked for.
    read_ns: Option<u64>,
}

impl Entry {
    fn is_fresh(&self, now_ns: u64) -> bool {
        let Some(workload) = self.workload.as_deref().filter(|it| it.is_contained()) else {
            return true;
        };
        let kept = if is_named(workload) {
            NAMED_NS
        } else {
            ABSENT_NS
        };
        self.read_ns
            .is_some_and(|read| now_ns.saturating_sub(read) < kept)
    }
}

/// Whether nothing is left to find out.
fn is_named(workload: &Workload) -> bool {
    let container = workload
        .container
        .as_ref()
        .is_none_or(|container| container.name().is_some() && container.runtime().is_some());
    let pod = workload.pod.as_ref().is_none_or(|pod| pod.names.is_some());
    container && pod
}

impl Workloads {
    /// Nothing known yet. `host_root` is `/`, or where the host's root is mounted.
    #[must_use]
    pub fn new(host_root: &Path) -> Self {
        Self {
            entries: LruCache::new(PATHS),
            kubelet: KubeletLogs::new(host_root.join("var/log")),
            runtimes: RuntimeFiles::new(host_root),
        }
    }

    /// What is known of a path by now, names included that were read. Reads nothing.
    pub fn resolve(&mut self, path: &Arc<str>) -> Option<Arc<Workload>> {
        self.entry(path).workload.clone()
    }

    /// Whether [`Self::read_names`] would find nothing out at `now_ns`, monotonic.
    pub fn is_fresh(&mut self, path: &Arc<str>, now_ns: u64) -> bool {
        self.entry(path).is_fresh(now_ns)
    }

    /// Looks for the names of a path's container and pod. [`READS_OF_NAMES`] is its price.
    pub fn read_names(&mut self, path: &Arc<str>, now_ns: u64) {
        let Some(mut workload) = self.resolve(path) else {
            return;
        };
        let named = Arc::make_mut(&mut workload);
        if named.pod.is_some() {
            self.kubelet.refresh(now_ns);
        }
        self.add_logged_names(named);
        self.add_described_names(named, now_ns);
        let entry = Entry {
            workload: Some(workload),
            read_ns: Some(now_ns),
        };
        self.entries.put(Arc::clone(path), entry);
    }

    /// How often a directory had more entries than are read.
    #[must_use]
    pub const fn directories_cut_short(&self) -> u64 {
        self.kubelet.cut_short()
    }

    fn entry(&mut self, path: &Arc<str>) -> &Entry {
        self.entries.get_or_insert_ref(path, || Entry {
            workload: path::parse_workload(path).map(Arc::new),
            read_ns: None,
        })
    }

    /// From the kubelet's logs.
    fn add_logged_names(&self, workload: &mut Workload) {
        let Some(pod) = &mut workload.pod else { return };
        let id = workload.container.as_ref().and_then(Container::id);
        let logged = id.and_then(|id| self.kubelet.container(id));
        let names = self
            .kubelet
            .pod(&pod.uid)
            .or(logged.map(|logged| &logged.pod));
        if let Some(names) = names {
            pod.names = Some(names.clone());
        }
        if let Some(logged) = logged
            && let Some(Container::Identified { name, .. }) = &mut workload.container
        {
            *name = Some(Arc::clone(&logged.name));
        }
    }

    /// From the runtime's files, where something is still missing or may have changed.
    fn add_described_names(&mut self, workload: &mut Workload, now_ns: u64) {
        let is_in_pod = workload.pod.is_some();
        if is_in_pod && is_named(workload) {
            return;
        }
        let Some(Container::Identified { id, name, runtime }) = &mut workload.container else {
            return;
        };
        let Some(described) = self.runtimes.read(id, *runtime, now_ns) else {
            return;
        };
        *runtime = Some(described.runtime);
        if described.name.is_some() {
            *name = described.name;
        }
        if let Some(pod) = &mut workload.pod
            && pod.names.is_none()
        {
            pod.names = described.pod;
        }
    }
}

#[cfg(test)]
mod tests;
