//! `close-unread-data`: the application closed with received data unread.
//!
//! Evidence: reason `TCP_ABORT_ON_CLOSE` (Linux 6.12), else an active reset of a socket that is
//! CLOSED with both directions shut down and RCV.NXT ahead of what was read; the close path purges
//! the queue and leaves that mark. Goes before `linger-abort`, as `__tcp_close` tests unread data
//! first. Likely where nothing of the socket is known, as in classic mode: its process may have been
//! killed, and MPTCP borrows the reason. Initiator: the application. RFC 1122, 4.2.2.13; RFC 2525, 2.17.

use super::{Case, Finding, Rule};
use crate::event::model::{Cause, Confidence, Initiator};

pub(super) const RULE: Rule = Rule {
    cause: Cause::CloseUnreadData,
    judge,
};

fn judge<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    if !case.is_active() {
        return None;
    }
    let has_unread = case
        .event
        .connection
        .unread_bytes
        .is_some_and(|bytes| bytes > 0);
    let by_fields =
        case.reason().is_none() && case.is_closed_at_hook() && case.is_shut_down() && has_unread;
    (case.has_reason("TCP_ABORT_ON_CLOSE") || by_fields).then(|| {
        let evidence = case.evidence().kernel_reason().unread().state().exit();
        let finding = case.finding(Initiator::LocalApp, Confidence::Likely, evidence);
        match case.socket() {
            Some(_) => finding,
            None => Finding {
                confidence: Confidence::Likely,
                ..finding
            },
        }
    })
}
