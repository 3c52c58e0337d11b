//! RSTs that say who sent them: `middlebox-reset`, `mptcp-received`.

use super::{Row, check};
use crate::diagnose::testing::Scene;
use crate::diagnose::{Engine, key_facts};
use crate::event::model::{Cause, Confidence::*, Initiator::*};
use rstmon_common::wire::{self, tcp_flag::*, tcp_state::*};

const BIG_IP: &[u8] = b"BIG-IP: [0x2664c65:2574] No flow found for ACK";
const TIMEOUT: &[u8] = b"\x33\xaa\0\x0e\0\0\0\0";
const ABORT: &[u8] = b"\x19\x30\x39\xa1\x01\x04";

fn established(flags: u8) -> Scene {
    Scene::received(ESTABLISHED).rst(flags)
}

#[test]
fn payloads_name_their_author() {
    let rows: Vec<Row> = vec![
        (
            "F5",
            established(RST | ACK).payload(BIG_IP),
            Cause::MiddleboxReset,
            Middlebox,
            Certain,
        ),
        (
            "F5 refuses",
            Scene::received(SYN_SENT)
                .rst(RST | ACK)
                .payload(b"BIG-IP: [0x235ef8f:2618] No local listener"),
            Cause::MiddleboxReset,
            Middlebox,
            Certain,
        ),
        (
            "a diagnostic payload that boxes send",
            established(RST | ACK).payload(TIMEOUT),
            Cause::MiddleboxReset,
            Middlebox,
            Likely,
        ),
        (
            "a diagnostic payload that the peer may have sent",
            established(RST | ACK).payload(ABORT),
            Cause::MiddleboxReset,
            Unknown,
            Likely,
        ),
        (
            "near miss: text that names nobody",
            established(RST | ACK).payload(b"Go away, we're not home"),
            Cause::PeerAborted,
            PeerApp,
            Guess,
        ),
        (
            "near miss: not obeyed",
            Scene::rejected(ESTABLISHED)
                .dropped("TCP_RESET")
                .payload(BIG_IP),
            Cause::BlindReset,
            Unknown,
            Certain,
        ),
        (
            "the segment not seen, old kernel",
            Scene::received(ESTABLISHED),
            Cause::PeerAborted,
            PeerApp,
            Likely,
        ),
    ];
    check(rows);
}

#[test]
fn a_window_code_needs_a_second_sign() {
    let coded = |flags| established(flags).with(|raw| raw.segment_window = 9_811);
    let rows: Vec<Row> = vec![
        (
            "a bare RST with a code",
            coded(RST).unacked(5),
            Cause::MiddleboxReset,
            Middlebox,
            Likely,
        ),
        (
            "a code and another TTL",
            coded(RST | ACK).ttls(250, 64),
            Cause::MiddleboxReset,
            Middlebox,
            Likely,
        ),
        (
            "near miss: a live peer's window",
            coded(RST | ACK).ttls(64, 64),
            Cause::PeerAborted,
            PeerApp,
            Likely,
        ),
        (
            "near miss: no code",
            coded(RST).with(|raw| raw.segment_window = 8_203),
            Cause::PeerGone,
            PeerKernel,
            Guess,
        ),
        (
            "TTL not known, old kernel",
            coded(RST | ACK),
            Cause::PeerAborted,
            PeerApp,
            Likely,
        ),
    ];
    check(rows);
}

#[test]
fn mptcp_names_its_reason() {
    let with_reason = |scene: Scene, reason| {
        scene.with(|raw| {
            raw.have |= wire::HAVE_MPTCP_RESET;
            raw.mptcp_reset_reason = reason;
        })
    };
    let rows: Vec<Row> = vec![
        (
            "a subflow",
            with_reason(established(RST | ACK), 1),
            Cause::MptcpReceived,
            PeerKernel,
            Certain,
        ),
        (
            "a box interfered",
            with_reason(established(RST | ACK), 6),
            Cause::MptcpReceived,
            Middlebox,
            Certain,
        ),
        (
            "a join refused, with a reason to come",
            with_reason(Scene::received(SYN_SENT).rst(RST | ACK), 200),
            Cause::MptcpReceived,
            PeerKernel,
            Certain,
        ),
        (
            "near miss: not obeyed",
            with_reason(Scene::rejected(ESTABLISHED).dropped("TCP_RESET"), 1),
            Cause::BlindReset,
            Unknown,
            Certain,
        ),
        (
            "the segment not seen, old kernel",
            Scene::received(ESTABLISHED),
            Cause::PeerAborted,
            PeerApp,
            Likely,
        ),
    ];
    check(rows);
}

#[test]
fn what_they_say_is_told_in_one_safe_line() {
    let mut engine = Engine::new();
    let hostile = established(RST | ACK)
        .payload(b"BIG-IP: [0x1:2] \x1b]0;owned\x07\xff\r\nnext")
        .diagnosed_by(&mut engine);
    let shown = "rst_payload=F5 BIG-IP \"\\x1b]0;owned\\x07\\xff\\x0d\\x0anext\" at 0x1:2";
    assert!(
        hostile.verdict.evidence.contains(shown),
        "{:?}",
        hostile.verdict.evidence
    );
    for fact in key_facts(&hostile) {
        assert!(!fact.chars().any(char::is_control), "{fact:?}");
    }
    let stray = Scene::stray()
        .dropped("NO_SOCKET")
        .payload(b"Connection not found")
        .diagnosed_by(&mut engine);
    assert_eq!(stray.verdict.cause, Cause::StrayReset);
    assert!(
        stray
            .verdict
            .evidence
            .contains("rst_payload=text \"Connection not found\"")
    );
}
