//! What a socket belongs to beyond its process: a container, a pod, a systemd unit.
//!
//! Made by `annotate::workload` from the path of a cgroup and completed with names; printed by the
//! sinks, tested by filters, stored in recordings. Names are printable. What was not found out is
//! absent.

use super::vocabulary::named_enum;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

named_enum! {
    /// What runs a container.
    Runtime {
        /// Docker Engine.
        Docker = "docker",
        /// containerd, for the kubelet or by itself.
        Containerd = "containerd",
        /// CRI-O.
        CriO = "cri-o",
        /// Podman.
        Podman = "podman",
        /// LXC, LXD, Incus.
        Lxc = "lxc",
        /// systemd-nspawn.
        Nspawn = "systemd-nspawn",
    }
}

/// What is no [`ContainerId`] or no [`PodUid`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {wanted}")]
pub struct NoIdentifier {
    text: String,
    wanted: &'static str,
}

/// Declares a text that holds what `parse` lets through.
macro_rules! identifier {
    ($(#[$meta:meta])* $name:ident, $wanted:literal) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NoIdentifier;

            fn try_from(text: String) -> Result<Self, NoIdentifier> {
                Self::parse(&text).ok_or(NoIdentifier { text, wanted: $wanted })
            }
        }
    };
}

identifier! {
    /// Id of a container: 64 hexadecimal digits in lower case, or at least the first 12 of them.
    ContainerId, "id of a container"
}

identifier! {
    /// Uid of a Kubernetes pod: a UUID in lower case, or, of a static pod, 32 hexadecimal digits.
    PodUid, "uid of a pod"
}

impl ContainerId {
    /// Digits of a whole id.
    const FULL: usize = 64;
    /// Digits that the tools show.
    const SHORT: usize = 12;

    /// The id, if the text is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (Self::SHORT..=Self::FULL).contains(&text.len());
        (fits && is_hex(text)).then(|| Self(text.into()))
    }

    /// Whether no digit is missing.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.len() == Self::FULL
    }

    /// The first twelve digits, as `docker ps` and `crictl ps` show them.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..Self::SHORT).unwrap_or(&self.0)
    }
}

impl PodUid {
    /// The uid, if the text is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        /// Digits between the hyphens of a UUID (RFC 9562, 4).
        const UUID: [usize; 5] = [8, 4, 4, 4, 12];
        let groups = || text.split('-');
        let is_uuid = groups().map(str::len).eq(UUID) && groups().all(is_hex);
        let is_static = text.len() == 32 && is_hex(text);
        (is_uuid || is_static).then(|| Self(text.into()))
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A container: one that has an id, or one that its runtime knows by name alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Container {
    /// Of docker, containerd, CRI-O, Podman.
    Identified {
        /// Its id.
        id: ContainerId,
        /// Its name: within the pod where there is one, else the one that the user gave.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Arc<str>>,
        /// What runs it. Some cgroup paths do not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        runtime: Option<Runtime>,
    },
    /// Of LXC, systemd-nspawn.
    Named {
        /// Its name.
        name: Arc<str>,
        /// What runs it.
        runtime: Runtime,
    },
}

impl Container {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> Option<&ContainerId> {
        match self {
            Self::Identified { id, .. } => Some(id),
            Self::Named { .. } => None,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Identified { name, .. } => name.as_deref(),
            Self::Named { name, .. } => Some(name),
        }
    }

    /// What runs it.
    #[must_use]
    pub const fn runtime(&self) -> Option<Runtime> {
        match self {
            Self::Identified { runtime, .. } => *runtime,
            Self::Named { runtime, .. } => Some(*runtime),
        }
    }
}

/// How people call a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodNames {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name within the namespace.
    pub name: Arc<str>,
}

/// A Kubernetes pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its uid, from the path of the cgroup.
    pub uid: PodUid,
    /// Its names, from what the kubelet and the runtime leave on this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<PodNames>,
}

/// What a cgroup belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Workload {
    /// The nearest container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// The pod that this host's kubelet runs it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
    /// The unit of this host's systemd, or of a user's manager, as `systemctl` writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Arc<str>>,
}

impl Workload {
    /// Whether it is in a container or a pod.
    #[must_use]
    pub const fn is_contained(&self) -> bool {
        self.container.is_some() || self.pod.is_some()
    }

    /// The names of the pod.
    #[must_use]
    pub fn pod_names(&self) -> Option<&PodNames> {
        self.pod.as_ref()?.names.as_ref()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;

    const UID: &str = "2f6b1c1e-0d3a-4c55-9a43-3a1b2c3d4e5f";

    #[test]
    fn identifiers_hold_what_they_say() {
        for (text, is_id) in [
            ("0123456789ab", true),
            (&"f".repeat(64), true),
            ("0123456789a", false),
            (&"f".repeat(65), false),
            ("0123456789AB", false),
            ("0123456789a/", false),
            ("", false),
        ] {
            assert_eq!(ContainerId::parse(text).is_some(), is_id, "{text}");
        }
        for (text, is_uid) in [
            (UID, true),
            (&UID.replace('-', ""), true),
            (&UID.replace('-', "_"), false),
            (&UID.to_uppercase(), false),
            ("2f6b1c1e-0d3a-4c55-9a43-3a1b2c3d4e5", false),
            ("----", false),
        ] {
            assert_eq!(PodUid::parse(text).is_some(), is_uid, "{text}");
        }
    }

    #[test]
    fn is_stored_without_loss_and_refuses_what_it_cannot_hold() {
        let whole = Workload {
            container: Some(Container::Identified {
                id: ContainerId::parse("0123456789ab").unwrap(),
                name: Some("web".into()),
                runtime: Some(Runtime::CriO),
            }),
            pod: Some(Pod {
                uid: PodUid::parse(UID).unwrap(),
                names: Some(PodNames {
                    namespace: "shop".into(),
                    name: "web-1".into(),
                }),
            }),
            unit: Some("a.service".into()),
        };
        let named = Workload {
            container: Some(Container::Named {
                name: "box".into(),
                runtime: Runtime::Lxc,
            }),
            ..Workload::default()
        };
        for workload in [whole, named, Workload::default()] {
            let text = serde_json::to_string(&workload).unwrap();
            assert_eq!(serde_json::from_str::<Workload>(&text).unwrap(), workload);
        }
        for broken in [
            r#"{"container":{"id":"../../etc/sh"}}"#,
            r#"{"container":{}}"#,
            r#"{"container":{"name":"box","runtime":"none"}}"#,
            r#"{"pod":{"uid":"x"}}"#,
        ] {
            assert!(
                serde_json::from_str::<Workload>(broken).is_err(),
                "{broken}"
            );
        }
    }
}
