//! What rstmon promises about its cost, as numbers. The report compares what was measured with them.

use super::load::Workload;
use serde::Serialize;

/// Longest kernel time per run of a reset hook and per reset, nanoseconds.
pub(super) const KERNEL_NS: f64 = 500.0;
/// Most memory resident, MiB.
pub(super) const PEAK_MIB: f64 = 40.0;
/// Longest time from exec to the hooks attached, milliseconds.
pub(super) const START_MS: f64 = 300.0;

/// Least rate under rstmon as part of the rate under nothing.
pub(super) fn least_ratio(workload: Workload) -> f64 {
    match workload {
        Workload::Storm => 0.90,
        Workload::Keepalive => 0.99,
        Workload::Connections => 0.96,
    }
}

/// How a value must lie to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Side {
    /// The limit or more.
    AtLeast,
    /// Less than the limit.
    Below,
    /// The limit or less.
    AtMost,
}

/// One promise and what was measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Bound {
    /// What is promised.
    pub(super) what: String,
    /// What was measured. None: it could not be, so the bound does not hold.
    pub(super) measured: Option<f64>,
    /// How the value must lie to the limit.
    pub(super) side: Side,
    /// The limit, in the unit.
    pub(super) limit: f64,
    /// Of both numbers; empty for a ratio.
    pub(super) unit: &'static str,
    /// Whether the promise is kept.
    pub(super) holds: bool,
}

impl Bound {
    /// Compares.
    pub(super) fn new(
        what: impl Into<String>,
        measured: Option<f64>,
        side: Side,
        limit: f64,
        unit: &'static str,
    ) -> Self {
        let holds = measured.is_some_and(|value| match side {
            Side::AtLeast => value >= limit,
            Side::Below => value < limit,
            Side::AtMost => value <= limit,
        });
        Self {
            what: what.into(),
            measured,
            side,
            limit,
            unit,
            holds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bound, Side};

    #[test]
    fn a_value_at_the_limit_holds_where_the_promise_says_so() {
        let holds = |value, side| Bound::new("it", value, side, 10.0, "").holds;
        assert!(holds(Some(10.0), Side::AtLeast));
        assert!(!holds(Some(9.99), Side::AtLeast));
        assert!(!holds(Some(10.0), Side::Below));
        assert!(holds(Some(9.99), Side::Below));
        assert!(holds(Some(10.0), Side::AtMost));
        assert!(!holds(Some(10.01), Side::AtMost));
    }

    #[test]
    fn what_was_not_measured_or_is_no_number_does_not_hold() {
        for side in [Side::AtLeast, Side::Below, Side::AtMost] {
            assert!(!Bound::new("it", None, side, 1.0, "").holds);
            assert!(!Bound::new("it", Some(f64::NAN), side, 1.0, "").holds);
        }
    }
}
