//! Waiting for conditions. Nothing in the lab sleeps for a guessed time: emulated machines are slow,
//! real ones are not.

use std::thread;
use std::time::{Duration, Instant};

use crate::error::LabError;

/// How long anything may take. Generous: an emulated two-CPU guest can stall for seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(1);

/// Looks at `happened` until it says true. `what` completes "waited for …".
pub(crate) fn wait_until(
    what: &str,
    mut happened: impl FnMut() -> Result<bool, LabError>,
) -> Result<(), LabError> {
    let start = Instant::now();
    while !happened()? {
        if start.elapsed() > PATIENCE {
            return Err(LabError::NotSeen {
                what: what.to_owned(),
                waited: PATIENCE,
            });
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}
