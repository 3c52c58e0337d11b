//! Labels of `rstmon_workload_resets_total`: looked up without a copy, owned where they are new.
//!
//! Used by the capped counters of the tally and by the tables of the board, each for every event that is no repeat.

use crate::event::model::Event;
use crate::event::workload::{Container, ContainerId, Workload};
use hashbrown::Equivalent;
use std::sync::Arc;

/// The labels. Absent ones are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadLabels {
    /// Namespace of the pod.
    pub namespace: Option<Arc<str>>,
    /// Name of the pod, or its uid where no name is known.
    pub pod: Option<Arc<str>>,
    /// Name of the container, or the start of its id.
    pub container: Option<Arc<str>>,
    /// Unit, of what is in no container.
    pub unit: Option<Arc<str>>,
}

/// The labels of an event's workload, to look up. Fields as in [`WorkloadLabels`], whose hash it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct WorkloadName<'a> {
    namespace: Option<&'a str>,
    pod: Option<&'a str>,
    container: Option<&'a str>,
    unit: Option<&'a str>,
}

impl<'a> WorkloadName<'a> {
    /// Those of an event's workload; none of what is in no workload.
    #[must_use]
    pub fn of(event: &'a Event) -> Self {
        let workload = event.workload.as_deref();
        workload.map_or_else(Self::default, Self::of_workload)
    }

    fn of_workload(workload: &'a Workload) -> Self {
        let names = workload.pod_names();
        let uid = || Some(workload.pod.as_ref()?.uid.as_str());
        let container = workload.container.as_ref();
        let short_id = |it: &'a Container| it.id().map(ContainerId::short);
        let unit = workload.unit.as_deref();
        Self {
            namespace: names.map(|names| &*names.namespace),
            pod: names.map(|names| &*names.name).or_else(uid),
            container: container.and_then(|it| it.name().or_else(|| short_id(it))),
            unit: unit.filter(|_| !workload.is_contained()),
        }
    }

    /// The labels to keep.
    #[must_use]
    pub fn labels(&self) -> WorkloadLabels {
        let owned = |label: Option<&str>| label.map(Arc::from);
        WorkloadLabels {
            namespace: owned(self.namespace),
            pod: owned(self.pod),
            container: owned(self.container),
            unit: owned(self.unit),
        }
    }
}

impl Equivalent<WorkloadLabels> for WorkloadName<'_> {
    fn equivalent(&self, known: &WorkloadLabels) -> bool {
        self.namespace == known.namespace.as_deref()
            && self.pod == known.pod.as_deref()
            && self.container == known.container.as_deref()
            && self.unit == known.unit.as_deref()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use crate::event::workload::{Pod, PodUid};
    use std::hash::BuildHasher;

    const ID: &str = "0123456789abcdef";
    const UID: &str = "2f6b1c1e-0d3a-4c55-9a43-3a1b2c3d4e5f";

    fn container(name: Option<&str>) -> Container {
        Container::Identified {
            id: ContainerId::parse(ID).unwrap(),
            name: name.map(Arc::from),
            runtime: None,
        }
    }

    #[test]
    fn what_has_no_name_is_called_by_its_number() {
        let unit: Option<Arc<str>> = Some("kubelet.service".into());
        let pod = Some(Pod {
            uid: PodUid::parse(UID).unwrap(),
            names: None,
        });
        let none = WorkloadName::default();
        for (workload, expected) in [
            (
                Workload {
                    pod,
                    container: Some(container(Some("app"))),
                    unit: unit.clone(),
                },
                WorkloadName {
                    pod: Some(UID),
                    container: Some("app"),
                    ..none
                },
            ),
            (
                Workload {
                    container: Some(container(None)),
                    unit: unit.clone(),
                    ..Workload::default()
                },
                WorkloadName {
                    container: Some("0123456789ab"),
                    ..none
                },
            ),
            (
                Workload {
                    unit,
                    ..Workload::default()
                },
                WorkloadName {
                    unit: Some("kubelet.service"),
                    ..none
                },
            ),
        ] {
            assert_eq!(WorkloadName::of_workload(&workload), expected);
        }
    }

    #[test]
    fn what_looks_up_has_the_hash_of_what_is_there() {
        let hashes = hashbrown::DefaultHashBuilder::default();
        let full = WorkloadName {
            namespace: Some("shop"),
            pod: Some("cart-7d4b9c"),
            container: Some("app"),
            unit: None,
        };
        let of_unit = WorkloadName {
            unit: Some("nginx.service"),
            ..WorkloadName::default()
        };
        let all = [full, of_unit, WorkloadName::default()];
        for name in all {
            let labels = name.labels();
            assert_eq!(hashes.hash_one(name), hashes.hash_one(&labels));
            for other in all {
                assert_eq!(other.equivalent(&labels), other == name);
            }
        }
    }
}
