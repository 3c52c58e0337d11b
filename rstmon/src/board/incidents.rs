//! Events that belong together: one cause, one process, one group of peers. Ten thousand resets are
//! three rows.

use super::UNKNOWN_PEER;
use super::snapshot::IncidentRow;
use crate::event::model::{Cause, Event};
use crate::metrics::hinted::HintedMap;
use crate::metrics::names::Name;
use compact_str::CompactString;
use hashbrown::{Equivalent, HashSet};
use ipnet::IpNet;
use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;

/// Different peers and ports of an incident that are told apart.
const MAX_DISTINCT: usize = 256;
/// After so long without an event, the next one begins a new incident.
const QUIET_NS: u64 = 15 * 60 * 1_000_000_000;
/// Full, it is searched for quiet incidents this often: each event of a storm is of a new one.
const SEARCH_NS: u64 = 1_000_000_000;

/// Peers that are counted together: a /24 or /64, loopback as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeerGroup {
    /// This machine.
    Loopback,
    /// A network.
    Network(IpNet),
    /// Peers that are not known.
    Unknown,
    /// What does not fit.
    Other,
}

impl PeerGroup {
    /// The group of a peer, by its address.
    #[must_use]
    pub fn of(peer: Option<IpAddr>) -> Self {
        let Some(address) = peer else {
            return Self::Unknown;
        };
        if address.is_loopback() {
            return Self::Loopback;
        }
        let prefix = if address.is_ipv4() { 24 } else { 64 };
        IpNet::new(address, prefix).map_or(Self::Other, |net| Self::Network(net.trunc()))
    }
}

impl fmt::Display for PeerGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.pad("loopback"),
            Self::Network(net) => f.pad(&net.to_string()),
            Self::Unknown => f.pad(UNKNOWN_PEER),
            Self::Other => f.pad("~other"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    cause: Cause,
    comm: CompactString,
    group: PeerGroup,
}

/// A key to look up.
#[derive(Clone, Copy, Debug, Hash)]
struct KeyOf<'a> {
    cause: Cause,
    comm: Name<'a>,
    group: PeerGroup,
}

impl Equivalent<Key> for KeyOf<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.cause == key.cause && self.group == key.group && self.comm.equivalent(&key.comm)
    }
}

impl KeyOf<'_> {
    fn owned(self) -> Key {
        Key {
            cause: self.cause,
            comm: self.comm.0.into(),
            group: self.group,
        }
    }
}

/// Different values, as many as are told apart. One that comes again at once is not looked for.
#[derive(Clone, Debug)]
struct Distinct<T> {
    values: HashSet<T>,
    last: Option<T>,
}

impl<T: Copy + Eq + Hash> Distinct<T> {
    fn new() -> Self {
        Self {
            values: HashSet::new(),
            last: None,
        }
    }

    /// Whether it is known to be among them now. Where it is known already that they are not all,
    /// `at_least`, nobody asks whether a full set has it.
    fn insert(&mut self, value: T, at_least: bool) -> bool {
        if self.last == Some(value) {
            return true;
        }
        if self.values.len() >= MAX_DISTINCT && (at_least || !self.values.contains(&value)) {
            return false;
        }
        self.values.insert(value);
        self.last = Some(value);
        true
    }
}

#[derive(Clone, Debug)]
struct Incident {
    total: u64,
    first_ns: u64,
    last_ns: u64,
    last_seq_no: u64,
    peers: Distinct<IpAddr>,
    ports: Distinct<u16>,
    at_least: bool,
}

/// All of them.
#[derive(Clone, Debug)]
pub(super) struct Incidents {
    by_key: HintedMap<Key, Incident>,
    limit: usize,
    searched_ns: Option<u64>,
}

impl Incidents {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            by_key: HintedMap::default(),
            limit,
            searched_ns: None,
        }
    }

    /// Takes one event in. What does not fit is an incident of its cause without process and peers.
    pub(super) fn record(&mut self, event: &Event, comm: Name<'_>) {
        let mut key = KeyOf {
            cause: event.verdict.cause,
            comm,
            group: PeerGroup::of(event.peer().map(|peer| peer.ip())),
        };
        if self.add(&key, event) {
            return;
        }
        if self.by_key.len() >= self.limit {
            self.forget_quiet(event.mono_ns);
            if self.by_key.len() >= self.limit {
                key.comm = Name("");
                key.group = PeerGroup::Other;
                if self.add(&key, event) {
                    return;
                }
            }
        }
        let mut incident = Incident::at(event);
        incident.add(event);
        self.by_key.insert(event.kind, key.owned(), incident);
    }

    /// Adds an event to the incident of that key, which it may begin anew. False: there is none.
    fn add(&mut self, key: &KeyOf<'_>, event: &Event) -> bool {
        let Some(incident) = self.by_key.get_mut(event.kind, key) else {
            return false;
        };
        if event.mono_ns.saturating_sub(incident.last_ns) > QUIET_NS {
            *incident = Incident::at(event);
        }
        incident.add(event);
        true
    }

    fn forget_quiet(&mut self, now_ns: u64) {
        let since = |before: u64| now_ns.saturating_sub(before);
        if self
            .searched_ns
            .is_some_and(|before| since(before) < SEARCH_NS)
        {
            return;
        }
        self.searched_ns = Some(now_ns);
        self.by_key
            .retain(|_, incident| now_ns.saturating_sub(incident.last_ns) <= QUIET_NS);
    }

    /// All, the newest first.
    pub(super) fn rows(&self) -> Vec<IncidentRow> {
        let rows = self.by_key.iter().map(|(key, incident)| IncidentRow {
            cause: key.cause,
            comm: key.comm.to_string(),
            peers: match (
                incident.peers.values.len(),
                incident.peers.values.iter().next(),
            ) {
                (1, Some(only)) if key.group != PeerGroup::Other => only.to_string(),
                _ => key.group.to_string(),
            },
            total: incident.total,
            distinct_peers: incident.peers.values.len() as u64,
            distinct_ports: incident.ports.values.len() as u64,
            at_least: incident.at_least,
            first_ns: incident.first_ns,
            last_ns: incident.last_ns,
            last_seq_no: incident.last_seq_no,
        });
        let mut rows: Vec<IncidentRow> = rows.collect();
        rows.sort_by(|a, b| b.last_ns.cmp(&a.last_ns).then(b.total.cmp(&a.total)));
        rows
    }
}

impl Incident {
    fn at(event: &Event) -> Self {
        Self {
            total: 0,
            first_ns: event.mono_ns,
            last_ns: event.mono_ns,
            last_seq_no: event.seq_no,
            peers: Distinct::new(),
            ports: Distinct::new(),
            at_least: false,
        }
    }

    fn add(&mut self, event: &Event) {
        self.total += 1;
        self.last_ns = self.last_ns.max(event.mono_ns);
        self.last_seq_no = self.last_seq_no.max(event.seq_no);
        if let Some(peer) = event.peer() {
            self.at_least |= !self.peers.insert(peer.ip(), self.at_least);
        }
        self.at_least |= !self.ports.insert(event.local_port, self.at_least);
    }
}
