//! Resets during the handshake.

use super::Scenario;
use crate::error::LabError;
use crate::netns::{KernelState, write_sysctl};
use crate::segment::flag;
use crate::stage::{SERVICE_PORT, Stage, wait_state};
use crate::truth::{Expectation, Given, Kind, Needs};

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
        id: "bad-handshake-ack-cookie",
        title: "a third ACK with a SYN cookie that is wrong",
        play: cookie,
    },
    Scenario {
        id: "bad-handshake-ack-simultaneous",
        title: "a simultaneous open, then an ACK that is wrong",
        play: simultaneous,
    },
    Scenario {
        id: "paws",
        title: "a SYN-ACK that echoes a timestamp not ours",
        play: paws,
    },
    Scenario {
        id: "invalid-segment",
        title: "another SYN, in the window of a handshake",
        play: second_syn,
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
            .certain_given(&[Given::Reason])
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
            .certain_given(&[Given::Reason])
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
            .certain_given(&[Given::Reason])
            .state(&["listen"])
            .owned("server")
            .rst_answering(&ack),
    );
    stage.receive(&end, "the RST", |s| s.has(flag::RST))?;
    Ok(())
}

/// Of a handshake by cookie the kernel remembers nothing but that there were some.
fn cookie(stage: &mut Stage) -> Result<(), LabError> {
    write_sysctl("ipv4/tcp_syncookies", "2")?;
    syn_received(stage)
}

fn simultaneous(stage: &mut Stage) -> Result<(), LabError> {
    let (_client, mut end) = stage.connecting()?;
    stage.peer.send(&end.segment(flag::SYN))?;
    end.snd_nxt = end.snd_nxt.wrapping_add(1);
    wait_state(&end, KernelState::SynReceived)?;
    let mut answer = end.segment(flag::ACK);
    answer.ack = answer.ack.wrapping_add(1_000);
    stage.peer.send(&answer)?;
    stage.expect(
        Expectation::new(Kind::Sent, "bad-handshake-ack", end.local, end.fake)
            .certain_given(&[Given::Reason])
            .state(&["syn-recv"])
            .owned("client")
            .rst_answering(&answer),
    );
    stage.receive(&end, "the RST", |s| s.has(flag::RST))?;
    Ok(())
}

/// Each connection has timestamps with an offset of its own, so that any fixed one is not ours.
fn paws(stage: &mut Stage) -> Result<(), LabError> {
    write_sysctl("ipv4/tcp_timestamps", "1")?;
    let (_client, end) = stage.connecting()?;
    let answer = end
        .segment(flag::SYN | flag::ACK)
        .with_timestamps(3_000_000, 0x1234_5678);
    stage.peer.send(&answer)?;
    stage.expect(
        Expectation::new(Kind::Sent, "paws", end.local, end.fake)
            .or_without_objects("bad-handshake-ack")
            .certain_given(&[Given::Reason])
            .state(&["syn-sent"])
            .owned("client")
            .rst_answering(&answer),
    );
    stage.receive(&end, "the RST", |s| s.has(flag::RST))?;
    Ok(())
}

fn second_syn(stage: &mut Stage) -> Result<(), LabError> {
    let _listener = stage.listener(8)?;
    let end = stage.half_open()?;
    let mut syn = end.segment(flag::SYN);
    syn.seq = syn.seq.wrapping_add(100);
    stage.peer.send(&syn)?;
    stage.expect(
        Expectation::new(Kind::Sent, "invalid-segment", end.local, end.fake)
            .certain_given(&[Given::Reason])
            .state(&["syn-recv", "listen"])
            .owned("server")
            .rst_answering(&syn),
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
        .certain_given(&[Given::Reason])
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
            .certain_given(&[Given::EndedHandshake])
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
