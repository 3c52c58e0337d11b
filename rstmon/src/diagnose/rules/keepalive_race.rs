//! `keepalive-race`: the peer closed an idle connection while our next request was on its way.
//!
//! Evidence: the peer's FIN had arrived (CLOSE-WAIT, or LAST-ACK since), data of ours is not
//! acknowledged, it was sent before the FIN was heard or in the same clock tick, after a quiet time,
//! and the RST is bare. Data sent after the FIN, or without a quiet time before, is
//! `peer-data-after-close`; a RST with ACK is a live socket's (`peer-aborted`). The order is told by
//! the RST's number where that is one short of RCV.NXT, else by the clock. Never certain: the quiet time is the one
//! between the last data received and our last data, and what we sent in between, if it was
//! acknowledged, leaves no trace. A guess where the order is within a tick and the RST was not seen,
//! where it is not known who opened the connection (a server's data is an answer, no next request, and
//! has no race), and where data of the peer's came with the FIN, which hides the quiet time. Where the
//! times are not known, where retransmissions have blurred them, or where the peer never sent data,
//! there is no race to see.
//! Initiator: the peer's application. RFC 9293, 3.6.1; kernel: `tcp_event_data_sent`, `tcp_ack`.

use super::{Case, Finding, Rule};
use crate::diagnose::baseline::{SendOrder, is_bare, received_against_sent};
use crate::diagnose::evidence::render_seconds;
use crate::diagnose::idle_timers::Keeper;
use crate::event::model::{Cause, Confidence, Initiator, Kind, Role, SocketState};
use std::cmp::Ordering;

pub(super) const RULE: Rule = Rule {
    cause: Cause::KeepaliveRace,
    judge,
};

/// Between a response and the next request; less is one exchange, not an idle connection.
const QUIET_MS: u64 = 500;

fn judge<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let after_fin = case.is_state_of(&[SocketState::CloseWait, SocketState::LastAck]);
    let has_unacked = case.event.connection.unacked_bytes? > 0;
    let is_server = case.event.role == Some(Role::Server);
    if !case.is_kind(Kind::Received) || !after_fin || !has_unacked || is_server {
        return None;
    }
    let order = SendOrder::of(case.event)?;
    let is_bare = is_bare(case.event);
    if order == SendOrder::AfterFin || is_bare == Some(false) {
        return None;
    }
    if received_against_sent(case.socket()?) == Some(Ordering::Less) {
        return behind_goodbye(case, order);
    }
    let idle_ms = case.event.connection.idle_ms;
    let idle_ms = idle_ms.filter(|&idle| idle >= QUIET_MS)?;
    let within_tick = order == SendOrder::SameTick && is_bare.is_none();
    Some(Finding {
        initiator: Initiator::PeerApp,
        confidence: if within_tick || case.event.role.is_none() {
            Confidence::Guess
        } else {
            Confidence::Likely
        },
        evidence: case
            .evidence()
            .state()
            .idle()
            .send_order()
            .unacked()
            .rst()
            .idle_timers(Keeper::Server, Some(idle_ms), case.timer)
            .fact(format!(
                "avoid=keep idle connections for less than {}",
                render_seconds(idle_ms)
            )),
    })
}

/// The peer's last data came with its FIN, as TLS says goodbye, and hides the quiet time before. An
/// early answer to an upload looks the same, but for data that still waits to be sent.
fn behind_goodbye<'a>(case: &Case<'a>, order: SendOrder) -> Option<Finding<'a>> {
    let connection = &case.event.connection;
    let is_request = case.event.role == Some(Role::Client) && connection.unsent_bytes == Some(0);
    let may_have_been_quiet = connection.age_ms.is_none_or(|age| age >= QUIET_MS);
    let found = order == SendOrder::BeforeFin && is_request && may_have_been_quiet;
    let received_ms = case.socket().and_then(|socket| socket.since_received_ms);
    found.then(|| Finding {
        initiator: Initiator::PeerApp,
        confidence: Confidence::Guess,
        evidence: case
            .evidence()
            .state()
            .value("data_received_ago_ms", received_ms)
            .send_order()
            .unacked()
            .rst(),
    })
}
