//! Resets as services meet them: what the segments and the socket show in such a case, and what must
//! be said of it, with the RST seen and in tracepoint mode, which does not see it.

use super::{Row, check};
use crate::diagnose::Engine;
use crate::diagnose::testing::Scene;
use crate::event::model::{Cause, Confidence::*, Initiator::*};
use rstmon_common::wire::{self, sock_flag, tcp_flag::*, tcp_state::*};

fn bare(state: u8) -> Scene {
    Scene::received(state).rst(RST)
}

/// RST with ACK and nothing else: Windows, and stacks that write no window into a RST.
fn windows_abort(state: u8) -> Scene {
    Scene::received(state).rst(RST | ACK).ttls(128, 128)
}

#[test]
fn a_peer_or_balancer_that_restarts() {
    let rows: Vec<Row> = vec![
        (
            "a peer that rebooted answers the next request",
            bare(ESTABLISHED).ttls(60, 60).request_after(8_000),
            Cause::PeerGone,
            PeerKernel,
            Likely,
        ),
        (
            "the same, not seen",
            Scene::received(ESTABLISHED).request_after(8_000),
            Cause::PeerGone,
            PeerKernel,
            Guess,
        ),
        (
            "a balancer answers for a backend that is gone",
            bare(ESTABLISHED).ttls(243, 60).request_after(30_000),
            Cause::PeerGone,
            Middlebox,
            Likely,
        ),
        (
            "a balancer resets both ends when its timer ends",
            bare(ESTABLISHED).ttls(60, 60).idle(240_300),
            Cause::IdleTimeout,
            Unknown,
            Likely,
        ),
        (
            "the same, not seen: nobody can tell it from an application's abort",
            Scene::received(ESTABLISHED).idle(240_300),
            Cause::PeerAborted,
            PeerApp,
            Guess,
        ),
        (
            "a balancer that resets both ends with RST and ACK, at a known timer",
            Scene::received(ESTABLISHED)
                .rst(RST | ACK)
                .ttls(60, 60)
                .idle(240_300),
            Cause::IdleTimeout,
            Unknown,
            Likely,
        ),
    ];
    check(rows);
    let unseen = Scene::received(ESTABLISHED)
        .idle(240_300)
        .diagnosed_by(&mut Engine::new());
    let facts = unseen.verdict.evidence;
    assert!(
        facts.contains("known_timer=240s Azure Load Balancer (idleTimeoutInMinutes)"),
        "{facts:?}"
    );
}

#[test]
fn upstreams_of_a_proxy() {
    let before_fin = |scene: Scene| scene.with(|raw| raw.segment_seq = raw.rcv_nxt - 1);
    let rows: Vec<Row> = vec![
        (
            "closes an idle connection as the request leaves",
            before_fin(bare(CLOSE_WAIT).unacked(300).client()).times(5_004, 4, 4),
            Cause::KeepaliveRace,
            PeerApp,
            Likely,
        ),
        (
            "the same, not seen: within a tick of the clock",
            Scene::received(CLOSE_WAIT)
                .unacked(300)
                .client()
                .times(5_004, 4, 4),
            Cause::KeepaliveRace,
            PeerApp,
            Guess,
        ),
        (
            "rejects an upload, closes, and the rest of it arrives",
            bare(CLOSE_WAIT).unacked(64_000).times(40, 3, 20),
            Cause::PeerDataAfterClose,
            PeerApp,
            Certain,
        ),
        (
            "rejects an upload without reading it",
            Scene::received(ESTABLISHED).unacked(64_000).live_rst(),
            Cause::PeerAborted,
            PeerApp,
            Certain,
        ),
        (
            "the same, not seen: data was out, which a RST may answer",
            Scene::received(ESTABLISHED).unacked(64_000),
            Cause::PeerGone,
            PeerKernel,
            Guess,
        ),
        (
            "both close at once, and our data crosses",
            before_fin(bare(CLOSING).unacked(31)).times(50, 1, 1),
            Cause::PeerDataAfterClose,
            PeerApp,
            Certain,
        ),
    ];
    check(rows);
}

#[test]
fn resets_after_our_own_fin() {
    let rows: Vec<Row> = vec![
        (
            "our FIN and last data reach a peer that has no socket",
            bare(FIN_WAIT1).unacked(200),
            Cause::PeerGone,
            PeerKernel,
            Likely,
        ),
        (
            "the peer closes with our last data unread",
            Scene::received(FIN_WAIT2).live_rst(),
            Cause::PeerAborted,
            PeerApp,
            Certain,
        ),
        (
            "the same, not seen",
            Scene::received(FIN_WAIT2),
            Cause::PeerAborted,
            PeerApp,
            Likely,
        ),
        (
            "not seen, our FIN out: it may answer that",
            Scene::received(FIN_WAIT1),
            Cause::PeerAborted,
            PeerApp,
            Guess,
        ),
        (
            "not seen, a keepalive probe out: it may answer that",
            Scene::received(ESTABLISHED).with(|raw| raw.probes_out = 1),
            Cause::PeerGone,
            PeerKernel,
            Guess,
        ),
        (
            "the peer sends FIN and aborts behind it",
            Scene::received(CLOSE_WAIT)
                .live_rst()
                .with(|raw| raw.segment_seq = raw.rcv_nxt - 1),
            Cause::PeerAborted,
            PeerApp,
            Certain,
        ),
        (
            "both have closed, the last FIN is out",
            bare(LAST_ACK).unacked(1),
            Cause::PeerGone,
            PeerKernel,
            Likely,
        ),
    ];
    check(rows);
}

#[test]
fn peers_that_are_not_linux() {
    let rows: Vec<Row> = vec![
        (
            "Windows aborts: RST with ACK, window 0, no timestamps",
            windows_abort(ESTABLISHED),
            Cause::PeerAborted,
            PeerApp,
            Guess,
        ),
        (
            "Windows aborts with our data out",
            windows_abort(ESTABLISHED).unacked(500),
            Cause::PeerAborted,
            PeerApp,
            Guess,
        ),
        (
            "Windows aborts where timestamps were in use: one weak sign",
            windows_abort(ESTABLISHED).with_timestamps(2_000),
            Cause::PeerAborted,
            PeerApp,
            Guess,
        ),
        (
            "macOS aborts with a window, without timestamps",
            Scene::received(ESTABLISHED)
                .rst(RST | ACK)
                .ttls(60, 60)
                .with(|raw| raw.segment_window = 2_048),
            Cause::PeerAborted,
            PeerApp,
            Likely,
        ),
        (
            "Windows refuses",
            Scene::received(SYN_SENT)
                .rst(RST | ACK)
                .with(|raw| raw.segment_seq = 0),
            Cause::ConnectionRefused,
            PeerKernel,
            Certain,
        ),
        (
            "a firewall near us refuses in the peer's name: it looks the same",
            Scene::received(SYN_SENT).rst(RST | ACK).with(|raw| {
                raw.have |= wire::HAVE_SEGMENT_IP;
                (raw.segment_seq, raw.segment_ttl) = (0, 255);
            }),
            Cause::ConnectionRefused,
            PeerKernel,
            Certain,
        ),
    ];
    check(rows);
}

#[test]
fn handshakes_out_of_the_ordinary() {
    let rows: Vec<Row> = vec![
        (
            "a RST in SYN-SENT that acknowledges something else",
            Scene::rejected(SYN_SENT)
                .rst(RST | ACK)
                .dropped("TCP_INVALID_ACK_SEQUENCE"),
            Cause::BlindReset,
            Unknown,
            Certain,
        ),
        (
            "simultaneous open, the peer gives up",
            Scene::received(SYN_RECV).rst(RST | ACK),
            Cause::HandshakeAborted,
            PeerApp,
            Certain,
        ),
        (
            "TCP Fast Open: the client resets before its ACK",
            Scene::received(SYN_RECV).live_rst(),
            Cause::HandshakeAborted,
            PeerApp,
            Certain,
        ),
        (
            "TCP Fast Open: the server closes with the first data unread",
            Scene::closing(SYN_RECV)
                .unread(120)
                .reason("TCP_ABORT_ON_CLOSE"),
            Cause::CloseUnreadData,
            LocalApp,
            Certain,
        ),
        (
            "simultaneous open, an ACK of nothing we sent",
            Scene::passive(SYN_RECV)
                .segment(ACK, 0)
                .reason("TCP_ACK_UNSENT_DATA"),
            Cause::BadHandshakeAck,
            Unknown,
            Certain,
        ),
    ];
    check(rows);
}

#[test]
fn old_kernels_give_up_orphans_and_leave_probes_alone() {
    let killed_while_probing = |error| {
        Scene::active(ESTABLISHED, ESTABLISHED)
            .owner_and_current(10, 20)
            .with(move |raw| {
                raw.sock_flags |= sock_flag::KEEPOPEN;
                raw.probes_out = 1;
                raw.sock_err = error;
            })
    };
    let rows: Vec<Row> = vec![
        (
            "an orphan in FIN-WAIT-1, by its timer, whatever ran at the time",
            Scene::active(FIN_WAIT1, FIN_WAIT1)
                .orphan()
                .owner_and_current(10, 20),
            Cause::OutOfMemory,
            LocalKernel,
            Guess,
        ),
        (
            "ss -K while a keepalive probe was out",
            killed_while_probing(103),
            Cause::SocketDestroyed,
            LocalAdmin,
            Likely,
        ),
        (
            "near miss: the timer itself",
            killed_while_probing(0),
            Cause::KeepaliveTimeout,
            LocalKernel,
            Likely,
        ),
    ];
    check(rows);
}
