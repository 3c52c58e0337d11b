//! RSTs that arrive and are not obeyed, or find nothing to tear down.

use super::Scenario;
use crate::error::LabError;
use crate::netns::{KernelState, write_sysctl};
use crate::peer::FakeEnd;
use crate::segment::{Segment, flag};
use crate::stage::{SERVICE_PORT, Stage, wait_gone, wait_state};
use crate::truth::{Expectation, Given, Kind, Needs};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "blind-reset-in-window",
        title: "a RST in the window but not exact: challenge ACK",
        play: blind_in_window,
    },
    Scenario {
        id: "blind-reset-out-of-window",
        title: "a RST outside the window: dropped",
        play: blind_out_of_window,
    },
    Scenario {
        id: "stray-reset",
        title: "a RST for no connection",
        play: stray,
    },
    Scenario {
        id: "time-wait-assassination",
        title: "a RST that ends TIME-WAIT early",
        play: time_wait_assassination,
    },
    Scenario {
        id: "time-wait-rfc1337",
        title: "a RST that TIME-WAIT survives",
        play: time_wait_survives,
    },
];

fn blind_in_window(stage: &mut Stage) -> Result<(), LabError> {
    blind(stage, 100, |stage, reset| {
        stage
            .peer
            .receive("the challenge ACK", |s| {
                s.from == reset.to && s.flags == flag::ACK
            })
            .map(|_| ())
    })
}

fn blind_out_of_window(stage: &mut Stage) -> Result<(), LabError> {
    blind(stage, 0x4000_0000, |_, _| Ok(()))
}

/// The connection must be alive afterwards, in both directions.
fn blind(
    stage: &mut Stage,
    off_by: u32,
    answered: impl Fn(&mut Stage, &Segment) -> Result<(), LabError>,
) -> Result<(), LabError> {
    let (server, mut end) = stage.server()?;
    stage.deliver(&server, &mut end, b"before")?;
    let mut reset = end.segment(flag::RST);
    reset.seq = reset.seq.wrapping_add(off_by);
    // The ACK of the data must not pass for the answer to the RST.
    stage
        .peer
        .receive("the ACK of the data", |s| s.ack == end.snd_nxt)?;
    stage.peer.send(&reset)?;
    answered(stage, &reset)?;
    stage.deliver(&server, &mut end, b"after")?;
    stage.emit(&server, &mut end, b"indeed")?;
    stage.expect(
        Expectation::new(Kind::Rejected, "blind-reset", end.local, end.fake)
            .certain_given(&[Given::DropReason, Given::Receiver])
            .state(&["established"])
            .owned("server")
            .rst(&reset)
            .needs(Needs::Dropped),
    );
    Ok(())
}

fn stray(stage: &mut Stage) -> Result<(), LabError> {
    let end = stage.stranger(SERVICE_PORT);
    let reset = end.segment(flag::RST | flag::ACK);
    stage.peer.send(&reset)?;
    stage.expect(
        Expectation::new(Kind::Stray, "stray-reset", end.local, end.fake)
            .certain_given(&[Given::DropReason])
            .state(&["none"])
            .rst(&reset)
            .needs(Needs::Dropped),
    );
    Ok(())
}

fn time_wait_assassination(stage: &mut Stage) -> Result<(), LabError> {
    let end = time_wait_with_reset(stage)?;
    wait_gone(end.local.port(), end.fake.port())
}

/// As RFC 1337 asks, and as is not the default.
fn time_wait_survives(stage: &mut Stage) -> Result<(), LabError> {
    write_sysctl("ipv4/tcp_rfc1337", "1")?;
    let end = time_wait_with_reset(stage)?;
    // What it answers now, it could not if it were gone.
    stage.peer.send(&end.data(b"are you there?"))?;
    stage.receive(&end, "the ACK of TIME-WAIT", |s| s.flags == flag::ACK)?;
    Ok(())
}

fn time_wait_with_reset(stage: &mut Stage) -> Result<FakeEnd, LabError> {
    let (server, mut end) = stage.server()?;
    drop(server);
    stage.receive_fin(&mut end)?;
    let fin = end.segment(flag::FIN | flag::ACK);
    stage.peer.send(&fin)?;
    end.snd_nxt = fin.end_seq();
    wait_state(&end, KernelState::TimeWait)?;
    stage.receive(&end, "the ACK of the FIN", |s| s.ack == end.snd_nxt)?;
    let reset = end.segment(flag::RST);
    stage.peer.send(&reset)?;
    stage.expect(
        Expectation::new(Kind::Stray, "time-wait-assassination", end.local, end.fake)
            .certain_given(&[Given::Receiver])
            .state(&["time-wait"])
            .rst(&reset)
            .needs(Needs::Dropped),
    );
    Ok(end)
}
