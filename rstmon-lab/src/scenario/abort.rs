//! Sockets that this host's application or kernel aborts.

use std::net::Shutdown;

use super::Scenario;
use crate::error::LabError;
use crate::netns::KernelState;
use crate::segment::flag;
use crate::stage::{Stage, wait_state};
use crate::truth::{Expectation, Given, Kind};

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
        id: "close-unread-data-close-wait",
        title: "close with data unread, after the peer closed",
        play: close_unread_in_close_wait,
    },
    Scenario {
        id: "linger2-abort-ack",
        title: "the FIN of such a socket acknowledged after close",
        play: linger2_abort_at_ack,
    },
    Scenario {
        id: "disconnect-last-ack",
        title: "connect(AF_UNSPEC) in LAST-ACK with data unsent",
        play: disconnect_in_last_ack,
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
            .certain_given(&[Given::Reason, Given::Objects])
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
            .certain_given(&[Given::Reason])
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
    client.shutdown(Shutdown::Write)?;
    stage.receive_fin(&mut end)?;
    stage.acknowledge(&end, KernelState::FinWait2)?;
    drop(client);
    stage.expect(
        Expectation::new(Kind::Sent, "linger2-abort", end.local, end.fake)
            .certain_given(&[Given::Reason])
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
            .certain_given(&[Given::Reason])
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
            .certain_given(&[Given::Reason])
            .state(&["established"])
            .role("server")
            .rst_aborting(end.rcv_nxt, end.snd_nxt),
    );
    Ok(())
}

/// The FIN takes a sequence number, and is no unread byte.
fn close_unread_in_close_wait(stage: &mut Stage) -> Result<(), LabError> {
    let (server, mut end) = stage.server()?;
    let mut last = end.data(b"the last request");
    last.flags |= flag::FIN;
    stage.peer.send(&last)?;
    end.snd_nxt = last.end_seq();
    server.wait_unread(last.payload.len())?;
    wait_state(&end, KernelState::CloseWait)?;
    drop(server);
    stage.expect(
        Expectation::new(Kind::Sent, "close-unread-data", end.local, end.fake)
            .certain_given(&[Given::Reason, Given::Objects])
            .state(&["close-wait"])
            .owned("server")
            .rst_aborting(end.rcv_nxt, end.snd_nxt)
            .unread(last.payload.len() as u64),
    );
    Ok(())
}

/// The other place where the kernel looks at `TCP_LINGER2`: at the way from FIN-WAIT-1 to FIN-WAIT-2.
fn linger2_abort_at_ack(stage: &mut Stage) -> Result<(), LabError> {
    let (client, mut end) = stage.client()?;
    client.set_linger2(-1)?;
    drop(client);
    stage.receive_fin(&mut end)?;
    let ack = end.segment(flag::ACK);
    stage.peer.send(&ack)?;
    stage.expect(
        Expectation::new(Kind::Sent, "linger2-abort", end.local, end.fake)
            .certain_given(&[Given::Reason])
            .state(&["fin-wait-1", "fin-wait-2"])
            // One reason for both, and neither the option nor the segment in the record.
            .or_without_objects("data-after-close")
            .role("client")
            .rst_answering(&ack),
    );
    Ok(())
}

/// The peer's window is shut, so that the data stays here and the FIN behind it.
fn disconnect_in_last_ack(stage: &mut Stage) -> Result<(), LabError> {
    let (client, mut end) = stage.client()?;
    let mut fin = end.segment(flag::FIN | flag::ACK);
    fin.window = 0;
    stage.peer.send(&fin)?;
    end.snd_nxt = fin.end_seq();
    wait_state(&end, KernelState::CloseWait)?;
    client.write(b"never sent")?;
    client.shutdown(Shutdown::Write)?;
    wait_state(&end, KernelState::LastAck)?;
    client.disconnect()?;
    stage.expect(
        Expectation::new(Kind::Sent, "disconnect", end.local, end.fake)
            .certain_given(&[Given::Reason])
            .state(&["last-ack"])
            .owned("client")
            .rst_aborting(end.rcv_nxt, end.snd_nxt),
    );
    Ok(())
}
