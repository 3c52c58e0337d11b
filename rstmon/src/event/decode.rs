//! From the raw record to the [`Event`]: what a number means, and whether it is known at all.
//!
//! Called by the live capture and by the replay, once a record, after `event::tentative`. Pure: the
//! same bytes and the same [`CaptureFacts`] give the same event anywhere. A group of fields whose
//! `HAVE_*` bit is clear never shows: absent stays absent. Any bytes are answered with an event or
//! an error, never a panic.

mod connection;
mod process;
mod segments;
#[cfg(test)]
mod tests;

use crate::event::capture::CaptureFacts;
use crate::event::clock::ClockMap;
use crate::event::facts::Facts;
use crate::event::model::{
    Cause, Confidence, Event, Family, HookId, Initiator, Kind, RecentClose, Role, SocketState,
    Verdict,
};
use rstmon_common::wire::{self, RawEvent, tcp_flag, tcp_state};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use thiserror::Error;

/// Why bytes are no record of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Not as long as a record.
    #[error(
        "a record of {got} bytes where this rstmon reads {expected}; it was made by another version",
        expected = wire::RAW_EVENT_SIZE
    )]
    Size {
        /// Bytes that were given.
        got: usize,
    },
    /// Made by a program with another wire format.
    #[error(
        "a record of wire format {got} where this rstmon reads {expected}; use the rstmon that made it",
        expected = wire::ABI
    )]
    Abi {
        /// Format that the record names.
        got: u16,
    },
    /// A number outside its range: the record is damaged.
    #[error("a damaged record: {field} is {got}, which means nothing")]
    Unknown {
        /// Name of the field in `wire::RawEvent`.
        field: &'static str,
        /// Its value.
        got: u16,
    },
    /// A record without addresses, which no hook makes.
    #[error("a damaged record: it has no addresses")]
    NoTuple,
}

/// Reads a record's bytes; what is in it is checked by [`CheckedRecord::new`].
///
/// Borrows where the bytes lie as the record must, as they do in the ring.
pub fn parse_raw_event(bytes: &[u8]) -> Result<Cow<'_, RawEvent>, DecodeError> {
    let size = |_| DecodeError::Size { got: bytes.len() };
    Ok(match bytemuck::try_from_bytes(bytes) {
        Ok(raw) => Cow::Borrowed(raw),
        Err(_) => Cow::Owned(bytemuck::try_pod_read_unaligned(bytes).map_err(size)?),
    })
}

/// A record of which every number that must be one of a set is one.
#[derive(Clone, Copy, Debug)]
pub struct CheckedRecord<'a> {
    raw: &'a RawEvent,
    kind: Kind,
}

impl<'a> CheckedRecord<'a> {
    /// Checks a record.
    pub fn new(raw: &'a RawEvent) -> Result<Self, DecodeError> {
        check(raw)?;
        let kind = Kind::from_wire(raw.kind).ok_or(DecodeError::Unknown {
            field: "kind",
            got: raw.kind.into(),
        })?;
        Ok(Self { raw, kind })
    }

    /// The record.
    #[must_use]
    pub const fn raw(self) -> &'a RawEvent {
        self.raw
    }
}

fn check(raw: &RawEvent) -> Result<(), DecodeError> {
    if raw.abi != wire::ABI {
        return Err(DecodeError::Abi { got: raw.abi });
    }
    if !has(raw, wire::HAVE_TUPLE) {
        return Err(DecodeError::NoTuple);
    }
    let hooks = wire::HOOK_TCP_SEND_RESET..=wire::HOOK_NF_REJECT_SKB_V6;
    let ranges = [
        ("hook", raw.hook, hooks),
        (
            "socket_kind",
            raw.socket_kind,
            wire::SOCKET_NONE..=wire::SOCKET_TIMEWAIT,
        ),
        (
            "state",
            raw.state,
            tcp_state::NONE..=tcp_state::NEW_SYN_RECV,
        ),
        (
            "state_at_hook",
            raw.state_at_hook,
            tcp_state::NONE..=tcp_state::NEW_SYN_RECV,
        ),
        (
            "closed_state",
            raw.closed_state,
            tcp_state::NONE..=tcp_state::NEW_SYN_RECV,
        ),
    ];
    for (field, value, range) in ranges {
        if !range.contains(&value) {
            return Err(DecodeError::Unknown {
                field,
                got: value.into(),
            });
        }
    }
    if ![wire::AF_INET, wire::AF_INET6].contains(&raw.family) {
        return Err(DecodeError::Unknown {
            field: "family",
            got: raw.family,
        });
    }
    Ok(())
}

/// Makes the event of a record; `seq_no` is its number in this run.
///
/// The verdict is `undiagnosed` until `diagnose::Engine` has seen the event; what the host's
/// databases add (exe, cgroup path) is for `annotate`.
#[must_use]
pub fn decode(record: CheckedRecord<'_>, seq_no: u64, facts: &CaptureFacts) -> Event {
    let CheckedRecord { raw, kind } = record;
    let (family, local_addr) = resolve_addr(raw.family, raw.local_addr);
    let (_, remote_addr) = resolve_addr(raw.family, raw.remote_addr);
    let drop_reason = reason_name(raw, wire::HAVE_DROP_REASON, &facts.reasons.drop);
    let state = resolve_state(raw, drop_reason.as_deref());
    let segment = segments::seen_segment(raw);
    let has_rst = raw.flags & wire::FLAG_SEGMENT_IS_RST != 0;
    let trigger = segment.filter(|_| !has_rst && raw.kind == wire::KIND_SENT);
    let rst = segments::rst_segment(raw, segment, trigger);
    Event {
        seq_no,
        time_ns: ClockMap::new(facts.realtime_offset_ns).wall_ns(raw.mono_ns),
        mono_ns: raw.mono_ns,
        kind,
        hook: HookId(raw.hook),
        deduced: raw.flags & wire::FLAG_DEDUCED != 0,
        active: raw.flags & wire::FLAG_ACTIVE != 0,
        verdict: undiagnosed(),
        kernel_reason: reason_name(raw, wire::HAVE_RST_REASON, &facts.reasons.rst),
        drop_reason,
        state,
        family,
        local_addr,
        local_port: raw.local_port,
        remote_addr,
        remote_port: raw.remote_port,
        role: resolve_role(raw, state, trigger.map(|segment| segment.flags.0)),
        rst,
        trigger,
        payload: segments::payload(raw),
        mptcp_reset_reason: known(raw, wire::HAVE_MPTCP_RESET, raw.mptcp_reset_reason),
        asks_for_subflow: has(raw, wire::HAVE_MPTCP_JOIN),
        handshake_ttl: known(raw, wire::HAVE_HANDSHAKE, raw.handshake_ttl),
        handshake_ip_id: known(raw, wire::HAVE_HANDSHAKE, raw.handshake_ip_id)
            .filter(|_| raw.family == wire::AF_INET),
        handshake_ts_value: known(raw, wire::HAVE_HANDSHAKE_TIMESTAMPS, raw.handshake_ts_value),
        connection: connection::connection_numbers(raw, state, facts.hz),
        socket: connection::socket_facts(raw, state, facts.hz),
        recent_close: recent_close(raw),
        owner: process::process(raw, wire::HAVE_OWNER, raw.owner_pid, &raw.owner_comm),
        owner_is_listener: has(raw, wire::HAVE_OWNER) && raw.owner_source == wire::OWNER_LISTEN,
        owner_end: process::owner_end(raw),
        killer: process::killer(raw),
        exe: None,
        uid: known(raw, wire::HAVE_SOCK, raw.uid),
        actor: None,
        current: process::process(raw, wire::HAVE_CURRENT, raw.current_pid, &raw.current_comm),
        cgroup_id: known(raw, wire::HAVE_CGROUP, raw.cgroup_id),
        cgroup: None,
        workload: None,
        netns: known(raw, wire::HAVE_NETNS, raw.netns),
        ifindex: (raw.ifindex != 0).then_some(raw.ifindex),
        mark: (raw.mark != 0).then_some(raw.mark),
        cookie: (raw.cookie != 0).then_some(raw.cookie),
        inode: (raw.inode != 0).then_some(raw.inode),
        story: None,
    }
}

const fn has(raw: &RawEvent, bit: u32) -> bool {
    raw.have & bit == bit
}

fn known<T>(raw: &RawEvent, bit: u32, value: T) -> Option<T> {
    has(raw, bit).then_some(value)
}

const fn undiagnosed() -> Verdict {
    Verdict {
        cause: Cause::Undiagnosed,
        initiator: Initiator::Unknown,
        confidence: Confidence::Guess,
        evidence: Facts::new(),
    }
}

/// A v4-mapped address is IPv4: that is what was on the wire.
fn resolve_addr(family: u16, bytes: [u8; 16]) -> (Family, IpAddr) {
    let [a, b, c, d, ..] = bytes;
    if family == wire::AF_INET {
        return (Family::Ipv4, IpAddr::V4(Ipv4Addr::new(a, b, c, d)));
    }
    let v6 = Ipv6Addr::from(bytes);
    v6.to_ipv4_mapped().map_or_else(
        || (Family::Ipv6, IpAddr::V6(v6)),
        |v4| (Family::Ipv4, IpAddr::V4(v4)),
    )
}

/// The state before the reset.
///
/// FIN-WAIT-2 without an application lives in a timewait socket (`tcp_time_wait`), whose substate
/// tells it from TIME-WAIT. That there is no socket is known only where the kernel had looked for
/// one.
fn resolve_state(raw: &RawEvent, drop_reason: Option<&str>) -> Option<SocketState> {
    match raw.socket_kind {
        wire::SOCKET_TIMEWAIT if has(raw, wire::HAVE_TIMEWAIT) => {
            if raw.timewait_substate == tcp_state::FIN_WAIT2 {
                Some(SocketState::FinWait2)
            } else {
                Some(SocketState::TimeWait)
            }
        }
        wire::SOCKET_TIMEWAIT => None,
        wire::SOCKET_REQUEST => Some(SocketState::SynRecv),
        _ if has(raw, wire::HAVE_STATE) => SocketState::from_wire(raw.state),
        wire::SOCKET_NONE if looked_for_socket(raw, drop_reason) => Some(SocketState::None),
        _ => None,
    }
}

/// Whether a record without a socket proves that there is none.
fn looked_for_socket(raw: &RawEvent, drop_reason: Option<&str>) -> bool {
    let send_hooks = [
        wire::HOOK_TCP_SEND_RESET,
        wire::HOOK_TCP_V4_SEND_RESET,
        wire::HOOK_TCP_V6_SEND_RESET,
    ];
    send_hooks.contains(&raw.hook)
        || raw.flags & wire::FLAG_DEDUCED != 0
        || drop_reason == Some("NO_SOCKET")
}

/// Who opened the connection, from the hooks' memory or else from what only one end can do.
fn resolve_role(
    raw: &RawEvent,
    state: Option<SocketState>,
    trigger_flags: Option<u8>,
) -> Option<Role> {
    let syn_only = |flags: u8| flags & (tcp_flag::SYN | tcp_flag::ACK) == tcp_flag::SYN;
    match raw.flags & (wire::FLAG_CLIENT | wire::FLAG_SERVER) {
        wire::FLAG_CLIENT => Some(Role::Client),
        wire::FLAG_SERVER => Some(Role::Server),
        _ if state == Some(SocketState::SynSent) => Some(Role::Client),
        _ if state == Some(SocketState::Listen)
            || raw.socket_kind == wire::SOCKET_REQUEST
            || (state == Some(SocketState::None) && trigger_flags.is_some_and(syn_only)) =>
        {
            Some(Role::Server)
        }
        _ => None,
    }
}

fn reason_name(raw: &RawEvent, bit: u32, names: &BTreeMap<u32, Arc<str>>) -> Option<Arc<str>> {
    known(raw, bit, raw.reason).and_then(|number| names.get(&number).cloned())
}

fn recent_close(raw: &RawEvent) -> Option<RecentClose> {
    let state = SocketState::from_wire(raw.closed_state)?;
    // A stamp taken on another CPU may be a little later than the event's.
    let ago_ns = raw.mono_ns.saturating_sub(raw.closed_ns);
    known(
        raw,
        wire::HAVE_CLOSED,
        RecentClose {
            ago_ms: ago_ns / 1_000_000,
            state,
        },
    )
}
