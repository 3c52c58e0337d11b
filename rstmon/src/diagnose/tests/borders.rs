//! Where one cause that this host sends ends and the next begins, and what an old kernel tells of it.

use super::{Row, check};
use crate::diagnose::testing::Scene;
use crate::event::model::{Cause, Confidence::*, Initiator::*};
use rstmon_common::wire::{tcp_flag::*, tcp_state::*};

#[test]
fn orphans_and_timers() {
    let refused = || Scene::closing(FIN_WAIT2);
    let in_fin_wait2 = || Scene::active(FIN_WAIT2, FIN_WAIT2);
    let rows: Vec<Row> = vec![
        (
            "refused with TCP_LINGER2 of five seconds, old kernel",
            refused().orphan().with(|raw| raw.linger2 = 5),
            Cause::OutOfMemory,
            LocalKernel,
            Guess,
        ),
        (
            "no orphan: it has its file still",
            refused(),
            Cause::Disconnect,
            LocalApp,
            Likely,
        ),
        (
            "TCP_LINGER2 below zero, data with the ACK of the FIN",
            Scene::passive(FIN_WAIT1)
                .segment(PSH | ACK, 5)
                .with(|raw| raw.linger2 = -1)
                .reason("TCP_ABORT_ON_DATA"),
            Cause::DataAfterClose,
            LocalApp,
            Certain,
        ),
        (
            "FIN-WAIT-2 with its file: somebody else",
            in_fin_wait2().owner_and_current(10, 20).reason("TCP_STATE"),
            Cause::SocketDestroyed,
            LocalAdmin,
            Certain,
        ),
        (
            "an orphan, but not in FIN-WAIT-2",
            Scene::active(FIN_WAIT1, FIN_WAIT1)
                .orphan()
                .reason("TCP_STATE"),
            Cause::SocketDestroyed,
            LocalAdmin,
            Certain,
        ),
    ];
    check(rows);
}

#[test]
fn segments_that_are_refused() {
    let answered = || Scene::passive(SYN_SENT).segment(SYN | ACK, 0);
    let third_ack = |backlog| Scene::passive(LISTEN).segment(ACK, 0).backlog(backlog, 2);
    let rows: Vec<Row> = vec![
        (
            "an old timestamp, old kernel: what fields tell is the answer to our SYN",
            answered(),
            Cause::BadHandshakeAck,
            Unknown,
            Likely,
        ),
        (
            "an old timestamp outside the handshake",
            Scene::passive(ESTABLISHED)
                .segment(ACK, 0)
                .reason("TCP_RFC7323_PAWS"),
            Cause::Paws,
            Unknown,
            Certain,
        ),
        (
            "a queue with room, old kernel",
            third_ack(2),
            Cause::BadHandshakeAck,
            Unknown,
            Likely,
        ),
        (
            "a SYN that a listener refuses, old kernel",
            Scene::passive(LISTEN).segment(SYN, 0),
            Cause::InvalidSegment,
            Unknown,
            Likely,
        ),
        (
            "MPTCP join, old kernel",
            Scene::passive(LISTEN).segment(SYN, 0).join(),
            Cause::Mptcp,
            LocalKernel,
            Likely,
        ),
        (
            "the third ACK of an MPTCP join, old kernel",
            Scene::passive(LISTEN).segment(ACK, 0).join(),
            Cause::Mptcp,
            LocalKernel,
            Likely,
        ),
        (
            "a reason that MPTCP borrows, of a socket that is closed",
            Scene::closing(ESTABLISHED)
                .unread(1)
                .reason("TCP_ABORT_ON_CLOSE"),
            Cause::CloseUnreadData,
            LocalApp,
            Certain,
        ),
        (
            "a SYN for FIN-WAIT-2, old kernel",
            Scene::timewait(FIN_WAIT2).segment(SYN, 0),
            Cause::TimeWaitHit,
            Unknown,
            Likely,
        ),
        (
            "a reason without a cause of its own",
            Scene::passive(ESTABLISHED)
                .segment(ACK, 0)
                .reason("TCP_SOMETHING_NEW"),
            Cause::InvalidSegment,
            Unknown,
            Certain,
        ),
    ];
    check(rows);
}
