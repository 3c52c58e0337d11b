//! Resets during the handshake.

use super::Scenario;
use crate::error::LabError;
use crate::netns::write_sysctl;
use crate::segment::flag;
use crate::stage::{SERVICE_PORT, Stage};
use crate::truth::{Expectation, Kind, Needs};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "bad-handshake-ack-syn-sent",
        title: "a SYN-ACK that acknowledges what was not sent",
        play: syn_sent,
    },
    Scenario {
        id: "bad-handshake-ack-syn-received",
        title: "a third ACK that acknowledges what was not sent",
        play: syn_received,
    },
    Scenario {
        id: "bad-handshake-ack-listen",
        title: "an ACK for a listener without a connection",
        play: listen,
    },
    Scenario {
        id: "accept-queue-overflow",
        title: "a full accept queue with tcp_abort_on_overflow",
        play: accept_queue_overflow,
    },
    Scenario {
        id: "handshake-aborted",
        title: "a RST for a connection in SYN-RECEIVED",
        play: aborted,
    },
];

fn syn_sent(stage: &mut Stage) -> Result<(), LabError> {
    let (_client, end) = stage.connecting()?;
    let mut answer = end.segment(flag::SYN | flag::ACK);
    answer.ack = answer.ack.wrapping_add(77);
    stage.peer.send(&answer)?;
    stage.expect(
        Expectation::new(Kind::Sent, "bad-handshake-ack", end.local, end.fake)
            .state(&["syn-sent"])
            .owned("client")
            .rst_answering(&answer),
    );
    stage.receive(&end, "the RST", |s| s.has(flag::RST))?;
    Ok(())
}

/// The kernel hands a request's bad ACK to the listener, so LISTEN is what it shows.
fn syn_received(stage: &mut Stage) -> Result<(), LabError> {
    let _listener = stage.listener(8)?;
    let end = stage.half_open()?;
    let mut third = end.segment(flag::ACK);
    third.ack = third.ack.wrapping_add(500);
    stage.peer.send(&third)?;
    stage.expect(
        Expectation::new(Kind::Sent, "bad-handshake-ack", end.local, end.fake)
            .state(&["syn-recv", "listen"])
            .owned("server")
            .rst_answering(&third),
    );
    stage.receive(&end, "the RST", |s| s.has(flag::RST))?;
    Ok(())
}

fn listen(stage: &mut Stage) -> Result<(), LabError> {
    let _listener = stage.listener(8)?;
    let end = stage.stranger(SERVICE_PORT);
    let ack = end.segment(flag::ACK);
    stage.peer.send(&ack)?;
    stage.expect(
        Expectation::new(Kind::Sent, "bad-handshake-ack", end.local, end.fake)
            .state(&["listen"])
            .owned("server")
            .rst_answering(&ack),
    );
    stage.receive(&end, "the RST", |s| s.has(flag::RST))?;
    Ok(())
}

/// A queue of two takes three. The handshakes come in pairs, since more at once than the backlog
/// would not be remembered at all.
fn accept_queue_overflow(stage: &mut Stage) -> Result<(), LabError> {
    write_sysctl("ipv4/tcp_abort_on_overflow", "1")?;
    let listener = stage.listener(2)?;
    let first_pair = [stage.half_open()?, stage.half_open()?];
    for end in &first_pair {
        stage.peer.send(&end.segment(flag::ACK))?;
    }
    let second_pair = [stage.half_open()?, stage.half_open()?];
    for end in &second_pair {
        stage.peer.send(&end.segment(flag::ACK))?;
    }
    let [_, refused] = second_pair;
    stage.expect(
        Expectation::new(
            Kind::Sent,
            "accept-queue-overflow",
            refused.local,
            refused.fake,
        )
        .state(&["syn-recv", "listen"])
        .owned("server")
        .rst_answering(&refused.segment(flag::ACK)),
    );
    stage.receive(&refused, "the RST", |s| s.has(flag::RST))?;
    // Accepted, they end with a FIN; left in the queue, with a RST each.
    for _ in 0..3 {
        drop(listener.accept()?);
    }
    Ok(())
}

fn aborted(stage: &mut Stage) -> Result<(), LabError> {
    let listener = stage.listener(8)?;
    let end = stage.half_open()?;
    let reset = end.segment(flag::RST);
    stage.peer.send(&reset)?;
    stage.expect(
        Expectation::new(Kind::Received, "handshake-aborted", end.local, end.fake)
            .or_kind(Kind::Stray)
            .or_without_drop_reason("stray-reset")
            .state(&["syn-recv"])
            .role("server")
            .rst(&reset)
            .needs(Needs::Dropped),
    );
    // The listener must go on as if nothing had been.
    let _other = stage.unaccepted()?;
    drop(listener.accept()?);
    Ok(())
}
