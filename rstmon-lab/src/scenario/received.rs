//! RSTs that tear a socket of this host down.

use super::Scenario;
use crate::error::LabError;
use crate::netns::KernelState;
use crate::segment::flag;
use crate::stage::{Stage, wait_state_of};
use crate::truth::{Expectation, Given, Kind, Needs};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "peer-aborted",
        title: "the peer's live socket aborts",
        play: peer_aborted,
    },
    Scenario {
        id: "peer-aborted-loopback",
        title: "one end closes with data unread, both ends",
        play: peer_aborted_loopback,
    },
    Scenario {
        id: "peer-gone",
        title: "the peer does not know our data's connection",
        play: peer_gone,
    },
    Scenario {
        id: "peer-data-after-close",
        title: "we write to a peer that has closed, both ends",
        play: peer_data_after_close,
    },
];

fn peer_aborted(stage: &mut Stage) -> Result<(), LabError> {
    let (client, mut end) = stage.client()?;
    stage.deliver(&client, &mut end, b"something first")?;
    let reset = end.segment(flag::RST | flag::ACK);
    stage.peer.send(&reset)?;
    client.wait_error(libc::ECONNRESET)?;
    stage.expect(
        Expectation::new(Kind::Received, "peer-aborted", end.local, end.fake)
            .or_without_segment("peer-gone")
            .state(&["established"])
            .owned("client")
            .rst(&reset),
    );
    Ok(())
}

fn peer_aborted_loopback(stage: &mut Stage) -> Result<(), LabError> {
    let (client, server) = stage.loopback_pair()?;
    let (local, remote) = (client.local()?, server.local()?);
    let payload = b"nobody reads this";
    client.write(payload)?;
    server.wait_unread(payload.len())?;
    drop(server);
    client.wait_error(libc::ECONNRESET)?;
    stage.expect(
        Expectation::new(Kind::Sent, "close-unread-data", remote, local)
            .certain_given(&[Given::Reason, Given::Objects])
            .state(&["established"])
            .owned("server")
            .unread(payload.len() as u64),
    );
    stage.expect(
        Expectation::new(Kind::Received, "peer-aborted", local, remote)
            .or_without_segment("peer-gone")
            .state(&["established"])
            .owned("client"),
    );
    Ok(())
}

fn peer_gone(stage: &mut Stage) -> Result<(), LabError> {
    let (client, mut end) = stage.client()?;
    let data = stage.emit(&client, &mut end, b"are you there?")?;
    let mut reset = end.segment(flag::RST);
    reset.seq = data.ack;
    reset.window = 0;
    stage.peer.send(&reset)?;
    client.wait_error(libc::ECONNRESET)?;
    stage.expect(
        Expectation::new(Kind::Received, "peer-gone", end.local, end.fake)
            .or_without_segment("peer-aborted")
            .state(&["established"])
            .owned("client")
            .rst(&reset),
    );
    Ok(())
}

fn peer_data_after_close(stage: &mut Stage) -> Result<(), LabError> {
    let (client, server) = stage.loopback_pair()?;
    let (local, remote) = (client.local()?, server.local()?);
    drop(server);
    client.wait_end()?;
    wait_state_of(local.port(), remote.port(), KernelState::CloseWait)?;
    // Before the FIN is acknowledged, the same data would meet FIN-WAIT-1.
    wait_state_of(remote.port(), local.port(), KernelState::FinWait2)?;
    client.write(b"one more request")?;
    client.wait_error(libc::EPIPE)?;
    stage.expect(
        Expectation::new(Kind::Sent, "data-after-close", remote, local)
            .certain_given(&[Given::Reason, Given::Objects])
            .state(&["fin-wait-2"])
            .needs(Needs::Timewait),
    );
    stage.expect(
        Expectation::new(Kind::Received, "peer-data-after-close", local, remote)
            .state(&["close-wait"])
            .owned("client"),
    );
    Ok(())
}
