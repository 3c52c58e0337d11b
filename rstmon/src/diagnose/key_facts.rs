//! The two or three facts of an event that a text line has room for.
//!
//! Called by the text sink; the full list is the verdict's evidence. Written for people: short, with
//! units, nothing that the line shows already.

use crate::event::model::{Cause, Event, Segment};

/// Idle times below this explain nothing.
const NOTABLE_IDLE_MS: u64 = 1_000;

/// At most this many facts.
const MAX_FACTS: usize = 3;

/// The facts that matter most for the event's cause, most telling first; none if none is known.
#[must_use]
pub fn key_facts(event: &Event) -> Vec<String> {
    let candidates: Vec<Option<String>> = match event.verdict.cause {
        Cause::CloseUnreadData => vec![unread(event), age(event)],
        Cause::LingerAbort => vec![Some("linger 0".to_owned()), unacked(event), unsent(event)],
        Cause::DataAfterClose | Cause::TimeWaitHit => vec![trigger(event)],
        Cause::SegmentAfterClose => vec![trigger(event), closed(event)],
        Cause::PortClosed
        | Cause::StaleSegment
        | Cause::BadHandshakeAck
        | Cause::Paws
        | Cause::FirewallReject => vec![trigger(event), ttl(event)],
        Cause::AcceptQueueOverflow => vec![backlog(event)],
        Cause::KeepaliveTimeout | Cause::UserTimeout => vec![probes(event), idle(event)],
        // The line shows the actor beside the owner.
        Cause::SocketDestroyed => vec![age(event), unacked(event)],
        Cause::ProcessKilled => vec![ending(event), unread(event), trigger(event)],
        Cause::Mptcp | Cause::InvalidSegment | Cause::Undiagnosed => {
            vec![reason(event), trigger(event), rst(event)]
        }
        Cause::ConnectionRefused => vec![ttl(event)],
        Cause::PeerAborted | Cause::PeerGone | Cause::PeerDataAfterClose => {
            vec![
                rst(event),
                unread(event),
                unacked(event),
                idle(event),
                ttl(event),
            ]
        }
        Cause::IdleTimeout => vec![
            idle(event),
            said(event, "learned_timer=", "timer "),
            said(event, "known_timer=", "timer "),
            unacked(event),
        ],
        Cause::KeepaliveRace => vec![idle(event), unacked(event), rst(event)],
        Cause::MiddleboxReset => vec![
            said(event, "rst_payload=", ""),
            said(event, "netscaler=", "NetScaler "),
        ],
        Cause::ForgedSuspect => event
            .verdict
            .evidence
            .iter()
            .filter_map(|fact| fact.strip_prefix("sign="))
            .map(|sign| Some(sign.to_owned()))
            .collect(),
        Cause::MptcpReceived => vec![said(event, "mptcp_reason=", ""), rst(event)],
        Cause::BlindReset => vec![rst(event), off_by(event), ttl(event)],
        Cause::StrayReset | Cause::HandshakeAborted | Cause::TimeWaitAssassination => {
            vec![rst(event), ttl(event)]
        }
        _ => vec![unread(event), unacked(event), idle(event)],
    };
    candidates.into_iter().flatten().take(MAX_FACTS).collect()
}

fn bytes(count: Option<u32>, what: &str) -> Option<String> {
    let count = count.filter(|&count| count > 0)?;
    Some(format!("{count} B {what}"))
}

fn unread(event: &Event) -> Option<String> {
    bytes(event.connection.unread_bytes, "unread")
}

fn unacked(event: &Event) -> Option<String> {
    bytes(event.connection.unacked_bytes, "unacked")
}

fn unsent(event: &Event) -> Option<String> {
    bytes(event.connection.unsent_bytes, "unsent")
}

fn idle(event: &Event) -> Option<String> {
    let idle_ms = event.connection.idle_ms?;
    (idle_ms >= NOTABLE_IDLE_MS).then(|| format!("idle {}", render_duration(idle_ms)))
}

fn age(event: &Event) -> Option<String> {
    let age_ms = event.connection.age_ms?;
    Some(format!("age {}", render_duration(age_ms)))
}

fn closed(event: &Event) -> Option<String> {
    let ago_ms = event.recent_close?.ago_ms;
    Some(format!("closed {} ago", render_duration(ago_ms)))
}

/// A fact of the evidence, in place of whose `name=` stands `label`.
fn said(event: &Event, name: &str, label: &str) -> Option<String> {
    let mut evidence = event.verdict.evidence.iter();
    let value = evidence.find_map(|fact| fact.strip_prefix(name))?;
    Some(format!("{label}{value}"))
}

fn render_duration(ms: u64) -> String {
    if ms < 1_000 {
        format!("{ms}ms")
    } else if ms < 10_000 {
        format!("{}.{}s", ms / 1_000, ms % 1_000 / 100)
    } else {
        format!("{}s", ms / 1_000)
    }
}

fn trigger(event: &Event) -> Option<String> {
    event.trigger.as_ref().map(|it| describe("trigger", it))
}

fn rst(event: &Event) -> Option<String> {
    event.rst.as_ref().map(|it| describe("rst", it))
}

fn describe(name: &str, segment: &Segment) -> String {
    if segment.len > 0 {
        format!("{name} {} len {}", segment.flags, segment.len)
    } else {
        format!("{name} {}", segment.flags)
    }
}

/// TTL of the handshake and of the RST where they differ.
fn ttl(event: &Event) -> Option<String> {
    let rst = event.rst?.ttl?;
    match event.handshake_ttl {
        Some(handshake) if handshake != rst => Some(format!("ttl {handshake}→{rst}")),
        Some(_) => None,
        None => Some(format!("ttl {rst}")),
    }
}

/// How far the RST was from the number that would have been obeyed.
fn off_by(event: &Event) -> Option<String> {
    let expected = event.socket?.rcv_nxt?;
    let off = event.rst?.seq.wrapping_sub(expected).cast_signed();
    (off != 0).then(|| format!("seq off by {off}"))
}

fn backlog(event: &Event) -> Option<String> {
    let (waiting, limit) = event.socket?.backlog?;
    Some(format!("backlog {waiting}/{limit}"))
}

fn probes(event: &Event) -> Option<String> {
    let probes = event.socket?.probes_out;
    let plural = if probes == 1 { "" } else { "s" };
    (probes > 0).then(|| format!("{probes} probe{plural}"))
}

/// What ended the process: the signal, or that it was chosen to free memory.
fn ending(event: &Event) -> Option<String> {
    if event.verdict.evidence.contains("oom_kill=yes") {
        return Some("OOM kill".to_owned());
    }
    said(event, "signal=", "")
}

fn reason(event: &Event) -> Option<String> {
    let reason = event.kernel_reason.as_deref();
    reason.or(event.drop_reason.as_deref()).map(str::to_owned)
}
