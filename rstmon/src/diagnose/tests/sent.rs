//! Resets that this host sends.

use super::{Row, check};
use crate::diagnose::testing::Scene;
use crate::event::model::{Cause, Confidence::*, Initiator::*};
use rstmon_common::wire::{sock_flag, tcp_flag::*, tcp_state::*};

#[test]
fn segments_without_a_socket() {
    let syn = || Scene::socketless().segment(SYN, 0);
    let data = || Scene::socketless().segment(PSH | ACK, 5);
    let rows: Vec<Row> = vec![
        (
            "plain",
            syn().reason("NO_SOCKET"),
            Cause::PortClosed,
            LocalKernel,
            Certain,
        ),
        ("old kernel", syn(), Cause::PortClosed, LocalKernel, Certain),
        (
            "deduced",
            syn().with(|raw| raw.flags |= rstmon_common::wire::FLAG_DEDUCED),
            Cause::PortClosed,
            LocalKernel,
            Likely,
        ),
        (
            "a SYN is new, whatever closed before",
            syn().closed_from(FIN_WAIT2),
            Cause::PortClosed,
            LocalKernel,
            Certain,
        ),
        (
            "SYN and ACK asks for nothing",
            Scene::socketless().segment(SYN | ACK, 0),
            Cause::StaleSegment,
            Unknown,
            Likely,
        ),
        (
            "data",
            data().reason("NO_SOCKET"),
            Cause::StaleSegment,
            Unknown,
            Likely,
        ),
        (
            "data, old kernel",
            data(),
            Cause::StaleSegment,
            Unknown,
            Likely,
        ),
        (
            "no segment: any of the three, a SYN's above all",
            Scene::socketless().reason("NO_SOCKET"),
            Cause::Undiagnosed,
            Unknown,
            Guess,
        ),
        (
            "closed here",
            data().closed_from(LAST_ACK),
            Cause::SegmentAfterClose,
            LocalApp,
            Certain,
        ),
        (
            "a connect that was given up",
            Scene::socketless()
                .segment(SYN | ACK, 0)
                .closed_from(SYN_SENT),
            Cause::SegmentAfterClose,
            Unknown,
            Certain,
        ),
        (
            "gone without a word, as TCP_REPAIR does",
            data().closed_from(ESTABLISHED),
            Cause::StaleSegment,
            Unknown,
            Likely,
        ),
    ];
    check(rows);
}

/// As classic mode has it.
fn without_socket(scene: Scene) -> Scene {
    scene.with(|raw| {
        raw.have &= !(rstmon_common::wire::HAVE_SOCK | rstmon_common::wire::HAVE_TCP);
    })
}

#[test]
fn closes() {
    let established = || Scene::closing(ESTABLISHED);
    let rows: Vec<Row> = vec![
        (
            "unread",
            established().unread(5).reason("TCP_ABORT_ON_CLOSE"),
            Cause::CloseUnreadData,
            LocalApp,
            Certain,
        ),
        (
            "unread, old kernel",
            established().unread(5),
            Cause::CloseUnreadData,
            LocalApp,
            Likely,
        ),
        (
            "reason 0 of 6.11",
            established().unread(5).reason("NOT_SPECIFIED"),
            Cause::CloseUnreadData,
            LocalApp,
            Likely,
        ),
        (
            "unread goes before linger",
            established().unread(5).linger_zero(),
            Cause::CloseUnreadData,
            LocalApp,
            Likely,
        ),
        (
            "a FIN is no unread byte",
            established()
                .unread(1)
                .linger_zero()
                .with(|raw| raw.sock_flags |= sock_flag::DONE),
            Cause::LingerAbort,
            LocalApp,
            Likely,
        ),
        (
            "linger",
            established().linger_zero().reason("TCP_STATE"),
            Cause::LingerAbort,
            LocalApp,
            Certain,
        ),
        (
            "linger with unread, and the kernel says why",
            established().linger_zero().unread(5).reason("TCP_STATE"),
            Cause::LingerAbort,
            LocalApp,
            Certain,
        ),
        (
            "linger, old kernel",
            established().linger_zero(),
            Cause::LingerAbort,
            LocalApp,
            Likely,
        ),
        (
            "linger of five seconds",
            established()
                .linger_zero()
                .with(|raw| raw.linger_jiffies = 500),
            Cause::Undiagnosed,
            Unknown,
            Guess,
        ),
    ];
    check(rows);
}

#[test]
fn mptcp_resets_its_subflows() {
    let rows: Vec<Row> = vec![
        (
            "MPTCP fast close",
            Scene::active(ESTABLISHED, ESTABLISHED).reason("TCP_ABORT_ON_CLOSE"),
            Cause::Mptcp,
            LocalApp,
            Likely,
        ),
        (
            "MPTCP fast close that disconnects its subflow",
            Scene::active(ESTABLISHED, CLOSE)
                .subflow()
                .owner_and_current(10, 10)
                .reason("TCP_DISCONNECT_WITH_DATA"),
            Cause::Mptcp,
            LocalApp,
            Likely,
        ),
        (
            "MPTCP fast close, old kernel",
            Scene::active(ESTABLISHED, ESTABLISHED)
                .subflow()
                .owner_and_current(10, 10),
            Cause::Mptcp,
            LocalApp,
            Likely,
        ),
        (
            "a subflow that MPTCP gives up, old kernel",
            Scene::active(ESTABLISHED, ESTABLISHED).subflow(),
            Cause::Mptcp,
            LocalKernel,
            Likely,
        ),
        (
            "ss -K on a subflow, old kernel with its error",
            Scene::active(ESTABLISHED, ESTABLISHED)
                .subflow()
                .with(|raw| raw.sock_err = 103),
            Cause::SocketDestroyed,
            LocalAdmin,
            Likely,
        ),
        (
            "the same by a state",
            Scene::active(ESTABLISHED, CLOSE)
                .subflow()
                .linger_zero()
                .owner_and_current(10, 10)
                .reason("TCP_STATE"),
            Cause::Mptcp,
            LocalApp,
            Likely,
        ),
        (
            "linger 0 on an MPTCP socket",
            Scene::closing(ESTABLISHED)
                .subflow()
                .linger_zero()
                .reason("TCP_STATE"),
            Cause::LingerAbort,
            LocalApp,
            Certain,
        ),
        (
            "a timer on a subflow, old kernel",
            Scene::active(ESTABLISHED, ESTABLISHED)
                .subflow()
                .with(|raw| raw.retransmits = 1),
            Cause::Undiagnosed,
            Unknown,
            Guess,
        ),
    ];
    check(rows);
}

#[test]
fn without_btf_nothing_of_the_socket_is_known() {
    let established = || Scene::closing(ESTABLISHED);
    let rows: Vec<Row> = vec![
        (
            "no BTF: who closed may have been killed",
            without_socket(established()).reason("TCP_ABORT_ON_CLOSE"),
            Cause::CloseUnreadData,
            LocalApp,
            Likely,
        ),
        (
            "no BTF: TCP_LINGER2 may be below zero",
            without_socket(Scene::passive(FIN_WAIT1)).reason("TCP_ABORT_ON_DATA"),
            Cause::DataAfterClose,
            LocalApp,
            Likely,
        ),
        (
            "no BTF: nothing known of the socket",
            without_socket(established().linger_zero()),
            Cause::Undiagnosed,
            Unknown,
            Guess,
        ),
    ];
    check(rows);
}

#[test]
fn a_socket_that_no_timer_resets_is_destroyed() {
    let by_itself = || Scene::active(ESTABLISHED, ESTABLISHED);
    let destroyed = || by_itself().owner_and_current(10, 20);
    let rows: Vec<Row> = vec![
        (
            "its own task, of a recording that does not tell of MPTCP, old kernel",
            by_itself()
                .owner_and_current(10, 10)
                .with(|raw| raw.have &= !rstmon_common::wire::HAVE_MPTCP),
            Cause::Undiagnosed,
            Unknown,
            Guess,
        ),
        (
            "somebody else, and a timer may be behind it, old kernel",
            destroyed().with(|raw| raw.retransmits = 1),
            Cause::SocketDestroyed,
            LocalAdmin,
            Guess,
        ),
        (
            "nobody else, and a timer may be behind it, old kernel",
            by_itself()
                .owner_and_current(10, 10)
                .with(|raw| raw.retransmits = 1),
            Cause::Undiagnosed,
            Unknown,
            Guess,
        ),
        (
            "by its own process, old kernel",
            by_itself().owner_and_current(10, 10),
            Cause::SocketDestroyed,
            LocalAdmin,
            Likely,
        ),
    ];
    check(rows);
}

#[test]
fn other_aborts_of_the_application_or_the_administrator() {
    let disconnect = || Scene::active(ESTABLISHED, CLOSE).with(|raw| raw.inode = 4711);
    let never_accepted = || Scene::active(ESTABLISHED, CLOSE);
    let destroyed = || Scene::active(ESTABLISHED, ESTABLISHED).owner_and_current(10, 20);
    let shut_before = |state| Scene::closing(state);
    let rows: Vec<Row> = vec![
        (
            "disconnect",
            disconnect().reason("TCP_STATE"),
            Cause::Disconnect,
            LocalApp,
            Certain,
        ),
        (
            "disconnect, old kernel",
            disconnect(),
            Cause::Disconnect,
            LocalApp,
            Likely,
        ),
        (
            "disconnect of a socket with linger 0",
            disconnect().linger_zero().reason("TCP_STATE"),
            Cause::Disconnect,
            LocalApp,
            Certain,
        ),
        (
            "disconnect after both sides closed, data unsent",
            shut_before(LAST_ACK).reason("TCP_DISCONNECT_WITH_DATA"),
            Cause::Disconnect,
            LocalApp,
            Certain,
        ),
        (
            "the same, old kernel",
            shut_before(LAST_ACK),
            Cause::Disconnect,
            LocalApp,
            Likely,
        ),
        (
            "after a shutdown, linger 0: a close that lingers not at all",
            shut_before(FIN_WAIT2).linger_zero().reason("TCP_STATE"),
            Cause::LingerAbort,
            LocalApp,
            Certain,
        ),
        (
            "an orphan that is aborted has no file to disconnect",
            shut_before(FIN_WAIT1).orphan().reason("TCP_STATE"),
            Cause::Undiagnosed,
            Unknown,
            Guess,
        ),
        (
            "listener",
            never_accepted().reason("TCP_STATE"),
            Cause::ListenerClosed,
            LocalApp,
            Certain,
        ),
        (
            "listener, old kernel",
            never_accepted(),
            Cause::ListenerClosed,
            LocalApp,
            Likely,
        ),
        (
            "ss -K",
            destroyed().reason("TCP_STATE"),
            Cause::SocketDestroyed,
            LocalAdmin,
            Certain,
        ),
        (
            "ss -K, old kernel",
            destroyed(),
            Cause::SocketDestroyed,
            LocalAdmin,
            Likely,
        ),
        (
            "ss -K, old kernel with its error",
            destroyed().with(|raw| raw.sock_err = 103),
            Cause::SocketDestroyed,
            LocalAdmin,
            Likely,
        ),
    ];
    check(rows);
    let event = destroyed().diagnosed_by(&mut crate::diagnose::Engine::new());
    assert_eq!(event.actor.map(|actor| actor.pid), Some(20));
}

#[test]
fn the_kernel_gives_up() {
    let keepalive = || {
        Scene::active(ESTABLISHED, ESTABLISHED)
            .owner_and_current(10, 0)
            .with(|raw| {
                raw.sock_flags |= sock_flag::KEEPOPEN;
                raw.probes_out = 2;
            })
    };
    let linger2 = || {
        Scene::closing(FIN_WAIT2)
            .orphan()
            .with(|raw| raw.linger2 = -1)
    };
    let memory = || Scene::closing(FIN_WAIT1).orphan();
    let fin_wait2 = || Scene::active(FIN_WAIT2, FIN_WAIT2).orphan();
    let rows: Vec<Row> = vec![
        (
            "keepalive",
            keepalive().reason("TCP_KEEPALIVE_TIMEOUT"),
            Cause::KeepaliveTimeout,
            LocalKernel,
            Certain,
        ),
        (
            "keepalive, old kernel",
            keepalive(),
            Cause::KeepaliveTimeout,
            LocalKernel,
            Likely,
        ),
        (
            "keepalive on, no probe out",
            keepalive().with(|raw| raw.probes_out = 0),
            Cause::SocketDestroyed,
            LocalAdmin,
            Likely,
        ),
        (
            "linger2",
            linger2().reason("TCP_ABORT_ON_LINGER"),
            Cause::Linger2Abort,
            LocalApp,
            Certain,
        ),
        (
            "linger2, old kernel",
            linger2(),
            Cause::Linger2Abort,
            LocalApp,
            Likely,
        ),
        (
            "linger2 when the FIN is acknowledged",
            Scene::passive(FIN_WAIT1)
                .segment(ACK, 0)
                .with(|raw| raw.linger2 = -1)
                .reason("TCP_ABORT_ON_DATA"),
            Cause::Linger2Abort,
            LocalApp,
            Certain,
        ),
        (
            "memory",
            memory().reason("TCP_ABORT_ON_MEMORY"),
            Cause::OutOfMemory,
            LocalKernel,
            Certain,
        ),
        (
            "memory, old kernel",
            memory(),
            Cause::OutOfMemory,
            LocalKernel,
            Guess,
        ),
        (
            "FIN-WAIT-2",
            fin_wait2().reason("TCP_STATE"),
            Cause::FinWait2Timeout,
            LocalKernel,
            Likely,
        ),
        (
            "FIN-WAIT-2, old kernel",
            fin_wait2(),
            Cause::FinWait2Timeout,
            LocalKernel,
            Likely,
        ),
    ];
    check(rows);
}

#[test]
fn data_after_close() {
    let data = |scene: Scene| scene.segment(PSH | ACK, 5);
    let shut = |state| data(Scene::passive(state)).with(|raw| raw.shutdown = 3);
    let rows: Vec<Row> = vec![
        (
            "plain",
            shut(FIN_WAIT1).reason("TCP_ABORT_ON_DATA"),
            Cause::DataAfterClose,
            LocalApp,
            Certain,
        ),
        (
            "old kernel",
            shut(FIN_WAIT1),
            Cause::DataAfterClose,
            LocalApp,
            Likely,
        ),
        (
            "close-wait, old kernel",
            shut(CLOSE_WAIT),
            Cause::DataAfterClose,
            LocalApp,
            Likely,
        ),
        (
            "old kernel, no segment",
            Scene::passive(FIN_WAIT2).with(|raw| raw.shutdown = 3),
            Cause::DataAfterClose,
            LocalApp,
            Guess,
        ),
        (
            "only the sending side shut, old kernel",
            shut(FIN_WAIT1).with(|raw| raw.shutdown = 2),
            Cause::Undiagnosed,
            Unknown,
            Guess,
        ),
        (
            "FIN-WAIT-2 in a timewait socket",
            data(Scene::timewait(FIN_WAIT2)).reason("TCP_TIMEWAIT_SOCKET"),
            Cause::DataAfterClose,
            LocalApp,
            Certain,
        ),
        (
            "the same, old kernel",
            data(Scene::timewait(FIN_WAIT2)),
            Cause::DataAfterClose,
            LocalApp,
            Certain,
        ),
        (
            "a SYN there",
            Scene::timewait(FIN_WAIT2)
                .segment(SYN, 0)
                .reason("TCP_TIMEWAIT_SOCKET"),
            Cause::TimeWaitHit,
            Unknown,
            Certain,
        ),
        (
            "TIME-WAIT proper",
            data(Scene::timewait(TIME_WAIT)),
            Cause::TimeWaitHit,
            Unknown,
            Likely,
        ),
        (
            "which substate is not known",
            data(Scene::timewait(TIME_WAIT))
                .with(|raw| raw.have &= !rstmon_common::wire::HAVE_TIMEWAIT),
            Cause::DataAfterClose,
            LocalApp,
            Likely,
        ),
    ];
    check(rows);
}
