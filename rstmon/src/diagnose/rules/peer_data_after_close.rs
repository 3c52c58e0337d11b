//! `peer-data-after-close`: our data reached a peer that had closed its socket.
//!
//! Evidence: the peer's FIN had arrived (CLOSE-WAIT, or LAST-ACK since), data of ours is not
//! acknowledged, and the RST is bare, the answer to a segment. A RST with ACK is a live socket's
//! own (`peer-aborted`); without data of ours the peer has merely forgotten (`peer-gone`). Where
//! the RST was not seen, the first two must do. Initiator: the peer's application.
//! RFC 1122, 4.2.2.13.

use super::{Case, Finding, Rule};
use crate::event::model::{Cause, Confidence, Initiator, Kind, SocketState};
use rstmon_common::wire::tcp_flag;

pub(super) const RULE: Rule = Rule {
    cause: Cause::PeerDataAfterClose,
    judge,
};

fn judge<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let after_fin = case.is_state_of(&[SocketState::CloseWait, SocketState::LastAck]);
    if !case.is_kind(Kind::Received) || !after_fin {
        return None;
    }
    let has_unacked = case.event.connection.unacked_bytes.map(|bytes| bytes > 0);
    let bare = case.event.rst.map(|rst| !rst.flags.has(tcp_flag::ACK));
    let confidence = match (bare, has_unacked) {
        (Some(false), _) | (_, Some(false)) => return None,
        (Some(true), Some(true)) => Confidence::Certain,
        (Some(true), None) | (None, Some(true)) => Confidence::Likely,
        (None, None) => Confidence::Guess,
    };
    Some(Finding {
        initiator: Initiator::PeerApp,
        confidence,
        evidence: case.evidence().state().unacked().rst(),
    })
}
