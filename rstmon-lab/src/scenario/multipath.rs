//! Multipath TCP (RFC 8684), where this kernel has it.

use super::Scenario;
use crate::error::LabError;
use crate::netns::{KernelState, write_sysctl};
use crate::segment::flag;
use crate::socket::Endpoint;
use crate::stage::{SERVICE_PORT, Stage, wait_state_of};
use crate::truth::{Expectation, Given, Kind};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "mptcp-join",
        title: "an MP_JOIN with a token of no connection",
        play: join,
    },
    Scenario {
        id: "mptcp-fast-close",
        title: "close of an MPTCP socket with data unread",
        play: fast_close,
    },
];

/// `MP_JOIN` of a SYN (RFC 8684, 3.2): kind, length, subtype, address id, token, random number.
const JOIN: [u8; 12] = *b"\x1e\x0c\x10\x01\xde\xad\xbe\xef\x01\x02\x03\x04";

fn enable() -> Result<(), LabError> {
    write_sysctl("mptcp/enabled", "1").map_err(|_| LabError::NotRun {
        reason: "this kernel has no MPTCP".to_owned(),
    })
}

fn join(stage: &mut Stage) -> Result<(), LabError> {
    enable()?;
    stage.peer.require()?;
    let _listener = Endpoint::listen_mptcp(stage.local(SERVICE_PORT), 8)?;
    let end = stage.stranger(SERVICE_PORT);
    let syn = end.segment(flag::SYN).with_options(&JOIN);
    stage.peer.send(&syn)?;
    stage.expect(
        Expectation::new(Kind::Sent, "mptcp", end.local, end.fake)
            .certain_given(&[Given::Reason])
            .state(&["listen", "syn-recv"])
            .role("server")
            .rst_answering(&syn),
    );
    Ok(())
}

fn fast_close(stage: &mut Stage) -> Result<(), LabError> {
    enable()?;
    let address = stage.loopback(SERVICE_PORT);
    let listener = Endpoint::listen_mptcp(address, 8)?;
    let client = Endpoint::connect_mptcp(address)?;
    let server = listener.accept()?;
    let (local, remote) = (client.local()?, server.local()?);
    wait_state_of(local.port(), remote.port(), KernelState::Established)?;
    client.write(b"nobody reads this")?;
    server.wait_unread(17)?;
    drop(server);
    client.wait_error(libc::ECONNRESET)?;
    stage.expect(
        Expectation::new(Kind::Sent, "mptcp", remote, local)
            // The reason is borrowed.
            .or_without_objects("close-unread-data")
            .state(&["established"])
            .initiator("local-app"),
    );
    stage.expect(
        // Not every kernel gives the RST a reason.
        Expectation::new(Kind::Received, "mptcp-received", local, remote)
            .or_cause("peer-aborted")
            .state(&["established"])
            .owned("client"),
    );
    Ok(())
}
