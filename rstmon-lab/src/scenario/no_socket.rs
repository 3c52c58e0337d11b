//! Segments that find no socket here: sent RSTs without a connection behind them.

use super::Scenario;
use crate::error::LabError;
use crate::netns::KernelState;
use crate::peer::FakeEnd;
use crate::segment::{Segment, flag};
use crate::socket::Endpoint;
use crate::stage::{CLOSED_PORT, SERVICE_PORT, Stage, wait_gone};
use crate::truth::{Expectation, Given, Kind, Needs};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "port-closed",
        title: "a SYN for a port nobody listens on",
        play: port_closed,
    },
    Scenario {
        id: "connection-refused",
        title: "a connect to a closed loopback port, both ends",
        play: connection_refused,
    },
    Scenario {
        id: "stale-segment",
        title: "data for a connection this host never had",
        play: stale_segment,
    },
    Scenario {
        id: "stale-segment-listener",
        title: "data for a connection this host never had, on a port with a listener",
        play: stale_segment_at_listener,
    },
    Scenario {
        id: "segment-after-close",
        title: "data for a connection this host just aborted",
        play: segment_after_abort,
    },
    Scenario {
        id: "segment-after-close-last-ack",
        title: "data for a connection both sides closed",
        play: segment_after_last_ack,
    },
    Scenario {
        id: "segment-after-close-listener",
        title: "an ACK for a connection both sides closed, on a port with a listener",
        play: segment_after_last_ack_at_listener,
    },
    Scenario {
        id: "segment-after-close-syn-sent",
        title: "the answer to a connect that was given up",
        play: abandoned_connect,
    },
    Scenario {
        id: "idle-then-return",
        title: "a peer comes back to a socket that vanished",
        play: idle_then_return,
    },
    Scenario {
        id: "orphan-timeout-then-return",
        title: "a peer comes back after FIN-WAIT-2 ran out",
        play: orphan_timeout_then_return,
    },
];

fn port_closed(stage: &mut Stage) -> Result<(), LabError> {
    let end = stage.stranger(CLOSED_PORT);
    let syn = end.segment(flag::SYN);
    stage.peer.send(&syn)?;
    stage.expect(
        Expectation::new(Kind::Sent, "port-closed", end.local, end.fake)
            .certain_given(&[Given::Reason])
            .state(&["none"])
            .rst_answering(&syn)
            .needs(Needs::Socketless),
    );
    Ok(())
}

fn connection_refused(stage: &mut Stage) -> Result<(), LabError> {
    let closed = stage.loopback(CLOSED_PORT);
    let client = Endpoint::connect(closed)?;
    let local = client.local()?;
    client.wait_error(libc::ECONNREFUSED)?;
    stage.expect(
        Expectation::new(Kind::Sent, "port-closed", closed, local)
            .certain_given(&[Given::Reason])
            .state(&["none"])
            .needs(Needs::Socketless),
    );
    stage.expect(
        Expectation::new(Kind::Received, "connection-refused", local, closed)
            .certain_given(&[Given::Always])
            .state(&["syn-sent"])
            .owned("client"),
    );
    Ok(())
}

fn stale_segment(stage: &mut Stage) -> Result<(), LabError> {
    let end = stage.stranger(SERVICE_PORT);
    let data = end.data(b"anybody there?");
    stage.peer.send(&data)?;
    stage.expect(
        Expectation::new(Kind::Sent, "stale-segment", end.local, end.fake)
            .state(&["none"])
            .rst_answering(&data)
            .needs(Needs::Socketless),
    );
    Ok(())
}

fn stale_segment_at_listener(stage: &mut Stage) -> Result<(), LabError> {
    let _listener = stage.listener(8)?;
    let end = stage.stranger(SERVICE_PORT);
    let data = end.data(b"anybody there?");
    stage.peer.send(&data)?;
    stage.expect(
        Expectation::new(Kind::Sent, "stale-segment", end.local, end.fake)
            .state(&["listen"])
            .owned("server")
            .rst_answering(&data),
    );
    stage.receive(&end, "the RST", |s| s.has(flag::RST))?;
    Ok(())
}

fn segment_after_abort(stage: &mut Stage) -> Result<(), LabError> {
    let (server, end) = stage.server()?;
    server.set_linger_zero()?;
    drop(server);
    stage.receive(&end, "the RST of the close", |s| s.has(flag::RST))?;
    let data = end.data(b"one more thing");
    stage.peer.send(&data)?;
    stage.expect(
        Expectation::new(Kind::Sent, "linger-abort", end.local, end.fake)
            .certain_given(&[Given::Reason, Given::Objects])
            .state(&["established"])
            .owned("server")
            .rst_aborting(end.rcv_nxt, end.snd_nxt),
    );
    stage.expect(
        Expectation::new(Kind::Sent, "segment-after-close", end.local, end.fake)
            .certain_given(&[Given::Reason, Given::Objects])
            .state(&["none"])
            .rst_answering(&data)
            .needs(Needs::Socketless),
    );
    Ok(())
}

/// A connection that the peer closed first, and then this host. Returns the peer's FIN, too.
fn close_after_peer(stage: &mut Stage) -> Result<(FakeEnd, Segment), LabError> {
    let (server, mut end) = stage.server()?;
    let fin = end.segment(flag::FIN | flag::ACK);
    stage.peer.send(&fin)?;
    end.snd_nxt = fin.end_seq();
    server.wait_end()?;
    drop(server);
    stage.receive_fin(&mut end)?;
    stage.peer.send(&end.segment(flag::ACK))?;
    wait_gone(end.local.port(), end.fake.port())?;
    Ok((end, fin))
}

fn segment_after_last_ack_at_listener(stage: &mut Stage) -> Result<(), LabError> {
    let (end, _) = close_after_peer(stage)?;
    let _listener = stage.listener(8)?;
    let ack = end.segment(flag::ACK);
    stage.peer.send(&ack)?;
    stage.expect(
        Expectation::new(Kind::Sent, "segment-after-close", end.local, end.fake)
            .state(&["listen"])
            .owned("server")
            .rst_answering(&ack),
    );
    stage.receive(&end, "the RST", |s| s.has(flag::RST))?;
    Ok(())
}

fn segment_after_last_ack(stage: &mut Stage) -> Result<(), LabError> {
    let (end, fin) = close_after_peer(stage)?;
    let mut old = end.data(b"old");
    old.seq = fin.seq;
    stage.peer.send(&old)?;
    stage.expect(
        Expectation::new(Kind::Sent, "segment-after-close", end.local, end.fake)
            .certain_given(&[Given::Reason, Given::Objects])
            .state(&["none"])
            .rst_answering(&old)
            .needs(Needs::Socketless),
    );
    Ok(())
}

/// The close itself sends nothing: there was no connection yet.
fn abandoned_connect(stage: &mut Stage) -> Result<(), LabError> {
    let (client, end) = stage.connecting()?;
    drop(client);
    wait_gone(end.local.port(), end.fake.port())?;
    let answer = end.segment(flag::SYN | flag::ACK);
    stage.peer.send(&answer)?;
    stage.expect(
        Expectation::new(Kind::Sent, "segment-after-close", end.local, end.fake)
            .certain_given(&[Given::Reason, Given::Objects])
            .state(&["none"])
            .rst_answering(&answer)
            .needs(Needs::Socketless),
    );
    Ok(())
}

/// `TCP_REPAIR` leaves the peer as unaware as a restart or a silently expired connection does.
fn idle_then_return(stage: &mut Stage) -> Result<(), LabError> {
    let (client, server) = stage.loopback_pair()?;
    let (local, remote) = (client.local()?, server.local()?);
    server.vanish()?;
    wait_gone(remote.port(), local.port())?;
    client.write(b"still there?")?;
    client.wait_error(libc::ECONNRESET)?;
    stage.expect(
        Expectation::new(Kind::Sent, "stale-segment", remote, local)
            // That it was here is remembered, that it left without a word is not always known.
            .or_cause("segment-after-close")
            .state(&["none"])
            .needs(Needs::Socketless),
    );
    stage.expect(
        Expectation::new(Kind::Received, "peer-gone", local, remote)
            .or_without_segment("peer-aborted")
            .state(&["established"])
            .owned("client"),
    );
    Ok(())
}

fn orphan_timeout_then_return(stage: &mut Stage) -> Result<(), LabError> {
    let (client, mut end) = stage.client()?;
    client.set_linger2(1)?;
    drop(client);
    stage.receive_fin(&mut end)?;
    stage.acknowledge(&end, KernelState::FinWait2)?;
    wait_gone(end.local.port(), end.fake.port())?;
    let data = end.data(b"sorry, was away");
    stage.peer.send(&data)?;
    stage.expect(
        Expectation::new(Kind::Sent, "segment-after-close", end.local, end.fake)
            .or_cause("stale-segment")
            .state(&["none"])
            .rst_answering(&data)
            .needs(Needs::Socketless),
    );
    Ok(())
}
