//! `peer-data-after-close`: our data reached a peer that had closed its socket.
//!
//! Evidence: the peer's FIN had arrived (CLOSE-WAIT, LAST-ACK since, or CLOSING where it crossed
//! ours), data of ours is not acknowledged, and the RST is bare, the answer to a segment. Data that
//! was on its way when the peer closed a quiet connection is `keepalive-race`, which goes before; a
//! RST with ACK is a live socket's own (`peer-aborted`); without data of ours the peer has merely
//! forgotten (`peer-gone`). Certain where the race is excluded: the data was sent after the FIN, or
//! without a quiet time before, or by a server, which sends no requests; likely where the times or the quiet time are not known, where the
//! peer's last data came after ours, where the RST was not seen, and where the connection may have
//! been forgotten since the FIN. Initiator: the peer's application, or whoever answers in its place
//! if the RST came another way than the handshake. RFC 1122, 4.2.2.13.

use super::{Case, Finding, Rule};
use crate::diagnose::baseline::{SendOrder, Way, is_bare, received_against_sent};
use crate::event::model::{Cause, Confidence, Initiator, Kind, SocketState};
use std::cmp::Ordering;

pub(super) const RULE: Rule = Rule {
    cause: Cause::PeerDataAfterClose,
    judge,
};

/// Half closed for as long, a connection may be forgotten as any quiet one.
const FORGOTTEN_MS: u64 = 60_000;

fn judge<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let after_fin = case.is_state_of(&[
        SocketState::CloseWait,
        SocketState::LastAck,
        SocketState::Closing,
    ]);
    if !case.is_kind(Kind::Received) || !after_fin {
        return None;
    }
    let has_unacked = case.event.connection.unacked_bytes.map(|bytes| bytes > 0);
    let is_fresh = case.socket_is(|socket| {
        let heard_ms = socket.since_heard_ms;
        heard_ms.is_some_and(|heard| heard < FORGOTTEN_MS)
    });
    let from_elsewhere = Way::of(case.event) == Some(Way::Other);
    let by_peer = is_fresh && !from_elsewhere;
    let confidence = match (is_bare(case.event), has_unacked) {
        (Some(false), _) | (_, Some(false)) => return None,
        (Some(true), Some(true)) if by_peer && excludes_race(case) => Confidence::Certain,
        (Some(true), _) | (None, Some(true)) => Confidence::Likely,
        (None, None) => Confidence::Guess,
    };
    Some(Finding {
        initiator: case.unless_from_elsewhere(Initiator::PeerApp),
        confidence,
        evidence: case.evidence().state().unacked().send_order().rst().idle(),
    })
}

/// Whether our data cannot have been a request that crossed the FIN of a quiet connection: it was
/// sent later, or data came just before it. The peer's data after it may be its goodbye.
fn excludes_race(case: &Case<'_>) -> bool {
    let order = SendOrder::of(case.event);
    let received = case.socket().and_then(received_against_sent);
    // A quiet time before would have made it `keepalive-race`; or this end is the server, whose data is no
    // request.
    let told = case.event.connection.idle_ms.is_some();
    match order {
        Some(SendOrder::AfterFin) => true,
        Some(SendOrder::BeforeFin) => told && received >= Some(Ordering::Equal),
        Some(SendOrder::SameTick) => told && received == Some(Ordering::Greater),
        None => false,
    }
}
