//! `peer-gone`: the peer has no such connection.
//!
//! Evidence: a bare RST on a connection that was there, whose sequence number is our
//! acknowledgment: the answer of a host without the socket to a segment of ours (RFC 9293, 3.5.2).
//! Likely where something of ours was on its way (data, a FIN, a probe); a guess where nothing was,
//! or where the RST was not seen. Where neither the RST nor what was on its way is known, as in
//! classic mode, an abort shows the same, and there is nothing to go by. Takes what `idle-timeout`,
//! `peer-data-after-close` and `peer-aborted` left: above all, a connection that was in use a short while
//! ago. Initiator: the peer's TCP, or whoever answers in its place if the RST came another way than the
//! handshake.

use super::{Case, Finding, Rule};
use crate::event::model::{Cause, Confidence, Initiator, Kind, SocketState};

pub(super) const RULE: Rule = Rule {
    cause: Cause::PeerGone,
    judge,
};

/// The states of a connection that a RST ends.
const CONNECTED: &[SocketState] = &[
    SocketState::Established,
    SocketState::FinWait1,
    SocketState::FinWait2,
    SocketState::CloseWait,
    SocketState::Closing,
    SocketState::LastAck,
];

fn judge<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    if !case.is_kind(Kind::Received) || !case.is_state_of(CONNECTED) {
        return None;
    }
    if case.event.rst.is_none() && case.event.connection.unacked_bytes.is_none() {
        return None;
    }
    let probes_out = case.socket().map(|socket| socket.probes_out);
    let confidence = if case.event.rst.is_some() && case.has_something_out() {
        Confidence::Likely
    } else {
        Confidence::Guess
    };
    Some(Finding {
        initiator: case.unless_from_elsewhere(Initiator::PeerKernel),
        confidence,
        evidence: case
            .evidence()
            .state()
            .rst()
            .unacked()
            .value("probes_out", probes_out.filter(|&probes| probes > 0))
            .idle(),
    })
}
