//! What systemd is told: ready, alive, reloading, stopping. Nothing where systemd did not start the
//! agent.

use super::notice::warn;
use libsystemd::daemon::{NotifyState, notify, watchdog_enabled};
use std::time::{Duration, Instant};

/// The hooks are attached, the sockets are open.
pub fn ready() {
    tell(&[
        NotifyState::Ready,
        NotifyState::Status("watching TCP resets".to_owned()),
    ]);
}

/// The configuration is being read.
pub fn reloading() {
    tell(&[NotifyState::Reloading]);
}

/// The end has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState]) {
    if let Err(error) = notify(false, states) {
        warn(&format!("cannot notify systemd: {error}"));
    }
}

/// Feeds systemd's watchdog, from the loop that reads the ring and from nowhere else.
#[derive(Debug)]
pub struct Watchdog {
    /// Half of what the unit allows; absent without a watchdog.
    interval: Option<Duration>,
    fed: Instant,
}

impl Watchdog {
    /// The watchdog that the unit asks for, if any.
    #[must_use]
    pub fn new() -> Self {
        Self {
            interval: watchdog_enabled(false).map(|allowed| allowed / 2),
            fed: Instant::now(),
        }
    }

    /// A turn was made.
    pub fn feed(&mut self) {
        if self
            .interval
            .is_some_and(|interval| self.fed.elapsed() >= interval)
        {
            self.fed = Instant::now();
            tell(&[NotifyState::Watchdog]);
        }
    }
}

impl Default for Watchdog {
    fn default() -> Self {
        Self::new()
    }
}
