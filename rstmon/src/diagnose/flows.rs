//! What the engine remembers of a flow between two of its events.
//!
//! Read and written by `diagnose::engine` only. Bounded: the flow not seen for longest goes first,
//! which can cost a verdict its evidence and never an event its verdict.

use crate::event::model::{Event, Kind, SocketState};
use lru::LruCache;
use rstmon_common::wire;
use std::net::IpAddr;
use std::num::NonZeroUsize;

/// Flows remembered; about 100 bytes each.
const MAX_FLOWS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(8191);

/// A reset this long ago explains no segment any more: five times TIME-WAIT
/// (`TCP_TIMEWAIT_LEN`), after which the tuple has likely been used again.
const RESET_MEMORY_MS: u64 = 300_000;

/// A netfilter reset and its arrival at a socket of this host are one packet on its way.
const REJECT_MEMORY_MS: u64 = 1_000;

/// An end of a connection: its address, IPv4 as v4-mapped IPv6, and port. Plain
/// integers, so that hashing takes no branches.
type FlowEnd = (u128, u16);

const fn flow_end(address: IpAddr, port: u16) -> FlowEnd {
    let address = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    (address.to_bits(), port)
}

/// A connection's identity on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FlowKey {
    local: FlowEnd,
    remote: FlowEnd,
    /// `None` for netfilter rejects: the rejecting namespace need not be the one that receives.
    netns: Option<u32>,
}

impl FlowKey {
    const fn of(event: &Event) -> Self {
        Self {
            local: flow_end(event.local_addr, event.local_port),
            remote: flow_end(event.remote_addr, event.remote_port),
            netns: event.netns,
        }
    }

    const fn of_reject(event: &Event) -> Self {
        Self {
            netns: None,
            ..Self::of(event)
        }
    }

    const fn mirrored(self) -> Self {
        Self {
            local: self.remote,
            remote: self.local,
            netns: self.netns,
        }
    }
}

/// Monotonic stamps of the last events of a flow, nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct FlowStamps {
    reset_sent: Option<u64>,
    reset_received: Option<u64>,
    firewall_reject: Option<u64>,
}

/// What a flow's past says to the event at hand; milliseconds before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowPast {
    /// This host's TCP sent a RST for this connection.
    pub reset_sent: Option<u64>,
    /// A RST tore this connection down.
    pub reset_received: Option<u64>,
    /// This host's netfilter rejected a segment of this connection, seen from either end.
    pub firewall_reject: Option<u64>,
}

/// The table.
#[derive(Debug)]
pub(super) struct Flows {
    table: LruCache<FlowKey, FlowStamps>,
}

impl Flows {
    pub(super) fn new() -> Self {
        Self {
            table: LruCache::new(MAX_FLOWS),
        }
    }

    /// What is remembered of the event's flow.
    pub(super) fn past_of(&self, event: &Event) -> FlowPast {
        let stamps_of = |key: FlowKey| self.table.peek(&key).copied().unwrap_or_default();
        let ago = |stamp: Option<u64>, limit_ms| {
            let ago_ms = event.mono_ns.saturating_sub(stamp?) / 1_000_000;
            Some(ago_ms).filter(|&ago_ms| ago_ms <= limit_ms)
        };
        let stamps = stamps_of(FlowKey::of(event));
        // Over loopback the rejecting and the rejected end are both here, each with its own view.
        let reject_key = FlowKey::of_reject(event);
        let reject_ns = [reject_key, reject_key.mirrored()]
            .into_iter()
            .filter_map(|key| stamps_of(key).firewall_reject)
            .max();
        FlowPast {
            reset_sent: ago(stamps.reset_sent, RESET_MEMORY_MS),
            reset_received: ago(stamps.reset_received, RESET_MEMORY_MS),
            firewall_reject: ago(reject_ns, REJECT_MEMORY_MS),
        }
    }

    /// Remembers the event for later ones.
    pub(super) fn remember(&mut self, event: &Event) {
        let now = Some(event.mono_ns);
        let mut store = |key, change: &dyn Fn(&mut FlowStamps)| {
            change(self.table.get_or_insert_mut(key, FlowStamps::default));
        };
        if is_firewall_hook(event) {
            store(FlowKey::of_reject(event), &|flow| {
                flow.firewall_reject = now;
            });
        } else if event.kind == Kind::Sent && closes_connection(event) {
            store(FlowKey::of(event), &|flow| {
                flow.reset_sent = now;
            });
        } else if event.kind == Kind::Received {
            store(FlowKey::of(event), &|flow| {
                flow.reset_received = now;
            });
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}

/// Whether netfilter sent the RST.
pub(super) fn is_firewall_hook(event: &Event) -> bool {
    (wire::HOOK_NF_SEND_RESET..=wire::HOOK_NF_REJECT_SKB_V6).contains(&event.hook.0)
}

/// Whether a sent RST ended a connection: one from a listener, an opening socket or from none did not.
fn closes_connection(event: &Event) -> bool {
    let no_connection = matches!(
        event.state,
        Some(SocketState::None | SocketState::Listen | SocketState::SynSent | SocketState::SynRecv)
    );
    event.active || (event.socket.is_some() && !no_connection)
}
