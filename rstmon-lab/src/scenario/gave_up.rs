//! Connections that this host's TCP gives up by itself: timers that run out, and no memory left.

use std::time::Duration;

use super::Scenario;
use crate::error::LabError;
use crate::global_setting::GlobalSetting;
use crate::netns::{KernelState, write_sysctl};
use crate::segment::flag;
use crate::stage::Stage;
use crate::truth::{Expectation, Given, Kind};

/// While it runs, the kernel resets any orphan of the machine.
pub(super) const OUT_OF_MEMORY: &str = "out-of-memory";

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "keepalive-timeout",
        title: "keepalive probes that nobody answers",
        play: keepalive_timeout,
    },
    Scenario {
        id: "user-timeout",
        title: "a keepalive probe unanswered for TCP_USER_TIMEOUT",
        play: user_timeout,
    },
    Scenario {
        id: "fin-wait2-timeout",
        title: "an orphan whose time in FIN-WAIT-2 is over",
        play: fin_wait2_timeout,
    },
    Scenario {
        id: OUT_OF_MEMORY,
        title: "close with too many orphans on the machine",
        play: out_of_memory,
    },
];

fn keepalive_timeout(stage: &mut Stage) -> Result<(), LabError> {
    let (client, end) = stage.client()?;
    client.set_short_keepalive(1)?;
    stage.receive(&end, "the RST of the timeout", |s| s.has(flag::RST))?;
    client.wait_error(libc::ETIMEDOUT)?;
    stage.expect(
        Expectation::new(Kind::Sent, "keepalive-timeout", end.local, end.fake)
            .certain_given(&[Given::Reason, Given::Objects])
            .state(&["established"])
            .owned("client")
            .initiator("local-kernel")
            .rst_aborting(end.rcv_nxt, end.snd_nxt),
    );
    Ok(())
}

/// More probes than ever go out: the option alone ends it (`tcp_keepalive_timer`).
fn user_timeout(stage: &mut Stage) -> Result<(), LabError> {
    let (client, end) = stage.client()?;
    client.set_user_timeout(Duration::from_millis(1_500))?;
    client.set_short_keepalive(20)?;
    stage.receive(&end, "the RST of the timeout", |s| s.has(flag::RST))?;
    client.wait_error(libc::ETIMEDOUT)?;
    stage.expect(
        Expectation::new(Kind::Sent, "user-timeout", end.local, end.fake)
            .or_without_objects("keepalive-timeout")
            .certain_given(&[Given::Reason])
            .state(&["established"])
            .owned("client")
            .initiator("local-kernel")
            .evidence("user_timeout_ms=1500")
            .rst_aborting(end.rcv_nxt, end.snd_nxt),
    );
    Ok(())
}

/// The kernel waits in the socket itself only beyond a minute, and resets only if by then less is
/// allowed (`tcp_keepalive_timer`).
fn fin_wait2_timeout(stage: &mut Stage) -> Result<(), LabError> {
    write_sysctl("ipv4/tcp_fin_timeout", "61")?;
    let (client, mut end) = stage.client()?;
    drop(client);
    stage.receive_fin(&mut end)?;
    stage.acknowledge(&end, KernelState::FinWait2)?;
    write_sysctl("ipv4/tcp_fin_timeout", "10")?;
    stage.receive(&end, "the RST of the timeout", |s| s.has(flag::RST))?;
    stage.expect(
        Expectation::new(Kind::Sent, "fin-wait2-timeout", end.local, end.fake)
            .state(&["fin-wait-2"])
            .role("client")
            .initiator("local-kernel")
            .rst_aborting(end.rcv_nxt, end.snd_nxt),
    );
    Ok(())
}

/// The kernel counts orphans roughly, so the limit must be below any count. The FIN has left by the
/// time that it looks (`tcp_check_oom` in `__tcp_close`).
fn out_of_memory(stage: &mut Stage) -> Result<(), LabError> {
    stage.require_globals("net.ipv4.tcp_max_orphans")?;
    let (client, mut end) = stage.client()?;
    let limit = GlobalSetting::hold("ipv4/tcp_max_orphans")?;
    limit.with_value("-1", || drop(client))?;
    stage.receive_fin(&mut end)?;
    stage.expect(
        Expectation::new(Kind::Sent, "out-of-memory", end.local, end.fake)
            .certain_given(&[Given::Reason])
            .state(&["fin-wait-1"])
            .owned("client")
            .initiator("local-kernel")
            .rst_aborting(end.rcv_nxt, end.snd_nxt),
    );
    Ok(())
}
