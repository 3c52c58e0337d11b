//! Resets of processes that died, and of connections whose owner bounded their silence.

use super::{Row, check};
use crate::diagnose::testing::Scene;
use crate::diagnose::{Engine, key_facts};
use crate::event::model::{Cause, Confidence::*, Initiator::*};
use rstmon_common::wire::{self, sock_flag, tcp_flag::*, tcp_state::*};

const SIGKILL: u8 = 9;
const SIGSEGV_WITH_CORE: u32 = 0x8b;

#[test]
fn a_dead_process() {
    let unread = || Scene::closing(ESTABLISHED).unread(5);
    let killed = || unread().exiting(SIGKILL.into());
    let rows: Vec<Row> = vec![
        (
            "killed by somebody",
            killed().signalled(SIGKILL).reason("TCP_ABORT_ON_CLOSE"),
            Cause::ProcessKilled,
            LocalAdmin,
            Certain,
        ),
        (
            "old kernel, which does not tell who killed it",
            killed(),
            Cause::ProcessKilled,
            Unknown,
            Certain,
        ),
        (
            "crashed",
            unread().exiting(SIGSEGV_WITH_CORE),
            Cause::ProcessKilled,
            LocalApp,
            Certain,
        ),
        (
            "chosen to free memory",
            killed().with(|raw| raw.flags |= wire::FLAG_OOM_VICTIM),
            Cause::ProcessKilled,
            LocalKernel,
            Certain,
        ),
        (
            "data for the orphan that it left",
            Scene::passive(FIN_WAIT1)
                .orphan()
                .exiting(SIGKILL.into())
                .segment(PSH | ACK, 5)
                .reason("TCP_ABORT_ON_DATA"),
            Cause::ProcessKilled,
            Unknown,
            Certain,
        ),
        (
            "exit() is the application's own close",
            unread().exiting(1 << 8).reason("TCP_ABORT_ON_CLOSE"),
            Cause::CloseUnreadData,
            LocalApp,
            Certain,
        ),
        (
            "a keepalive timer does not ask who died",
            Scene::active(ESTABLISHED, ESTABLISHED)
                .exiting(SIGKILL.into())
                .reason("TCP_KEEPALIVE_TIMEOUT"),
            Cause::KeepaliveTimeout,
            LocalKernel,
            Certain,
        ),
    ];
    check(rows);
}

#[test]
fn a_dead_process_of_which_only_the_memory_is_there() {
    let at_listener = || {
        Scene::passive(LISTEN)
            .closed_from(LAST_ACK)
            .exiting(SIGKILL.into())
            .segment(ACK, 0)
    };
    let rows: Vec<Row> = vec![
        (
            "a segment for what it left, by memory",
            Scene::socketless()
                .closed_from(LAST_ACK)
                .exiting(SIGKILL.into())
                .segment(ACK, 0),
            Cause::ProcessKilled,
            Unknown,
            Likely,
        ),
        (
            "by memory, and a listener got it",
            at_listener().reason("TCP_FLAGS"),
            Cause::ProcessKilled,
            Unknown,
            Likely,
        ),
        (
            "near miss: a new handshake of the same ports that met a full queue",
            at_listener().backlog(3, 2).reason("INVALID_SYN"),
            Cause::AcceptQueueOverflow,
            LocalApp,
            Certain,
        ),
        (
            "near miss: the same, old kernel",
            at_listener().backlog(3, 2),
            Cause::AcceptQueueOverflow,
            LocalApp,
            Likely,
        ),
        (
            "near miss: a new handshake with an acknowledgment that is wrong",
            at_listener().reason("TCP_INVALID_ACK_SEQUENCE"),
            Cause::BadHandshakeAck,
            Unknown,
            Certain,
        ),
        (
            "near miss: a close too long ago to be this connection's",
            Scene::socketless()
                .closed_ago_ms(300_001, LAST_ACK)
                .exiting(SIGKILL.into())
                .segment(ACK, 0),
            Cause::StaleSegment,
            Unknown,
            Likely,
        ),
    ];
    check(rows);
}

#[test]
fn the_killer_is_the_actor_and_the_signal_is_named() {
    let scene = Scene::closing(ESTABLISHED)
        .exiting(SIGKILL.into())
        .signalled(SIGKILL);
    let event = scene.diagnosed_by(&mut Engine::new());
    assert_eq!(key_facts(&event), ["SIGKILL"]);
    assert_eq!(event.actor.map(|actor| actor.pid), Some(99));
    assert!(event.verdict.evidence.contains("signal=SIGKILL"));
    assert!(event.verdict.evidence.contains("signal_from_pid=99"));
}

#[test]
fn a_line_tells_how_the_process_ended_and_names_nobody_twice() {
    let mut engine = Engine::new();
    let mut facts = |scene: Scene| key_facts(&scene.diagnosed_by(&mut engine));
    let unread = || Scene::closing(ESTABLISHED).unread(5);
    let chosen = unread()
        .exiting(SIGKILL.into())
        .with(|raw| raw.flags |= wire::FLAG_OOM_VICTIM);
    assert_eq!(facts(chosen), ["OOM kill", "5 B unread"]);
    let crashed = unread().exiting(SIGSEGV_WITH_CORE);
    assert_eq!(facts(crashed), ["SIGSEGV", "5 B unread"]);
    let destroyed = Scene::active(ESTABLISHED, ESTABLISHED)
        .owner_and_current(10, 20)
        .reason("TCP_STATE");
    assert_eq!(facts(destroyed), Vec::<String>::new());
    let probing = Scene::active(ESTABLISHED, ESTABLISHED)
        .with(|raw| raw.probes_out = 1)
        .reason("TCP_KEEPALIVE_TIMEOUT");
    assert_eq!(facts(probing), ["1 probe"]);
}

#[test]
fn a_bounded_silence() {
    let bounded = || {
        Scene::active(ESTABLISHED, ESTABLISHED)
            .owner_and_current(10, 0)
            .with(|raw| {
                raw.sock_flags |= sock_flag::KEEPOPEN;
                raw.probes_out = 1;
                raw.user_timeout_ms = 2_000;
            })
    };
    let rows: Vec<Row> = vec![
        (
            "TCP_USER_TIMEOUT",
            bounded().reason("TCP_KEEPALIVE_TIMEOUT"),
            Cause::UserTimeout,
            LocalKernel,
            Certain,
        ),
        (
            "old kernel",
            bounded(),
            Cause::UserTimeout,
            LocalKernel,
            Likely,
        ),
        (
            "without the option",
            bounded()
                .with(|raw| raw.user_timeout_ms = 0)
                .reason("TCP_KEEPALIVE_TIMEOUT"),
            Cause::KeepaliveTimeout,
            LocalKernel,
            Certain,
        ),
        (
            "where the option cannot be read",
            bounded()
                .with(|raw| raw.have &= !(wire::HAVE_SOCK | wire::HAVE_TCP))
                .reason("TCP_KEEPALIVE_TIMEOUT"),
            Cause::KeepaliveTimeout,
            LocalKernel,
            Likely,
        ),
        (
            "the application closed before it ran out",
            Scene::closing(ESTABLISHED)
                .unread(3)
                .with(|raw| raw.user_timeout_ms = 2_000)
                .reason("TCP_ABORT_ON_CLOSE"),
            Cause::CloseUnreadData,
            LocalApp,
            Certain,
        ),
    ];
    check(rows);
}

/// A close that meets a limit of the kernel is reset by that, whoever closed.
#[test]
fn a_dead_process_whose_orphan_the_kernel_would_not_keep() {
    let orphan = || Scene::closing(FIN_WAIT1).orphan().exiting(SIGKILL.into());
    check(vec![
        (
            "out of memory",
            orphan().reason("TCP_ABORT_ON_MEMORY"),
            Cause::OutOfMemory,
            LocalKernel,
            Certain,
        ),
        (
            "TCP_LINGER2 below zero",
            orphan()
                .with(|raw| raw.linger2 = -1)
                .reason("TCP_ABORT_ON_LINGER"),
            Cause::Linger2Abort,
            LocalApp,
            Certain,
        ),
    ]);
}

/// Of the signals whose sender was not seen, only those that a program's own doing raises are its own.
#[test]
fn a_signal_of_nobody_is_the_programs_own_only_if_it_can_raise_it() {
    let own = [4, 5, 6, 7, 8, 11, 13, 14, 24, 25, 31];
    for signal in 1..=64_u32 {
        let dead = Scene::closing(ESTABLISHED).unread(5).exiting(signal);
        let initiator = if own.contains(&signal) {
            LocalApp
        } else {
            Unknown
        };
        assert_eq!(
            dead.verdict(),
            (Cause::ProcessKilled, initiator, Certain),
            "signal {signal}"
        );
    }
}
