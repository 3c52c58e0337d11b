//! `peer-data-after-close`: our data reached a peer that had closed its socket.
//!
//! Evidence: the peer's FIN had arrived (CLOSE-WAIT, LAST-ACK since, or CLOSING where it crossed
//! ours), data of ours is not acknowledged, and the RST is bare, the answer to a segment. Data that
//! was on its way when the peer closed a quiet connection is `keepalive-race`, which goes before; a RST with ACK is a live
//! socket's own (`peer-aborted`); without data of ours the peer has merely forgotten (`peer-gone`).
//! Certain where the race is excluded: the data was sent after the FIN, or without a quiet time
//! before; likely where the times or the quiet time are not known or the RST was not seen.
//! Initiator: the peer's application. RFC 1122, 4.2.2.13.

use super::{Case, Finding, Rule};
use crate::diagnose::baseline::{SendOrder, is_bare};
use crate::event::model::{Cause, Confidence, Initiator, Kind, SocketState};

pub(super) const RULE: Rule = Rule {
    cause: Cause::PeerDataAfterClose,
    judge,
};

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
    let no_race = match SendOrder::of(case.event) {
        Some(SendOrder::AfterFin) => true,
        // A quiet time before would have made it `keepalive-race`.
        Some(_) => case.event.connection.idle_ms.is_some(),
        None => false,
    };
    let confidence = match (is_bare(case.event), has_unacked) {
        (Some(false), _) | (_, Some(false)) => return None,
        (Some(true), Some(true)) if no_race => Confidence::Certain,
        (Some(true), _) | (None, Some(true)) => Confidence::Likely,
        (None, None) => Confidence::Guess,
    };
    Some(Finding {
        initiator: Initiator::PeerApp,
        confidence,
        evidence: case.evidence().state().unacked().send_order().rst().idle(),
    })
}
