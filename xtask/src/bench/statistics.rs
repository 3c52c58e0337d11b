//! Medians and ratios of repeated measurements. Used by every part of the bench that repeats.

use serde::Serialize;

/// A count as a number to calculate with.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts here stay far below 2^53"
)]
pub(super) fn as_number(count: u64) -> f64 {
    count as f64
}

/// The median; of an even number of values the mean of the two in the middle. None of no values
/// and where a value is not a number.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    if values.is_empty() || values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        Some(sorted[middle])
    } else {
        Some(f64::midpoint(sorted[middle - 1], sorted[middle]))
    }
}

/// Repeated measurements of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    /// The median.
    pub(super) median: f64,
    /// The lowest.
    pub(super) lowest: f64,
    /// The highest.
    pub(super) highest: f64,
}

impl Spread {
    /// Of these values. None of no values and where a value is not a number.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        Some(Self {
            median: median(values)?,
            lowest: values.iter().copied().reduce(f64::min)?,
            highest: values.iter().copied().reduce(f64::max)?,
        })
    }

    /// Of one value.
    pub(super) fn single(value: f64) -> Self {
        Self {
            median: value,
            lowest: value,
            highest: value,
        }
    }
}

/// Each round's value by the baseline of the same round; none for rounds that lack either. Rounds are
/// compared within themselves since a machine's speed drifts.
pub(super) fn ratios(values: &[Option<f64>], baseline: &[Option<f64>]) -> Vec<Option<f64>> {
    let ratio = |(value, base): (&Option<f64>, &Option<f64>)| match (value, base) {
        (Some(value), Some(base)) if *base > 0.0 => Some(value / base),
        _ => None,
    };
    values.iter().zip(baseline).map(ratio).collect()
}

/// Those that were measured.
pub(super) fn known(values: &[Option<f64>]) -> Vec<f64> {
    values.iter().copied().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::{Spread, known, median, ratios};

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[7.0]), Some(7.0));
    }

    #[test]
    fn there_is_no_median_of_nothing_nor_of_no_number() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn a_spread_reaches_from_the_lowest_to_the_highest() {
        let spread = Spread {
            median: 2.0,
            lowest: 1.0,
            highest: 9.0,
        };
        assert_eq!(Spread::of(&[9.0, 1.0, 2.0]), Some(spread));
        assert_eq!(Spread::of(&[7.0]), Some(Spread::single(7.0)));
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn a_ratio_compares_the_same_round_only() {
        let rstmon = [Some(90.0), None, Some(30.0), Some(5.0)];
        let nothing = [Some(100.0), Some(50.0), Some(60.0), Some(0.0)];
        let ratios = ratios(&rstmon, &nothing);
        assert_eq!(ratios, [Some(0.9), None, Some(0.5), None]);
        assert_eq!(known(&ratios), [0.9, 0.5]);
    }

    #[test]
    fn the_median_of_ratios_is_not_the_ratio_of_medians() {
        let fast_then_slow = [Some(90.0), Some(9.0), Some(45.0)];
        let nothing = [Some(100.0), Some(10.0), Some(90.0)];
        let ratios = known(&ratios(&fast_then_slow, &nothing));
        assert_eq!(median(&ratios), Some(0.9));
    }
}
