//! Connections that end after an idle time. Here the lab does sleep: the idle time is what is shown.

use std::thread;
use std::time::{Duration, Instant};

use super::Scenario;
use crate::error::LabError;
use crate::netns::KernelState;
use crate::peer::FakeEnd;
use crate::segment::{Segment, flag};
use crate::socket::Endpoint;
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
        title: "three connections reset one by one, after the same idle time",
        play: idle_timeout,
    },
];

/// Longer than one exchange takes on the slowest machine.
const IDLE: Duration = Duration::from_secs(2);

/// Longer than all three take to be used for the last time.
const LONG_IDLE: Duration = Duration::from_secs(5);

/// Between two resets, so that they are no single incident.
const ANOTHER_MOMENT: Duration = Duration::from_millis(1_300);

/// Longer than a tick of any kernel's clock, shorter than the first retransmission.
const BEYOND_A_TICK: Duration = Duration::from_millis(40);

/// How long the far peer's answers take.
const LONG_WAY: Duration = Duration::from_millis(400);

/// An established connection to a peer that is far away, so that this host is in no hurry to
/// retransmit, however slow the machine is.
pub(super) fn far_client(stage: &mut Stage) -> Result<(Endpoint, FakeEnd), LabError> {
    let (client, mut end) = stage.connecting()?;
    far_away();
    stage.peer.send(&end.segment(flag::SYN | flag::ACK))?;
    end.snd_nxt = end.snd_nxt.wrapping_add(1);
    wait_state(&end, KernelState::Established)?;
    Ok((client, end))
}

/// The time that a segment and its answer take.
pub(super) fn far_away() {
    thread::sleep(LONG_WAY);
}

/// The peer's FIN does not acknowledge the request, and its RST answers it.
fn keepalive_race(stage: &mut Stage) -> Result<(), LabError> {
    let (client, mut end) = far_client(stage)?;
    stage.deliver(&client, &mut end, b"the first response")?;
    thread::sleep(IDLE);
    let fin = end.segment(flag::FIN | flag::ACK);
    let request = stage.emit(&client, &mut end, b"the second request")?;
    stage.peer.send(&fin)?;
    wait_state(&end, KernelState::CloseWait)?;
    refuse(stage, "keepalive-race", &client, &end, &request)
}

/// As idle as the race, but the client had time to see the FIN.
fn late_request(stage: &mut Stage) -> Result<(), LabError> {
    let (client, mut end) = far_client(stage)?;
    stage.deliver(&client, &mut end, b"the first response")?;
    thread::sleep(IDLE);
    let fin = end.segment(flag::FIN | flag::ACK);
    stage.peer.send(&fin)?;
    end.snd_nxt = fin.end_seq();
    wait_state(&end, KernelState::CloseWait)?;
    thread::sleep(BEYOND_A_TICK);
    let request = stage.emit(&client, &mut end, b"the second request")?;
    refuse(stage, "peer-data-after-close", &client, &end, &request)
}

/// The answer of a host that has closed its socket, and what must be seen of it.
fn refuse(
    stage: &mut Stage,
    cause: &'static str,
    client: &Endpoint,
    end: &FakeEnd,
    request: &Segment,
) -> Result<(), LabError> {
    let mut reset = end.segment(flag::RST);
    reset.seq = request.ack;
    reset.window = 0;
    stage.peer.send(&reset)?;
    client.wait_error(libc::EPIPE)?;
    stage.expect(
        Expectation::new(Kind::Received, cause, end.local, end.fake)
            .or_without_objects("peer-data-after-close")
            .state(&["close-wait"])
            .owned("client")
            .rst(&reset),
    );
    Ok(())
}

/// A box on the way that forgets three, one after the other, each after the same time. Two alone are no
/// timer yet, and three at once would be a box that has forgotten everything.
fn idle_timeout(stage: &mut Stage) -> Result<(), LabError> {
    let idle = [stage.client()?, stage.client()?, stage.client()?];
    let response = b"the last response";
    let mut used = Vec::new();
    for (client, end) in &idle {
        stage.peer.send(&end.data(response))?;
        client.read(response.len())?;
        used.push(Instant::now());
        thread::sleep(ANOTHER_MOMENT);
    }
    let causes = ["peer-gone", "peer-gone", "idle-timeout"];
    for (((client, end), used), cause) in idle.iter().zip(used).zip(causes) {
        thread::sleep((used + LONG_IDLE).saturating_duration_since(Instant::now()));
        let mut reset = end.segment(flag::RST);
        reset.seq = reset.seq.wrapping_add(response.len() as u32);
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
