//! `connection-refused`: our SYN was answered with a RST.
//!
//! Evidence: a RST that tore a socket in SYN-SENT down; no other segment can
//! (`tcp_rcv_synsent_state_process`). Initiator: the peer's TCP, or this host's own firewall where
//! its reject was seen just before. A firewall on the way looks the same. Likely, and not known by
//! whom, where the RST has a number or a window, which a host without the socket does not have
//! (RFC 9293, 3.10.7.1): a middlebox, or a socket in another state. RFC 9293, 3.10.7.3.

use super::{Case, Finding, Rule};
use crate::event::model::{Cause, Confidence, Initiator, Kind, Segment, SocketState};

pub(super) const RULE: Rule = Rule {
    cause: Cause::ConnectionRefused,
    judge,
};

fn judge<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    if !case.is_kind(Kind::Received) || !case.is_state(SocketState::SynSent) {
        return None;
    }
    let rejected = case.past.firewall_reject;
    let is_of_no_socket = case.event.rst.is_none_or(|rst| answers_syn(&rst));
    let (initiator, confidence) = match (rejected, is_of_no_socket) {
        (Some(_), _) => (Initiator::LocalFirewall, Confidence::Certain),
        (None, true) => (Initiator::PeerKernel, Confidence::Certain),
        (None, false) => (Initiator::Unknown, Confidence::Likely),
    };
    Some(Finding {
        initiator,
        confidence,
        evidence: case
            .evidence()
            .state()
            .value("local_firewall_reject_ago_ms", rejected)
            .rst(),
    })
}

/// Whether it is what a host without a listener answers a SYN with: number 0 and no window.
fn answers_syn(rst: &Segment) -> bool {
    rst.seq == 0 && rst.window.is_none_or(|window| window == 0)
}
