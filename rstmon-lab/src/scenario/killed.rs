//! Processes that end holding a socket: killed, crashed, out of memory, and, for comparison, by
//! their own exit.

use nix::sys::signal::Signal;

use super::Scenario;
use crate::error::LabError;
use crate::holder::Holder;
use crate::memory_limit::MemoryLimit;
use crate::peer::FakeEnd;
use crate::segment::flag;
use crate::stage::{Stage, own_identity, wait_gone};
use crate::truth::{Expectation, Given, Kind, Needs};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "process-killed",
        title: "a process killed with received data unread",
        play: killed,
    },
    Scenario {
        id: "process-killed-data-later",
        title: "a process killed, data for its socket later",
        play: killed_data_later,
    },
    Scenario {
        id: "process-killed-gone",
        title: "a process killed, data after the socket is gone",
        play: killed_gone,
    },
    Scenario {
        id: "process-killed-crash",
        title: "a process that crashes with data unread",
        play: crashed,
    },
    Scenario {
        id: "process-killed-oom",
        title: "a process killed by the kernel for its memory",
        play: out_of_memory,
    },
    Scenario {
        id: "close-unread-data-exit",
        title: "a process that exits with data unread",
        play: exited,
    },
];

const REQUEST: &[u8] = b"nobody reads this";

/// Runs its stack full. A core would tell nobody anything.
const CRASH: &str = "ulimit -c 0; ulimit -s 256; f() { f; }; f";

/// Takes twice as much each time.
const EAT_MEMORY: &str = "v=xxxxxxxxxxxxxxxx; while :; do v=$v$v; done";

/// A process that holds an accepted connection with `request` unread.
fn held(stage: &mut Stage, request: &[u8], script: &str) -> Result<(Holder, FakeEnd), LabError> {
    let (server, mut end) = stage.server()?;
    if !request.is_empty() {
        let data = end.data(request);
        stage.peer.send(&data)?;
        end.snd_nxt = data.end_seq();
        server.wait_unread(request.len())?;
    }
    Ok((Holder::start(server, script)?, end))
}

/// The abort of a socket with [`REQUEST`] unread.
fn aborted(cause: &'static str, holder: &Holder, end: &FakeEnd) -> Expectation {
    Expectation::new(Kind::Sent, cause, end.local, end.fake)
        // How the process ended is not in the record.
        .or_without_objects("close-unread-data")
        .state(&["established"])
        .role("server")
        .held_by(holder.identity())
        .rst_aborting(end.rcv_nxt, end.snd_nxt)
        .unread(REQUEST.len() as u64)
}

fn killed(stage: &mut Stage) -> Result<(), LabError> {
    let (mut holder, end) = held(stage, REQUEST, "")?;
    holder.signal(Signal::SIGKILL)?;
    holder.wait_killed(Signal::SIGKILL)?;
    stage.expect(
        aborted("process-killed", &holder, &end)
            .certain_given(&[Given::Objects])
            .initiator("local-admin")
            .actor(own_identity()?)
            .evidence("signal=SIGKILL"),
    );
    Ok(())
}

/// Without unread data the socket of a dead process closes as any other, and is an orphan.
fn killed_data_later(stage: &mut Stage) -> Result<(), LabError> {
    let (mut holder, mut end) = held(stage, b"", "")?;
    holder.signal(Signal::SIGTERM)?;
    holder.wait_killed(Signal::SIGTERM)?;
    let fin = stage.receive_fin(&mut end)?;
    let mut data = end.data(b"too late");
    data.ack = fin.seq;
    stage.peer.send(&data)?;
    stage.expect(
        Expectation::new(Kind::Sent, "process-killed", end.local, end.fake)
            .or_without_objects("data-after-close")
            .state(&["fin-wait-1"])
            .role("server")
            .held_by(holder.identity())
            .initiator("local-admin")
            .actor(own_identity()?)
            .evidence("signal=SIGTERM")
            .certain_given(&[Given::Objects])
            .rst_answering(&data),
    );
    Ok(())
}

fn killed_gone(stage: &mut Stage) -> Result<(), LabError> {
    let (server, mut end) = stage.server()?;
    let fin = end.segment(flag::FIN | flag::ACK);
    stage.peer.send(&fin)?;
    end.snd_nxt = fin.end_seq();
    server.wait_end()?;
    let mut holder = Holder::start(server, "")?;
    holder.signal(Signal::SIGKILL)?;
    holder.wait_killed(Signal::SIGKILL)?;
    stage.receive_fin(&mut end)?;
    stage.peer.send(&end.segment(flag::ACK))?;
    wait_gone(end.local.port(), end.fake.port())?;
    let mut old = end.data(b"old");
    old.seq = fin.seq;
    stage.peer.send(&old)?;
    stage.expect(
        Expectation::new(Kind::Sent, "process-killed", end.local, end.fake)
            .state(&["none"])
            .held_by(holder.identity())
            .initiator("local-admin")
            .evidence("signal=SIGKILL")
            .rst_answering(&old)
            .needs(Needs::Socketless),
    );
    Ok(())
}

fn crashed(stage: &mut Stage) -> Result<(), LabError> {
    let (mut holder, end) = held(stage, REQUEST, CRASH)?;
    holder.go();
    holder.wait_killed(Signal::SIGSEGV)?;
    stage.expect(
        aborted("process-killed", &holder, &end)
            .certain_given(&[Given::Objects])
            .initiator("local-app")
            .evidence("signal=SIGSEGV"),
    );
    Ok(())
}

fn out_of_memory(stage: &mut Stage) -> Result<(), LabError> {
    let limit = MemoryLimit::make(stage.number())?;
    let (mut holder, end) = held(stage, REQUEST, EAT_MEMORY)?;
    limit.admit(holder.identity().pid)?;
    holder.go();
    holder.wait_killed(Signal::SIGKILL)?;
    stage.expect(
        aborted("process-killed", &holder, &end)
            .certain_given(&[Given::Objects])
            .initiator("local-kernel")
            .evidence("signal=SIGKILL")
            .evidence("oom_kill=yes"),
    );
    Ok(())
}

fn exited(stage: &mut Stage) -> Result<(), LabError> {
    let (mut holder, end) = held(stage, REQUEST, "exit 0")?;
    holder.go();
    holder.wait_exited()?;
    stage.expect(
        aborted("close-unread-data", &holder, &end)
            .certain_given(&[Given::Reason, Given::Objects])
            .initiator("local-app")
            .evidence("process_exit=0"),
    );
    Ok(())
}
