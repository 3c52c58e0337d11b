//! `middlebox-reset`: the RST names its author.
//!
//! Evidence, one of: the reset cause of F5 BIG-IP in the payload (certain: nobody else writes it); an
//! IETF diagnostic payload (likely; its author is a box for some reasons, else the peer may be); a
//! NetScaler code in the window field beside a second sign, as the window of a live peer may be any
//! number (likely): a bare RST, which has no window, or a TTL or missing timestamps that do not fit
//! the handshake. Excludes the causes that shape and state would give, those of a handshake too. Any
//! other text in the payload names nobody and is evidence only. A RST that was not seen, as in
//! tracepoint mode, never gets here; one that was not obeyed is what it was, with the text beside.

use super::{Case, Finding, Rule};
use crate::diagnose::baseline::is_bare;
use crate::diagnose::forgery::Nature;
use crate::diagnose::signatures::{PayloadMeaning, netscaler};
use crate::event::model::{Cause, Confidence, Initiator, Kind};

pub(super) const RULE: Rule = Rule {
    cause: Cause::MiddleboxReset,
    judge,
};

fn judge<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    if !case.is_kind(Kind::Received) || case.event.rst.is_none() {
        return None;
    }
    let payload = case.event.payload.as_deref();
    let (initiator, confidence, code) = match payload.and_then(PayloadMeaning::parse) {
        Some(PayloadMeaning::BigIp(_)) => (Initiator::Middlebox, Confidence::Certain, None),
        Some(PayloadMeaning::Diagnostic(it)) if it.names_middlebox() => {
            (Initiator::Middlebox, Confidence::Likely, None)
        }
        Some(PayloadMeaning::Diagnostic(_)) => (Initiator::Unknown, Confidence::Likely, None),
        Some(PayloadMeaning::Text(_)) | None => {
            let code = netscaler_code(case)?;
            (Initiator::Middlebox, Confidence::Likely, Some(code))
        }
    };
    Some(Finding {
        initiator,
        confidence,
        evidence: case
            .evidence()
            .value("netscaler", code)
            .state()
            .rst()
            .idle(),
    })
}

fn netscaler_code(case: &Case<'_>) -> Option<&'static str> {
    let code = netscaler::resolve_code(case.event.rst?.window?)?;
    let is_foreign = case
        .signs
        .iter()
        .any(|sign| matches!(sign.nature, Nature::Way | Nature::Timestamps));
    (is_bare(case.event)? || is_foreign).then_some(code)
}
