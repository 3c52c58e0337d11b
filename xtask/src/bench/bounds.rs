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

    fn holds_for(self, value: f64) -> bool {
        match self.side {
            Side::AtLeast => value >= self.value,
            Side::Above => value > self.value,
            Side::Below => value < self.value,
            Side::AtMost => value <= self.value,
        }
    }

    fn outcome_for(self, measured: Option<Spread>, unit: &str) -> Outcome {
        let Some(spread) = measured else {
            return Outcome::Missed;
        };
        let some_rounds_hold = self.holds_for(spread.lowest) || self.holds_for(spread.highest);
        if self.holds_for(spread.median) {
            Outcome::Holds
        } else if unit == RATIO && some_rounds_hold {
            Outcome::Undecided
        } else {
            Outcome::Missed
        }
    }
}

/// The unit of a ratio.
const RATIO: &str = "";

/// How a measure lies to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// As it must.
    Holds,
    /// Not so.
    Missed,
    /// The median of a ratio misses, and some rounds do not: more of them may tell. It is not kept.
    Undecided,
}

/// A limit, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Verdict {
    /// The limit.
    pub(super) limit: Limit,
    /// How what was measured lies to it.
    pub(super) outcome: Outcome,
}

/// One measure, beside what is promised of it and what is the goal.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Bound {
    /// What is measured.
    pub(super) what: String,
    /// What was measured; its median is judged. None: it could not be, so every limit is missed.
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
                outcome: limit.outcome_for(measured, unit),
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
            RATIO => 3,
            "events" | "resets" => 0,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::{Bound, Limit, Outcome, RATIO, Side, Spread};

    const SIDES: [Side; 4] = [Side::AtLeast, Side::Above, Side::Below, Side::AtMost];

    fn holds(measured: Option<f64>, side: Side) -> bool {
        let limit = Limit { side, value: 10.0 };
        let measured = measured.map(Spread::single);
        let bound = Bound::new("it", measured, RATIO, None, Some(limit));
        assert_eq!(bound.promise, None);
        bound.goal.unwrap().outcome == Outcome::Holds
    }

    #[test]
    fn medians_are_judged_and_a_ratio_that_some_rounds_keep_is_undecided() {
        let outcome = |values: &[f64], unit| {
            let limit = Some(Limit::at_least(0.95));
            let bound = Bound::new("it", Spread::of(values), unit, limit, None);
            bound.promise.unwrap().outcome
        };
        for (values, expected) in [
            ([0.95, 0.96, 0.97], Outcome::Holds),
            ([0.92, 0.93, 0.94], Outcome::Missed),
            ([0.94, 0.96, 0.97], Outcome::Holds),
            ([0.92, 0.94, 0.96], Outcome::Undecided),
        ] {
            assert_eq!(outcome(&values, RATIO), expected, "{values:?}");
        }
        assert_eq!(outcome(&[0.94, 0.96, 0.97], "ms"), Outcome::Holds);
        assert_eq!(outcome(&[0.92, 0.94, 0.96], "ms"), Outcome::Missed);
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
