//! Whether the agent does its work, as `/-/healthy`, `/-/ready` and the watchdog see it.
//!
//! The capture thread beats at each turn; everybody may ask.

use crate::event::capture::CaptureFacts;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The capture thread turns ten times a second at least. After this time it is stuck.
const STUCK: Duration = Duration::from_secs(10);
/// After this time nobody should rely on it.
const LATE: Duration = Duration::from_secs(2);

/// Signs of life.
#[derive(Debug)]
pub struct Health {
    began: Instant,
    /// Last turn of the capture thread, milliseconds after `began`.
    turned_ms: AtomicU64,
    /// Hooks that the plan has and that are not attached, without those that wait for a module.
    missing_hooks: Mutex<Vec<String>>,
}

impl Health {
    /// Alive from now on.
    #[must_use]
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            turned_ms: AtomicU64::new(0),
            missing_hooks: Mutex::new(Vec::new()),
        }
    }

    /// The capture thread has made a turn.
    pub fn beat(&self) {
        self.turned_ms.store(self.elapsed_ms(), Ordering::Relaxed);
    }

    /// The hooks have changed, or are looked at for the first time.
    pub fn see_hooks(&self, facts: &CaptureFacts, awaits_module: impl Fn(&str) -> bool) {
        let missing = facts
            .hooks
            .iter()
            .filter(|hook| !hook.attached && !awaits_module(&hook.hook));
        let missing = missing.map(|hook| hook.hook.clone()).collect();
        if let Ok(mut hooks) = self.missing_hooks.lock() {
            *hooks = missing;
        }
    }

    /// Why the agent is stuck, if it is.
    #[must_use]
    pub fn sickness(&self) -> Option<String> {
        self.silence(STUCK)
    }

    /// Why the agent is not ready, if it is not.
    #[must_use]
    pub fn unreadiness(&self) -> Option<String> {
        if let Some(silence) = self.silence(LATE) {
            return Some(silence);
        }
        let missing = self.missing_hooks.lock().ok()?;
        (!missing.is_empty()).then(|| {
            format!(
                "not attached: {}; `rstmon check` says why",
                missing.join(", ")
            )
        })
    }

    fn silence(&self, limit: Duration) -> Option<String> {
        let since = self
            .elapsed_ms()
            .saturating_sub(self.turned_ms.load(Ordering::Relaxed));
        let since = Duration::from_millis(since);
        (since > limit).then(|| format!("the ring has not been read for {} s", since.as_secs()))
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}
