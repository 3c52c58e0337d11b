//! Counts by upper bound, for ages and idle times of connections.

/// Upper bounds, seconds: from a request to a day. Known idle timers (60, 240, 300, 350, 900, 3600 s)
/// fall into different buckets.
pub const BOUNDS: [f64; 14] = [
    0.001, 0.01, 0.1, 1.0, 10.0, 30.0, 61.0, 120.0, 241.0, 301.0, 351.0, 901.0, 3601.0, 86401.0,
];

/// One histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// By bound; what is above all is in `count` alone.
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum_seconds: f64,
}

impl Histogram {
    /// Counts one time.
    pub fn observe_ms(&mut self, millis: u64) {
        let seconds = std::time::Duration::from_millis(millis).as_secs_f64();
        self.count += 1;
        self.sum_seconds += seconds;
        let index = BOUNDS.partition_point(|bound| *bound < seconds);
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket += 1;
        }
    }

    /// How many were counted.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Their sum, seconds.
    #[must_use]
    pub const fn sum_seconds(&self) -> f64 {
        self.sum_seconds
    }

    /// Each bound with how many were at or below it.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let counts = self.buckets.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        BOUNDS.into_iter().zip(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_at_a_bound_is_within_it_and_one_above_all_is_only_counted() {
        let mut histogram = Histogram::default();
        histogram.observe_ms(1);
        histogram.observe_ms(2);
        histogram.observe_ms(1_000_000_000);
        let cumulative: Vec<_> = histogram.cumulative().map(|(_, count)| count).collect();
        assert_eq!(cumulative.first(), Some(&1));
        assert_eq!(cumulative.get(1), Some(&2));
        assert_eq!(cumulative.last(), Some(&2));
        assert_eq!(histogram.count(), 3);
    }
}
