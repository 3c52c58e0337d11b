//! Whether an event meets an expression.
//!
//! Run for every event, so nothing here allocates.

use super::expr::{CgroupTest, End, Expr, Span, Test};
use crate::event::model::{Event, Kind};
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
                .zip([event.local_port, event.remote_port])
                .any(|(asked, port)| asked && any_contains(spans, u32::from(port))),
            Self::Address(end, nets) => ends(*end, event.kind)
                .into_iter()
                .zip([event.local_addr, event.remote_addr])
                .any(|(asked, address)| asked && any_holds(nets, address)),
            Self::Comm(patterns) => event
                .owner
                .as_ref()
                .is_some_and(|owner| patterns.iter().any(|pattern| pattern.matches(&owner.comm))),
            Self::Cgroup(tests) => tests.iter().any(|test| test.matches(event)),
        }
    }
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
