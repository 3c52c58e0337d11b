//! `-o jsonl`: one JSON object a line, schemas `rstmon.start/1`, `rstmon.event/1`, `rstmon.end/1`.
//!
//! Called by `trace` and the agent. `docs/event.schema.json` describes every line; the tests hold
//! the two together. Lines end with a newline, which JSON escapes inside strings, so a line is
//! never torn by a name from outside.

mod json;
mod recent;

use super::totals::{Counts, Totals};
use crate::event::capture::CaptureFacts;
use crate::event::facts::Facts;
use crate::event::model::{
    Cause, Confidence, EVENT_SCHEMA, Event, Exact, Family, Initiator, Kind, Role, Segment,
    SocketState, TcpFlags,
};
use crate::event::workload::{Container, ContainerId, Runtime};
use crate::kernel::hook::Hook;
use json::{JsonValue, Room, Structured, Time};
use recent::{RecentConnection, RecentSecond, RecentVerdicts};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

/// Schema of the first line.
pub const START_SCHEMA: &str = "rstmon.start/1";
/// Schema of the last line.
pub const END_SCHEMA: &str = "rstmon.end/1";

/// Writes a key with what stands before it. Inlined, so that the copy of a known length is a few
/// moves and no call.
#[inline(always)]
fn write_key<'r>(key: &'static str, out: Room<'r>) -> Room<'r> {
    out.put(key.as_bytes())
}

/// Declares a line: its fields, of which the optional ones are left out when absent. Those under
/// `recurring` are mostly what they were in the line before, and may be given as they were written then.
///
/// The keys are written as they stand: names of Rust fields need no escaping.
macro_rules! line {
    (
        $(#[$meta:meta])* $name:ident { $( $field:ident: $kind:ty, )+ }
        $(
            recurring { $( $again:ident: $again_kind:ty, )+ }
            then { $( $later:ident: $later_kind:ty, )+ }
        )?
        optional { $( $option:ident: $option_kind:ty, )* }
    ) => {
        $(#[$meta])*
        struct $name<'a> {
            $( $field: $kind, )+
            $(
                $( $again: $again_kind, )+
                /// The recurring fields as they were written before, if they are the same.
                recalled: Option<&'a [u8]>,
                $( $later: $later_kind, )+
            )?
            $( $option: Option<$option_kind>, )*
        }

        impl $name<'_> {
            /// The line, newline included, in `room`.
            fn render<'r>(&self, room: &'r mut Vec<u8>) -> &'r [u8] {
                let line = json::render(room, |room| self.write(room));
                // Each key was written with a comma before it.
                if let Some(opening) = line.first_mut() {
                    *opening = b'{';
                }
                line
            }

            fn write<'r>(&self, out: Room<'r>) -> Room<'r> {
                $(
                    let out = write_key(concat!(",\"", stringify!($field), "\":"), out);
                    let out = self.$field.write(out);
                )+
                $(
                    let out = match self.recalled {
                        Some(recalled) => out.put(recalled),
                        None => self.write_recurring(out),
                    };
                    $(
                        let out = write_key(concat!(",\"", stringify!($later), "\":"), out);
                        let out = self.$later.write(out);
                    )+
                )?
                $(
                    let out = match &self.$option {
                        Some(value) => {
                            value.write(write_key(concat!(",\"", stringify!($option), "\":"), out))
                        }
                        None => out,
                    };
                )*
                out.put(b"}\n")
            }

            $(
                fn write_recurring<'r>(&self, out: Room<'r>) -> Room<'r> {
                    $(
                        let out = write_key(concat!(",\"", stringify!($again), "\":"), out);
                        let out = self.$again.write(out);
                    )+
                    out
                }
            )?

            #[cfg(test)]
            const REQUIRED: &'static [&'static str] = &[
                $( stringify!($field), )+
                $( $( stringify!($again), )+ $( stringify!($later), )+ )?
            ];
            #[cfg(test)]
            const OPTIONAL: &'static [&'static str] = &[ $( stringify!($option), )* ];
        }
    };
}

line! {
    /// `rstmon.start/1`: the capture, as soon as its hooks are attached.
    StartLine {
        schema: &'static str,
        version: &'a str,
        boot_id: &'a str,
        host: &'a str,
        kernel: &'a str,
        mode: &'a str,
        hooks: Structured,
        degradations: Structured,
    }
    optional {
        time: Time<'a>,
    }
}

line! {
    /// `rstmon.end/1`: what the run saw, wrote and lost.
    EndLine {
        schema: &'static str,
        seen: Exact,
        written: Exact,
        filtered: Exact,
        lost: Structured,
        kernel_counts: Structured,
        causes: Structured,
    }
    optional {
        time: Time<'a>,
        notes: Structured,
    }
}

line! {
    /// `rstmon.event/1`: one reset.
    EventLine {
        schema: &'static str,
        seq_no: Exact,
        time: Time<'a>,
        mono_ns: Exact,
    }
    recurring {
        boot_id: &'a str,
        host: &'a str,
        kind: Kind,
        cause: Cause,
        initiator: Initiator,
        confidence: Confidence,
        evidence: &'a Facts,
        family: Family,
    }
    then {
        local_port: u16,
    }
    optional {
        local_addr: IpAddr,
        remote_addr: IpAddr,
        remote_port: u16,
        kernel_reason: &'a str,
        drop_reason: &'a str,
        hook: &'static str,
        active: bool,
        deduced: bool,
        state: SocketState,
        role: Role,
        rst_seq: u32,
        rst_ack: u32,
        rst_flags: TcpFlags,
        rst_window: u16,
        rst_ttl: u8,
        rst_ip_id: u16,
        trigger_flags: TcpFlags,
        trigger_seq: u32,
        trigger_ack: u32,
        trigger_len: u32,
        handshake_ttl: u8,
        age_ms: Exact,
        idle_ms: Exact,
        srtt_us: u32,
        min_rtt_us: u32,
        bytes_sent: Exact,
        bytes_acked: Exact,
        bytes_received: Exact,
        unread_bytes: u32,
        unacked_bytes: u32,
        unsent_bytes: u32,
        retransmits: u32,
        pid: u32,
        comm: &'a str,
        exe: &'a str,
        uid: u32,
        actor_pid: u32,
        actor_comm: &'a str,
        cgroup_id: Exact,
        cgroup: &'a str,
        container_id: &'a str,
        container_runtime: Runtime,
        container_name: &'a str,
        pod: &'a str,
        pod_namespace: &'a str,
        pod_uid: &'a str,
        unit: &'a str,
        netns: u32,
        ifindex: u32,
        mark: u32,
        cookie: Exact,
        inode: Exact,
        community_id: &'a str,
        story: Exact,
    }
}

/// The first line, newline included. `time_ns`: wall clock when the hooks were attached, absent if
/// not known, as in a replay.
pub fn render_start(facts: &CaptureFacts, time_ns: Option<i64>) -> io::Result<Vec<u8>> {
    let mut second = RecentSecond::new();
    let line = StartLine {
        schema: START_SCHEMA,
        version: &facts.version,
        boot_id: &facts.boot_id,
        host: &facts.host,
        kernel: &facts.kernel,
        mode: &facts.mode,
        hooks: Structured::of(&facts.hooks)?,
        degradations: Structured::of(&facts.degradations)?,
        time: time_ns.map(|ns| Time::of(ns, &mut second)).transpose()?,
    };
    Ok(line.render(&mut Vec::new()).to_vec())
}

/// The last line, newline included. `time_ns`: wall clock at the end, absent if not known.
pub fn render_end(totals: &Totals, time_ns: Option<i64>) -> io::Result<Vec<u8>> {
    let mut second = RecentSecond::new();
    let line = EndLine {
        schema: END_SCHEMA,
        seen: Exact(totals.seen),
        written: Exact(totals.written),
        filtered: Exact(totals.filtered),
        lost: exact(&totals.lost)?,
        kernel_counts: exact(&totals.kernel_counts)?,
        causes: exact(&totals.causes)?,
        time: time_ns.map(|ns| Time::of(ns, &mut second)).transpose()?,
        notes: (!totals.notes.is_empty())
            .then(|| exact(&totals.notes))
            .transpose()?,
    };
    Ok(line.render(&mut Vec::new()).to_vec())
}

/// Renders events to lines, and keeps what the next line can use. One for each stream of lines.
#[derive(Debug)]
pub struct EventLines {
    second: RecentSecond,
    connection: RecentConnection,
    verdicts: RecentVerdicts,
    /// Where the line is written.
    room: Vec<u8>,
    /// Bytes of the line that was written last.
    length: usize,
}

impl Default for EventLines {
    fn default() -> Self {
        Self::new()
    }
}

impl EventLines {
    /// No line yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            second: RecentSecond::new(),
            connection: RecentConnection::new(),
            verdicts: RecentVerdicts::new(),
            room: Vec::new(),
            length: 0,
        }
    }

    /// An event's line, newline included. Every event has one: an error would be one of jiff's, for a time
    /// that no event can have.
    pub fn render(&mut self, event: &Event, facts: &CaptureFacts) -> io::Result<&[u8]> {
        let time = Time::of(event.time_ns, &mut self.second)?;
        let community_id = self.connection.community_id(event);
        let mut line = EventLine::new(event, facts, time, community_id);
        line.recalled = self
            .verdicts
            .recall(event, facts, |room| line.write_recurring(room));
        self.length = line.render(&mut self.room).len();
        Ok(self.last())
    }

    /// The line that was rendered last; empty before the first.
    #[must_use]
    pub fn last(&self) -> &[u8] {
        self.room.get(..self.length).unwrap_or_default()
    }
}

/// An event's line on its own, newline included.
pub fn render_event(event: &Event, facts: &CaptureFacts) -> io::Result<Vec<u8>> {
    Ok(EventLines::new().render(event, facts)?.to_vec())
}

fn exact(counts: &Counts) -> serde_json::Result<Structured> {
    let exact = counts
        .iter()
        .map(|(name, count)| (name.as_ref(), Exact(*count)));
    Structured::of(&exact.collect::<BTreeMap<&str, Exact>>())
}

impl<'a> EventLine<'a> {
    fn new(
        event: &'a Event,
        facts: &'a CaptureFacts,
        time: Time<'a>,
        community_id: Option<&'a str>,
    ) -> Self {
        let Event {
            connection,
            owner,
            actor,
            rst,
            trigger,
            ..
        } = event;
        let (rst, trigger) = (rst.as_ref(), trigger.as_ref());
        let workload = event.workload.as_deref();
        let container = workload.and_then(|workload| workload.container.as_ref());
        let pod = workload.and_then(|workload| workload.pod.as_ref());
        let pod_names = pod.and_then(|pod| pod.names.as_ref());
        let is_sent = event.kind == Kind::Sent;
        let peer = event.peer();
        Self {
            schema: EVENT_SCHEMA,
            seq_no: Exact(event.seq_no),
            time,
            mono_ns: Exact(event.mono_ns),
            boot_id: &facts.boot_id,
            host: &facts.host,
            kind: event.kind,
            cause: event.verdict.cause,
            initiator: event.verdict.initiator,
            confidence: event.verdict.confidence,
            evidence: &event.verdict.evidence,
            family: event.family,
            recalled: None,
            local_port: event.local_port,
            local_addr: event.known_local_addr(),
            remote_addr: peer.map(|peer| peer.ip()),
            remote_port: peer.map(|peer| peer.port()),
            kernel_reason: event.kernel_reason.as_deref(),
            drop_reason: event.drop_reason.as_deref(),
            hook: Hook::from_number(event.hook.0).map(Hook::name),
            active: is_sent.then_some(event.active),
            deduced: is_sent.then_some(event.deduced),
            state: event.state,
            role: event.role,
            rst_seq: rst.map(|rst| rst.seq),
            rst_ack: rst.and_then(Segment::acknowledged),
            rst_flags: rst.map(|rst| rst.flags),
            rst_window: rst.and_then(|rst| rst.window),
            rst_ttl: rst.and_then(|rst| rst.ttl),
            rst_ip_id: rst.and_then(|rst| rst.ip_id),
            trigger_flags: trigger.map(|trigger| trigger.flags),
            trigger_seq: trigger.map(|trigger| trigger.seq),
            trigger_ack: trigger.and_then(Segment::acknowledged),
            trigger_len: trigger.map(|trigger| trigger.len),
            handshake_ttl: event.handshake_ttl,
            age_ms: connection.age_ms.map(Exact),
            idle_ms: connection.idle_ms.map(Exact),
            srtt_us: connection.srtt_us,
            min_rtt_us: connection.min_rtt_us,
            bytes_sent: connection.bytes_sent.map(Exact),
            bytes_acked: connection.bytes_acked.map(Exact),
            bytes_received: connection.bytes_received.map(Exact),
            unread_bytes: connection.unread_bytes,
            unacked_bytes: connection.unacked_bytes,
            unsent_bytes: connection.unsent_bytes,
            retransmits: connection.retransmits,
            pid: owner.as_ref().map(|owner| owner.pid),
            comm: owner.as_ref().map(|owner| owner.comm.as_str()),
            exe: event.exe.as_deref(),
            uid: event.uid,
            actor_pid: actor.as_ref().map(|actor| actor.pid),
            actor_comm: actor.as_ref().map(|actor| actor.comm.as_str()),
            cgroup_id: event.cgroup_id.map(Exact),
            cgroup: event.cgroup.as_deref(),
            container_id: container.and_then(Container::id).map(ContainerId::as_str),
            container_runtime: container.and_then(Container::runtime),
            container_name: container.and_then(Container::name),
            pod: pod_names.map(|names| &*names.name),
            pod_namespace: pod_names.map(|names| &*names.namespace),
            pod_uid: pod.map(|pod| pod.uid.as_str()),
            unit: workload.and_then(|workload| workload.unit.as_deref()),
            netns: event.netns,
            ifindex: event.ifindex,
            mark: event.mark,
            cookie: event.cookie.map(Exact),
            inode: event.inode.map(Exact),
            community_id,
            story: event.story.map(Exact),
        }
    }
}

#[cfg(test)]
mod tests;
