//! What user space looked up for one raw record: from `/proc`, the cgroup tree, other sockets.
//!
//! Made by `annotate`, put into the event, and stored beside the raw record in a recording, so that
//! a replay yields the same event without asking the machine that it runs on.

use super::model::{Event, Process};
use super::workload::Workload;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Facts that the raw record does not hold. What was not found out is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Annotation {
    /// The socket's owner, where user space knows better than the record.
    #[serde(skip_serializing_if = "Option::is_none", with = "process")]
    pub owner: Option<Process>,
    /// Path of the owner's executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<Arc<str>>,
    /// Path of the socket's cgroup, from the root of the hierarchy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Arc<str>>,
    /// Container, pod and unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<Arc<Workload>>,
    /// Who acted, where that is not the owner.
    #[serde(skip_serializing_if = "Option::is_none", with = "process")]
    pub actor: Option<Process>,
    /// How far the wall clock had been set since the capture began, when the record was read,
    /// nanoseconds: by hand, by NTP, or by a suspend that the monotonic clock did not see.
    #[serde(skip_serializing_if = "is_zero")]
    pub clock_step_ns: i64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
const fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl Annotation {
    /// Whether nothing was found out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Puts the facts into the event. What is absent here leaves the event as it is.
    pub fn apply(&self, event: &mut Event) {
        fn put<T: Clone>(fact: Option<&T>, field: &mut Option<T>) {
            if let Some(fact) = fact {
                *field = Some(fact.clone());
            }
        }
        put(self.owner.as_ref(), &mut event.owner);
        put(self.exe.as_ref(), &mut event.exe);
        put(self.cgroup.as_ref(), &mut event.cgroup);
        put(self.workload.as_ref(), &mut event.workload);
        put(self.actor.as_ref(), &mut event.actor);
        event.time_ns = event.time_ns.saturating_add(self.clock_step_ns);
    }
}

/// A process as recordings store it.
mod process {
    use super::Process;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Stored<'a> {
        pid: u32,
        comm: std::borrow::Cow<'a, str>,
    }

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(
        process: &Option<Process>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        process
            .as_ref()
            .map(|process| Stored {
                pid: process.pid,
                comm: process.comm.as_str().into(),
            })
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Process>, D::Error> {
        let stored = Option::<Stored<'_>>::deserialize(deserializer)?;
        Ok(stored.map(|stored| Process {
            pid: stored.pid,
            comm: stored.comm.into(),
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::Annotation;
    use crate::event::model::Process;
    use crate::event::workload::Workload;
    use crate::sink::samples;

    #[test]
    fn absent_facts_leave_the_event_alone() {
        let mut event = samples::full();
        Annotation::default().apply(&mut event);
        assert_eq!(event, samples::full());

        let actor = Process {
            pid: 1,
            comm: "init".into(),
        };
        let annotation = Annotation {
            actor: Some(actor.clone()),
            cgroup: Some("/".into()),
            workload: Some(Workload::default().into()),
            ..Annotation::default()
        };
        annotation.apply(&mut event);
        assert_eq!(event.actor, Some(actor));
        assert_eq!(event.cgroup.as_deref(), Some("/"));
        assert_eq!(event.workload.as_deref(), Some(&Workload::default()));
        assert_eq!(event.owner, samples::full().owner);
    }

    #[test]
    fn a_step_of_the_clock_moves_the_time() {
        let mut event = samples::full();
        let annotation = Annotation {
            clock_step_ns: -5,
            ..Annotation::default()
        };
        annotation.apply(&mut event);
        assert_eq!(event.time_ns, samples::full().time_ns - 5);
        let text = serde_json::to_string(&annotation).unwrap();
        assert_eq!(text, r#"{"clock_step_ns":-5}"#);
    }

    #[test]
    fn is_stored_without_loss_and_read_with_fields_to_come() {
        let annotation = Annotation {
            owner: Some(Process {
                pid: 7,
                comm: "a\"\\x1b".into(),
            }),
            exe: Some("/bin/a".into()),
            ..Annotation::default()
        };
        let text = serde_json::to_string(&annotation).unwrap();
        assert_eq!(
            text,
            r#"{"owner":{"pid":7,"comm":"a\"\\x1b"},"exe":"/bin/a"}"#
        );
        assert_eq!(
            serde_json::from_str::<Annotation>(&text).unwrap(),
            annotation
        );
        let newer = r#"{"exe":"/bin/a","pod":"web-1"}"#;
        assert_eq!(
            serde_json::from_str::<Annotation>(newer)
                .unwrap()
                .exe
                .as_deref(),
            Some("/bin/a")
        );
        assert!(serde_json::from_str::<Annotation>("{}").unwrap().is_empty());
    }
}
