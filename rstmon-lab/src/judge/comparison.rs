//! One expectation beside the event that answers it, field by field.
//!
//! What is there must be right, in every mode. What is not there must be due to differ: a capture
//! cannot tell what it is not given.

use serde_json::Value;

use super::{Mode, Sights, UNDIAGNOSED, number, remote_of, shown, text};
use crate::truth::{Expectation, Given, Observation, Rst};

/// The highest confidence: the evidence admits no other reading.
const CERTAIN: &str = "certain";

/// The kernel's word for having no reason to give.
const NOT_SPECIFIED: &str = "NOT_SPECIFIED";

const KERNEL_REASON: &str = "kernel_reason";
const DROP_REASON: &str = "drop_reason";

/// A field that is not as expected.
#[derive(Debug)]
pub(super) struct Difference {
    /// What it is, and what was expected.
    pub(super) what: String,
    /// Whether it is just not there.
    pub(super) is_absence: bool,
}

impl Difference {
    const fn wrong(what: String) -> Self {
        Self {
            what,
            is_absence: false,
        }
    }

    fn absent(name: &str, expected: impl std::fmt::Display) -> Self {
        Self {
            what: format!("{name} is absent, expected {expected}"),
            is_absence: true,
        }
    }

    /// Of a field that has one right value.
    fn of<T: std::fmt::Display + PartialEq>(
        name: &str,
        found: Option<T>,
        expected: &T,
        is_due: bool,
    ) -> Option<Self> {
        match found {
            Some(found) if found == *expected => None,
            Some(found) => Some(Self::wrong(format!(
                "{name} is {found}, expected {expected}"
            ))),
            None => is_due.then(|| Self::absent(name, expected)),
        }
    }
}

/// How an event's cause stands to the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It is the truth.
    Truth,
    /// It is what evidence that falls short of the truth allows anywhere.
    NearTruth,
    /// It is less, for a reason.
    Less {
        why: &'static str,
        /// Whether nothing in it is false.
        is_true: bool,
    },
    /// It is something else.
    Wrong,
}

/// See the module.
pub(super) struct Comparison<'a> {
    pub(super) observation: &'a Observation,
    pub(super) expected: &'a Expectation,
    pub(super) event: &'a Value,
    pub(super) sights: &'a Sights,
}

impl Comparison<'_> {
    pub(super) fn differences(&self) -> Vec<Difference> {
        let mut differences = Vec::new();
        differences.extend(self.kind());
        differences.extend(self.remote());
        differences.extend(self.cause());
        differences.extend(self.confidence());
        differences.extend(self.family());
        differences.extend(self.state());
        differences.extend(self.role());
        differences.extend(self.owner());
        differences.extend(self.actor());
        differences.extend(self.initiator());
        differences.extend(self.reasons());
        differences.extend(self.evidence());
        if let Some(rst) = &self.expected.rst {
            differences.extend(self.rst(rst));
        }
        differences.extend(self.unread());
        differences
    }

    /// What the event says less than the truth, and why it may.
    pub(super) fn told_less(&self) -> Option<String> {
        let Told::Less { why, .. } = self.told() else {
            return None;
        };
        let found = text(self.event, "cause").unwrap_or("absent");
        Some(format!("told as {found}: {why}"))
    }

    fn told(&self) -> Told {
        let Some(cause) = text(self.event, "cause") else {
            return Told::Wrong;
        };
        if self.expected.causes.first() == Some(&cause) {
            return Told::Truth;
        }
        if self.expected.causes.contains(&cause) {
            return Told::NearTruth;
        }
        let mut lesser = self.expected.lesser_causes.iter();
        let lesser = lesser.find_map(|lesser| {
            let why = self.lacks(lesser.without)?;
            (lesser.cause == cause).then_some(Told::Less {
                why,
                is_true: lesser.is_true,
            })
        });
        // Whoever has nothing but a record may always say that it explains nothing.
        let unexplained = self.lacks(Given::Objects).filter(|_| cause == UNDIAGNOSED);
        let unexplained = unexplained.map(|why| Told::Less {
            why,
            is_true: false,
        });
        lesser.or(unexplained).unwrap_or(Told::Wrong)
    }

    /// Why this capture is not given it; `None` if it is.
    fn lacks(&self, given: Given) -> Option<&'static str> {
        let (has_it, why) = match given {
            Given::Always => (true, ""),
            Given::Segment => (
                self.sights.sees_segment_of_received,
                "this capture does not see the segment of the RST",
            ),
            Given::DropReason => (
                text(self.event, DROP_REASON).is_some(),
                "this kernel does not say why it dropped the RST",
            ),
            Given::Receiver => (
                self.sights.names_receiver_of_dropped,
                "this kernel does not say whose the dropped RST was",
            ),
            Given::EndedHandshake => (
                self.sights.tells_ended_handshakes,
                "this capture does not tell which handshake a RST has ended",
            ),
            Given::Reason => (
                text(self.event, KERNEL_REASON).is_some_and(|reason| reason != NOT_SPECIFIED),
                "this kernel does not say why it sent the RST",
            ),
            Given::Objects => (
                self.sights.mode != Mode::Classic,
                "classic records do not show what would tell",
            ),
        };
        (!has_it).then_some(why)
    }

    /// A handshake that a RST has ended must be told as that where the capture can.
    fn kind(&self) -> Option<Difference> {
        let first = self.expected.kinds.first()?.name();
        let found = text(self.event, "kind").unwrap_or("absent");
        (self.sights.tells_ended_handshakes && found != first)
            .then(|| Difference::wrong(format!("kind is {found}, expected {first}")))
    }

    /// Nothing else gets here without the right ends.
    fn remote(&self) -> Option<Difference> {
        let is_there = remote_of(self.event).is_some();
        (!is_there).then(|| Difference::absent("the remote end", self.expected.remote))
    }

    fn cause(&self) -> Option<Difference> {
        if self.told() != Told::Wrong {
            return None;
        }
        let found = text(self.event, "cause").unwrap_or("absent");
        let confidence = text(self.event, "confidence").unwrap_or("absent");
        let evidence = self
            .event
            .get("evidence")
            .map_or_else(String::new, |evidence| format!(" on {evidence}"));
        Some(Difference::wrong(format!(
            "cause is {found} ({confidence}){evidence}"
        )))
    }

    /// Certain is what admits no other reading: due where the evidence is of that kind, and never to
    /// be said of what is less than the truth and may so be false.
    fn confidence(&self) -> Option<Difference> {
        let Some(found) = text(self.event, "confidence") else {
            return Some(Difference::wrong("confidence is absent".to_owned()));
        };
        let expected = match self.told() {
            Told::Truth if found != CERTAIN && self.is_certainty_due() => CERTAIN,
            Told::NearTruth | Told::Less { is_true: false, .. } if found == CERTAIN => "less",
            _ => return None,
        };
        Some(Difference::wrong(format!(
            "confidence is {found}, expected {expected}"
        )))
    }

    /// A reason that is missing though it is due excuses nothing.
    fn is_certainty_due(&self) -> bool {
        let is_given = |&given: &Given| {
            let due = self.due_reasons();
            let is_missing = |name| due.contains(&name) && text(self.event, name).is_none();
            self.lacks(given).is_none()
                || match given {
                    Given::Reason => is_missing(KERNEL_REASON),
                    Given::DropReason => is_missing(DROP_REASON),
                    _ => false,
                }
        };
        let given = &self.expected.certain_given;
        !given.is_empty() && given.iter().all(is_given)
    }

    fn family(&self) -> Option<Difference> {
        let expected = self.observation.family.name();
        let found = text(self.event, "family");
        (found != Some(expected)).then(|| Difference::wrong(format!("family is {}", shown(found))))
    }

    fn state(&self) -> Option<Difference> {
        let states = &self.expected.states;
        let expected = states.join("|");
        match text(self.event, "state") {
            _ if states.is_empty() => None,
            Some(found) if states.contains(&found) => None,
            Some(found) => Some(Difference::wrong(format!(
                "state is {found}, expected {expected}"
            ))),
            None => {
                let is_due = self.sights.must_show_state(self.expected);
                is_due.then(|| Difference::absent("state", expected))
            }
        }
    }

    fn role(&self) -> Option<Difference> {
        let is_due = self.sights.must_show_role(self.expected);
        let found = text(self.event, "role");
        Difference::of("role", found, &self.expected.role?, is_due)
    }

    fn owner(&self) -> Vec<Difference> {
        let holder = self.expected.holder.as_ref();
        let owner = holder.unwrap_or(&self.observation.owner);
        let pid = number(self.event, "pid");
        let is_due = self.sights.must_show_owner(self.expected);
        let mut differences: Vec<_> = Difference::of("pid", pid, &u64::from(owner.pid), is_due)
            .into_iter()
            .collect();
        if pid == Some(owner.pid.into()) {
            differences.extend(self.process_name("comm", &owner.comms));
        }
        differences
    }

    fn actor(&self) -> Vec<Difference> {
        let Some(actor) = &self.expected.actor else {
            return Vec::new();
        };
        let pid = number(self.event, "actor_pid");
        [
            Difference::of("actor_pid", pid, &u64::from(actor.pid), true),
            self.process_name("actor_comm", &actor.comms),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn process_name(&self, name: &str, comms: &[String]) -> Option<Difference> {
        let expected = comms.join("|");
        match text(self.event, name) {
            Some(found) if comms.iter().any(|comm| comm == found) => None,
            Some(found) => Some(Difference::wrong(format!(
                "{name} is {found}, expected {expected}"
            ))),
            None => Some(Difference::absent(name, expected)),
        }
    }

    /// A cause that is told less than it is has another initiator, too.
    fn initiator(&self) -> Option<Difference> {
        let expected = self.expected.initiator?;
        let found = text(self.event, "initiator");
        (found != Some(expected) && self.told_less().is_none()).then(|| {
            Difference::wrong(format!(
                "initiator is {}, expected {expected}",
                shown(found)
            ))
        })
    }

    /// Which reason it is, the causes show.
    fn reasons(&self) -> Vec<Difference> {
        let is_missing = |name: &&str| text(self.event, name).is_none();
        let missing = self.due_reasons().into_iter().filter(is_missing);
        missing
            .map(|name| Difference::absent(name, "one"))
            .collect()
    }

    /// The fields of the kernel's reasons that must be there.
    fn due_reasons(&self) -> Vec<&'static str> {
        let (sights, expected) = (self.sights, self.expected);
        let due = [
            (KERNEL_REASON, sights.must_show_kernel_reason(expected)),
            (DROP_REASON, sights.must_show_drop_reason(expected)),
        ];
        due.into_iter()
            .filter_map(|(name, is_due)| is_due.then_some(name))
            .collect()
    }

    fn evidence(&self) -> Vec<Difference> {
        let facts: Vec<&str> = self
            .event
            .get("evidence")
            .and_then(Value::as_array)
            .map(|facts| facts.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let missing = self.expected.evidence.iter();
        missing
            .filter(|fact| !facts.contains(fact))
            .map(|fact| Difference {
                what: format!("evidence lacks {fact}, it has {}", facts.join(", ")),
                is_absence: true,
            })
            .collect()
    }

    fn rst(&self, rst: &Rst) -> Vec<Difference> {
        let is_due = self.sights.must_show_rst(self.expected);
        let ack = number(self.event, "rst_ack");
        let ack = match rst.ack.map(u64::from) {
            Some(expected) => Difference::of("rst_ack", ack, &expected, is_due),
            None => {
                ack.map(|found| Difference::wrong(format!("rst_ack is {found}, expected absent")))
            }
        };
        let seq = number(self.event, "rst_seq");
        let flags = text(self.event, "rst_flags");
        [
            Difference::of("rst_seq", seq, &u64::from(rst.seq), is_due),
            ack,
            Difference::of("rst_flags", flags, &rst.flags.as_str(), is_due),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Nothing unread need not be said, and records never say it, as they have no sequence numbers.
    fn unread(&self) -> Option<Difference> {
        let expected = self.expected.unread_bytes?;
        let found = number(self.event, "unread_bytes");
        let is_due = expected != 0 && self.sights.mode != Mode::Classic;
        Difference::of("unread_bytes", found, &expected, is_due)
    }
}
