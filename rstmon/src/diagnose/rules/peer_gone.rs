//! `peer-gone`: the peer has no such connection.
//!
//! Evidence: a bare RST on a connection that was there, whose sequence number is our
//! acknowledgment: the answer of a host without the socket to a segment of ours (RFC 9293, 3.5.2).
//! Likely where something of ours was on its way (data, a FIN, a probe); a guess where nothing was,
//! or where the RST was not seen. Takes what `peer-data-after-close` and `peer-aborted` left.
//! Initiator: the peer's TCP.

use super::{Case, Finding, Rule};
use crate::event::model::{Cause, Confidence, Initiator, Kind, SocketState};

pub(super) const RULE: Rule = Rule {
    cause: Cause::PeerGone,
    judge,
};

/// States in which a RST is the end of a connection, and a FIN of ours may be on its way.
const WITH_FIN_OUT: &[SocketState] = &[
    SocketState::FinWait1,
    SocketState::Closing,
    SocketState::LastAck,
];

/// The other states of a connection.
const WITHOUT_FIN_OUT: &[SocketState] = &[
    SocketState::Established,
    SocketState::FinWait2,
    SocketState::CloseWait,
];

fn judge<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let fin_out = case.is_state_of(WITH_FIN_OUT);
    if !case.is_kind(Kind::Received) || !(fin_out || case.is_state_of(WITHOUT_FIN_OUT)) {
        return None;
    }
    let data_out = case
        .event
        .connection
        .unacked_bytes
        .is_some_and(|bytes| bytes > 0);
    let probes_out = case
        .socket()
        .map(|socket| socket.probes_out)
        .filter(|&probes| probes > 0);
    let something_out = data_out || fin_out || probes_out.is_some();
    let confidence = if case.event.rst.is_some() && something_out {
        Confidence::Likely
    } else {
        Confidence::Guess
    };
    Some(Finding {
        initiator: Initiator::PeerKernel,
        confidence,
        evidence: case
            .evidence()
            .state()
            .rst()
            .unacked()
            .value("probes_out", probes_out)
            .idle(),
    })
}
