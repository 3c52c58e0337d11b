//! What `rstmon top` shows, gathered from events: by cause, process, workload, port and peer, over
//! the last minutes, and grouped into incidents.
//!
//! Fed by whoever captures (the agent for its clients, `top` for itself, a replay), read as a
//! [`BoardSnapshot`]. Pure: time is the events' own. Bounded: tables are capped, and what does not fit
//! is a row of its own, so sums stay right.

mod alike;
mod incidents;
mod snapshot;
mod tables;
mod windows;

pub use incidents::PeerGroup;
pub use snapshot::{BoardSnapshot, CauseRow, IncidentRow, KindTotal, TableRow};

use crate::event::model::{Cause, Event, Kind};
use crate::metrics::names::{CauseOf, Name};
use crate::metrics::repeats::{Repeats, comm_of, peer_of};
use crate::metrics::tally::{PortLabel, TallySettings, service_port};
use crate::metrics::workload_labels::{WorkloadLabels, WorkloadName};
use alike::{Alike, Waiting};
use compact_str::CompactString;
use incidents::Incidents;
use std::net::IpAddr;
use tables::Table;
use windows::CauseWindows;

/// Rows of a table that a snapshot has; the others are one row.
const SHOWN_ROWS: usize = 200;
/// Rows that a table may have.
const MAX_ROWS: usize = 1_000;

/// What peers are called that are not known.
const UNKNOWN_PEER: &str = "(unknown)";

/// Everything that is counted for the views.
#[derive(Clone, Debug)]
pub struct Board {
    ports: TallySettings,
    repeats: Repeats,
    /// Repeats that only incidents and kinds have counted.
    waiting: Waiting,
    kinds: [u64; Kind::ALL.len()],
    causes: CauseWindows,
    /// By cause: the process that has most of it.
    cause_owners: Table<(Cause, CompactString)>,
    processes: Table<CompactString>,
    workloads: Table<WorkloadLabels>,
    services: Table<PortLabel>,
    peers: Table<IpAddr>,
    incidents: Incidents,
    newest_ns: u64,
}

impl Board {
    /// An empty board. `settings` tell what is an ephemeral port.
    #[must_use]
    pub fn new(settings: TallySettings) -> Self {
        Self {
            ports: TallySettings {
                closed_ports: true,
                ..settings
            },
            repeats: Repeats::default(),
            waiting: Waiting::default(),
            kinds: [0; Kind::ALL.len()],
            causes: CauseWindows::default(),
            cause_owners: Table::new(MAX_ROWS),
            processes: Table::new(MAX_ROWS),
            workloads: Table::new(MAX_ROWS),
            services: Table::new(MAX_ROWS),
            peers: Table::new(MAX_ROWS),
            incidents: Incidents::new(MAX_ROWS),
            newest_ns: 0,
        }
    }

    /// Counts one event.
    pub fn record(&mut self, event: &Event) {
        self.newest_ns = self.newest_ns.max(event.mono_ns);
        if let Some(count) = self.kinds.get_mut(event.kind as usize) {
            *count += 1;
        }
        self.incidents.record(event, Name(comm_of(event)));
        let port = service_port(event, &self.ports);
        if self.repeats.is_repeat(event, port, Some(peer_of(event))) {
            if let Some(alike) = self.waiting.add(event) {
                self.count_again(&alike);
            }
            return;
        }
        // They belong where the last one of their kind was counted, which will be this one's place.
        if let Some(alike) = self.waiting.take(event.kind) {
            self.count_again(&alike);
        }
        self.count_first(event, port);
    }

    /// Counts an event that need not be like the last one of its kind.
    fn count_first(&mut self, event: &Event, port: PortLabel) {
        let alike = &Alike::one(event);
        let (cause, comm) = (alike.cause, comm_of(event));
        let name = Name(comm);
        self.causes.record(alike);
        self.cause_owners
            .record(&CauseOf(cause, name), || (cause, comm.into()), alike);
        self.processes.record(&name, || comm.into(), alike);
        let workload = WorkloadName::of(event);
        self.workloads
            .record(&workload, || workload.labels(), alike);
        self.services.record(&port, || port, alike);
        let peer = peer_of(event);
        self.peers.record(&peer, || peer, alike);
    }

    /// Counts events where the last one of their kind was counted.
    fn count_again(&mut self, alike: &Alike) {
        self.causes.record(alike);
        self.cause_owners.record_again(alike);
        self.processes.record_again(alike);
        self.workloads.record_again(alike);
        self.services.record_again(alike);
        self.peers.record_again(alike);
    }

    /// What there is to see at `now_ns`, monotonic.
    #[must_use]
    pub fn snapshot(&mut self, now_ns: u64) -> BoardSnapshot {
        for kind in Kind::ALL {
            if let Some(alike) = self.waiting.take(*kind) {
                self.count_again(&alike);
            }
        }
        let now_ns = now_ns.max(self.newest_ns);
        BoardSnapshot {
            now_ns,
            kinds: Kind::ALL
                .iter()
                .zip(self.kinds)
                .map(|(kind, total)| KindTotal { kind: *kind, total })
                .collect(),
            causes: self.cause_rows(now_ns),
            processes: self.processes.rows(now_ns, |comm| {
                if comm.is_empty() {
                    "(no owner)"
                } else {
                    comm.as_str()
                }
                .to_owned()
            }),
            workloads: self.workloads.rows(now_ns, workload_name),
            ports: self.services.rows(now_ns, |port| match port {
                PortLabel::Port(port) => port.to_string(),
                PortLabel::Closed => "(closed)".to_owned(),
                PortLabel::Ephemeral => "(ephemeral)".to_owned(),
            }),
            peers: self.peers.rows(now_ns, |peer| {
                if peer.is_unspecified() {
                    UNKNOWN_PEER.to_owned()
                } else {
                    peer.to_string()
                }
            }),
            incidents: self.incidents.rows(),
        }
    }

    fn cause_rows(&self, now_ns: u64) -> Vec<CauseRow> {
        let mut rows: Vec<CauseRow> = Cause::ALL
            .iter()
            .filter_map(|&cause| {
                let window = self.causes.of(cause, now_ns)?;
                let owners = self.cause_owners.iter();
                let owner = owners
                    .filter(|((of, comm), _)| *of == cause && !comm.is_empty())
                    .max_by_key(|(_, total)| *total)
                    .map(|((_, comm), _)| comm.to_string());
                Some(CauseRow {
                    cause,
                    owner,
                    ..window
                })
            })
            .collect();
        rows.sort_by(|a, b| b.total.cmp(&a.total).then(a.cause.cmp(&b.cause)));
        rows
    }
}

/// A workload as people call it.
fn workload_name(labels: &WorkloadLabels) -> String {
    let container = labels.container.as_deref();
    match (&labels.namespace, &labels.pod, container, &labels.unit) {
        (Some(namespace), Some(pod), Some(container), _) => {
            format!("{namespace}/{pod}/{container}")
        }
        (Some(namespace), Some(pod), None, _) => format!("{namespace}/{pod}"),
        (None, Some(pod), _, _) => format!("pod {pod}"),
        (_, None, Some(container), _) => container.to_owned(),
        (_, None, None, Some(unit)) => unit.to_string(),
        (_, None, None, None) => "(none)".to_owned(),
    }
}

#[cfg(test)]
mod tests;
