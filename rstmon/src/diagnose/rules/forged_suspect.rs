//! `forged-suspect`: the RST does not fit the peer that the handshake showed.
//!
//! Evidence: the signs of `diagnose::forgery`, all of which are listed; one decisive, or a strong one
//! and another of a different nature. Less stays the cause that state and shape give, with the sign
//! beside. Takes RSTs that were obeyed, and second ones that found the connection gone already; a
//! rejected one is `blind-reset`. A RST that names its author goes before. Where the segment was
//! not seen there is nothing to compare, and nothing is suspected. Likely at most: what the network
//! did is not seen from here. Initiator: a box on the way, whether it censors or attacks.
//! RFC 9293, 3.5.2.

use super::{Case, Finding, Rule};
use crate::diagnose::forgery::amounts_to_forgery;
use crate::event::model::{Cause, Confidence, Initiator, Kind};

pub(super) const RULE: Rule = Rule {
    cause: Cause::ForgedSuspect,
    judge,
};

fn judge<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let arrived = case.is_kind(Kind::Received) || case.is_kind(Kind::Stray);
    let seen = case.event.rst.is_some();
    (arrived && seen && amounts_to_forgery(case.signs)).then(|| Finding {
        initiator: Initiator::Middlebox,
        confidence: Confidence::Likely,
        evidence: case.evidence().state().rst().unacked().idle(),
    })
}
