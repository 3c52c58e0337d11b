//! Whether the agent does its work, as `/-/healthy`, `/-/ready` and the watchdog see it.
//!
//! The capture thread beats at each turn; everybody may ask.

use crate::event::capture::CaptureFacts;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The capture thread turns twice a second at least. After this time it is stuck.
const STUCK: Duration = Duration::from_secs(10);
/// After this time nobody should rely on it.
const LATE: Duration = Duration::from_secs(2);

/// Signs of life.
#[derive(Debug)]
pub struct Health {
    began: Instant,
    /// Last turn of the capture thread, milliseconds after `began`.
    turned_ms: AtomicU64,
    /// Hooks that have been attached, and whether they are as they should be: attached, or gone with their
    /// module, as without that there is nothing to see. One that this kernel never took is a degradation,
    /// and no reason not to be ready.
    hooks: Mutex<BTreeMap<String, bool>>,
}

impl Health {
    /// Alive from now on.
    #[must_use]
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            turned_ms: AtomicU64::new(0),
            hooks: Mutex::new(BTreeMap::new()),
        }
    }

    /// The capture thread has made a turn.
    pub fn beat(&self) {
        self.beat_at(Instant::now());
    }

    fn beat_at(&self, now: Instant) {
        self.turned_ms.store(self.age_ms(now), Ordering::Relaxed);
    }

    /// The hooks have changed, or are looked at for the first time.
    pub fn see_hooks(&self, facts: &CaptureFacts) {
        let Ok(mut hooks) = self.hooks.lock() else {
            return;
        };
        for (name, is_right) in hooks.iter_mut() {
            let mut of_name = facts.hooks.iter().filter(|hook| hook.hook == *name);
            *is_right = of_name.any(|hook| hook.attached || hook.awaits_module);
        }
        let attached = facts.hooks.iter().filter(|hook| hook.attached);
        hooks.extend(attached.map(|hook| (hook.hook.clone(), true)));
    }

    /// Why the agent is stuck, if it is.
    #[must_use]
    pub fn sickness(&self) -> Option<String> {
        self.sickness_at(Instant::now())
    }

    fn sickness_at(&self, now: Instant) -> Option<String> {
        self.silence(STUCK, now)
    }

    /// Why the agent is not ready, if it is not.
    #[must_use]
    pub fn unreadiness(&self) -> Option<String> {
        self.unreadiness_at(Instant::now())
    }

    fn unreadiness_at(&self, now: Instant) -> Option<String> {
        if let Some(silence) = self.silence(LATE, now) {
            return Some(silence);
        }
        let hooks = self.hooks.lock().ok()?;
        let gone = hooks.iter().filter(|(_, is_right)| !**is_right);
        let gone: Vec<&str> = gone.map(|(hook, _)| hook.as_str()).collect();
        (!gone.is_empty()).then(|| format!("no longer attached: {}", gone.join(", ")))
    }

    fn silence(&self, limit: Duration, now: Instant) -> Option<String> {
        let since = self
            .age_ms(now)
            .saturating_sub(self.turned_ms.load(Ordering::Relaxed));
        let since = Duration::from_millis(since);
        (since > limit).then(|| format!("the ring has not been read for {} s", since.as_secs()))
    }

    fn age_ms(&self, now: Instant) -> u64 {
        let age = now.saturating_duration_since(self.began);
        u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::samples;

    /// The health of an agent, and a moment of its life.
    fn health_at() -> (Health, impl Fn(u64) -> Instant) {
        let health = Health::new();
        let began = health.began;
        (health, move |ms| began + Duration::from_millis(ms))
    }

    #[test]
    fn a_ring_that_is_not_read_makes_unready_soon_and_sick_later() {
        let (health, at) = health_at();
        health.beat_at(at(60_000));
        // Milliseconds since the last turn, and for how many seconds there is a complaint.
        let table = [
            (0, None, None),
            (2_000, None, None),
            (2_001, Some(2), None),
            (10_000, Some(10), None),
            (10_001, Some(10), Some(10)),
            (75_999, Some(75), Some(75)),
        ];
        let complaint = |seconds: Option<u64>| {
            seconds.map(|seconds| format!("the ring has not been read for {seconds} s"))
        };
        for (silent_ms, unready, sick) in table {
            let now = at(60_000 + silent_ms);
            assert_eq!(
                health.unreadiness_at(now),
                complaint(unready),
                "{silent_ms}"
            );
            assert_eq!(health.sickness_at(now), complaint(sick), "{silent_ms}");
        }
        health.beat_at(at(136_000));
        assert_eq!(health.unreadiness_at(at(138_000)), None);
        assert_eq!(health.sickness_at(at(146_000)), None);
    }

    #[test]
    fn an_agent_that_has_never_turned_is_silent_since_it_began() {
        let (health, at) = health_at();
        assert_eq!(health.sickness_at(at(10_000)), None);
        assert!(health.unreadiness_at(at(2_001)).is_some());
        assert!(health.sickness_at(at(10_001)).is_some());
    }

    #[test]
    fn silence_is_told_before_hooks_that_are_gone() {
        let (health, at) = health_at();
        let mut facts = samples::facts();
        health.see_hooks(&facts);
        facts.hooks.clear();
        health.see_hooks(&facts);
        let told = |ms| health.unreadiness_at(at(ms)).unwrap_or_default();
        assert!(told(2_000).starts_with("no longer attached: "));
        assert!(told(2_001).starts_with("the ring has not been read"));
        assert_eq!(health.sickness_at(at(2_001)), None);
    }

    #[test]
    fn a_hook_that_is_gone_makes_unready_and_one_that_never_came_does_not() {
        let health = Health::new();
        health.beat();
        let mut facts = samples::facts();
        assert!(facts.hooks.iter().any(|hook| hook.attached));
        health.see_hooks(&facts);
        assert_eq!(health.unreadiness(), None);
        for hook in &mut facts.hooks {
            hook.attached = false;
            hook.awaits_module = true;
        }
        health.see_hooks(&facts);
        assert_eq!(health.unreadiness(), None);
        for hook in &mut facts.hooks {
            hook.awaits_module = false;
        }
        health.see_hooks(&facts);
        assert!(
            health
                .unreadiness()
                .is_some_and(|why| why.contains("no longer attached"))
        );
        assert_eq!(health.sickness(), None);
    }
}
