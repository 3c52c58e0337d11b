//! Netfilter rules that answer with a reset, set by `nft`, wherever netfilter lets one.

use super::Scenario;
use crate::error::LabError;
use crate::netns::write_sysctl;
use crate::peer::FakeEnd;
use crate::program;
use crate::segment::flag;
use crate::socket::Endpoint;
use crate::stage::{FAKE_SERVICE_PORT, SERVICE_PORT, Stage};
use crate::truth::{Expectation, Given, Kind, Needs};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "firewall-reject",
        title: "an nft rule that rejects with a TCP reset",
        play: incoming,
    },
    Scenario {
        id: "firewall-reject-forwarded",
        title: "the same for a connection that this host forwards",
        play: forwarded,
    },
    Scenario {
        id: "firewall-reject-outgoing",
        title: "the same for a connection that this host opens",
        play: outgoing,
    },
    Scenario {
        id: "firewall-reject-ingress",
        title: "the same at the device, before the routing",
        play: ingress,
    },
    Scenario {
        id: "firewall-reject-bridged",
        title: "the same for a frame that comes to a bridge",
        play: bridged,
    },
];

fn incoming(stage: &mut Stage) -> Result<(), LabError> {
    let _listener = stage.listener(8)?;
    install_reject_rule()?;
    let end = stage.stranger(SERVICE_PORT);
    refuse_syn(stage, &end, Needs::Firewall)
}

fn forwarded(stage: &mut Stage) -> Result<(), LabError> {
    stage.peer.require()?;
    reject_at("forward", SERVICE_PORT)?;
    let end = stage.stranger_to_neighbour(SERVICE_PORT)?;
    refuse_syn(stage, &end, Needs::Firewall)
}

/// Whoever the frame is for, the firewall answers in that one's name.
fn bridged(stage: &mut Stage) -> Result<(), LabError> {
    stage.bridge_peer()?;
    reject_frames("bridge", "prerouting")?;
    let end = stage.stranger(SERVICE_PORT);
    refuse_syn(stage, &end, Needs::FrameFirewall)
}

/// The fake peer's SYN, and the firewall's answer.
fn refuse_syn(stage: &mut Stage, end: &FakeEnd, needs: Needs) -> Result<(), LabError> {
    let syn = end.segment(flag::SYN);
    stage.peer.send(&syn)?;
    stage.receive(end, "the firewall's RST", |s| s.has(flag::RST))?;
    stage.expect(
        Expectation::new(Kind::Sent, "firewall-reject", end.local, end.fake)
            .certain_given(&[Given::Always])
            .rst_answering(&syn)
            .needs(needs),
    );
    Ok(())
}

/// The firewall answers in the other end's name, and this host's own socket gets it.
fn outgoing(stage: &mut Stage) -> Result<(), LabError> {
    reject_at("output", FAKE_SERVICE_PORT)?;
    let (client, end) = stage.connect()?;
    client.wait_error(libc::ECONNREFUSED)?;
    stage.expect(
        Expectation::new(Kind::Sent, "firewall-reject", end.local, end.fake)
            .certain_given(&[Given::Always])
            .needs(Needs::Firewall)
            .stays_here(),
    );
    stage.expect(
        Expectation::new(Kind::Received, "connection-refused", end.local, end.fake)
            .certain_given(&[Given::Always])
            .state(&["syn-sent"])
            .owned("client"),
    );
    Ok(())
}

/// On loopback, as netfilter goes by the header of the link layer there, which a TUN device has not.
fn ingress(stage: &mut Stage) -> Result<(), LabError> {
    // The firewall's RST comes without the route that the kernel keeps with what it sends to itself.
    for setting in ["accept_local", "route_localnet"] {
        write_sysctl(&format!("ipv4/conf/lo/{setting}"), "1")?;
    }
    let server = stage.loopback(SERVICE_PORT);
    let _listener = Endpoint::listen(server, 8)?;
    reject_frames("netdev", "ingress device \"lo\"")?;
    let client = Endpoint::connect(server)?;
    let local = client.local()?;
    client.wait_error(libc::ECONNREFUSED)?;
    stage.expect(
        Expectation::new(Kind::Sent, "firewall-reject", server, local)
            .certain_given(&[Given::Always])
            .needs(Needs::FrameFirewall),
    );
    stage.expect(
        Expectation::new(Kind::Received, "connection-refused", local, server)
            .certain_given(&[Given::Always])
            .state(&["syn-sent"])
            .owned("client"),
    );
    Ok(())
}

/// Rejects what comes for the service port, in the calling thread's namespace.
pub(crate) fn install_reject_rule() -> Result<(), LabError> {
    reject_at("input", SERVICE_PORT)
}

/// Rejects what goes to `port` at netfilter's hook of that name.
fn reject_at(hook: &str, port: u16) -> Result<(), LabError> {
    let rules = format!(
        "table inet rstmon_lab {{ chain {hook} {{ type filter hook {hook} priority 0; \
         tcp dport {port} reject with tcp reset; }}; }}"
    );
    match run_nft(&rules)? {
        None => Ok(()),
        Some(said) => Err(refused(&said)),
    }
}

/// Rejects what comes for the service port at the hook of a family that looks at frames.
fn reject_frames(family: &str, hook: &str) -> Result<(), LabError> {
    let rules = format!(
        "table {family} rstmon_lab {{ chain frames {{ type filter hook {hook} priority 0; \
         tcp dport {SERVICE_PORT} reject with tcp reset; }}; }}"
    );
    match run_nft(&rules)? {
        None => Ok(()),
        // ENOENT is the kernel's word for an expression that the table's family does not have.
        Some(said) if said.contains("No such file or directory") => Err(LabError::NotRun {
            reason: format!("this kernel has no reject for tables of the family {family}: {said}"),
        }),
        Some(said) => Err(refused(&said)),
    }
}

fn refused(said: &str) -> LabError {
    LabError::Skipped {
        reason: format!("nft refused the reject rule: {said}"),
    }
}

/// What nft said against the rules.
fn run_nft(rules: &str) -> Result<Option<String>, LabError> {
    let nft = program::run("nft", &[rules])?;
    Ok((!nft.is_success).then(|| nft.complaint.unwrap_or_else(|| "no message".to_owned())))
}
