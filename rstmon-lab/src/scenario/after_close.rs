//! Data that comes after this host's application closed: one sent RST each, and no received one,
//! though the kernel calls `tcp_reset()` on itself in some (RFC 1122, 4.2.2.13).

use std::net::Shutdown;

use super::Scenario;
use crate::error::LabError;
use crate::netns::KernelState;
use crate::segment::flag;
use crate::stage::Stage;
use crate::truth::{Expectation, Given, Kind, Needs};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "data-after-close-fin-wait-1",
        title: "data for an orphan whose FIN is unacknowledged",
        play: fin_wait_1,
    },
    Scenario {
        id: "data-after-close-fin-ack",
        title: "data along with the acknowledgment of the FIN",
        play: with_ack_of_fin,
    },
    Scenario {
        id: "data-after-close-fin-wait-2",
        title: "data for FIN-WAIT-2 after close",
        play: fin_wait_2,
    },
    Scenario {
        id: "data-after-close-shutdown",
        title: "data after shutdown(SHUT_RDWR), socket still open",
        play: after_shutdown,
    },
    Scenario {
        id: "time-wait-hit",
        title: "a SYN for the timewait socket of FIN-WAIT-2",
        play: time_wait_hit,
    },
];

fn fin_wait_1(stage: &mut Stage) -> Result<(), LabError> {
    let (server, mut end) = stage.server()?;
    drop(server);
    let fin = stage.receive_fin(&mut end)?;
    let mut data = end.data(b"too late");
    data.ack = fin.seq;
    stage.peer.send(&data)?;
    stage.expect(
        Expectation::new(Kind::Sent, "data-after-close", end.local, end.fake)
            .certain_given(&[Given::Reason, Given::Objects])
            .state(&["fin-wait-1"])
            .role("server")
            .rst_answering(&data),
    );
    Ok(())
}

/// What a TLS peer's `close_notify` does to a client that has closed.
fn with_ack_of_fin(stage: &mut Stage) -> Result<(), LabError> {
    let (client, mut end) = stage.client()?;
    drop(client);
    stage.receive_fin(&mut end)?;
    let data = end.data(b"\x15\x03\x03 bye");
    stage.peer.send(&data)?;
    stage.expect(
        Expectation::new(Kind::Sent, "data-after-close", end.local, end.fake)
            .certain_given(&[Given::Reason, Given::Objects])
            .state(&["fin-wait-1", "fin-wait-2"])
            .role("client")
            .rst_answering(&data),
    );
    Ok(())
}

fn fin_wait_2(stage: &mut Stage) -> Result<(), LabError> {
    let (server, mut end) = stage.server()?;
    drop(server);
    stage.receive_fin(&mut end)?;
    stage.acknowledge(&end, KernelState::FinWait2)?;
    let data = end.data(b"too late");
    stage.peer.send(&data)?;
    stage.expect(
        Expectation::new(Kind::Sent, "data-after-close", end.local, end.fake)
            .certain_given(&[Given::Reason, Given::Objects])
            .state(&["fin-wait-2"])
            .rst_answering(&data)
            .needs(Needs::Timewait),
    );
    Ok(())
}

fn after_shutdown(stage: &mut Stage) -> Result<(), LabError> {
    let (client, mut end) = stage.client()?;
    client.shutdown(Shutdown::Both)?;
    stage.receive_fin(&mut end)?;
    stage.acknowledge(&end, KernelState::FinWait2)?;
    let data = end.data(b"too late");
    stage.peer.send(&data)?;
    stage.expect(
        Expectation::new(Kind::Sent, "data-after-close", end.local, end.fake)
            .certain_given(&[Given::Reason, Given::Objects])
            .state(&["fin-wait-2"])
            .owned("client")
            .rst_answering(&data),
    );
    stage.receive(&end, "the RST", |s| s.has(flag::RST))?;
    Ok(())
}

fn time_wait_hit(stage: &mut Stage) -> Result<(), LabError> {
    let (server, mut end) = stage.server()?;
    drop(server);
    stage.receive_fin(&mut end)?;
    stage.acknowledge(&end, KernelState::FinWait2)?;
    let mut syn = end.segment(flag::SYN);
    syn.seq = syn.seq.wrapping_add(1000);
    stage.peer.send(&syn)?;
    stage.expect(
        Expectation::new(Kind::Sent, "time-wait-hit", end.local, end.fake)
            .or_without_objects("data-after-close")
            .certain_given(&[Given::Reason])
            .state(&["fin-wait-2", "time-wait"])
            .rst_answering(&syn)
            .needs(Needs::Timewait),
    );
    Ok(())
}
