//! What the capture loop counts of each event; a copy of it is what a scrape reads.

use super::capped::CappedCounters;
use super::families::Family;
use super::histogram::Histogram;
use super::names::Name;
use super::recent::Recent;
use super::repeats::{Repeats, comm_of, peer_of};
use super::workload_labels::{WorkloadLabels, WorkloadName};
use crate::event::cells::CellCounts;
use crate::event::model::{Cause, Event, Initiator, Kind, Role};
use compact_str::CompactString;
use rstmon_common::wire::RawEvent;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

const KINDS: usize = Kind::ALL.len();
const CAUSES: usize = Cause::ALL.len();
const INITIATORS: usize = Initiator::ALL.len();

/// What is counted, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TallySettings {
    /// Most series of each capped family; absent: the default.
    pub max_series: BTreeMap<Family, usize>,
    /// Idle series are dropped after this many nanoseconds.
    pub series_ttl_ns: u64,
    /// Whether remote addresses are counted.
    pub peers: bool,
    /// Whether each port is told apart on which nobody listens.
    pub closed_ports: bool,
    /// `net.ipv4.ip_local_port_range`: ports in it are nobody's service.
    pub ephemeral_ports: RangeInclusive<u16>,
}

impl Default for TallySettings {
    fn default() -> Self {
        Self {
            max_series: BTreeMap::new(),
            series_ttl_ns: 3_600_000_000_000,
            peers: false,
            closed_ports: false,
            ephemeral_ports: 32768..=60999,
        }
    }
}

impl TallySettings {
    /// These with another range of ephemeral ports, if it is known.
    #[must_use]
    pub fn with_ephemeral_ports(mut self, ports: Option<RangeInclusive<u16>>) -> Self {
        self.ephemeral_ports = ports.unwrap_or(self.ephemeral_ports);
        self
    }

    /// The cap of a family.
    #[must_use]
    pub fn limit(&self, family: Family) -> usize {
        let default = match family {
            Family::WorkloadResets => 500,
            Family::PeerResets => 100,
            _ => 200,
        };
        self.max_series.get(&family).copied().unwrap_or(default)
    }
}

/// Port under which a reset is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortLabel {
    /// A service's.
    Port(u16),
    /// Nobody listens there: one value for all, or a port scan would fill the family.
    Closed,
    /// Neither end is a service's.
    Ephemeral,
}

/// Counts of what was diagnosed.
#[derive(Clone, Debug)]
pub struct Tally {
    settings: TallySettings,
    repeats: Repeats,
    resets: Vec<u64>,
    /// The same resets, in the cells of the kernel's counters.
    pub cells: CellCounts,
    /// By process.
    pub(super) processes: CappedCounters<CompactString>,
    /// By service port.
    pub(super) ports: CappedCounters<PortLabel>,
    /// By workload.
    pub(super) workloads: CappedCounters<WorkloadLabels>,
    /// By remote address; counts nothing unless asked to.
    pub(super) peers: CappedCounters<IpAddr>,
    /// The last minutes.
    pub recent: Recent,
    ages: BTreeMap<(Kind, Cause), Histogram>,
    idles: BTreeMap<(Kind, Cause), Histogram>,
}

impl Tally {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(settings: TallySettings) -> Self {
        Self {
            repeats: Repeats::default(),
            resets: vec![0; KINDS * CAUSES * INITIATORS],
            cells: CellCounts::default(),
            processes: CappedCounters::new(settings.limit(Family::ProcessResets)),
            ports: CappedCounters::new(settings.limit(Family::PortResets)),
            workloads: CappedCounters::new(settings.limit(Family::WorkloadResets)),
            peers: CappedCounters::new(settings.limit(Family::PeerResets)),
            recent: Recent::default(),
            ages: BTreeMap::new(),
            idles: BTreeMap::new(),
            settings,
        }
    }

    /// Takes new settings over; what is counted stays.
    pub fn set(&mut self, settings: TallySettings) {
        self.processes
            .set_limit(settings.limit(Family::ProcessResets));
        self.ports.set_limit(settings.limit(Family::PortResets));
        self.workloads
            .set_limit(settings.limit(Family::WorkloadResets));
        self.peers.set_limit(settings.limit(Family::PeerResets));
        self.repeats.forget();
        self.settings = settings;
    }

    /// Counts one event, and the record that it was made of.
    pub fn record(&mut self, event: &Event, raw: &RawEvent) {
        let (kind, cause, now) = (event.kind, event.verdict.cause, event.mono_ns);
        if let Some(count) = self
            .resets
            .get_mut(place(kind, cause, event.verdict.initiator))
        {
            *count += 1;
        }
        self.cells.count(raw);
        self.recent.record(kind, cause, now);
        self.count_labels(event);
        if let Some(age_ms) = event.connection.age_ms {
            let ages = self.ages.entry((kind, cause)).or_default();
            ages.observe_ms(age_ms);
        }
        if let Some(idle_ms) = event.connection.idle_ms {
            let idles = self.idles.entry((kind, cause)).or_default();
            idles.observe_ms(idle_ms);
        }
    }

    /// Counts one event in the capped families.
    fn count_labels(&mut self, event: &Event) {
        let (kind, cause, now) = (event.kind, event.verdict.cause, event.mono_ns);
        let port = service_port(event, &self.settings);
        let peer = self.settings.peers.then(|| peer_of(event));
        if self.repeats.is_repeat(event, port, peer) {
            self.processes.count_again(kind, cause, now);
            self.ports.count_again(kind, cause, now);
            self.workloads.count_again(kind, cause, now);
            if peer.is_some() {
                self.peers.count_again(kind, cause, now);
            }
            return;
        }
        let comm = comm_of(event);
        self.processes
            .count(&Name(comm), || comm.into(), kind, cause, now);
        self.ports.count(&port, || port, kind, cause, now);
        let workload = WorkloadName::of(event);
        self.workloads
            .count(&workload, || workload.labels(), kind, cause, now);
        if let Some(peer) = peer {
            self.peers.count(&peer, || peer, kind, cause, now);
        }
    }

    /// Drops series that are idle at `now_ns`.
    pub fn expire(&mut self, now_ns: u64) {
        let before_ns = now_ns.saturating_sub(self.settings.series_ttl_ns);
        self.processes.expire(before_ns);
        self.ports.expire(before_ns);
        self.workloads.expire(before_ns);
        self.peers.expire(before_ns);
        self.repeats.forget();
    }

    /// What was diagnosed so.
    #[must_use]
    pub fn resets(&self, kind: Kind, cause: Cause, initiator: Initiator) -> u64 {
        let place = place(kind, cause, initiator);
        self.resets.get(place).copied().unwrap_or_default()
    }

    /// Ages of connections.
    #[must_use]
    pub const fn ages(&self) -> &BTreeMap<(Kind, Cause), Histogram> {
        &self.ages
    }

    /// Idle times of connections.
    #[must_use]
    pub const fn idles(&self) -> &BTreeMap<(Kind, Cause), Histogram> {
        &self.idles
    }

    /// Whether remote addresses are counted.
    #[must_use]
    pub const fn counts_peers(&self) -> bool {
        self.settings.peers
    }
}

/// The port of the service: the server's end, if it is known which that is.
#[must_use]
pub fn service_port(event: &Event, settings: &TallySettings) -> PortLabel {
    if event.verdict.cause == Cause::PortClosed && !settings.closed_ports {
        return PortLabel::Closed;
    }
    let is_service = |port: u16| port != 0 && !settings.ephemeral_ports.contains(&port);
    let port = match event.role {
        Some(Role::Server) => Some(event.local_port),
        Some(Role::Client) => Some(event.remote_port),
        None => [event.local_port, event.remote_port]
            .into_iter()
            .find(|port| is_service(*port)),
    };
    // A service may listen on an ephemeral port, and a test often does: it is not told apart.
    port.filter(|port| is_service(*port))
        .map_or(PortLabel::Ephemeral, PortLabel::Port)
}

/// Index of the counter of a verdict.
const fn place(kind: Kind, cause: Cause, initiator: Initiator) -> usize {
    (kind as usize * CAUSES + cause as usize) * INITIATORS + initiator as usize
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use crate::sink::samples;
    use bytemuck::Zeroable;
    use proptest::prelude::*;

    fn sample() -> Event {
        samples::full()
    }

    #[test]
    fn an_event_is_counted_in_every_family_once() {
        let mut tally = Tally::new(TallySettings {
            peers: true,
            ..TallySettings::default()
        });
        let event = sample();
        tally.record(&event, &RawEvent::zeroed());
        tally.record(&event, &RawEvent::zeroed());
        let verdict = &event.verdict;
        assert_eq!(
            tally.resets(event.kind, verdict.cause, verdict.initiator),
            2
        );
        for series in [
            tally.processes.iter().next().unwrap().1,
            tally.ports.iter().next().unwrap().1,
            tally.workloads.iter().next().unwrap().1,
            tally.peers.iter().next().unwrap().1,
        ] {
            assert_eq!(
                (series.kind, series.cause, series.count),
                (event.kind, verdict.cause, 2)
            );
        }
    }

    #[test]
    fn the_port_is_the_services() {
        let settings = TallySettings::default();
        let port = |role, local, remote| {
            let event = Event {
                role,
                local_port: local,
                remote_port: remote,
                ..sample()
            };
            service_port(&event, &settings)
        };
        assert_eq!(port(Some(Role::Server), 443, 50_000), PortLabel::Port(443));
        assert_eq!(
            port(Some(Role::Client), 50_000, 5432),
            PortLabel::Port(5432)
        );
        assert_eq!(port(None, 50_000, 22), PortLabel::Port(22));
        assert_eq!(port(None, 50_000, 50_001), PortLabel::Ephemeral);
        assert_eq!(port(Some(Role::Server), 50_000, 80), PortLabel::Ephemeral);
        let mut scan = sample();
        scan.verdict.cause = Cause::PortClosed;
        assert_eq!(service_port(&scan, &settings), PortLabel::Closed);
    }

    /// All of the capped families, with what they remember.
    fn shown(tally: &Tally) -> [String; 4] {
        [
            format!("{:?}", tally.processes),
            format!("{:?}", tally.ports),
            format!("{:?}", tally.workloads),
            format!("{:?}", tally.peers),
        ]
    }

    fn capped(limit: usize, peers: bool, closed_ports: bool) -> TallySettings {
        let caps = [
            Family::ProcessResets,
            Family::PortResets,
            Family::WorkloadResets,
            Family::PeerResets,
        ];
        TallySettings {
            max_series: caps.map(|family| (family, limit)).into(),
            peers,
            closed_ports,
            series_ttl_ns: 20,
            ..TallySettings::default()
        }
    }

    proptest! {
        #[test]
        fn what_repeats_is_counted_where_a_search_would_count_it(
            events in samples::runs_of_alike(),
            limit in 0..6_usize,
            expire_every in 5..20_usize,
            changes in prop::collection::btree_map(
                0..60_usize, (0..6_usize, any::<bool>(), any::<bool>()), 0..5
            ),
        ) {
            let mut tally = Tally::new(capped(limit, true, false));
            let mut searching = tally.clone();
            for (number, event) in events.iter().enumerate() {
                let event = Event { mono_ns: number as u64 + 1, ..event.clone() };
                if let Some((limit, peers, closed_ports)) = changes.get(&number) {
                    tally.set(capped(*limit, *peers, *closed_ports));
                    searching.set(capped(*limit, *peers, *closed_ports));
                }
                tally.record(&event, &RawEvent::zeroed());
                searching.repeats.forget();
                searching.record(&event, &RawEvent::zeroed());
                if number % expire_every == 0 {
                    tally.expire(event.mono_ns);
                    searching.expire(event.mono_ns);
                }
                prop_assert_eq!(shown(&tally), shown(&searching));
            }
        }
    }

    #[test]
    fn what_repeats_after_the_cap_was_raised_has_a_series_of_its_own() {
        let mut tally = Tally::new(capped(0, true, true));
        let event = sample();
        tally.record(&event, &RawEvent::zeroed());
        tally.set(capped(1, true, true));
        tally.record(&event, &RawEvent::zeroed());
        assert_eq!((tally.ports.series(), tally.ports.overflow()), (1, 1));
    }
}
