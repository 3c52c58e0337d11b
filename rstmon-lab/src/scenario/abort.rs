//! Sockets that this host's application or kernel aborts.

use super::Scenario;
use crate::error::LabError;
use crate::netns::KernelState;
use crate::segment::flag;
use crate::stage::{Stage, wait_state};
use crate::truth::{Expectation, Kind};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "close-unread-data",
        title: "close with received data unread",
        play: close_unread_data,
    },
    Scenario {
        id: "linger-abort",
        title: "close with SO_LINGER on and zero seconds",
        play: linger_abort,
    },
    Scenario {
        id: "linger2-abort",
        title: "close in FIN-WAIT-2 with TCP_LINGER2 below zero",
        play: linger2_abort,
    },
    Scenario {
        id: "disconnect",
        title: "connect(AF_UNSPEC) on a live connection",
        play: disconnect,
    },
    Scenario {
        id: "listener-closed",
        title: "a listener closed with a connection in its queue",
        play: listener_closed,
    },
    Scenario {
        id: "keepalive-timeout",
        title: "keepalive probes that nobody answers",
        play: keepalive_timeout,
    },
];

fn close_unread_data(stage: &mut Stage) -> Result<(), LabError> {
    let (server, mut end) = stage.server()?;
    let data = end.data(b"never");
    stage.peer.send(&data)?;
    end.snd_nxt = data.end_seq();
    server.wait_unread(data.payload.len())?;
    drop(server);
    stage.expect(
        Expectation::new(Kind::Sent, "close-unread-data", end.local, end.fake)
            .state(&["established"])
            .owned("server")
            .rst_aborting(end.rcv_nxt, end.snd_nxt)
            .unread(data.payload.len() as u64),
    );
    Ok(())
}

fn linger_abort(stage: &mut Stage) -> Result<(), LabError> {
    let (client, mut end) = stage.client()?;
    stage.emit(&client, &mut end, b"hello")?;
    stage.deliver(&client, &mut end, b"hello yourself")?;
    client.set_linger_zero()?;
    drop(client);
    stage.expect(
        Expectation::new(Kind::Sent, "linger-abort", end.local, end.fake)
            .state(&["established"])
            .owned("client")
            .rst_aborting(end.rcv_nxt, end.snd_nxt)
            .unread(0),
    );
    Ok(())
}

fn linger2_abort(stage: &mut Stage) -> Result<(), LabError> {
    let (client, mut end) = stage.client()?;
    client.set_linger2(-1)?;
    client.shutdown(std::net::Shutdown::Write)?;
    stage.receive_fin(&mut end)?;
    stage.acknowledge(&end, KernelState::FinWait2)?;
    drop(client);
    stage.expect(
        Expectation::new(Kind::Sent, "linger2-abort", end.local, end.fake)
            .state(&["fin-wait-2"])
            .owned("client")
            .rst_aborting(end.rcv_nxt, end.snd_nxt),
    );
    Ok(())
}

fn disconnect(stage: &mut Stage) -> Result<(), LabError> {
    let (client, end) = stage.client()?;
    client.disconnect()?;
    stage.expect(
        Expectation::new(Kind::Sent, "disconnect", end.local, end.fake)
            .state(&["established"])
            .owned("client")
            .rst_aborting(end.rcv_nxt, end.snd_nxt),
    );
    Ok(())
}

fn listener_closed(stage: &mut Stage) -> Result<(), LabError> {
    let listener = stage.listener(8)?;
    let end = stage.unaccepted()?;
    drop(listener);
    stage.expect(
        Expectation::new(Kind::Sent, "listener-closed", end.local, end.fake)
            .state(&["established"])
            .role("server")
            .rst_aborting(end.rcv_nxt, end.snd_nxt),
    );
    Ok(())
}

fn keepalive_timeout(stage: &mut Stage) -> Result<(), LabError> {
    let (client, end) = stage.client()?;
    client.set_short_keepalive()?;
    wait_state(&end, KernelState::Established)?;
    stage.receive(&end, "the RST of the timeout", |s| s.has(flag::RST))?;
    client.wait_error(libc::ETIMEDOUT)?;
    stage.expect(
        Expectation::new(Kind::Sent, "keepalive-timeout", end.local, end.fake)
            .state(&["established"])
            .owned("client")
            .rst_aborting(end.rcv_nxt, end.snd_nxt),
    );
    Ok(())
}
