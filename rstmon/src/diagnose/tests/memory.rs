//! What the engine's memory of flows changes, how evidence is written, and that memory is bounded.

use crate::diagnose::flows::FLOWS;
use crate::diagnose::testing::Scene;
use crate::diagnose::{Engine, key_facts};
use crate::event::model::{Cause, Confidence, Initiator};
use rstmon_common::wire::{tcp_flag::*, tcp_state::*};

fn data_without_socket() -> Scene {
    Scene::socketless().segment(PSH | ACK, 5)
}

#[test]
fn a_segment_after_our_own_reset_is_after_close_for_five_minutes() {
    for (wait_ms, cause) in [
        (10, Cause::SegmentAfterClose),
        (299_000, Cause::SegmentAfterClose),
        (301_000, Cause::StaleSegment),
    ] {
        let mut engine = Engine::new();
        Scene::closing(ESTABLISHED)
            .linger_zero()
            .diagnosed_by(&mut engine);
        let event = data_without_socket()
            .closed_from(ESTABLISHED)
            .after_ms(wait_ms)
            .diagnosed_by(&mut engine);
        assert_eq!(event.verdict.cause, cause, "after {wait_ms} ms");
    }
}

/// The kernel keeps its notes of closed connections for as long as there is room.
#[test]
fn a_close_is_evidence_for_five_minutes_and_a_fact_for_longer() {
    for (ago_ms, cause, confidence) in [
        (300_000, Cause::SegmentAfterClose, Confidence::Certain),
        (300_001, Cause::StaleSegment, Confidence::Likely),
    ] {
        let event = data_without_socket()
            .closed_ago_ms(ago_ms, LAST_ACK)
            .diagnosed_by(&mut Engine::new());
        let verdict = event.verdict;
        assert_eq!((verdict.cause, verdict.confidence), (cause, confidence));
        let fact = format!("closed_ago_ms={ago_ms}");
        assert!(verdict.evidence.contains(fact.as_str()), "{fact}");
    }
}

#[test]
fn a_segment_after_our_own_reset_has_the_initiator_of_that() {
    let after = |reset: Scene| {
        let mut engine = Engine::new();
        let reset = reset.diagnosed_by(&mut engine).verdict;
        let late = data_without_socket()
            .closed_from(ESTABLISHED)
            .after_ms(10)
            .diagnosed_by(&mut engine)
            .verdict;
        assert_eq!(late.cause, Cause::SegmentAfterClose);
        assert_eq!(late.initiator, reset.initiator);
        late.initiator
    };
    let keepalive = Scene::active(ESTABLISHED, ESTABLISHED).reason("TCP_KEEPALIVE_TIMEOUT");
    let destroyed = Scene::active(ESTABLISHED, ESTABLISHED).reason("TCP_STATE");
    assert_eq!(after(keepalive), Initiator::LocalKernel);
    assert_eq!(after(destroyed), Initiator::LocalAdmin);
    let linger = Scene::closing(ESTABLISHED).linger_zero();
    assert_eq!(after(linger), Initiator::LocalApp);
    for (state, initiator) in [
        (SYN_SENT, Initiator::Unknown),
        (LAST_ACK, Initiator::LocalApp),
    ] {
        let late = data_without_socket().closed_from(state);
        assert_eq!(
            late.verdict(),
            (Cause::SegmentAfterClose, initiator, Confidence::Certain)
        );
    }
    // The tuple was used again meanwhile, and that connection closed in order.
    let mut engine = Engine::new();
    Scene::active(ESTABLISHED, ESTABLISHED)
        .reason("TCP_KEEPALIVE_TIMEOUT")
        .diagnosed_by(&mut engine);
    let late = data_without_socket()
        .after_ms(240_000)
        .closed_ago_ms(1_000, LAST_ACK)
        .diagnosed_by(&mut engine);
    assert_eq!(late.verdict.initiator, Initiator::LocalApp);
}

#[test]
fn a_reset_received_or_sent_for_no_connection_is_no_close_of_ours() {
    for before in [
        Scene::received(ESTABLISHED).live_rst(),
        data_without_socket(),
        Scene::passive(LISTEN).segment(ACK, 0),
    ] {
        let mut engine = Engine::new();
        before.diagnosed_by(&mut engine);
        let event = data_without_socket().after_ms(10).diagnosed_by(&mut engine);
        assert_eq!(event.verdict.cause, Cause::StaleSegment);
    }
}

#[test]
fn our_firewall_is_named_at_the_end_that_it_cut_off() {
    for reject in [Scene::netfilter(), Scene::netfilter().mirrored()] {
        let mut engine = Engine::new();
        reject.diagnosed_by(&mut engine);
        let refused = Scene::received(SYN_SENT)
            .rst(RST | ACK)
            .diagnosed_by(&mut engine);
        assert_eq!(refused.verdict.cause, Cause::ConnectionRefused);
        assert_eq!(refused.verdict.initiator, Initiator::LocalFirewall);
        let cut = Scene::received(ESTABLISHED)
            .rst(RST)
            .after_ms(500)
            .diagnosed_by(&mut engine);
        assert_eq!(cut.verdict.cause, Cause::FirewallReject);
        let later = Scene::received(ESTABLISHED)
            .rst(RST)
            .after_ms(1_500)
            .diagnosed_by(&mut engine);
        assert_eq!(later.verdict.cause, Cause::PeerGone);
    }
}

/// A million flows, of the kinds that are remembered, each with addresses of its own.
#[test]
fn memory_is_flat_over_a_million_flows() {
    let mut engine = Engine::new();
    let kinds = [
        Scene::closing(ESTABLISHED).linger_zero(),
        Scene::received(ESTABLISHED).rst(RST).idle(5_000),
        Scene::netfilter(),
        Scene::rejected(ESTABLISHED).with(|raw| raw.segment_seq = 90_000),
    ]
    .map(|scene| scene.event());
    for flow in 0..1_000_000_u32 {
        let mut event = kinds[flow as usize % kinds.len()].clone();
        event.remote_addr = std::net::Ipv4Addr::from(flow).into();
        event.mono_ns += u64::from(flow) * 1_000;
        engine.diagnose(&mut event);
        if flow == 100_000 || flow == 999_999 {
            let (flows, services) = engine.remembered();
            assert!((FLOWS..=2 * FLOWS).contains(&flows), "{flows} flows");
            assert_eq!(services, 1_024);
        }
    }
}

#[test]
fn evidence_names_what_was_used() {
    let mut engine = Engine::new();
    let unread = Scene::closing(ESTABLISHED)
        .unread(5)
        .reason("TCP_ABORT_ON_CLOSE")
        .diagnosed_by(&mut engine);
    assert_eq!(
        unread.verdict.evidence,
        [
            "kernel_reason=TCP_ABORT_ON_CLOSE",
            "unread_bytes=5",
            "state=established"
        ]
    );
    assert_eq!(key_facts(&unread), ["5 B unread"]);
    let linger = Scene::closing(ESTABLISHED)
        .linger_zero()
        .diagnosed_by(&mut engine);
    assert!(linger.verdict.evidence.contains("so_linger=0s"));
    let port = Scene::socketless()
        .segment(SYN, 0)
        .diagnosed_by(&mut engine);
    assert!(port.verdict.evidence.contains("trigger=S seq=100 len=0"));
    let aborted = Scene::received(ESTABLISHED)
        .live_rst()
        .with(|raw| raw.segment_ttl = 250)
        .diagnosed_by(&mut engine);
    assert!(
        aborted
            .verdict
            .evidence
            .contains("rst_ttl=250 handshake_ttl=64")
    );
    assert_eq!(key_facts(&aborted), ["rst R.", "ttl 64→250"]);
}

/// Only what the application did itself can hand a reset on.
#[test]
fn a_proxy_hands_on_what_its_application_did() {
    let mut engine = Engine::new();
    let owned = |scene: Scene| scene.owner_and_current(7, 7);
    owned(Scene::received(ESTABLISHED).live_rst().client())
        .with(|raw| raw.local_port = 40_000)
        .diagnosed_by(&mut engine);
    let mut hands_on = |scene: Scene| {
        let event = owned(scene).server().after_ms(1).diagnosed_by(&mut engine);
        let mut facts = event.verdict.evidence.iter();
        facts.any(|fact| fact.starts_with("propagated_from="))
    };
    assert!(hands_on(Scene::closing(ESTABLISHED).linger_zero()));
    let timer = Scene::active(ESTABLISHED, ESTABLISHED);
    assert!(!hands_on(timer.reason("TCP_KEEPALIVE_TIMEOUT")));
    let listener = Scene::passive(LISTEN).segment(ACK, 0);
    assert!(!hands_on(listener.backlog(3, 2).reason("INVALID_SYN")));
}
