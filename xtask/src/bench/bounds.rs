//! What rstmon promises about its cost, and the goals beyond that, as numbers. The report compares what
//! was measured with both.

use super::load::Workload;
use super::observers::Observer;
use super::statistics::Spread;
use serde::Serialize;

/// Longest kernel time per run of a reset hook and per reset, nanoseconds.
pub(super) const KERNEL_NS: Limit = Limit::below(500.0);
/// The goal for all programs together, per reset.
pub(super) const KERNEL_NS_GOAL: Limit = Limit::at_most(250.0);
/// The goal for all programs together, per connection that is opened and closed without a reset.
pub(super) const CONNECTION_NS_GOAL: Limit = Limit::at_most(300.0);
/// The goal for the agent's CPU time in its own code, per event, nanoseconds.
pub(super) const USER_NS_GOAL: Limit = Limit::at_most(1000.0);
/// Most memory resident of `rstmon trace`, MiB.
pub(super) const PEAK_MIB: Limit = Limit::below(40.0);
/// The goal for the agent's memory after a million flows, MiB.
pub(super) const FLOWS_MIB_GOAL: Limit = Limit::at_most(30.0);
/// Longest time from exec to the hooks attached, milliseconds.
pub(super) const START_MS: Limit = Limit::below(300.0);
/// The goal for that.
pub(super) const START_MS_GOAL: Limit = Limit::at_most(150.0);
/// Of lost events, and of resets by which counts may differ.
pub(super) const NONE: Limit = Limit::at_most(0.0);
/// Of a rate by that of another tool in the same round, each to nothing beside it: above it.
pub(super) const ABOVE: Limit = Limit {
    side: Side::Above,
    value: 1.0,
};

/// Least rate of a load under an observer as part of the rate under nothing: promised, and the goal.
pub(super) fn least_ratio(
    workload: Workload,
    observer: Observer,
) -> (Option<Limit>, Option<Limit>) {
    let limit = |value| Some(Limit::at_least(value));
    match (observer, workload) {
        (Observer::Trace, Workload::Storm) => (limit(0.90), None),
        (Observer::Trace, Workload::Keepalive) => (limit(0.99), None),
        (Observer::Trace, Workload::Connections) => (limit(0.96), None),
        (Observer::Agent, Workload::Storm) => (None, limit(0.95)),
        (Observer::Agent, Workload::Keepalive) => (None, limit(0.995)),
        (Observer::Agent, Workload::Connections) => (None, limit(0.97)),
        _ => (None, None),
    }
}

/// How a value must lie to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Side {
    /// The limit or more.
    AtLeast,
    /// More than the limit.
    Above,
    /// Less than the limit.
    Below,
    /// The limit or less.
    AtMost,
}

impl Side {
    /// As a word before the limit.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::AtLeast => "at least",
            Self::Above => "above",
            Self::Below => "below",
            Self::AtMost => "at most",
        }
    }
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Limit {
    /// How the value must lie to it.
    pub(super) side: Side,
    /// In the unit of what is measured.
    pub(super) value: f64,
}

impl Limit {
    const fn at_least(value: f64) -> Self {
        let side = Side::AtLeast;
        Self { side, value }
    }

    const fn below(value: f64) -> Self {
        let side = Side::Below;
        Self { side, value }
    }

    const fn at_most(value: f64) -> Self {
        let side = Side::AtMost;
        Self { side, value }
    }

    fn holds_for(self, measured: Option<f64>) -> bool {
        measured.is_some_and(|value| match self.side {
            Side::AtLeast => value >= self.value,
            Side::Above => value > self.value,
            Side::Below => value < self.value,
            Side::AtMost => value <= self.value,
        })
    }
}

/// Whether a limit holds, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Verdict {
    /// The limit.
    pub(super) limit: Limit,
    /// Whether what was measured lies as it must.
    pub(super) holds: bool,
}

/// One measure, beside what is promised of it and what is the goal.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Bound {
    /// What is measured.
    pub(super) what: String,
    /// What was measured; its median is judged. None: it could not be, so no limit holds.
    pub(super) measured: Option<Spread>,
    /// Of all numbers; empty for a ratio.
    pub(super) unit: &'static str,
    /// What is promised.
    pub(super) promise: Option<Verdict>,
    /// What is the goal.
    pub(super) goal: Option<Verdict>,
}

impl Bound {
    /// Compares.
    pub(super) fn new(
        what: impl Into<String>,
        measured: Option<Spread>,
        unit: &'static str,
        promise: Option<Limit>,
        goal: Option<Limit>,
    ) -> Self {
        let verdict = |limit: Option<Limit>| {
            limit.map(|limit| Verdict {
                limit,
                holds: limit.holds_for(measured.map(|spread| spread.median)),
            })
        };
        Self {
            what: what.into(),
            measured,
            unit,
            promise: verdict(promise),
            goal: verdict(goal),
        }
    }

    /// Digits after the point that its numbers need.
    pub(super) fn digits(&self) -> usize {
        match self.unit {
            "" => 3,
            "events" | "resets" => 0,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::{Bound, Limit, Side, Spread};

    const SIDES: [Side; 4] = [Side::AtLeast, Side::Above, Side::Below, Side::AtMost];

    fn holds(measured: Option<f64>, side: Side) -> bool {
        let limit = Limit { side, value: 10.0 };
        let measured = measured.map(Spread::single);
        let bound = Bound::new("it", measured, "", None, Some(limit));
        assert_eq!(bound.promise, None);
        bound.goal.unwrap().holds
    }

    #[test]
    fn a_value_at_the_limit_holds_where_the_promise_says_so() {
        for (value, expected) in [
            (9.99, [false, false, true, true]),
            (10.0, [true, false, false, true]),
            (10.01, [true, true, false, false]),
        ] {
            assert_eq!(SIDES.map(|side| holds(Some(value), side)), expected);
        }
    }

    #[test]
    fn what_was_not_measured_or_is_no_number_does_not_hold() {
        for measured in [None, Some(f64::NAN)] {
            assert_eq!(SIDES.map(|side| holds(measured, side)), [false; 4]);
        }
    }
}
