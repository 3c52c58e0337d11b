//! The kernel's counters of one network namespace that have to do with resets: `/proc/net/snmp` and
//! `/proc/net/netstat`.

use std::collections::BTreeMap;

/// Those that are read, with the line they stand in.
const NAMES: [(&str, &str); 15] = [
    ("Tcp:", "OutRsts"),
    ("Tcp:", "EstabResets"),
    ("Tcp:", "AttemptFails"),
    ("TcpExt:", "TCPAbortOnClose"),
    ("TcpExt:", "TCPAbortOnData"),
    ("TcpExt:", "TCPAbortOnTimeout"),
    ("TcpExt:", "TCPAbortOnLinger"),
    ("TcpExt:", "TCPAbortOnMemory"),
    ("TcpExt:", "TCPAbortFailed"),
    ("TcpExt:", "TCPChallengeACK"),
    ("TcpExt:", "TCPSYNChallenge"),
    ("TcpExt:", "ListenOverflows"),
    ("TcpExt:", "ListenDrops"),
    ("TcpExt:", "TCPTimeouts"),
    ("TcpExt:", "EmbryonicRsts"),
];

/// Counters by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SnmpCounters(BTreeMap<&'static str, u64>);

impl SnmpCounters {
    /// Reads the pairs of lines of either file: names, then values.
    pub(super) fn parse(text: &str) -> Self {
        let mut counters = BTreeMap::new();
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.chunks_exact(2) {
            let [names, values] = pair else { continue };
            let mut columns = names
                .split_ascii_whitespace()
                .zip(values.split_ascii_whitespace());
            let Some((line, _)) = columns.next() else {
                continue;
            };
            for (name, value) in columns {
                let known = NAMES.iter().find(|known| **known == (line, name));
                if let (Some((_, name)), Ok(value)) = (known, value.parse()) {
                    counters.insert(*name, value);
                }
            }
        }
        Self(counters)
    }

    /// One of them; 0 if the kernel does not have it.
    pub(super) fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// All but one.
    pub(super) fn others(&self, name: &str) -> BTreeMap<&'static str, u64> {
        let mut others = self.0.clone();
        others.remove(name);
        others
    }

    /// Adds another's.
    pub(super) fn add(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            *self.0.entry(name).or_default() += value;
        }
    }

    /// Growth since an earlier reading.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let growth = self
            .0
            .iter()
            .map(|(name, value)| (*name, value.saturating_sub(earlier.get(name))));
        Self(growth.collect())
    }

    /// Whether these can be the same namespace's counters, later.
    pub(super) fn continues(&self, earlier: &Self) -> bool {
        earlier
            .0
            .iter()
            .all(|(name, value)| self.get(name) >= *value)
    }
}
