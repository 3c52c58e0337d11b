//! What the loads made of threads have in common: how they begin and end, and their rate.

use anyhow::bail;
use std::thread;
use std::time::{Duration, Instant};

/// Threads of a load.
pub(super) const THREADS: u32 = 2;
/// A thread looks at the clock after so many of what it makes, so that the clock costs nothing.
pub(super) const BATCH: u32 = 64;
/// A thread that fell behind makes up for at most so much time: no second exceeds its rate by more than
/// a hundredth, and a batch.
const MOST_BEHIND: Duration = Duration::from_millis(10);

/// Does `work` on all threads, each with its number; returns the sum of what they made.
pub(super) fn on_threads(work: impl Fn(u32) -> anyhow::Result<u64> + Sync) -> anyhow::Result<u64> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| scope.spawn(move || work(number)))
            .collect();
        let made = threads.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| bail!("a thread of the load panicked"))
        });
        // All are waited for before the first error counts.
        made.collect::<Vec<_>>().into_iter().sum()
    })
}

/// When a thread may make its next batch.
#[derive(Debug)]
pub(super) struct Throttle {
    /// Time of a batch; none: as fast as it goes.
    batch: Option<Duration>,
    next: Instant,
}

impl Throttle {
    /// Of one thread of a load that makes `rate` a second, of all threads together.
    pub(super) fn new(rate: Option<u32>, now: Instant) -> Self {
        Self {
            batch: rate.map(|rate| Duration::from_secs(1) * BATCH * THREADS / rate.max(1)),
            next: now,
        }
    }

    /// Waits until it is time for a batch.
    pub(super) fn wait(&mut self) {
        thread::sleep(self.pause(Instant::now()));
    }

    /// How long to wait at `now` for the next batch.
    fn pause(&mut self, now: Instant) -> Duration {
        let Some(batch) = self.batch else {
            return Duration::ZERO;
        };
        let earliest = now.checked_sub(MOST_BEHIND).unwrap_or(now);
        let begin = self.next.max(earliest);
        self.next = begin + batch;
        begin.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::{BATCH, MOST_BEHIND, THREADS, Throttle, on_threads};
    use anyhow::bail;
    use std::time::{Duration, Instant};

    #[test]
    fn what_all_threads_made_is_added_and_an_error_ends_it() {
        let sum = on_threads(|number| Ok(u64::from(number) + 1));
        assert_eq!(sum.ok(), Some((1..=u64::from(THREADS)).sum()));
        let failed = on_threads(|number| match number {
            0 => Ok(1),
            _ => bail!("no more"),
        });
        assert!(failed.is_err_and(|error| error.to_string() == "no more"));
    }

    #[test]
    fn a_rate_is_kept_and_little_is_made_up() {
        let begin = Instant::now();
        let batch = Duration::from_millis(1);
        let mut throttle = Throttle::new(Some(1000 * BATCH * THREADS), begin);
        assert_eq!(throttle.pause(begin), Duration::ZERO);
        assert_eq!(throttle.pause(begin), batch);
        // After a second in which the thread did not run.
        let later = begin + Duration::from_secs(1);
        let made_up = (0..1000)
            .take_while(|_| throttle.pause(later) == Duration::ZERO)
            .count();
        assert_eq!(
            made_up as u128,
            MOST_BEHIND.as_nanos() / batch.as_nanos() + 1
        );
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let now = Instant::now();
        let mut throttle = Throttle::new(None, now);
        assert!((0..100).all(|_| throttle.pause(now) == Duration::ZERO));
    }
}
