//! Connections that end after an idle time. Here the lab does sleep: the idle time is what is shown.

use std::thread;
use std::time::Duration;

use super::Scenario;
use crate::error::LabError;
use crate::netns::KernelState;
use crate::segment::flag;
use crate::stage::{Stage, wait_state};
use crate::truth::{Expectation, Kind};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "keepalive-race",
        title: "the peer closes an idle connection as our request leaves",
        play: keepalive_race,
    },
    Scenario {
        id: "late-request",
        title: "our request leaves after the peer has closed",
        play: late_request,
    },
    Scenario {
        id: "idle-timeout",
        title: "three connections reset after the same idle time",
        play: idle_timeout,
    },
];

/// Longer than one exchange takes on the slowest machine.
const IDLE: Duration = Duration::from_millis(1_200);

/// Longer than a tick of any kernel's clock, shorter than the first retransmission.
const BEYOND_A_TICK: Duration = Duration::from_millis(40);

/// The peer's FIN does not acknowledge the request, and its RST answers it.
fn keepalive_race(stage: &mut Stage) -> Result<(), LabError> {
    let (client, mut end) = stage.client()?;
    stage.deliver(&client, &mut end, b"the first response")?;
    thread::sleep(IDLE);
    let fin = end.segment(flag::FIN | flag::ACK);
    let request = stage.emit(&client, &mut end, b"the second request")?;
    stage.peer.send(&fin)?;
    wait_state(&end, KernelState::CloseWait)?;
    let mut reset = end.segment(flag::RST);
    reset.seq = request.ack;
    reset.window = 0;
    stage.peer.send(&reset)?;
    client.wait_error(libc::EPIPE)?;
    stage.expect(
        Expectation::new(Kind::Received, "keepalive-race", end.local, end.fake)
            .state(&["close-wait"])
            .owned("client")
            .rst(&reset),
    );
    Ok(())
}

/// As idle as the race, but the client had time to see the FIN.
fn late_request(stage: &mut Stage) -> Result<(), LabError> {
    let (client, mut end) = stage.client()?;
    stage.deliver(&client, &mut end, b"the first response")?;
    thread::sleep(IDLE);
    let fin = end.segment(flag::FIN | flag::ACK);
    stage.peer.send(&fin)?;
    end.snd_nxt = fin.end_seq();
    wait_state(&end, KernelState::CloseWait)?;
    thread::sleep(BEYOND_A_TICK);
    let request = stage.emit(&client, &mut end, b"the second request")?;
    let mut reset = end.segment(flag::RST);
    reset.seq = request.ack;
    reset.window = 0;
    stage.peer.send(&reset)?;
    client.wait_error(libc::EPIPE)?;
    stage.expect(
        Expectation::new(Kind::Received, "peer-data-after-close", end.local, end.fake)
            .state(&["close-wait"])
            .owned("client")
            .rst(&reset),
    );
    Ok(())
}

/// A box on the way that forgets all three at once. Two alone are no timer yet.
fn idle_timeout(stage: &mut Stage) -> Result<(), LabError> {
    let mut idle = [stage.client()?, stage.client()?, stage.client()?];
    for (client, end) in &mut idle {
        stage.deliver(client, end, b"the last response")?;
    }
    thread::sleep(IDLE);
    for ((client, end), cause) in idle.iter().zip(["peer-gone", "peer-gone", "idle-timeout"]) {
        let mut reset = end.segment(flag::RST);
        reset.window = 0;
        stage.peer.send(&reset)?;
        client.wait_error(libc::ECONNRESET)?;
        let expected = Expectation::new(Kind::Received, cause, end.local, end.fake)
            .state(&["established"])
            .owned("client")
            .rst(&reset);
        // Unseen, the first two look like a peer that aborts; the timer shows all the same.
        stage.expect(match cause {
            "peer-gone" => expected.or_without_segment("peer-aborted"),
            _ => expected,
        });
    }
    Ok(())
}
