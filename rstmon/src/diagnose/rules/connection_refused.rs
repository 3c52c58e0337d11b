//! `connection-refused`: our SYN was answered with a RST.
//!
//! Evidence: a RST that tore a socket in SYN-SENT down; no other segment can
//! (`tcp_rcv_synsent_state_process`). Initiator: the peer's TCP, or this host's own firewall where
//! its reject was seen just before. A firewall on the way looks the same. RFC 9293, 3.10.7.3.

use super::{Case, Finding, Rule};
use crate::event::model::{Cause, Confidence, Initiator, Kind, SocketState};

pub(super) const RULE: Rule = Rule {
    cause: Cause::ConnectionRefused,
    judge,
};

fn judge<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let rejected = case.past.firewall_reject;
    let initiator = if rejected.is_some() {
        Initiator::LocalFirewall
    } else {
        Initiator::PeerKernel
    };
    let found = case.is_kind(Kind::Received) && case.is_state(SocketState::SynSent);
    found.then(|| Finding {
        initiator,
        confidence: Confidence::Certain,
        evidence: case
            .evidence()
            .state()
            .value("local_firewall_reject_ago_ms", rejected)
            .rst(),
    })
}
