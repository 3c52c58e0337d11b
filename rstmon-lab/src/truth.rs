//! What a scenario knows: the events that must be seen, and what the wire and the kernel's counter
//! showed while it ran. Read by [`crate::judge`] and the report.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::netns::Namespace;
use crate::segment::{Segment, flag};

/// IP version of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The spelling of the event's `family`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

/// The event's `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// This host sent the RST.
    Sent,
    /// A RST tore a socket here down.
    Received,
    /// A RST arrived and was not obeyed.
    Rejected,
    /// A RST arrived for no socket, a request socket, or TIME-WAIT.
    Stray,
}

impl Kind {
    /// The spelling of the event's `kind`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Rejected => "rejected",
            Self::Stray => "stray",
        }
    }
}

/// What a capture must be able to see to show an event at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Needs {
    /// Every capture sees it.
    Nothing,
    /// Sent for no socket at all.
    Socketless,
    /// Sent by a timewait socket. Before 6.10 the tracepoint is silent about it, and the drop that
    /// goes with it has no reason to deduce it from.
    Timewait,
    /// Sent by netfilter for a packet.
    Firewall,
    /// Sent by netfilter for a frame, by a table of a device or a bridge.
    FrameFirewall,
    /// A RST that was dropped.
    Dropped,
}

impl Needs {
    /// Whether netfilter sends it.
    pub(crate) const fn is_firewall(self) -> bool {
        matches!(self, Self::Firewall | Self::FrameFirewall)
    }
}

/// What a capture is given of an event, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Given {
    /// What every capture is given.
    Always,
    /// The segment of a received RST.
    Segment,
    /// The kernel's reason for dropping a RST.
    DropReason,
    /// The socket that a dropped RST was for.
    Receiver,
    /// Which handshake a dropped RST has ended.
    EndedHandshake,
    /// The kernel's reason for sending a RST.
    Reason,
    /// The socket and the segment themselves, not only the tracepoint's record of them.
    Objects,
}

/// A cause that is less than the truth, and that a capture may tell which is not given more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LesserCause {
    /// Its id.
    pub cause: &'static str,
    /// What must be lacking.
    pub without: Given,
    /// Whether it is true as far as it goes, so that it may be told as certain.
    pub is_true: bool,
}

/// A RST segment, as far as a scenario knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rst {
    /// Flags as tcpdump writes them: `R` or `R.`.
    pub flags: String,
    /// SEG.SEQ.
    pub seq: u32,
    /// SEG.ACK; `None` without the ACK flag.
    pub ack: Option<u32>,
}

impl Rst {
    pub(crate) fn of(segment: &Segment) -> Self {
        Self {
            flags: segment.flags_text(),
            seq: segment.seq,
            ack: segment.has(flag::ACK).then_some(segment.ack),
        }
    }
}

/// One event that must be seen.
#[derive(Clone, Debug, Serialize)]
pub struct Expectation {
    /// The acceptable kinds, mostly one.
    pub kinds: Vec<Kind>,
    /// The acceptable causes: the truth first, then what evidence that falls short of it allows.
    pub causes: Vec<&'static str>,
    /// Causes that are allowed instead where something is lacking.
    pub lesser_causes: Vec<LesserCause>,
    /// What a capture must all be given for the first cause to be certain; empty where the evidence
    /// admits another reading, whatever is given.
    pub certain_given: Vec<Given>,
    /// This host's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// The acceptable states before the reset.
    pub states: Vec<&'static str>,
    /// `client` or `server`, where the scenario knows.
    pub role: Option<&'static str>,
    /// Whether the socket belongs to the lab's process at the reset. An orphan's owner may be
    /// remembered or not, so it is checked only where shown.
    pub is_owned: bool,
    /// Which process that is, if not the lab's own.
    pub holder: Option<Owner>,
    /// Who acted on it, where that is somebody else.
    pub actor: Option<Owner>,
    /// Who began it, where the scenario knows.
    pub initiator: Option<&'static str>,
    /// Facts that the evidence must name.
    pub evidence: Vec<&'static str>,
    /// The RST itself.
    pub rst: Option<Rst>,
    /// Received and unread bytes.
    pub unread_bytes: Option<u64>,
    /// What it takes to see it.
    pub needs: Needs,
    /// The RST goes from this host to itself, whatever its addresses say.
    pub stays_here: bool,
}

impl Expectation {
    /// An event of `kind` and `cause` between these ends.
    pub(crate) fn new(
        kind: Kind,
        cause: &'static str,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Self {
        Self {
            kinds: vec![kind],
            causes: vec![cause],
            lesser_causes: Vec::new(),
            certain_given: Vec::new(),
            local,
            remote,
            states: Vec::new(),
            role: None,
            is_owned: false,
            holder: None,
            actor: None,
            initiator: None,
            evidence: Vec::new(),
            rst: None,
            unread_bytes: None,
            needs: Needs::Nothing,
            stays_here: false,
        }
    }

    pub(crate) fn state(mut self, states: &[&'static str]) -> Self {
        self.states = states.to_vec();
        self
    }

    /// A socket of the lab's process, opened by the `client` or the `server`.
    pub(crate) fn owned(mut self, role: &'static str) -> Self {
        self.role = Some(role);
        self.is_owned = true;
        self
    }

    /// A socket of another process than the lab's.
    pub(crate) fn held_by(mut self, holder: Owner) -> Self {
        self.is_owned = true;
        self.holder = Some(holder);
        self
    }

    pub(crate) fn actor(mut self, actor: Owner) -> Self {
        self.actor = Some(actor);
        self
    }

    pub(crate) fn initiator(mut self, initiator: &'static str) -> Self {
        self.initiator = Some(initiator);
        self
    }

    pub(crate) fn evidence(mut self, fact: &'static str) -> Self {
        self.evidence.push(fact);
        self
    }

    pub(crate) fn role(mut self, role: &'static str) -> Self {
        self.role = Some(role);
        self
    }

    pub(crate) fn rst(mut self, segment: &Segment) -> Self {
        self.rst = Some(Rst::of(segment));
        self
    }

    /// The stateless answer to `trigger` (RFC 9293, 3.10.7.1).
    pub(crate) fn rst_answering(mut self, trigger: &Segment) -> Self {
        self.rst = Some(if trigger.has(flag::ACK) {
            Rst {
                flags: "R".to_owned(),
                seq: trigger.ack,
                ack: None,
            }
        } else {
            Rst {
                flags: "R.".to_owned(),
                seq: 0,
                ack: Some(trigger.end_seq()),
            }
        });
        self
    }

    /// The abort of a socket that has sent up to `seq` and received up to `ack`.
    pub(crate) fn rst_aborting(mut self, seq: u32, ack: u32) -> Self {
        self.rst = Some(Rst {
            flags: "R.".to_owned(),
            seq,
            ack: Some(ack),
        });
        self
    }

    pub(crate) const fn unread(mut self, bytes: u64) -> Self {
        self.unread_bytes = Some(bytes);
        self
    }

    pub(crate) const fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    pub(crate) fn or_kind(mut self, kind: Kind) -> Self {
        self.kinds.push(kind);
        self
    }

    pub(crate) fn or_cause(mut self, cause: &'static str) -> Self {
        self.causes.push(cause);
        self
    }

    pub(crate) fn stays_here(mut self) -> Self {
        self.stays_here = true;
        self
    }

    pub(crate) fn or_without_segment(self, cause: &'static str) -> Self {
        self.or_lesser(cause, Given::Segment, false)
    }

    /// The same of a cause that leaves something out and says nothing that is false.
    pub(crate) fn or_broader_without_segment(self, cause: &'static str) -> Self {
        self.or_lesser(cause, Given::Segment, true)
    }

    pub(crate) fn or_without_drop_reason(self, cause: &'static str) -> Self {
        self.or_lesser(cause, Given::DropReason, false)
    }

    /// See [`Self::or_broader_without_segment`].
    pub(crate) fn or_broader_without_drop_reason(self, cause: &'static str) -> Self {
        self.or_lesser(cause, Given::DropReason, true)
    }

    pub(crate) fn or_without_objects(self, cause: &'static str) -> Self {
        self.or_lesser(cause, Given::Objects, false)
    }

    fn or_lesser(mut self, cause: &'static str, without: Given, is_true: bool) -> Self {
        self.lesser_causes.push(LesserCause {
            cause,
            without,
            is_true,
        });
        self
    }

    /// Whoever is given all this has no other reading.
    pub(crate) fn certain_given(mut self, given: &[Given]) -> Self {
        self.certain_given = given.to_vec();
        self
    }

    /// Whether TCP itself sends this RST, so that the kernel counts it in `OutRsts`.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.kinds.contains(&Kind::Sent) && !self.needs.is_firewall()
    }

    /// One line for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let (what, local, remote) = (self.kinds_and_causes(), self.local, self.remote);
        format!("{what} {local} > {remote}")
    }

    /// What it is and why.
    pub(crate) fn kinds_and_causes(&self) -> String {
        let kinds: Vec<_> = self.kinds.iter().map(|kind| kind.name()).collect();
        format!("{} {}", kinds.join("|"), self.causes.join("|"))
    }
}

/// A RST that the fake peer saw arrive.
#[derive(Clone, Debug, Serialize)]
pub struct WireReset {
    /// This host's end.
    pub local: SocketAddr,
    /// The fake peer's.
    pub remote: SocketAddr,
    /// The segment.
    #[serde(flatten)]
    pub rst: Rst,
}

/// A process, as an event's owner or actor.
#[derive(Clone, Debug, Serialize)]
pub struct Owner {
    /// Its process id, in the lab's pid namespace.
    pub pid: u32,
    /// Its names: the process's, and of the lab also that of the thread which made the sockets.
    pub comms: Vec<String>,
}

/// One run of a scenario. Keeps its network namespace, and so the namespace's number, alive: hold
/// it until its events have been judged.
#[derive(Clone, Debug, Serialize)]
pub struct Observation {
    /// The scenario's id.
    pub scenario: &'static str,
    /// IP version.
    pub family: Family,
    /// Number of the network namespace, the event's `netns`.
    pub netns: u32,
    /// `CLOCK_MONOTONIC` at the start, nanoseconds; older events are others'.
    pub started_mono_ns: u64,
    /// The same at the end, when all resets had been sent: an event that tells neither its namespace
    /// nor the other end is of this run only until then.
    pub ended_mono_ns: u64,
    /// Who the lab is.
    pub owner: Owner,
    /// What must be seen, and nothing else. Empty: no event at all.
    pub expectations: Vec<Expectation>,
    /// RSTs that the fake peer saw. Those on loopback pass unseen.
    pub wire_resets: Vec<WireReset>,
    /// How much the kernel's `Tcp: OutRsts` grew.
    pub out_rsts_delta: u64,
    #[serde(skip)]
    pub(crate) _namespace: Arc<Namespace>,
}

impl Observation {
    /// Where the kernel itself did otherwise than the scenario expects, events aside: `OutRsts` and
    /// the RSTs on the wire. Empty when all is as expected.
    #[must_use]
    pub fn ground_differences(&self) -> Vec<String> {
        let mut differences = Vec::new();
        let counted = self.expectations.iter().filter(|e| e.is_counted()).count() as u64;
        if counted != self.out_rsts_delta {
            differences.push(format!(
                "the kernel counted {} sent RSTs (OutRsts), expected {counted}",
                self.out_rsts_delta
            ));
        }
        let mut unclaimed: Vec<&WireReset> = self.wire_resets.iter().collect();
        for expected in self.expectations.iter().filter(|e| e.is_on_wire()) {
            let claimed = unclaimed.iter().position(|seen| expected.is_seen_as(seen));
            if let Some(at) = claimed {
                unclaimed.swap_remove(at);
            } else {
                differences.push(format!("not on the wire: {}", expected.summary()));
            }
        }
        differences.extend(unclaimed.iter().map(|seen| {
            format!(
                "unexpected on the wire: {} {} > {} seq {} ack {:?}",
                seen.rst.flags, seen.local, seen.remote, seen.rst.seq, seen.rst.ack
            )
        }));
        differences
    }
}

impl Expectation {
    /// Whether the fake peer sees this RST arrive.
    pub(crate) fn is_on_wire(&self) -> bool {
        self.kinds.contains(&Kind::Sent) && !self.local.ip().is_loopback() && !self.stays_here
    }

    fn is_seen_as(&self, seen: &WireReset) -> bool {
        seen.local == self.local
            && seen.remote == self.remote
            && self.rst.as_ref().is_none_or(|rst| *rst == seen.rst)
    }
}
