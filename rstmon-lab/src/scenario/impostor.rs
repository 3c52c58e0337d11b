//! RSTs that are not the peer's: a box on the way that names itself, and a forger that does not. The
//! fake peer plays both; it can send from any distance, with any options.

use std::thread;
use std::time::Duration;

use super::Scenario;
use super::idle::{far_away, far_client};
use crate::error::LabError;
use crate::netns::KernelState;
use crate::peer::FakeEnd;
use crate::segment::{Segment, flag};
use crate::socket::Endpoint;
use crate::stage::{SERVICE_PORT, Stage, wait_state};
use crate::truth::{Expectation, Given, Kind, Needs};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "middlebox-reset-f5",
        title: "a RST with the reset cause of F5 BIG-IP",
        play: f5,
    },
    Scenario {
        id: "middlebox-reset-f5-refused",
        title: "a SYN that F5 BIG-IP refuses",
        play: f5_refused,
    },
    Scenario {
        id: "middlebox-reset-netscaler",
        title: "a bare RST with a window code of NetScaler",
        play: netscaler,
    },
    Scenario {
        id: "middlebox-reset-diagnostic",
        title: "a RST with a diagnostic payload of the IETF",
        play: diagnostic,
    },
    Scenario {
        id: "mptcp-received",
        title: "a RST with an MPTCP reason",
        play: mptcp,
    },
    Scenario {
        id: "peer-aborted-other-way",
        title: "a live socket's RST that took another way: one sign only",
        play: other_way,
    },
    Scenario {
        id: "forged-suspect-way-and-timestamps",
        title: "a RST from elsewhere, without the timestamps",
        play: forged_without_timestamps,
    },
    Scenario {
        id: "forged-suspect-clock",
        title: "a RST of another stack, with another clock",
        play: forged_clock,
    },
    Scenario {
        id: "forged-suspect-impossible-ack",
        title: "a RST that acknowledges data still on its way",
        play: forged_impossible_ack,
    },
    Scenario {
        id: "forged-suspect-attempts",
        title: "a RST from elsewhere that hits at the fourth attempt",
        play: forged_attempts,
    },
    Scenario {
        id: "forged-suspect-second",
        title: "a second RST from elsewhere, further ahead",
        play: forged_second,
    },
    Scenario {
        id: "forged-suspect-peer-goes-on",
        title: "a peer that goes on sending after its RST",
        play: forged_peer_goes_on,
    },
    Scenario {
        id: "forged-suspect-peer-goes-on-listener",
        title: "the same, on a port with a listener",
        play: forged_peer_goes_on_to_listener,
    },
    Scenario {
        id: "forged-suspect-burst",
        title: "three RSTs at once, their windows counted up",
        play: forged_burst,
    },
];

/// A TTL that is not the neighbour's and has come some hops.
const FAR_TTL: u8 = 52;

/// `MP_TCPRST` (RFC 8684, 3.6): kind, length, subtype, reason "lack of resources".
const MP_TCPRST: [u8; 4] = [30, 4, 0x80, 2];

/// An open connection on which something was said, with `reset` made of it by `change`.
fn reset_by(
    stage: &mut Stage,
    change: impl FnOnce(&FakeEnd) -> Segment,
) -> Result<(FakeEnd, Segment), LabError> {
    let (client, mut end) = stage.client()?;
    stage.deliver(&client, &mut end, b"something first")?;
    let reset = change(&end);
    stage.peer.send(&reset)?;
    client.wait_error(libc::ECONNRESET)?;
    Ok((end, reset))
}

/// What must be seen of a RST on an open connection without data out. Unseen, it looks like that of
/// a peer that aborts.
fn expected(cause: &'static str, end: &FakeEnd, reset: &Segment) -> Expectation {
    Expectation::new(Kind::Received, cause, end.local, end.fake)
        .or_without_segment("peer-aborted")
        .state(&["established"])
        .rst(reset)
}

fn f5(stage: &mut Stage) -> Result<(), LabError> {
    let (end, reset) = reset_by(stage, |end| {
        let mut reset = end.segment(flag::RST | flag::ACK).with_ttl(250);
        reset.window = 0;
        reset.payload = b"BIG-IP: [0x2664c65:2574] No flow found for ACK".to_vec();
        reset
    })?;
    stage.expect(
        expected("middlebox-reset", &end, &reset)
            .owned("client")
            .certain_given(&[Given::Segment]),
    );
    Ok(())
}

fn f5_refused(stage: &mut Stage) -> Result<(), LabError> {
    let (client, end) = stage.connecting()?;
    let mut reset = end.segment(flag::RST | flag::ACK);
    (reset.seq, reset.window) = (0, 0);
    reset.payload = b"BIG-IP: [0x235ef8f:2618] No local listener".to_vec();
    stage.peer.send(&reset)?;
    client.wait_error(libc::ECONNREFUSED)?;
    stage.expect(
        Expectation::new(Kind::Received, "middlebox-reset", end.local, end.fake)
            .certain_given(&[Given::Segment])
            .or_broader_without_segment("connection-refused")
            .state(&["syn-sent"])
            .owned("client")
            .rst(&reset),
    );
    Ok(())
}

fn netscaler(stage: &mut Stage) -> Result<(), LabError> {
    let (end, reset) = reset_by(stage, |end| {
        let mut reset = end.segment(flag::RST);
        reset.window = 9_811;
        reset
    })?;
    stage.expect(expected("middlebox-reset", &end, &reset).owned("client"));
    Ok(())
}

fn diagnostic(stage: &mut Stage) -> Result<(), LabError> {
    let (end, reset) = reset_by(stage, |end| {
        let mut reset = end.segment(flag::RST | flag::ACK);
        // Magic number, reason 14 (connection timeout), the registry of the IETF.
        reset.payload = b"\x33\xaa\0\x0e\0\0\0\0".to_vec();
        reset
    })?;
    stage.expect(expected("middlebox-reset", &end, &reset).owned("client"));
    Ok(())
}

fn mptcp(stage: &mut Stage) -> Result<(), LabError> {
    let (end, reset) = reset_by(stage, |end| {
        end.segment(flag::RST | flag::ACK).with_options(&MP_TCPRST)
    })?;
    stage.expect(
        expected("mptcp-received", &end, &reset)
            .owned("client")
            .certain_given(&[Given::Segment]),
    );
    Ok(())
}

fn other_way(stage: &mut Stage) -> Result<(), LabError> {
    let (end, reset) = reset_by(stage, |end| {
        end.segment(flag::RST | flag::ACK).with_ttl(FAR_TTL)
    })?;
    stage.expect(expected("peer-aborted", &end, &reset).owned("client"));
    Ok(())
}

/// The fake peer's clock at the handshake.
const PEER_CLOCK: u32 = 3_000_000;

/// An accepted connection with timestamps.
fn server_with_timestamps(stage: &mut Stage) -> Result<(Endpoint, FakeEnd), LabError> {
    let listener = stage.listener(8)?;
    let mut end = stage.stranger(SERVICE_PORT);
    let syn = end.segment(flag::SYN).with_timestamps(PEER_CLOCK, 0);
    stage.peer.send(&syn)?;
    end.snd_nxt = syn.end_seq();
    let answer = stage.receive(&end, "the SYN-ACK", |s| s.has(flag::SYN | flag::ACK))?;
    end.rcv_nxt = answer.end_seq();
    let Some(echo) = answer.ts_value() else {
        return Err(LabError::Skipped {
            reason: "this host does not use TCP timestamps".to_owned(),
        });
    };
    let third = end.segment(flag::ACK).with_timestamps(PEER_CLOCK + 1, echo);
    stage.peer.send(&third)?;
    wait_state(&end, KernelState::Established)?;
    Ok((listener.accept()?, end))
}

fn forged_on_timestamps(
    stage: &mut Stage,
    forge: impl FnOnce(Segment) -> Segment,
) -> Result<(), LabError> {
    let (server, end) = server_with_timestamps(stage)?;
    let reset = forge(end.segment(flag::RST | flag::ACK));
    stage.peer.send(&reset)?;
    server.wait_error(libc::ECONNRESET)?;
    stage.expect(expected("forged-suspect", &end, &reset).owned("server"));
    Ok(())
}

fn forged_without_timestamps(stage: &mut Stage) -> Result<(), LabError> {
    forged_on_timestamps(stage, |reset| reset.with_ttl(FAR_TTL))
}

fn forged_clock(stage: &mut Stage) -> Result<(), LabError> {
    forged_on_timestamps(stage, |reset| {
        reset
            .with_ttl(u8::MAX)
            .with_timestamps(PEER_CLOCK - 1_000_000, 0)
    })
}

/// Whoever is near sees the second request long before the far peer does.
fn forged_impossible_ack(stage: &mut Stage) -> Result<(), LabError> {
    let (client, mut end) = far_client(stage)?;
    stage.emit(&client, &mut end, b"the first request")?;
    far_away();
    stage.deliver(&client, &mut end, b"the first response")?;
    stage.emit(&client, &mut end, b"the second request")?;
    let reset = end.segment(flag::RST | flag::ACK);
    stage.peer.send(&reset)?;
    client.wait_error(libc::ECONNRESET)?;
    stage.expect(
        Expectation::new(Kind::Received, "forged-suspect", end.local, end.fake)
            .or_without_segment("peer-gone")
            .state(&["established"])
            .owned("client")
            .rst(&reset),
    );
    Ok(())
}

fn forged_attempts(stage: &mut Stage) -> Result<(), LabError> {
    let (server, end) = stage.server()?;
    for attempt in 1..=3 {
        let mut miss = end.segment(flag::RST).with_ttl(FAR_TTL);
        miss.seq = miss.seq.wrapping_add(attempt * 0x2000_0000);
        stage.peer.send(&miss)?;
        stage.expect(
            Expectation::new(Kind::Rejected, "blind-reset", end.local, end.fake)
                .certain_given(&[Given::DropReason, Given::Receiver])
                .state(&["established"])
                .owned("server")
                .rst(&miss)
                .needs(Needs::Dropped),
        );
    }
    let hit = end.segment(flag::RST).with_ttl(FAR_TTL);
    stage.peer.send(&hit)?;
    server.wait_error(libc::ECONNRESET)?;
    stage.expect(expected("forged-suspect", &end, &hit).owned("server"));
    Ok(())
}

/// The first is exact, and from where the peer is: nothing to see in it. The second is a segment
/// further, in case there was more data on its way.
fn forged_second(stage: &mut Stage) -> Result<(), LabError> {
    let (server, end) = stage.server()?;
    let first = end.segment(flag::RST | flag::ACK);
    stage.peer.send(&first)?;
    server.wait_error(libc::ECONNRESET)?;
    let mut second = first.clone().with_ttl(FAR_TTL);
    second.seq = second.seq.wrapping_add(1_460);
    stage.peer.send(&second)?;
    stage.expect(expected("peer-aborted", &end, &first).owned("server"));
    stage.expect(
        Expectation::new(Kind::Stray, "forged-suspect", end.local, end.fake)
            .or_broader_without_segment("stray-reset")
            .or_broader_without_drop_reason("stray-reset")
            .state(&["none"])
            .rst(&second)
            .needs(Needs::Dropped),
    );
    Ok(())
}

/// Longer than what was on its way takes.
const LATE: Duration = Duration::from_millis(400);

/// Nothing in the RST gives it away. That the peer does not know of it shows later, and makes the
/// next RST suspect. Returns the RST, sent twice, and what the peer sent in between.
fn peer_goes_on(
    stage: &mut Stage,
    server: &Endpoint,
    end: &FakeEnd,
) -> Result<(Segment, Segment), LabError> {
    let reset = end.segment(flag::RST | flag::ACK);
    stage.peer.send(&reset)?;
    server.wait_error(libc::ECONNRESET)?;
    thread::sleep(LATE);
    let data = end.data(b"as if nothing had been");
    stage.peer.send(&data)?;
    stage.receive(end, "the RST for it", |s| s.has(flag::RST))?;
    stage.peer.send(&reset)?;
    stage.expect(expected("peer-aborted", end, &reset).owned("server"));
    Ok((reset, data))
}

fn forged_peer_goes_on(stage: &mut Stage) -> Result<(), LabError> {
    let (server, end) = stage.server()?;
    let (reset, data) = peer_goes_on(stage, &server, &end)?;
    stage.expect(
        Expectation::new(Kind::Sent, "stale-segment", end.local, end.fake)
            .state(&["none"])
            .rst_answering(&data)
            .needs(Needs::Socketless),
    );
    stage.expect(suspect(&end, &reset).state(&["none"]));
    Ok(())
}

/// A service that goes on listening, as most do: its listener gets what comes for the connection.
fn forged_peer_goes_on_to_listener(stage: &mut Stage) -> Result<(), LabError> {
    let listener = stage.listener(8)?;
    let end = stage.unaccepted()?;
    let server = listener.accept()?;
    let (reset, data) = peer_goes_on(stage, &server, &end)?;
    stage.expect(
        Expectation::new(Kind::Sent, "stale-segment", end.local, end.fake)
            .state(&["listen"])
            .owned("server")
            .rst_answering(&data),
    );
    stage.expect(suspect(&end, &reset).state(&["listen"]));
    Ok(())
}

/// The first is obeyed; the others find that the connection is gone.
fn forged_burst(stage: &mut Stage) -> Result<(), LabError> {
    let (server, end) = stage.server()?;
    let [first, second, third] = [0, 1, 2].map(|step| {
        let mut reset = end.segment(flag::RST | flag::ACK);
        reset.window = 1_980 + step;
        reset
    });
    stage.peer.send(&first)?;
    server.wait_error(libc::ECONNRESET)?;
    stage.peer.send(&second)?;
    stage.peer.send(&third)?;
    stage.expect(expected("peer-aborted", &end, &first).owned("server"));
    stage.expect(
        Expectation::new(Kind::Stray, "stray-reset", end.local, end.fake)
            .certain_given(&[Given::DropReason])
            .state(&["none"])
            .rst(&second)
            .needs(Needs::Dropped),
    );
    // Where the first was not seen, the other two prove nothing yet.
    stage.expect(
        suspect(&end, &third)
            .or_broader_without_segment("stray-reset")
            .state(&["none"]),
    );
    Ok(())
}

/// A later RST, which what came before shows to be forged.
fn suspect(end: &FakeEnd, reset: &Segment) -> Expectation {
    Expectation::new(Kind::Stray, "forged-suspect", end.local, end.fake)
        .or_broader_without_drop_reason("stray-reset")
        .rst(reset)
        .needs(Needs::Dropped)
}
