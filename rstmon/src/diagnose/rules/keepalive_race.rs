//! `keepalive-race`: the peer closed an idle connection while our next request was on its way.
//!
//! Evidence: the peer's FIN had arrived (CLOSE-WAIT, or LAST-ACK since), data of ours is not
//! acknowledged, it was sent before the FIN was heard or in the same clock tick, after a quiet time,
//! and the RST is bare. Data sent after the FIN, or without a quiet time before, is
//! `peer-data-after-close`; a RST with ACK is a live socket's (`peer-aborted`). The order is told by
//! the RST's number where it was seen, else by the clock. Never certain: the quiet time is the one
//! between the last data received and our last data, and what we sent in between, if it was
//! acknowledged, leaves no trace. A guess where the order is within a tick and the RST was not seen;
//! where the times are not known, where retransmissions have blurred them, or where the peer never
//! sent data, there is no race to see.
//! Initiator: the peer's application. RFC 9293, 3.6.1; kernel: `tcp_event_data_sent`, `tcp_ack`.

use super::{Case, Finding, Rule};
use crate::diagnose::baseline::{SendOrder, is_bare};
use crate::diagnose::evidence::render_seconds;
use crate::diagnose::idle_timers::Keeper;
use crate::event::model::{Cause, Confidence, Initiator, Kind, SocketState};

pub(super) const RULE: Rule = Rule {
    cause: Cause::KeepaliveRace,
    judge,
};

/// Between a response and the next request; less is one exchange, not an idle connection.
const QUIET_MS: u64 = 500;

fn judge<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let after_fin = case.is_state_of(&[SocketState::CloseWait, SocketState::LastAck]);
    let connection = &case.event.connection;
    let idle_ms = connection.idle_ms.filter(|&idle| idle >= QUIET_MS)?;
    let has_unacked = connection.unacked_bytes? > 0;
    if !case.is_kind(Kind::Received) || !after_fin || !has_unacked {
        return None;
    }
    let confidence = match (SendOrder::of(case.event)?, is_bare(case.event)) {
        (SendOrder::AfterFin, _) | (_, Some(false)) => return None,
        (SendOrder::BeforeFin, _) | (SendOrder::SameTick, Some(true)) => Confidence::Likely,
        (SendOrder::SameTick, None) => Confidence::Guess,
    };
    Some(Finding {
        initiator: Initiator::PeerApp,
        confidence,
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
