//! Whether an event meets an expression.
//!
//! Run for every event, so nothing here allocates.

use super::expr::{CgroupTest, End, Expr, PodTest, Span, Test};
use super::pattern::Pattern;
use crate::event::model::{Event, Kind};
use crate::event::workload::{Container, ContainerId, Pod, Workload};
use ipnet::IpNet;
use std::net::IpAddr;

impl Expr {
    pub(super) fn matches(&self, event: &Event) -> bool {
        match self {
            Self::All => true,
            Self::And(parts) => parts.iter().all(|part| part.matches(event)),
            Self::Or(parts) => parts.iter().any(|part| part.matches(event)),
            Self::Not(inner) => !inner.matches(event),
            Self::Test(test) => test.matches(event),
        }
    }
}

impl Test {
    fn matches(&self, event: &Event) -> bool {
        match self {
            Self::Kind(kinds) => kinds.contains(&event.kind),
            Self::Cause(causes) => causes.contains(&event.verdict.cause),
            Self::State(states) => event.state.is_some_and(|state| states.contains(&state)),
            Self::Family(family) => event.family == *family,
            Self::Pid(spans) => event
                .owner
                .as_ref()
                .is_some_and(|owner| any_contains(spans, owner.pid)),
            Self::Netns(spans) => event.netns.is_some_and(|netns| any_contains(spans, netns)),
            Self::Port(end, spans) => ends(*end, event.kind)
                .into_iter()
                .zip([Some(event.local_port), event.peer().map(|peer| peer.port())])
                .any(|(asked, port)| {
                    asked && port.is_some_and(|port| any_contains(spans, u32::from(port)))
                }),
            Self::Address(end, nets) => ends(*end, event.kind)
                .into_iter()
                .zip([event.known_local_addr(), event.peer().map(|peer| peer.ip())])
                .any(|(asked, address)| {
                    asked && address.is_some_and(|address| any_holds(nets, address))
                }),
            Self::Comm(patterns) => event
                .owner
                .as_ref()
                .is_some_and(|owner| patterns.iter().any(|pattern| pattern.matches(&owner.comm))),
            Self::Cgroup(tests) => tests.iter().any(|test| test.matches(event)),
            Self::Container(_)
            | Self::Runtime(_)
            | Self::Pod(_)
            | Self::Namespace(_)
            | Self::Unit(_) => event
                .workload
                .as_deref()
                .is_some_and(|workload| self.matches_workload(workload)),
        }
    }

    /// Of the tests of workloads.
    fn matches_workload(&self, workload: &Workload) -> bool {
        let container = workload.container.as_ref();
        match self {
            Self::Container(patterns) => container.is_some_and(|container| {
                patterns
                    .iter()
                    .any(|pattern| is_container(pattern, container))
            }),
            Self::Runtime(runtimes) => container
                .and_then(Container::runtime)
                .is_some_and(|runtime| runtimes.contains(&runtime)),
            Self::Pod(tests) => workload
                .pod
                .as_ref()
                .is_some_and(|pod| tests.iter().any(|test| test.matches(pod))),
            Self::Namespace(patterns) => workload.pod_names().is_some_and(|pod| {
                patterns
                    .iter()
                    .any(|pattern| pattern.matches(&pod.namespace))
            }),
            Self::Unit(patterns) => workload
                .unit
                .as_deref()
                .is_some_and(|unit| patterns.iter().any(|pattern| is_unit(pattern, unit))),
            _ => false,
        }
    }
}

impl PodTest {
    fn matches(&self, pod: &Pod) -> bool {
        let is_in_namespace = match (&self.namespace, &pod.names) {
            (None, _) => true,
            (Some(namespace), Some(names)) => namespace.matches(&names.namespace),
            (Some(_), None) => false,
        };
        let is_named = pod
            .names
            .as_ref()
            .is_some_and(|names| self.name.matches(&names.name));
        is_in_namespace && (is_named || self.name.matches(pod.uid.as_str()))
    }
}

/// By the name, by the id, or by the beginning of the id as tools show it.
fn is_container(pattern: &Pattern, container: &Container) -> bool {
    let is_named = container.name().is_some_and(|name| pattern.matches(name));
    let begins = |id: &ContainerId| {
        pattern.matches(id.as_str())
            || ContainerId::parse(pattern.text())
                .is_some_and(|asked| id.as_str().starts_with(asked.as_str()))
    };
    is_named || container.id().is_some_and(begins)
}

/// As `systemctl` takes names: a service's without its end too.
fn is_unit(pattern: &Pattern, unit: &str) -> bool {
    pattern.matches(unit)
        || unit
            .strip_suffix(".service")
            .is_some_and(|stem| pattern.matches(stem))
}

impl CgroupTest {
    fn matches(&self, event: &Event) -> bool {
        match self {
            Self::Id(id) => event.cgroup_id == Some(*id),
            Self::Path(pattern) => event
                .cgroup
                .as_deref()
                .is_some_and(|path| self_and_parents(path).any(|path| pattern.matches(path))),
            Self::Component(pattern) => event.cgroup.as_deref().is_some_and(|path| {
                path.split('/')
                    .any(|component| !component.is_empty() && pattern.matches(component))
            }),
        }
    }
}

/// `/a/b`, `/a`, `/`.
fn self_and_parents(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| parent(path))
}

fn parent(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 => (path.len() > 1).then_some("/"),
        slash => path.get(..slash),
    }
}

/// Whether the local and the remote end are asked for.
fn ends(end: End, kind: Kind) -> [bool; 2] {
    let sent = kind == Kind::Sent;
    match end {
        End::Either => [true, true],
        End::Local => [true, false],
        End::Remote => [false, true],
        End::RstSource => [sent, !sent],
        End::RstDestination => [!sent, sent],
    }
}

fn any_contains(spans: &[Span], number: u32) -> bool {
    spans.iter().any(|span| span.contains(number))
}

fn any_holds(nets: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    nets.iter().any(|net| net.contains(&address))
}
