//! `firewall-reject`: a netfilter rule of this host answered with a reset.
//!
//! Evidence: the hook (`nf_send_reset` and its kin run for nothing else), or for the socket that
//! the reset then tears down here, the hook's event within the last second. A refused SYN is
//! `connection-refused` at its own end. Initiator: this host's firewall. Kernel:
//! `nf_reject_ip_tcphdr_put`; the TCP stack's tracepoints never see these resets.

use super::{Case, Finding, Rule};
use crate::diagnose::flows::is_firewall_hook;
use crate::event::model::{Cause, Confidence, Initiator, Kind, SocketState};

pub(super) const RULE: Rule = Rule {
    cause: Cause::FirewallReject,
    judge,
};

fn judge<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    if is_firewall_hook(case.event) {
        return Some(Finding {
            initiator: Initiator::LocalFirewall,
            confidence: Confidence::Certain,
            evidence: case.evidence().fact("hook=netfilter").trigger(),
        });
    }
    let ago_ms = case.past.firewall_reject?;
    let hit = case.is_kind(Kind::Received) && !case.is_state(SocketState::SynSent);
    hit.then(|| Finding {
        initiator: Initiator::LocalFirewall,
        confidence: Confidence::Likely,
        evidence: case
            .evidence()
            .value("local_firewall_reject_ago_ms", Some(ago_ms))
            .state()
            .rst(),
    })
}
