//! `mptcp-received`: a RST with an MPTCP reason.
//!
//! Evidence: an obeyed RST with the option `MP_TCPRST`, whose reason is told. Excludes nothing: the
//! other causes say how a peer resets, this one says why. Goes first, as a subflow that is refused
//! or aborted is no reset of the connection. Kernels that hide the segment leave such a RST to the
//! other rules. Certain; initiator: the peer's MPTCP, or the box that it says has interfered.
//! RFC 8684, 3.6; kernel: `mptcp_established_options_rst`.

use super::{Case, Finding, Rule};
use crate::event::model::{Cause, Confidence, Initiator, Kind};

pub(super) const RULE: Rule = Rule {
    cause: Cause::MptcpReceived,
    judge,
};

/// "Middlebox interference".
const MIDDLEBOX: u8 = 6;

/// The reasons of RFC 8684, 3.6, from 0 up.
const REASONS: [&str; 7] = [
    "unspecified",
    "MPTCP-specific error",
    "lack of resources",
    "administratively prohibited",
    "too much outstanding data",
    "unacceptable performance",
    "middlebox interference",
];

fn judge<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let reason = case.event.mptcp_reset_reason?;
    let words = REASONS.get(usize::from(reason));
    case.is_kind(Kind::Received).then(|| Finding {
        initiator: if reason == MIDDLEBOX {
            Initiator::Middlebox
        } else {
            Initiator::PeerKernel
        },
        confidence: Confidence::Certain,
        evidence: case.evidence().value("mptcp_reason", words).state().rst(),
    })
}
