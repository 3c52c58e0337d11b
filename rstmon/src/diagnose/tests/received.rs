//! Resets that arrive.

use super::{Row, check};
use crate::diagnose::Engine;
use crate::diagnose::testing::Scene;
use crate::event::model::{Cause, Confidence::*, Initiator::*};
use rstmon_common::wire::{self, tcp_flag::*, tcp_state::*};

#[test]
fn obeyed_from_a_live_peer_or_while_opening() {
    let rows: Vec<Row> = vec![
        (
            "refused",
            Scene::received(SYN_SENT)
                .rst(RST | ACK)
                .with(|raw| raw.segment_seq = 0),
            Cause::ConnectionRefused,
            PeerKernel,
            Certain,
        ),
        (
            "refused, not seen",
            Scene::received(SYN_SENT),
            Cause::ConnectionRefused,
            PeerKernel,
            Certain,
        ),
        (
            "handshake",
            Scene::received(SYN_RECV).rst(RST),
            Cause::HandshakeAborted,
            PeerKernel,
            Certain,
        ),
        (
            "handshake, by a RST that took another way",
            Scene::received(SYN_RECV).rst(RST | ACK).ttls(52, 64),
            Cause::HandshakeAborted,
            PeerApp,
            Certain,
        ),
        (
            "live socket",
            Scene::received(ESTABLISHED).live_rst(),
            Cause::PeerAborted,
            PeerApp,
            Certain,
        ),
        (
            "live socket, another TTL",
            Scene::received(ESTABLISHED)
                .live_rst()
                .with(|raw| raw.segment_ttl = 250),
            Cause::PeerAborted,
            PeerApp,
            Likely,
        ),
        (
            "RST with ACK and nothing else of a live socket",
            Scene::received(ESTABLISHED).rst(RST | ACK),
            Cause::PeerAborted,
            PeerApp,
            Guess,
        ),
        (
            "not seen, nothing outstanding",
            Scene::received(ESTABLISHED),
            Cause::PeerAborted,
            PeerApp,
            Likely,
        ),
        (
            "live socket in CLOSE-WAIT",
            Scene::received(CLOSE_WAIT).unacked(5).live_rst(),
            Cause::PeerAborted,
            PeerApp,
            Certain,
        ),
    ];
    check(rows);
}

#[test]
fn obeyed_and_bare_or_not_seen() {
    let bare = |state| Scene::received(state).rst(RST);
    let rows: Vec<Row> = vec![
        (
            "bare, data outstanding",
            bare(ESTABLISHED).unacked(5),
            Cause::PeerGone,
            PeerKernel,
            Likely,
        ),
        (
            "bare, nothing outstanding",
            bare(ESTABLISHED),
            Cause::PeerGone,
            PeerKernel,
            Guess,
        ),
        (
            "bare, FIN outstanding",
            bare(FIN_WAIT1),
            Cause::PeerGone,
            PeerKernel,
            Likely,
        ),
        (
            "not seen, data outstanding",
            Scene::received(ESTABLISHED).unacked(5),
            Cause::PeerGone,
            PeerKernel,
            Guess,
        ),
        (
            "not seen, numbers not known: an abort shows the same",
            Scene::received(ESTABLISHED).with(|raw| raw.have &= !wire::HAVE_TCP),
            Cause::Undiagnosed,
            Unknown,
            Guess,
        ),
        (
            "the same, while our FIN waits for its answer",
            Scene::received(FIN_WAIT1).with(|raw| raw.have &= !wire::HAVE_TCP),
            Cause::Undiagnosed,
            Unknown,
            Guess,
        ),
        (
            "data after the peer's FIN",
            bare(CLOSE_WAIT).unacked(5).times(3_000, 10, 900),
            Cause::PeerDataAfterClose,
            PeerApp,
            Certain,
        ),
        (
            "the same, times not known",
            bare(CLOSE_WAIT).unacked(5),
            Cause::PeerDataAfterClose,
            PeerApp,
            Likely,
        ),
        (
            "the same, not seen",
            Scene::received(CLOSE_WAIT).unacked(5),
            Cause::PeerDataAfterClose,
            PeerApp,
            Likely,
        ),
        (
            "the same, numbers not known",
            Scene::received(CLOSE_WAIT).with(|raw| raw.have &= !wire::HAVE_TCP),
            Cause::PeerDataAfterClose,
            PeerApp,
            Guess,
        ),
        (
            "only our FIN after the peer's",
            bare(LAST_ACK).unacked(1),
            Cause::PeerGone,
            PeerKernel,
            Likely,
        ),
        (
            "state not known",
            Scene::received(ESTABLISHED).with(|raw| raw.have &= !wire::HAVE_STATE),
            Cause::Undiagnosed,
            Unknown,
            Guess,
        ),
    ];
    check(rows);
}

#[test]
fn refused() {
    let off = |by: u32| {
        Scene::rejected(ESTABLISHED).with(|raw| raw.segment_seq = raw.rcv_nxt.wrapping_add(by))
    };
    let rows: Vec<Row> = vec![
        (
            "in window",
            off(10).dropped("TCP_RESET"),
            Cause::BlindReset,
            Unknown,
            Certain,
        ),
        (
            "outside",
            off(2_000).dropped("TCP_INVALID_SEQUENCE"),
            Cause::BlindReset,
            Unknown,
            Certain,
        ),
        (
            "a reason and no socket: it may have been a listener's",
            off(10).dropped("TCP_RESET").with(|raw| {
                raw.have &= !(wire::HAVE_STATE | wire::HAVE_SOCK | wire::HAVE_TCP);
                raw.socket_kind = wire::SOCKET_NONE;
            }),
            Cause::BlindReset,
            Unknown,
            Likely,
        ),
        ("old kernel", off(10), Cause::BlindReset, Unknown, Certain),
        (
            "old kernel, exact",
            off(0),
            Cause::BlindReset,
            Unknown,
            Guess,
        ),
        (
            "SYN-SENT",
            Scene::rejected(SYN_SENT).dropped("TCP_RESET"),
            Cause::BlindReset,
            Unknown,
            Certain,
        ),
        (
            "dropped for another reason",
            off(10).dropped("TCP_CSUM"),
            Cause::Undiagnosed,
            Unknown,
            Guess,
        ),
        (
            "a request socket that survived",
            Scene::stray().request_socket().dropped("TCP_OVERWINDOW"),
            Cause::BlindReset,
            Unknown,
            Certain,
        ),
    ];
    check(rows);
}

#[test]
fn the_window_is_the_kernels() {
    let in_window = |by: i32, change: fn(Scene) -> Scene| {
        let scene = Scene::rejected(ESTABLISHED)
            .with(|raw| raw.segment_seq = raw.rcv_nxt.wrapping_add_signed(by));
        let event = change(scene).diagnosed_by(&mut Engine::new());
        let mut facts = event.verdict.evidence.iter();
        facts.find_map(|fact| fact.strip_prefix("in_window=").map(str::to_owned))
    };
    let plain = |scene| scene;
    assert_eq!(in_window(1_000, plain).as_deref(), Some("true"));
    assert_eq!(in_window(1_001, plain).as_deref(), Some("false"));
    // More has come than the window allowed.
    let overrun = |scene: Scene| {
        scene
            .with(|raw| raw.rcv_wnd = 0)
            .with(|raw| raw.rcv_wup -= 50)
    };
    assert_eq!(in_window(10, overrun).as_deref(), Some("false"));
    // What has been received but not acknowledged yet counts, as only the kernel knows.
    assert_eq!(in_window(-10, plain), None);
    let challenged = |scene: Scene| scene.dropped("TCP_RESET");
    assert_eq!(in_window(-10, challenged).as_deref(), Some("true"));
    let old = |scene: Scene| scene.dropped("TCP_OLD_SEQUENCE");
    assert_eq!(in_window(-10, old).as_deref(), Some("false"));
}

#[test]
fn for_no_connection() {
    let no_socket = || Scene::stray().with(|raw| raw.have |= wire::HAVE_STATE);
    let rows: Vec<Row> = vec![
        (
            "no socket",
            no_socket().dropped("NO_SOCKET"),
            Cause::StrayReset,
            Unknown,
            Certain,
        ),
        (
            "no socket by the reason alone",
            Scene::stray().dropped("NO_SOCKET"),
            Cause::StrayReset,
            Unknown,
            Certain,
        ),
        (
            "no reason, old kernel",
            Scene::stray(),
            Cause::StrayReset,
            Unknown,
            Guess,
        ),
        (
            "listener",
            no_socket().with(|raw| raw.state = LISTEN),
            Cause::StrayReset,
            Unknown,
            Certain,
        ),
        (
            "listener, and what it refuses may have been a request socket's",
            no_socket()
                .with(|raw| raw.state = LISTEN)
                .dropped("TCP_FLAGS"),
            Cause::StrayReset,
            Unknown,
            Likely,
        ),
        (
            "dropped before a socket was looked for",
            no_socket().dropped("TCP_CSUM"),
            Cause::Undiagnosed,
            Unknown,
            Guess,
        ),
        (
            "the same, and a connection of the tuple ended in order a while ago",
            Scene::stray().dropped("TCP_CSUM").closed_from(FIN_WAIT2),
            Cause::Undiagnosed,
            Unknown,
            Guess,
        ),
        (
            "request socket",
            Scene::stray().request_socket(),
            Cause::HandshakeAborted,
            PeerKernel,
            Likely,
        ),
        (
            "swallowed, whoever's it was",
            Scene::stray().dropped("NOT_SPECIFIED"),
            Cause::HandshakeAborted,
            PeerKernel,
            Guess,
        ),
        (
            "TIME-WAIT",
            Scene::stray().timewait_socket(TIME_WAIT),
            Cause::TimeWaitAssassination,
            PeerKernel,
            Certain,
        ),
        (
            "TIME-WAIT by memory",
            Scene::stray()
                .dropped("NOT_SPECIFIED")
                .closed_from(FIN_WAIT2),
            Cause::TimeWaitAssassination,
            PeerKernel,
            Guess,
        ),
        (
            "aborted, after which no TIME-WAIT comes",
            Scene::stray().closed_from(ESTABLISHED),
            Cause::StrayReset,
            Unknown,
            Guess,
        ),
        (
            "closed, and gone since",
            Scene::stray().dropped("NO_SOCKET").closed_from(LAST_ACK),
            Cause::StrayReset,
            Unknown,
            Certain,
        ),
    ];
    check(rows);
}

/// Whoever has no socket answers a SYN with the number 0 and without a window.
#[test]
fn refused_by_something_that_has_numbers() {
    let refused = |seq, window| {
        Scene::received(SYN_SENT)
            .rst(RST | ACK)
            .with(move |raw| (raw.segment_seq, raw.segment_window) = (seq, window))
    };
    check(vec![
        (
            "with a number",
            refused(5_000, 0),
            Cause::ConnectionRefused,
            Unknown,
            Likely,
        ),
        (
            "with a window",
            refused(0, 500),
            Cause::ConnectionRefused,
            Unknown,
            Likely,
        ),
    ]);
}

/// A second RST can come while the first is still ending the socket.
#[test]
fn for_a_socket_that_is_closed_already() {
    check(vec![
        (
            "the socket is CLOSED",
            Scene::rejected(CLOSE).dropped("TCP_CLOSE"),
            Cause::StrayReset,
            Unknown,
            Certain,
        ),
        (
            "by the reason alone",
            Scene::rejected(CLOSE)
                .dropped("TCP_CLOSE")
                .with(|raw| raw.have &= !wire::HAVE_STATE),
            Cause::StrayReset,
            Unknown,
            Certain,
        ),
    ]);
}

#[test]
fn a_live_sockets_rst_that_does_not_fit_is_no_certain_abort() {
    check(vec![(
        "another IP ID",
        Scene::received(ESTABLISHED)
            .live_rst()
            .ip_ids(40_000, 7)
            .with(|raw| {
                raw.bytes_received = 100;
            }),
        Cause::PeerAborted,
        PeerApp,
        Likely,
    )]);
}

/// An abort behind data that was lost is not exact: it is challenged, and the host, which has no
/// socket any more, answers that with an exact and bare one.
#[test]
fn the_answer_to_a_challenge_is_the_abort_before_it() {
    let second = |first: Scene, after_ms| {
        let mut engine = Engine::new();
        first.diagnosed_by(&mut engine);
        let second = Scene::received(ESTABLISHED).rst(RST).idle(100_000);
        let verdict = second.after_ms(after_ms).diagnosed_by(&mut engine).verdict;
        (verdict.cause, verdict.initiator, verdict.confidence)
    };
    let ahead = |by: u32| {
        Scene::rejected(ESTABLISHED)
            .live_rst()
            .dropped("TCP_RESET")
            .with(|raw| raw.segment_seq = raw.rcv_nxt + by)
    };
    let aborted = (Cause::PeerAborted, PeerApp, Likely);
    assert_eq!(second(ahead(500), 40), aborted);
    assert_eq!(second(ahead(1_000), 2_000), aborted);
    let forgotten = Cause::IdleTimeout;
    assert_eq!(second(ahead(500), 2_001).0, forgotten, "too late");
    assert_eq!(second(ahead(1_001), 40).0, forgotten, "out of the window");
    let bare = ahead(500).rst(RST).with(|raw| raw.segment_seq += 500);
    assert_eq!(second(bare, 40).0, forgotten, "no live socket");
}

#[test]
fn who_reset_a_timewait_socket_shows_in_the_shape() {
    let assassination = |scene: Scene| scene.timewait_socket(TIME_WAIT);
    check(vec![
        (
            "the peer's own abort",
            assassination(Scene::stray().rst(RST | ACK)),
            Cause::TimeWaitAssassination,
            PeerApp,
            Certain,
        ),
        (
            "a host that has forgotten",
            assassination(Scene::stray()),
            Cause::TimeWaitAssassination,
            PeerKernel,
            Certain,
        ),
        (
            "one that missed",
            assassination(Scene::stray().with(|raw| raw.segment_seq = 4_999)),
            Cause::StrayReset,
            Unknown,
            Certain,
        ),
        (
            "the next number in FIN-WAIT-2",
            Scene::stray().timewait_socket(FIN_WAIT2),
            Cause::TimeWaitAssassination,
            PeerKernel,
            Certain,
        ),
        (
            "perhaps in the window of FIN-WAIT-2",
            Scene::stray()
                .with(|raw| raw.segment_seq = 5_001)
                .timewait_socket(FIN_WAIT2),
            Cause::TimeWaitAssassination,
            PeerKernel,
            Likely,
        ),
        (
            "before the window of FIN-WAIT-2",
            Scene::stray()
                .with(|raw| raw.segment_seq = 4_999)
                .timewait_socket(FIN_WAIT2),
            Cause::StrayReset,
            Unknown,
            Certain,
        ),
        (
            "not seen",
            assassination(Scene::stray().with(|raw| {
                raw.have &= !wire::HAVE_SEGMENT;
                raw.flags &= !wire::FLAG_SEGMENT_IS_RST;
            })),
            Cause::TimeWaitAssassination,
            Unknown,
            Certain,
        ),
    ]);
}
