//! Whether an event is counted where the last one of its kind was: in a storm nearly each is, and
//! asking once is cheaper than looking up each of its labels.
//!
//! Owned by the tally and by the board. Whoever counts again where it counted last must forget here
//! what it forgets there.

use super::tally::PortLabel;
use crate::event::model::{Cause, Event, Family, Kind};
use crate::event::workload::Workload;
use crate::pieces::are_same;
use compact_str::CompactString;
use std::net::IpAddr;
use std::sync::Arc;

/// The labels of the last event of each kind.
#[derive(Clone, Debug, Default)]
pub struct Repeats {
    last: [Option<Labels>; Kind::ALL.len()],
}

/// All that an event is counted under, beside its kind.
#[derive(Clone, Debug)]
struct Labels {
    cause: Cause,
    comm: CompactString,
    port: PortLabel,
    peer: Option<IpAddr>,
    workload: Option<Arc<Workload>>,
}

impl Repeats {
    /// Whether the labels of this event, whose service port is `port`, are those of the last one of
    /// its kind; if not, they are from now on. `peer` is absent where peers are not counted.
    pub fn is_repeat(&mut self, event: &Event, port: PortLabel, peer: Option<IpAddr>) -> bool {
        let Some(last) = self.last.get_mut(event.kind as usize) else {
            return false;
        };
        if last
            .as_ref()
            .is_some_and(|last| last.are_of(event, port, peer))
        {
            return true;
        }
        *last = Some(Labels {
            cause: event.verdict.cause,
            comm: comm_of(event).into(),
            port,
            peer,
            workload: event.workload.clone(),
        });
        false
    }

    /// No event was the last one: places were moved, or are counted differently.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

impl Labels {
    fn are_of(&self, event: &Event, port: PortLabel, peer: Option<IpAddr>) -> bool {
        let same_workload = match (&self.workload, &event.workload) {
            (Some(last), Some(workload)) => Arc::ptr_eq(last, workload),
            (None, None) => true,
            _ => false,
        };
        same_workload
            && self.cause == event.verdict.cause
            && self.port == port
            && self.peer == peer
            && are_same(self.comm.as_bytes(), comm_of(event).as_bytes())
    }
}

/// Name of the process that an event is counted under; empty if nobody owns it.
pub(crate) fn comm_of(event: &Event) -> &str {
    event.owner.as_ref().map_or("", |owner| owner.comm.as_str())
}

/// Address of the peer that an event is counted under; `0.0.0.0`, for IPv6 too, if it is not known.
pub(crate) fn peer_of(event: &Event) -> IpAddr {
    event
        .peer()
        .map_or(Family::Ipv4.unspecified(), |peer| peer.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::model::Process;
    use crate::sink::samples;

    #[test]
    fn each_label_tells_events_apart_and_each_kind_has_its_own_last() {
        let port = PortLabel::Port(443);
        let owned = |comm: &str| {
            Some(Process {
                pid: 7,
                comm: comm.into(),
            })
        };
        let workload = Some(Arc::new(Workload::default()));
        let first = Event {
            owner: owned("nginx"),
            workload: workload.clone(),
            ..samples::bare()
        };
        let mut of_another_cause = first.clone();
        of_another_cause.verdict.cause = Cause::ProcessKilled;
        let others = [
            of_another_cause,
            Event {
                owner: owned("envoy"),
                ..first.clone()
            },
            Event {
                owner: None,
                ..first.clone()
            },
            Event {
                remote_addr: [10, 9, 8, 7].into(),
                ..first.clone()
            },
            Event {
                workload: Some(Arc::new(Workload::default())),
                ..first.clone()
            },
            Event {
                workload: None,
                ..first.clone()
            },
        ];
        for other in others {
            let mut repeats = Repeats::default();
            let mut is_repeat =
                |event: &Event, port| repeats.is_repeat(event, port, Some(event.remote_addr));
            assert!(!is_repeat(&first, port));
            assert!(is_repeat(&first, port));
            assert!(!is_repeat(&other, port), "{other:?}");
            assert!(!is_repeat(&first, port));
            assert!(!is_repeat(&first, PortLabel::Closed));
            let of_another_kind = Event {
                kind: Kind::Sent,
                ..first.clone()
            };
            assert!(!is_repeat(&of_another_kind, port));
            assert!(is_repeat(&first, PortLabel::Closed));
            // Peers that are not counted tell no events apart.
            assert!(!repeats.is_repeat(&first, port, None));
            let peer_of_another = Event {
                remote_addr: [10, 9, 8, 7].into(),
                ..first.clone()
            };
            assert!(repeats.is_repeat(&peer_of_another, port, None));
            repeats.forget();
            assert!(!repeats.is_repeat(&first, port, None));
        }
    }
}
