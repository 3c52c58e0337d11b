//! Judges what a capture showed of one run. Pure: events come in as JSON of the event schema.
//!
//! Nothing passes silently: an expected event that is missing is either a difference or, where this
//! capture cannot see such an event, said to be not visible; and an event that nobody expects is a
//! difference too.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use serde_json::Value;

use crate::truth::{Expectation, Kind, Needs, Observation, Rst};
use crate::witness::PassedOver;

/// What a second witness has to say of a missing event.
const PASSED_OVER: &str = "it was sent while a thread of process 1 was interrupted, and this kernel \
                           has shown no event from such a moment";

/// The capture's mode, as the start record names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Kprobes or fentry besides the raw tracepoints.
    Probe,
    /// Raw tracepoints alone.
    Tracepoint,
    /// Tracepoints by their format files, no BTF.
    Classic,
}

/// What the capture that is judged can see on this kernel.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about one capture"
)]
pub struct Sights {
    /// The mode.
    pub mode: Mode,
    /// RSTs that this host sends for no socket.
    pub sees_socketless_sent: bool,
    /// The segment of a RST that tears a socket down.
    pub sees_segment_of_received: bool,
    /// RSTs that netfilter sends.
    pub sees_firewall: bool,
    /// RSTs that are dropped.
    pub sees_dropped: bool,
    /// The kernel's reason for a sent RST.
    pub has_kernel_reason: bool,
    /// The process that owns a socket.
    pub sees_owner: bool,
}

impl Sights {
    /// Why an event with these needs may be missing; `None` if it must be there.
    const fn blind_to(self, needs: Needs) -> Option<&'static str> {
        match needs {
            Needs::Socketless if !self.sees_socketless_sent => {
                Some("this capture does not see RSTs sent for no socket")
            }
            Needs::Timewait if !self.sees_timewait() => {
                Some("this capture does not see RSTs sent by timewait sockets")
            }
            Needs::Firewall if !self.sees_firewall => {
                Some("this capture does not see RSTs sent by netfilter")
            }
            Needs::Dropped if !self.sees_dropped => {
                Some("this capture does not see RSTs that the kernel drops")
            }
            Needs::Nothing
            | Needs::Socketless
            | Needs::Timewait
            | Needs::Firewall
            | Needs::Dropped => None,
        }
    }

    /// Why an event may be missing because of the state of its socket. The classic records show a
    /// listener's own ends, not those of the segment.
    fn blind_to_states(self, expected: &Expectation) -> Option<&'static str> {
        let by_listener = |state: &&str| matches!(*state, "listen" | "syn-recv");
        (self.mode == Mode::Classic
            && !expected.states.is_empty()
            && expected.states.iter().all(by_listener))
        .then_some("classic records do not show the ends of what a listener answers")
    }

    /// Without probes, kernels that give no reason pass timewait sockets over in silence.
    const fn sees_timewait(self) -> bool {
        let by_tracepoint = self.sees_socketless_sent && self.has_kernel_reason;
        by_tracepoint || (self.sees_socketless_sent && matches!(self.mode, Mode::Probe))
    }

    /// Whether the sequence numbers of a sent RST must be there: where TCP sends it and the hook
    /// reads the socket or the segment it answers.
    fn must_show_sent_rst(self, needs: Needs) -> bool {
        let is_deduced = !self.has_kernel_reason && self.mode == Mode::Tracepoint;
        match needs {
            Needs::Nothing => self.mode != Mode::Classic,
            Needs::Socketless | Needs::Timewait => self.mode != Mode::Classic && !is_deduced,
            Needs::Firewall | Needs::Dropped => false,
        }
    }
}

/// The verdict on one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// All events expected, and no other.
    Matched,
    /// As far as this capture sees, all as expected; what it does not see or tell, and why.
    NotVisible(Vec<String>),
    /// The same, and an event that this kernel kept from every program: see [`crate::Witness`].
    PassedOver(Vec<String>),
    /// Something is not as expected.
    Differs(Vec<String>),
}

impl Judgement {
    /// Whether the run counts as a failure.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        matches!(self, Self::Differs(_))
    }

    /// The details, if any.
    #[must_use]
    pub fn details(&self) -> &[String] {
        match self {
            Self::Matched => &[],
            Self::NotVisible(details) | Self::PassedOver(details) | Self::Differs(details) => {
                details
            }
        }
    }
}

/// Compares a run with all events that the capture gave; those of others are passed over.
#[must_use]
pub fn judge(
    observation: &Observation,
    events: &[Value],
    sights: &Sights,
    passed_over: &[PassedOver],
) -> Judgement {
    let mut pairing = Pairing::of(observation, events);
    let mut differs = observation.ground_differences();
    let mut not_visible = Vec::new();
    let mut kept_back = Vec::new();
    let mut passed_over: Vec<&PassedOver> = passed_over.iter().collect();
    for (expected, event) in &pairing.pairs {
        let summary = expected.summary();
        let Some(event) = event else {
            let since_ns = observation.started_mono_ns;
            let call = passed_over
                .iter()
                .position(|call| call.is_of(expected, since_ns));
            if let Some(why) = sights
                .blind_to(expected.needs)
                .or_else(|| sights.blind_to_states(expected))
            {
                not_visible.push(format!("{summary}: {why}"));
            } else if let Some(call) = call {
                // One call, one event.
                passed_over.swap_remove(call);
                kept_back.push(format!("{summary}: {PASSED_OVER}"));
            } else {
                differs.push(format!("missing: {summary}"));
            }
            continue;
        };
        let comparison = Comparison {
            observation,
            expected,
            event,
            sights,
        };
        let differences = comparison.differences().into_iter();
        let differences = differences.map(|difference| format!("{summary}: {difference}"));
        if sights.mode == Mode::Classic {
            // The event is there, at the right ends; what it is made of, this mode does not show.
            not_visible.extend(differences);
        } else {
            differs.extend(differences);
        }
        not_visible.extend(
            comparison
                .told_less()
                .map(|why| format!("{summary}: {why}")),
        );
    }
    differs.extend(pairing.surplus.drain(..).map(describe_surplus));
    if !differs.is_empty() {
        Judgement::Differs(differs)
    } else if !kept_back.is_empty() {
        kept_back.extend(not_visible);
        Judgement::PassedOver(kept_back)
    } else if !not_visible.is_empty() {
        Judgement::NotVisible(not_visible)
    } else {
        Judgement::Matched
    }
}

/// A reset that a scenario causes, beside what the capture said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `KIND CAUSE`; several of either where a kernel may tell it so or so. `None` if no such reset was
    /// expected.
    pub expected: Option<String>,
    /// The same of the event; `None` if none came.
    pub diagnosed: Option<String>,
    /// Whether the event is one that was expected.
    pub is_expected: bool,
}

impl Observation {
    /// What was expected, beside what came; then what came beyond that.
    #[must_use]
    pub fn answers(&self, events: &[Value]) -> Vec<Answer> {
        let told = |event: &Value| {
            let (kind, cause) = (text(event, "kind")?, text(event, "cause")?);
            Some(format!("{kind} {cause}"))
        };
        let pairing = Pairing::of(self, events);
        let expected = pairing.pairs.iter().map(|(expected, event)| {
            let cause = event.and_then(|event| text(event, "cause"));
            Answer {
                expected: Some(expected.kinds_and_causes()),
                diagnosed: event.and_then(told),
                is_expected: cause.is_some_and(|cause| expected.causes.contains(&cause)),
            }
        });
        let surplus = pairing.surplus.iter().map(|event| Answer {
            expected: None,
            diagnosed: told(event),
            is_expected: false,
        });
        expected.chain(surplus).collect()
    }

    /// Whether all events have come that this capture can see, so that waiting longer can only bring
    /// what is not expected.
    #[must_use]
    pub fn is_complete(&self, events: &[Value], sights: &Sights) -> bool {
        Pairing::of(self, events)
            .pairs
            .iter()
            .all(|(expected, event)| {
                event.is_some()
                    || sights.blind_to(expected.needs).is_some()
                    || sights.blind_to_states(expected).is_some()
            })
    }

    /// Whether an event is of this run: of its namespace, or, where the event has none, of one of
    /// its connections.
    #[must_use]
    pub fn concerns(&self, event: &Value) -> bool {
        if number(event, "mono_ns").is_some_and(|at| at < self.started_mono_ns) {
            return false;
        }
        match number(event, "netns") {
            Some(netns) => netns == u64::from(self.netns),
            None => self
                .expectations
                .iter()
                .any(|expected| expected.has_ends_of(event)),
        }
    }
}

/// Which event answers which expectation. Events that fit best go first: several expectations may
/// share their addresses.
struct Pairing<'a> {
    pairs: Vec<(&'a Expectation, Option<&'a Value>)>,
    surplus: Vec<&'a Value>,
}

impl<'a> Pairing<'a> {
    fn of(observation: &'a Observation, events: &'a [Value]) -> Self {
        let mut pairing = Self {
            pairs: observation.expectations.iter().map(|e| (e, None)).collect(),
            surplus: events.iter().filter(|e| observation.concerns(e)).collect(),
        };
        pairing.assign(|expected, event| {
            expected.is_like(event) && expected.is_told_by(event, true) && expected.fits_rst(event)
        });
        pairing
            .assign(|expected, event| expected.is_like(event) && expected.is_told_by(event, true));
        pairing.assign(Expectation::is_like);
        pairing
    }

    fn assign(&mut self, fits: impl Fn(&Expectation, &Value) -> bool) {
        for (expected, event) in self.pairs.iter_mut().filter(|(_, event)| event.is_none()) {
            if let Some(at) = self.surplus.iter().position(|event| fits(expected, event)) {
                *event = Some(self.surplus.remove(at));
            }
        }
    }
}

impl Expectation {
    fn is_like(&self, event: &Value) -> bool {
        let kind = text(event, "kind");
        self.kinds.iter().any(|k| Some(k.name()) == kind) && self.has_ends_of(event)
    }

    fn has_ends_of(&self, event: &Value) -> bool {
        end_of(event, "local_addr", "local_port") == Some(self.local)
            && end_of(event, "remote_addr", "remote_port") == Some(self.remote)
    }

    /// Whether the event's cause is right, or less than that for a reason.
    fn is_told_by(&self, event: &Value, lacks_segment: bool) -> bool {
        let cause = text(event, "cause");
        cause.is_some_and(|cause| self.causes.contains(&cause))
            || self.excuse(event, lacks_segment).is_some()
    }

    /// Why the event's cause may be another one: what the truth would need is not there.
    fn excuse(&self, event: &Value, lacks_segment: bool) -> Option<&'static str> {
        let cause = text(event, "cause")?;
        if self.causes.contains(&cause) {
            return None;
        }
        let lacks_reason =
            text(event, "kernel_reason").is_none_or(|reason| reason == "NOT_SPECIFIED");
        let excuses = [
            (
                lacks_segment,
                &self.causes_without_segment,
                "this capture does not see the segment of the RST",
            ),
            (
                text(event, "drop_reason").is_none(),
                &self.causes_without_drop_reason,
                "this kernel does not say why it dropped the RST",
            ),
            (
                lacks_reason,
                &self.causes_without_reason,
                "this kernel does not say why it sent the RST",
            ),
        ];
        excuses
            .into_iter()
            .find(|(is_so, causes, _)| *is_so && causes.contains(&cause))
            .map(|(_, _, why)| why)
    }

    fn fits_rst(&self, event: &Value) -> bool {
        let seq = number(event, "rst_seq");
        self.rst
            .as_ref()
            .is_none_or(|rst| seq.is_none_or(|seq| seq == u64::from(rst.seq)))
    }
}

/// One expectation beside the event that answers it.
struct Comparison<'a> {
    observation: &'a Observation,
    expected: &'a Expectation,
    event: &'a Value,
    sights: &'a Sights,
}

impl Comparison<'_> {
    fn differences(&self) -> Vec<String> {
        let mut differences = Vec::new();
        differences.extend(self.cause());
        differences.extend(self.family());
        differences.extend(self.state());
        differences.extend(self.role());
        differences.extend(self.owner());
        differences.extend(self.actor());
        differences.extend(self.initiator());
        differences.extend(self.evidence());
        if let Some(rst) = &self.expected.rst {
            differences.extend(self.rst(rst));
        }
        differences.extend(self.unread());
        differences
    }

    fn cause(&self) -> Option<String> {
        let lacks_segment = !self.sights.sees_segment_of_received;
        (!self.expected.is_told_by(self.event, lacks_segment)).then(|| {
            let found = text(self.event, "cause").unwrap_or("absent");
            let evidence = self
                .event
                .get("evidence")
                .map_or_else(String::new, |evidence| format!(" on {evidence}"));
            format!("cause is {found}{evidence}")
        })
    }

    /// What the event says less than the truth, and why it may.
    fn told_less(&self) -> Option<String> {
        let lacks_segment = !self.sights.sees_segment_of_received;
        let why = self.expected.excuse(self.event, lacks_segment)?;
        let found = text(self.event, "cause").unwrap_or("absent");
        Some(format!("told as {found}: {why}"))
    }

    fn family(&self) -> Option<String> {
        let expected = self.observation.family.name();
        let found = text(self.event, "family");
        (found != Some(expected)).then(|| format!("family is {}", shown(found)))
    }

    /// The state may be absent only where the event was deduced or the mode has no field for it.
    fn state(&self) -> Option<String> {
        let states = &self.expected.states;
        let found = text(self.event, "state");
        let is_excused = found.is_none()
            && (self.sights.mode == Mode::Classic || self.expected.needs == Needs::Dropped);
        let is_fine = states.is_empty() || found.is_some_and(|found| states.contains(&found));
        (!is_fine && !is_excused)
            .then(|| format!("state is {}, expected {}", shown(found), states.join("|")))
    }

    /// What is shown must be right; which end we are is not always known.
    fn role(&self) -> Option<String> {
        let expected = self.expected.role?;
        let found = text(self.event, "role")?;
        (found != expected).then(|| format!("role is {found}, expected {expected}"))
    }

    fn owner(&self) -> Option<String> {
        let holder = self.expected.holder.as_ref();
        let owner = holder.unwrap_or(&self.observation.owner);
        let Some(pid) = number(self.event, "pid") else {
            let is_due = self.expected.is_owned && self.sights.sees_owner;
            return is_due.then(|| format!("pid is absent, expected {}", owner.pid));
        };
        if pid != u64::from(owner.pid) {
            return Some(format!("pid is {pid}, expected {}", owner.pid));
        }
        let comm = text(self.event, "comm");
        let is_ours = comm.is_some_and(|comm| owner.comms.iter().any(|ours| ours == comm));
        (!is_ours).then(|| {
            let comms = owner.comms.join("|");
            format!("comm is {}, expected {comms}", shown(comm))
        })
    }

    fn actor(&self) -> Option<String> {
        let actor = self.expected.actor.as_ref()?;
        let pid = number(self.event, "actor_pid");
        let comm = text(self.event, "actor_comm");
        let is_it = pid == Some(actor.pid.into())
            && comm.is_some_and(|comm| actor.comms.iter().any(|its| its == comm));
        (!is_it).then(|| {
            format!(
                "actor is {} {}, expected {} {}",
                shown(pid),
                shown(comm),
                actor.pid,
                actor.comms.join("|")
            )
        })
    }

    /// A cause that is told less than it is has another initiator, too.
    fn initiator(&self) -> Option<String> {
        let expected = self.expected.initiator?;
        let found = text(self.event, "initiator");
        (found != Some(expected) && self.told_less().is_none())
            .then(|| format!("initiator is {}, expected {expected}", shown(found)))
    }

    fn evidence(&self) -> Vec<String> {
        let facts: Vec<&str> = self
            .event
            .get("evidence")
            .and_then(Value::as_array)
            .map(|facts| facts.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let missing = self.expected.evidence.iter();
        missing
            .filter(|fact| !facts.contains(fact))
            .map(|fact| format!("evidence lacks {fact}, it has {}", facts.join(", ")))
            .collect()
    }

    fn rst(&self, rst: &Rst) -> Vec<String> {
        let is_due = if self.expected.kinds.contains(&Kind::Sent) {
            self.sights.must_show_sent_rst(self.expected.needs)
        } else {
            self.expected.needs == Needs::Nothing && self.sights.sees_segment_of_received
        };
        let numbers = [
            ("rst_seq", Some(u64::from(rst.seq))),
            ("rst_ack", rst.ack.map(u64::from)),
        ];
        let mut differences: Vec<_> = numbers
            .into_iter()
            .filter_map(|(name, expected)| {
                let found = number(self.event, name);
                let is_excused = found.is_none() && !is_due;
                (found != expected && !is_excused)
                    .then(|| format!("{name} is {}, expected {}", shown(found), shown(expected)))
            })
            .collect();
        let flags = text(self.event, "rst_flags");
        if flags.map_or(is_due, |flags| flags != rst.flags) {
            differences.push(format!(
                "rst_flags is {}, expected {}",
                shown(flags),
                rst.flags
            ));
        }
        differences
    }

    /// Nothing unread need not be said.
    fn unread(&self) -> Option<String> {
        let expected = self.expected.unread_bytes?;
        let found = number(self.event, "unread_bytes");
        let is_excused = found.is_none() && (self.sights.mode == Mode::Classic || expected == 0);
        (found != Some(expected) && !is_excused)
            .then(|| format!("unread_bytes is {}, expected {expected}", shown(found)))
    }
}

fn describe_surplus(event: &Value) -> String {
    let name = |key| text(event, key).unwrap_or("?");
    let ends = [("local_addr", "local_port"), ("remote_addr", "remote_port")]
        .map(|(address, port)| shown(end_of(event, address, port)));
    format!(
        "not expected: {} {} {} > {} state {}",
        name("kind"),
        name("cause"),
        ends[0],
        ends[1],
        name("state"),
    )
}

fn shown(value: Option<impl std::fmt::Display>) -> String {
    value.map_or_else(|| "absent".to_owned(), |value| value.to_string())
}

pub(crate) fn text<'a>(event: &'a Value, name: &str) -> Option<&'a str> {
    event.get(name)?.as_str()
}

/// The schema writes integers beyond 2^53 as strings.
pub(crate) fn number(event: &Value, name: &str) -> Option<u64> {
    let value = event.get(name)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

pub(crate) fn end_of(event: &Value, address: &str, port: &str) -> Option<SocketAddr> {
    let address: IpAddr = text(event, address)?.parse().ok()?;
    let port = u16::try_from(number(event, port)?).ok()?;
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests;
