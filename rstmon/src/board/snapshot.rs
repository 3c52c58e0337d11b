//! The board at one moment: what the views draw, what the agent sends its clients, what
//! `rstmon top -o json` prints.

use crate::event::model::{Cause, Kind};
use serde::{Deserialize, Serialize};

/// Seconds of the sparkline.
pub(super) const SPARK_SECONDS: usize = 60;

/// Everything there is to see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardSnapshot {
    /// When, monotonic nanoseconds.
    pub now_ns: u64,
    /// Totals by kind.
    pub kinds: Vec<KindTotal>,
    /// By cause, the most common first.
    pub causes: Vec<CauseRow>,
    /// By process.
    pub processes: Vec<TableRow>,
    /// By workload.
    pub workloads: Vec<TableRow>,
    /// By service port.
    pub ports: Vec<TableRow>,
    /// By remote address.
    pub peers: Vec<TableRow>,
    /// Events that belong together, the newest first.
    pub incidents: Vec<IncidentRow>,
}

/// How many of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindTotal {
    /// The kind.
    pub kind: Kind,
    /// How many.
    pub total: u64,
}

/// One cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseRow {
    /// The cause.
    pub cause: Cause,
    /// How many.
    pub total: u64,
    /// How many in the last second that is over.
    pub per_second: u64,
    /// How many in the last minute.
    pub last_1m: u64,
    /// How many in the last five minutes.
    pub last_5m: u64,
    /// How many in the last fifteen minutes.
    pub last_15m: u64,
    /// By second, the oldest first.
    pub spark: Vec<u64>,
    /// The process that has most of it.
    pub owner: Option<String>,
}

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRow {
    /// Whose.
    pub name: String,
    /// How many.
    pub total: u64,
    /// How many in the last minute.
    pub last_1m: u64,
    /// The most common cause.
    pub cause: Cause,
    /// How many of those.
    pub of_cause: u64,
    /// When the last one came, monotonic nanoseconds.
    pub last_ns: u64,
}

impl TableRow {
    /// Counts another row in. The cause is that of the larger one.
    pub(super) fn take_in(&mut self, other: &Self) {
        self.total += other.total;
        self.last_1m += other.last_1m;
        self.last_ns = self.last_ns.max(other.last_ns);
        if self.cause == other.cause {
            self.of_cause += other.of_cause;
        } else if other.of_cause > self.of_cause {
            self.cause = other.cause;
            self.of_cause = other.of_cause;
        }
    }
}

/// Events of one cause, process and group of peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentRow {
    /// The cause.
    pub cause: Cause,
    /// The process; empty without an owner.
    pub comm: String,
    /// The peers: an address or a network, or a word for those that are neither.
    pub peers: String,
    /// How many events.
    pub total: u64,
    /// Different addresses of peers.
    pub distinct_peers: u64,
    /// Different ports of this host.
    pub distinct_ports: u64,
    /// There were more peers or ports than are told apart.
    pub at_least: bool,
    /// When it began, monotonic nanoseconds.
    pub first_ns: u64,
    /// When the last event came.
    pub last_ns: u64,
    /// Number of the last event.
    pub last_seq_no: u64,
}
