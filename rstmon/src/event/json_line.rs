//! An event of its JSON line: what a client of the agent's socket, or a reader of the event log, has.
//!
//! The line tells less than the kernel side does: what only rules read is absent. Fields that a newer
//! rstmon adds are passed over.

use super::model::{
    Cause, Confidence, Connection, Event, Family, HookId, Initiator, Kind, Process, Role, Segment,
    SocketState, TcpFlags, Verdict,
};
use super::workload::{Container, ContainerId, Pod, PodNames, PodUid, Runtime, Workload};
use crate::kernel::hook::Hook;
use serde::{Deserialize, Deserializer};
use std::net::IpAddr;
use std::sync::Arc;
use thiserror::Error;

/// Why a line is no event.
#[derive(Debug, Error)]
pub enum JsonLineError {
    /// It is no JSON, or a field is missing or of another type.
    #[error("no event: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A field holds a name that this rstmon does not know.
    #[error(
        "no event: {value:?} is no {field} that this rstmon knows; it is older than the writer"
    )]
    Unknown {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: String,
    },
}

/// The fields, as they are written.
#[derive(Deserialize)]
struct Line {
    seq_no: Exact,
    time: jiff::Timestamp,
    mono_ns: Exact,
    kind: String,
    cause: String,
    initiator: String,
    confidence: String,
    evidence: Vec<String>,
    family: String,
    local_addr: Option<IpAddr>,
    local_port: u16,
    remote_addr: Option<IpAddr>,
    remote_port: Option<u16>,
    kernel_reason: Option<Arc<str>>,
    drop_reason: Option<Arc<str>>,
    hook: Option<String>,
    active: Option<bool>,
    deduced: Option<bool>,
    state: Option<String>,
    role: Option<String>,
    rst_seq: Option<u32>,
    rst_ack: Option<u32>,
    rst_flags: Option<String>,
    rst_window: Option<u16>,
    rst_ttl: Option<u8>,
    rst_ip_id: Option<u16>,
    trigger_flags: Option<String>,
    trigger_seq: Option<u32>,
    trigger_ack: Option<u32>,
    trigger_len: Option<u32>,
    handshake_ttl: Option<u8>,
    age_ms: Option<Exact>,
    idle_ms: Option<Exact>,
    srtt_us: Option<u32>,
    min_rtt_us: Option<u32>,
    bytes_sent: Option<Exact>,
    bytes_acked: Option<Exact>,
    bytes_received: Option<Exact>,
    unread_bytes: Option<u32>,
    unacked_bytes: Option<u32>,
    unsent_bytes: Option<u32>,
    retransmits: Option<u32>,
    pid: Option<u32>,
    comm: Option<String>,
    exe: Option<Arc<str>>,
    uid: Option<u32>,
    actor_pid: Option<u32>,
    actor_comm: Option<String>,
    cgroup_id: Option<Exact>,
    cgroup: Option<Arc<str>>,
    container_id: Option<ContainerId>,
    container_runtime: Option<Runtime>,
    container_name: Option<Arc<str>>,
    pod: Option<Arc<str>>,
    pod_namespace: Option<Arc<str>>,
    pod_uid: Option<PodUid>,
    unit: Option<Arc<str>>,
    netns: Option<u32>,
    ifindex: Option<u32>,
    mark: Option<u32>,
    cookie: Option<Exact>,
    inode: Option<Exact>,
    story: Option<Exact>,
}

/// An integer as JSON carries it: a number, or above 2^53 a string.
#[derive(Clone, Copy)]
struct Exact(u64);

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(number) => Ok(Self(number)),
            Written::Text(text) => text.parse().map(Self).map_err(serde::de::Error::custom),
        }
    }
}

/// Reads an event's line.
pub fn parse_json_line(line: &[u8]) -> Result<Event, JsonLineError> {
    let line: Line = serde_json::from_slice(line)?;
    line.into_event()
}

/// The value of a name, if this rstmon knows it.
fn known<T>(
    field: &'static str,
    name: &str,
    from_name: impl Fn(&str) -> Option<T>,
) -> Result<T, JsonLineError> {
    from_name(name).ok_or_else(|| JsonLineError::Unknown {
        field,
        value: name.to_owned(),
    })
}

/// The same of a field that may be absent.
fn known_if<T>(
    field: &'static str,
    name: Option<&str>,
    from_name: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, JsonLineError> {
    name.map(|name| known(field, name, from_name)).transpose()
}

impl Line {
    fn into_event(self) -> Result<Event, JsonLineError> {
        let nanoseconds = i64::try_from(self.time.as_nanosecond()).unwrap_or(i64::MAX);
        let hook = known_if("hook", self.hook.as_deref(), hook_number)?;
        let family = known("family", &self.family, Family::from_name)?;
        Ok(Event {
            seq_no: self.seq_no.0,
            time_ns: nanoseconds,
            mono_ns: self.mono_ns.0,
            kind: known("kind", &self.kind, Kind::from_name)?,
            hook: HookId(hook.unwrap_or_default()),
            deduced: self.deduced.unwrap_or_default(),
            active: self.active.unwrap_or_default(),
            verdict: self.verdict()?,
            family,
            state: known_if("state", self.state.as_deref(), SocketState::from_name)?,
            role: known_if("role", self.role.as_deref(), Role::from_name)?,
            rst: self.rst()?,
            trigger: self.trigger()?,
            connection: self.connection(),
            workload: self.workload().map(Arc::new),
            owner: process(self.pid, self.comm),
            actor: process(self.actor_pid, self.actor_comm),
            local_addr: self.local_addr.unwrap_or(family.unspecified()),
            local_port: self.local_port,
            remote_addr: self.remote_addr.unwrap_or(family.unspecified()),
            remote_port: self.remote_port.unwrap_or_default(),
            kernel_reason: self.kernel_reason,
            drop_reason: self.drop_reason,
            handshake_ttl: self.handshake_ttl,
            exe: self.exe,
            uid: self.uid,
            cgroup_id: self.cgroup_id.map(|it| it.0),
            cgroup: self.cgroup,
            netns: self.netns,
            ifindex: self.ifindex,
            mark: self.mark,
            cookie: self.cookie.map(|it| it.0),
            inode: self.inode.map(|it| it.0),
            story: self.story.map(|it| it.0),
            payload: None,
            mptcp_reset_reason: None,
            asks_for_subflow: false,
            handshake_ip_id: None,
            handshake_ts_value: None,
            socket: None,
            recent_close: None,
            owner_is_listener: false,
            owner_end: None,
            killer: None,
            current: None,
        })
    }

    fn verdict(&self) -> Result<Verdict, JsonLineError> {
        Ok(Verdict {
            cause: known("cause", &self.cause, Cause::from_name)?,
            initiator: known("initiator", &self.initiator, Initiator::from_name)?,
            confidence: known("confidence", &self.confidence, Confidence::from_name)?,
            evidence: self.evidence.iter().collect(),
        })
    }

    /// The RST, if a hook saw the segment.
    fn rst(&self) -> Result<Option<Segment>, JsonLineError> {
        let flags = known_if("rst_flags", self.rst_flags.as_deref(), TcpFlags::from_text)?;
        let (Some(flags), Some(seq)) = (flags, self.rst_seq) else {
            return Ok(None);
        };
        Ok(Some(Segment {
            flags,
            seq,
            ack: self.rst_ack.unwrap_or_default(),
            len: 0,
            window: self.rst_window,
            ttl: self.rst_ttl,
            ip_id: self.rst_ip_id,
            timestamps: None,
        }))
    }

    fn trigger(&self) -> Result<Option<Segment>, JsonLineError> {
        let flags = self.trigger_flags.as_deref();
        let flags = known_if("trigger_flags", flags, TcpFlags::from_text)?;
        let (Some(flags), Some(seq)) = (flags, self.trigger_seq) else {
            return Ok(None);
        };
        Ok(Some(Segment {
            flags,
            seq,
            ack: self.trigger_ack.unwrap_or_default(),
            len: self.trigger_len.unwrap_or_default(),
            window: None,
            ttl: None,
            ip_id: None,
            timestamps: None,
        }))
    }

    fn connection(&self) -> Connection {
        Connection {
            age_ms: self.age_ms.map(|it| it.0),
            idle_ms: self.idle_ms.map(|it| it.0),
            srtt_us: self.srtt_us,
            min_rtt_us: self.min_rtt_us,
            bytes_sent: self.bytes_sent.map(|it| it.0),
            bytes_acked: self.bytes_acked.map(|it| it.0),
            bytes_received: self.bytes_received.map(|it| it.0),
            unread_bytes: self.unread_bytes,
            unacked_bytes: self.unacked_bytes,
            unsent_bytes: self.unsent_bytes,
            retransmits: self.retransmits,
        }
    }

    fn workload(&self) -> Option<Workload> {
        let name = self.container_name.clone();
        let runtime = self.container_runtime;
        let container = match (self.container_id.clone(), name, runtime) {
            (Some(id), name, runtime) => Some(Container::Identified { id, name, runtime }),
            (None, Some(name), Some(runtime)) => Some(Container::Named { name, runtime }),
            (None, _, _) => None,
        };
        let names = self.pod_namespace.clone().zip(self.pod.clone());
        let names = names.map(|(namespace, name)| PodNames { namespace, name });
        let pod = self.pod_uid.clone().map(|uid| Pod { uid, names });
        let workload = Workload {
            container,
            pod,
            unit: self.unit.clone(),
        };
        (workload != Workload::default()).then_some(workload)
    }
}

fn process(pid: Option<u32>, comm: Option<String>) -> Option<Process> {
    Some(Process {
        pid: pid?,
        comm: comm.unwrap_or_default().into(),
    })
}

fn hook_number(name: &str) -> Option<u8> {
    Hook::ALL
        .iter()
        .find(|hook| hook.name() == name)
        .and_then(|hook| hook.number())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use crate::sink::{jsonl, samples};

    fn line(event: &Event) -> String {
        String::from_utf8(jsonl::render_event(event, &samples::facts()).unwrap()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_written_the_same() {
        for event in [samples::full(), samples::bare(), samples::listener()] {
            let written = line(&event);
            assert_eq!(line(&parse_json_line(written.as_bytes()).unwrap()), written);
        }
    }

    #[test]
    fn what_is_no_event_is_refused_in_words() {
        let good = line(&samples::full());
        for (from, to, part) in [
            (
                "\"kind\":\"sent\"",
                "\"kind\":\"gone\"",
                "\"gone\" is no kind",
            ),
            ("\"seq_no\":7,", "", "missing field `seq_no`"),
            (
                "\"rst_flags\":\"R.\"",
                "\"rst_flags\":\"RX\"",
                "\"RX\" is no rst_flags",
            ),
            ("\"local_port\":443", "\"local_port\":70000", "70000"),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good, "{from}");
            let message = parse_json_line(bad.as_bytes()).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        assert!(parse_json_line(b"[]").is_err());
    }

    #[test]
    fn fields_of_a_newer_writer_are_passed_over() {
        let newer = line(&samples::bare()).replacen('{', "{\"new_field\":[1],", 1);
        assert!(parse_json_line(newer.as_bytes()).is_ok());
    }
}
