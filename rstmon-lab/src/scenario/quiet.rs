//! What people take for a cause of resets and is none: no RST may leave, and no event may be seen.
//!
//! Above all: our FIN is lost, the peer, unaware, retransmits data that was long received. FIN-WAIT
//! and TIME-WAIT answer with a duplicate ACK.

use std::net::Shutdown;
use std::time::Duration;

use super::Scenario;
use crate::error::LabError;
use crate::netns::KernelState;
use crate::segment::{Segment, flag};
use crate::stage::{Stage, wait_gone, wait_state};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "lost-fin-old-segment-fin-wait-1",
        title: "FIN lost, old data again in FIN-WAIT-1: no RST",
        play: fin_wait_1,
    },
    Scenario {
        id: "lost-fin-old-segment-fin-wait-2",
        title: "old data again in FIN-WAIT-2: no RST",
        play: fin_wait_2,
    },
    Scenario {
        id: "lost-fin-old-segment-time-wait",
        title: "old data again in TIME-WAIT: no RST",
        play: time_wait,
    },
    Scenario {
        id: "user-timeout-data",
        title: "data unanswered for TCP_USER_TIMEOUT: no RST",
        play: user_timeout_with_data,
    },
    Scenario {
        id: "shutdown-read-data",
        title: "data after shutdown(SHUT_RD): no RST",
        play: shutdown_read,
    },
    Scenario {
        id: "close-unsent-data",
        title: "close with data unsent: a FIN behind it, no RST",
        play: close_unsent,
    },
    Scenario {
        id: "simultaneous-open",
        title: "a simultaneous open: no RST",
        play: simultaneous_open,
    },
    Scenario {
        id: "ack-of-unsent-data",
        title: "an ACK of data not sent: no RST",
        play: ack_of_unsent,
    },
    Scenario {
        id: "syn-in-established",
        title: "a SYN for a live connection: challenge ACK, no RST",
        play: syn_in_established,
    },
];

fn fin_wait_1(stage: &mut Stage) -> Result<(), LabError> {
    let (server, mut end) = stage.server()?;
    let data = stage.deliver(&server, &mut end, b"received long ago")?;
    drop(server);
    stage.receive_fin(&mut end)?;
    wait_state(&end, KernelState::FinWait1)?;
    answered_by_duplicate_ack(stage, &data)?;
    wait_state(&end, KernelState::FinWait1)
}

fn fin_wait_2(stage: &mut Stage) -> Result<(), LabError> {
    let (server, mut end) = stage.server()?;
    let data = stage.deliver(&server, &mut end, b"received long ago")?;
    drop(server);
    stage.receive_fin(&mut end)?;
    stage.acknowledge(&end, KernelState::FinWait2)?;
    answered_by_duplicate_ack(stage, &data)?;
    wait_state(&end, KernelState::FinWait2)
}

/// The kernel also retransmits its FIN; only a bare ACK is the answer.
fn answered_by_duplicate_ack(stage: &mut Stage, old: &Segment) -> Result<(), LabError> {
    stage.peer.send(old)?;
    stage.peer.receive("the duplicate ACK", |s| {
        s.from == old.to && s.flags == flag::ACK && s.ack == old.end_seq()
    })?;
    Ok(())
}

fn time_wait(stage: &mut Stage) -> Result<(), LabError> {
    let (server, mut end) = stage.server()?;
    let data = stage.deliver(&server, &mut end, b"received long ago")?;
    drop(server);
    stage.receive_fin(&mut end)?;
    let fin = end.segment(flag::FIN | flag::ACK);
    stage.peer.send(&fin)?;
    end.snd_nxt = fin.end_seq();
    wait_state(&end, KernelState::TimeWait)?;
    stage.receive(&end, "the ACK of the FIN", |s| s.ack == end.snd_nxt)?;
    stage.peer.send(&data)?;
    stage.receive(&end, "the duplicate ACK", |s| {
        s.flags == flag::ACK && s.ack == end.snd_nxt
    })?;
    wait_state(&end, KernelState::TimeWait)
}

/// The application gets an error, the peer nothing.
fn user_timeout_with_data(stage: &mut Stage) -> Result<(), LabError> {
    let (client, mut end) = stage.client()?;
    client.set_user_timeout(Duration::from_millis(500))?;
    stage.emit(&client, &mut end, b"anybody there?")?;
    client.wait_error(libc::ETIMEDOUT)?;
    drop(client);
    wait_gone(end.local.port(), end.fake.port())
}

/// To refuse to read is no refusal to receive.
fn shutdown_read(stage: &mut Stage) -> Result<(), LabError> {
    let (server, mut end) = stage.server()?;
    server.shutdown(Shutdown::Read)?;
    stage.deliver(&server, &mut end, b"read all the same")?;
    stage.emit(&server, &mut end, b"so it is")?;
    Ok(())
}

fn close_unsent(stage: &mut Stage) -> Result<(), LabError> {
    let (client, mut end) = stage.client()?;
    let mut shut = end.segment(flag::ACK);
    shut.window = 0;
    // Without a byte of data the kernel would not believe the window.
    shut.payload = b"wait".to_vec();
    stage.peer.send(&shut)?;
    client.read(shut.payload.len())?;
    end.snd_nxt = shut.end_seq();
    let unsent = b"never mind the window";
    client.write(unsent)?;
    drop(client);
    wait_state(&end, KernelState::FinWait1)?;
    stage.peer.send(&end.segment(flag::ACK))?;
    stage.receive_fin(&mut end)?;
    stage.acknowledge(&end, KernelState::FinWait2)
}

fn simultaneous_open(stage: &mut Stage) -> Result<(), LabError> {
    let (client, mut end) = stage.connecting()?;
    stage.peer.send(&end.segment(flag::SYN))?;
    end.snd_nxt = end.snd_nxt.wrapping_add(1);
    wait_state(&end, KernelState::SynReceived)?;
    stage.acknowledge(&end, KernelState::Established)?;
    stage.deliver(&client, &mut end, b"we both began")?;
    Ok(())
}

/// Not every kernel answers it (RFC 5961, 5).
fn ack_of_unsent(stage: &mut Stage) -> Result<(), LabError> {
    let (server, mut end) = stage.server()?;
    let mut ack = end.segment(flag::ACK);
    ack.ack = ack.ack.wrapping_add(1_000);
    stage.peer.send(&ack)?;
    stage.deliver(&server, &mut end, b"still here")?;
    Ok(())
}

fn syn_in_established(stage: &mut Stage) -> Result<(), LabError> {
    let (server, mut end) = stage.server()?;
    stage.peer.send(&end.segment(flag::SYN))?;
    stage.receive(&end, "the challenge ACK", |s| s.flags == flag::ACK)?;
    stage.deliver(&server, &mut end, b"still here")?;
    Ok(())
}
