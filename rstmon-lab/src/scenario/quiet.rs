//! What people take for a cause of resets and is none: our FIN is lost, the peer, unaware,
//! retransmits data that was long received. FIN-WAIT answers with a duplicate ACK.

use super::Scenario;
use crate::error::LabError;
use crate::netns::KernelState;
use crate::segment::{Segment, flag};
use crate::stage::{Stage, wait_state};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "lost-fin-old-segment-fin-wait-1",
        title: "FIN lost, old data again in FIN-WAIT-1: no RST",
        play: fin_wait_1,
    },
    Scenario {
        id: "lost-fin-old-segment-fin-wait-2",
        title: "old data again in FIN-WAIT-2: no RST",
        play: fin_wait_2,
    },
];

fn fin_wait_1(stage: &mut Stage) -> Result<(), LabError> {
    let (server, mut end) = stage.server()?;
    let data = stage.deliver(&server, &mut end, b"received long ago")?;
    drop(server);
    stage.receive_fin(&mut end)?;
    wait_state(&end, KernelState::FinWait1)?;
    answered_by_duplicate_ack(stage, &data)?;
    wait_state(&end, KernelState::FinWait1)
}

fn fin_wait_2(stage: &mut Stage) -> Result<(), LabError> {
    let (server, mut end) = stage.server()?;
    let data = stage.deliver(&server, &mut end, b"received long ago")?;
    drop(server);
    stage.receive_fin(&mut end)?;
    stage.acknowledge(&end, KernelState::FinWait2)?;
    answered_by_duplicate_ack(stage, &data)?;
    wait_state(&end, KernelState::FinWait2)
}

/// The kernel also retransmits its FIN; only a bare ACK is the answer.
fn answered_by_duplicate_ack(stage: &mut Stage, old: &Segment) -> Result<(), LabError> {
    stage.peer.send(old)?;
    stage.peer.receive("the duplicate ACK", |s| {
        s.from == old.to && s.flags == flag::ACK && s.ack == old.end_seq()
    })?;
    Ok(())
}
