//! Judges what a capture showed of one run. Pure: events come in as JSON of the event schema.
//!
//! Nothing passes silently: an expected event that is missing is either a difference or, where this
//! capture cannot see such an event, said to be not visible; and an event that nobody expects is a
//! difference too. What an event says must be right in every mode; what it may leave unsaid, and
//! which lesser causes stand for the truth, depends on what the capture is given.

mod comparison;
mod sights;

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use crate::truth::{Expectation, Observation};
use crate::witness::PassedOver;
use comparison::Comparison;
pub use sights::{Mode, Sights};

/// The cause of what no rule explains.
const UNDIAGNOSED: &str = "undiagnosed";

/// What a second witness has to say of a missing event.
const PASSED_OVER: &str = "it was sent while a thread of process 1 was interrupted, and this kernel \
                           has shown no event from such a moment";

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
            if let Some(why) = sights.blind_to(expected.needs) {
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
        for difference in comparison.differences() {
            let what = format!("{summary}: {}", difference.what);
            if difference.is_absence && sights.mode == Mode::Classic {
                // The event is there, at the right ends; what it is made of, this mode does not show.
                not_visible.push(what);
            } else {
                differs.push(what);
            }
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
            .all(|(expected, event)| event.is_some() || sights.blind_to(expected.needs).is_some())
    }

    /// Whether an event is of this run: of its namespace, or, where the event has none, of one of
    /// its connections, and of its time: what a socket that is left does later, another scenario may have
    /// made it do (`out-of-memory`, with `--global`). A listener's ends are those of the next run, too.
    #[must_use]
    pub fn concerns(&self, event: &Value) -> bool {
        let allowance_ns = remote_of(event).map_or(0, |_| LATE_NS);
        let end_ns = self.ended_mono_ns.saturating_add(allowance_ns);
        if number(event, "mono_ns").is_some_and(|at| !(self.started_mono_ns..=end_ns).contains(&at))
        {
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

/// How long after a run its connections may still give what is not expected.
const LATE_NS: u64 = 200_000_000;

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
            expected.is_like(event) && expected.is_truth(event) && expected.fits_rst(event)
        });
        pairing.assign(|expected, event| {
            expected.is_like(event) && expected.may_be(event) && expected.fits_rst(event)
        });
        pairing.assign(|expected, event| expected.is_like(event) && expected.may_be(event));
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

    /// A listener's own ends, which are all that a classic record shows, stand for those of what it
    /// answers; that they are not these is a difference of its own.
    fn has_ends_of(&self, event: &Value) -> bool {
        let by_listener = |state: &&str| matches!(*state, "listen" | "syn-recv");
        let may_be_listener = !self.states.is_empty() && self.states.iter().all(by_listener);
        let remote = remote_of(event);
        end_of(event, "local_addr", "local_port") == Some(self.local)
            && (remote == Some(self.remote) || (remote.is_none() && may_be_listener))
    }

    /// Whether the event's cause is right.
    fn is_truth(&self, event: &Value) -> bool {
        text(event, "cause").is_some_and(|cause| self.causes.contains(&cause))
    }

    /// Whether its cause is right, or less than that for whatever reason.
    fn may_be(&self, event: &Value) -> bool {
        let lesser = |cause| self.lesser_causes.iter().any(|it| it.cause == cause);
        self.is_truth(event)
            || text(event, "cause").is_some_and(|cause| cause == UNDIAGNOSED || lesser(cause))
    }

    fn fits_rst(&self, event: &Value) -> bool {
        let seq = number(event, "rst_seq");
        self.rst
            .as_ref()
            .is_none_or(|rst| seq.is_none_or(|seq| seq == u64::from(rst.seq)))
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

/// The other end, if the event has one: a listener has none. Zeros, if they were told, match nobody.
pub(crate) fn remote_of(event: &Value) -> Option<SocketAddr> {
    end_of(event, "remote_addr", "remote_port")
}

#[cfg(test)]
mod tests;
