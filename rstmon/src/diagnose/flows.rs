//! What the engine remembers of a flow between two of its events.
//!
//! Read and written by `diagnose::engine` only. Bounded: flows not written for longest go first, a
//! generation at once, which can cost a verdict its evidence and never an event its verdict.

use super::baseline::{Place, is_of_live_socket};
use super::forgery::{is_out_of_window, peer_went_on};
use super::generations::{Generations, Sought};
use crate::event::model::{Event, Initiator, Kind, Segment, SocketState};
use rstmon_common::wire;
use std::net::IpAddr;

/// Flows remembered at least; there are at most twice as many, of about 250 bytes each.
pub(super) const FLOWS: usize = 4_096;

/// A reset or a close this long ago explains no segment any more: five times TIME-WAIT
/// (`TCP_TIMEWAIT_LEN`), after which the tuple has likely been used again.
pub(super) const END_MEMORY_MS: u64 = 300_000;

/// A netfilter reset and its arrival at a socket of this host are one packet on its way.
const REJECT_MEMORY_MS: u64 = 1_000;

/// Whoever guesses at sequence numbers does so at once.
const ATTEMPT_MEMORY_MS: u64 = 10_000;

/// What stands before the bits of an IPv4 address that is mapped to IPv6 (RFC 4291, 2.5.5.2).
const V4_MAPPED: u64 = 0xffff << 32;

/// An address, IPv4 as v4-mapped IPv6, in two halves: an `u128` would leave a gap in the key.
const fn address_bits(address: IpAddr) -> (u64, u64) {
    match address {
        // By numbers: bytes that were just written one by one are slow to read as a whole.
        IpAddr::V4(v4) => (0, V4_MAPPED | v4.to_bits() as u64),
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            ((bits >> 64) as u64, bits as u64)
        }
    }
}

/// A connection's identity on this host. Plain integers, so that hashing takes no branches, and
/// without gaps, as in a storm each event writes a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FlowKey {
    local_addr: (u64, u64),
    remote_addr: (u64, u64),
    local_port: u16,
    remote_port: u16,
    /// 0, which no namespace has, if not known, and for netfilter rejects: the rejecting namespace
    /// need not be the one that receives.
    netns: u32,
}

impl FlowKey {
    fn of(event: &Event) -> Self {
        Self {
            local_addr: address_bits(event.local_addr),
            remote_addr: address_bits(event.remote_addr),
            local_port: event.local_port,
            remote_port: event.remote_port,
            netns: event.netns.unwrap_or_default(),
        }
    }

    fn of_reject(event: &Event) -> Self {
        Self {
            netns: 0,
            ..Self::of(event)
        }
    }

    const fn mirrored(self) -> Self {
        Self {
            local_addr: self.remote_addr,
            remote_addr: self.local_addr,
            local_port: self.remote_port,
            remote_port: self.local_port,
            netns: self.netns,
        }
    }
}

/// A RST that tore a connection down, as far as later segments of its tuple need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObeyedReset {
    /// Its sequence number; an obeyed one had RCV.NXT where it was not seen.
    pub seq: Option<u32>,
    /// What it acknowledges, if anything.
    pub ack: Option<u32>,
    /// TTL that the connection's handshake showed.
    pub handshake_ttl: Option<u8>,
    /// Round-trip time of the connection, smoothed.
    pub srtt_us: Option<u32>,
}

impl ObeyedReset {
    fn of(event: &Event) -> Self {
        let expected = event.socket.and_then(|socket| socket.rcv_nxt);
        Self {
            seq: event.rst.map(|rst| rst.seq).or(expected),
            ack: event.rst.as_ref().and_then(Segment::acknowledged),
            handshake_ttl: event.handshake_ttl,
            srtt_us: event.connection.srtt_us,
        }
    }
}

/// A RST that arrived, obeyed or not, as far as the next one of its tuple needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrivedReset {
    /// Its fields.
    pub rst: Segment,
    /// RSTs before it that each had the same numbers and a window one less than the next.
    pub counted_up: u8,
}

impl ArrivedReset {
    /// Whether `next` follows this one with the same number and flags and the window one higher: no
    /// stack does that, some injectors do.
    pub(super) fn counts_up_to(&self, next: &Segment) -> bool {
        let before = &self.rst;
        let window_after = before.window.map(|window| window.wrapping_add(1));
        before.seq == next.seq
            && before.flags == next.flags
            && window_after.is_some()
            && window_after == next.window
    }

    fn of(event: &Event, past: &FlowPast) -> Option<Self> {
        let rst = event.rst.filter(|_| event.kind != Kind::Sent)?;
        let before = past.last_rst.map(|(_, before)| before);
        let counted_up = before
            .filter(|before| before.counts_up_to(&rst))
            .map_or(0, |before| before.counted_up.saturating_add(1));
        Some(Self { rst, counted_up })
    }
}

/// A stamp, monotonic nanoseconds, with what happened then.
type Stamped<T> = Option<(u64, T)>;

/// The last events of a flow.
#[derive(Clone, Copy, Debug, Default)]
struct FlowStamps {
    reset_sent: Stamped<Initiator>,
    reset_received: Stamped<ObeyedReset>,
    firewall_reject: Stamped<()>,
    peer_went_on: Stamped<()>,
    /// The last RST outside the window, and how many there were without a longer pause.
    attempts: Stamped<u32>,
    last_rst: Stamped<ArrivedReset>,
}

/// What an event changes of its flow.
#[derive(Clone, Copy, Debug)]
enum FlowChange {
    /// Netfilter rejected a segment.
    FirewallReject,
    /// This host reset the connection, and who began that.
    ResetSent(Initiator),
    /// A RST tore it down.
    ResetReceived(ObeyedReset),
    /// The peer sent more after that.
    PeerWentOn,
    /// So many RSTs outside the window, the one at hand included.
    Attempts(u32),
    /// A RST that may explain the next one: the flow is to be there for that.
    Noted,
}

impl FlowChange {
    fn of(event: &Event, past: &FlowPast) -> Option<Self> {
        if is_firewall_hook(event) {
            Some(Self::FirewallReject)
        } else if event.kind == Kind::Sent && closes_connection(event) {
            Some(Self::ResetSent(event.verdict.initiator))
        } else if event.kind == Kind::Received {
            Some(Self::ResetReceived(ObeyedReset::of(event)))
        } else if peer_went_on(event, past).is_some() {
            Some(Self::PeerWentOn)
        } else if is_out_of_window(event) {
            Some(Self::Attempts(past.attempts.saturating_add(1)))
        } else {
            let opening = event.kind == Kind::Stray && event.state == Some(SocketState::SynRecv);
            (opening || is_challenged_abort(event)).then_some(Self::Noted)
        }
    }
}

impl FlowStamps {
    /// What they say to the event; a netfilter reject is kept under another key.
    fn before(&self, event: &Event) -> FlowPast {
        let ms = |(ago_ms, ())| ago_ms;
        FlowPast {
            reset_sent: within(event, self.reset_sent, END_MEMORY_MS),
            reset_received: within(event, self.reset_received, END_MEMORY_MS),
            firewall_reject: None,
            peer_went_on: within(event, self.peer_went_on, END_MEMORY_MS).map(ms),
            attempts: within(event, self.attempts, ATTEMPT_MEMORY_MS)
                .map_or(0, |(_, attempts)| attempts),
            last_rst: within(event, self.last_rst, ATTEMPT_MEMORY_MS),
        }
    }

    fn take(&mut self, change: FlowChange, now: u64) {
        match change {
            FlowChange::FirewallReject => self.firewall_reject = Some((now, ())),
            FlowChange::ResetSent(initiator) => self.reset_sent = Some((now, initiator)),
            FlowChange::ResetReceived(reset) => {
                self.reset_received = Some((now, reset));
                (self.peer_went_on, self.attempts) = (None, None);
            }
            FlowChange::PeerWentOn => self.peer_went_on = Some((now, ())),
            FlowChange::Attempts(attempts) => self.attempts = Some((now, attempts)),
            FlowChange::Noted => {}
        }
    }
}

/// What a flow's past says to the event at hand; milliseconds before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowPast {
    /// This host's TCP sent a RST for this connection, and who began that.
    pub reset_sent: Option<(u64, Initiator)>,
    /// A RST tore this connection down.
    pub reset_received: Option<(u64, ObeyedReset)>,
    /// This host's netfilter rejected a segment of this connection, seen from either end.
    pub firewall_reject: Option<u64>,
    /// The peer sent more long after that RST: see [`super::forgery::peer_went_on`].
    pub peer_went_on: Option<u64>,
    /// RSTs outside the window that went before.
    pub attempts: u32,
    /// The RST that arrived before, whatever became of it.
    pub last_rst: Option<(u64, ArrivedReset)>,
}

/// A flow, and what was remembered of it before the event at hand.
#[derive(Debug)]
pub(super) struct Recalled {
    /// It is known where there is something of the flow, of however long ago.
    flow: Sought<FlowKey>,
    pub(super) past: FlowPast,
}

/// The table.
#[derive(Debug)]
pub(super) struct Flows {
    table: Generations<FlowKey, FlowStamps>,
    /// When netfilter last rejected anything, monotonic nanoseconds. Most hosts never do, and two
    /// more looks into a table that is larger than the processor's cache cost each event as much as
    /// a rule.
    last_reject_ns: Option<u64>,
}

impl Flows {
    pub(super) fn new() -> Self {
        Self {
            table: Generations::new(FLOWS),
            last_reject_ns: None,
        }
    }

    /// The event's flow, and what is remembered of it.
    pub(super) fn recall(&self, event: &Event) -> Recalled {
        let flow = self.table.seek(FlowKey::of(event));
        let stamps = self.table.get(&flow);
        let mut past = stamps.map_or_else(FlowPast::default, |stamps| stamps.before(event));
        past.firewall_reject = self.firewall_reject(event);
        Recalled { flow, past }
    }

    /// How long before the event netfilter rejected a segment of its connection.
    fn firewall_reject(&self, event: &Event) -> Option<u64> {
        let last_reject = self.last_reject_ns.map(|stamp| (stamp, ()));
        within(event, last_reject, REJECT_MEMORY_MS)?;
        // Over loopback the rejecting and the rejected end are both here, each with its own view.
        let key = FlowKey::of_reject(event);
        let either = [key, key.mirrored()].map(|key| self.table.get(&self.table.seek(key)));
        let rejects = either.into_iter().flatten();
        let reject = rejects.filter_map(|stamps| stamps.firewall_reject).max();
        within(event, reject, REJECT_MEMORY_MS).map(|(ago_ms, ())| ago_ms)
    }

    /// Remembers the event for later ones; `recalled` is what was remembered before it.
    pub(super) fn remember(&mut self, event: &Event, recalled: &Recalled) {
        let Recalled { flow, past } = recalled;
        let now = event.mono_ns;
        let arrived = ArrivedReset::of(event, past);
        let sought = if is_firewall_hook(event) {
            self.last_reject_ns = Some(now);
            &self.table.seek(FlowKey::of_reject(event))
        } else {
            flow
        };
        let flow = match FlowChange::of(event, past) {
            Some(change) => {
                let flow = self.table.entry(sought);
                flow.take(change, now);
                Some(flow)
            }
            // Other strays are not remembered by themselves: a flood would push the connections out.
            // One of a known flow is, and the flow then stays for longer.
            None => arrived
                .filter(|_| flow.is_known())
                .map(|_| self.table.entry(sought)),
        };
        if let (Some(arrived), Some(flow)) = (arrived, flow) {
            flow.last_rst = Some((now, arrived));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}

/// How long before the event it was, if not too long.
fn within<T>(event: &Event, stamped: Stamped<T>, limit_ms: u64) -> Option<(u64, T)> {
    let (stamp, what) = stamped?;
    let ago_ms = event.mono_ns.saturating_sub(stamp) / 1_000_000;
    (ago_ms <= limit_ms).then_some((ago_ms, what))
}

/// Whether netfilter sent the RST.
pub(super) fn is_firewall_hook(event: &Event) -> bool {
    event.kind == Kind::Sent
        && (wire::HOOK_NF_SEND_RESET..=wire::HOOK_NF_REJECT_SKB_V6).contains(&event.hook.0)
}

/// Whether the RST of a live socket was in the window and not obeyed.
fn is_challenged_abort(event: &Event) -> bool {
    event.kind == Kind::Rejected
        && Place::of(event) == Some(Place::Within)
        && event.rst.as_ref().is_some_and(is_of_live_socket)
}

/// Whether a sent RST ended a connection: one from a listener, an opening socket or from none did not.
fn closes_connection(event: &Event) -> bool {
    let no_connection = matches!(
        event.state,
        Some(SocketState::None | SocketState::Listen | SocketState::SynSent | SocketState::SynRecv)
    );
    event.active || (event.socket.is_some() && !no_connection)
}
