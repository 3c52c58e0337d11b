//! The lab: makes each cause of a TCP reset happen in a private network namespace, knows what was
//! sent and received, and judges what a capture showed of it. Used by `rstmon lab`, the tests and
//! the kernel matrix; knows events only as JSON of the event schema, and nothing of the capture.
//!
//! A run has a thread and a network namespace of its own. It talks over loopback where both ends
//! are to be real, and otherwise with a fake peer without a TCP stack behind a TUN or TAP device,
//! which sends whatever segment the scenario needs and sees each RST on the wire.
//!
//! ```no_run
//! # fn main() -> Result<(), rstmon_lab::LabError> {
//! let lab = rstmon_lab::Lab::prepare()?;
//! for scenario in rstmon_lab::scenarios() {
//!     let observation = lab.run(scenario, rstmon_lab::Family::Ipv4)?;
//!     assert!(observation.ground_differences().is_empty());
//! }
//! # Ok(())
//! # }
//! ```

mod device;
mod error;
mod global_setting;
mod holder;
mod judge;
mod memory_limit;
mod netns;
mod peer;
mod program;
mod report;
mod scenario;
mod segment;
mod skipped;
mod socket;
mod stage;
pub mod storm;
mod truth;
mod wait;
mod witness;

use std::thread;

pub use error::LabError;
pub use judge::{Answer, Judgement, Mode, Sights, judge};
pub use report::{Outcome, ScenarioResult, render_results, render_sums};
pub use scenario::{Scenario, find_scenario, scenarios};
pub use skipped::say_skipped;
pub use truth::{
    Expectation, Family, Given, Kind, LesserCause, Needs, Observation, Owner, Rst, WireReset,
};
pub use witness::{PassedOver, Witness};

use stage::Stage;

/// A machine on which scenarios can run.
#[derive(Clone, Debug)]
pub struct Lab {
    may_set_globals: bool,
}

impl Lab {
    /// Makes sure that this process may make network namespaces and TUN devices.
    pub fn prepare() -> Result<Self, LabError> {
        on_own_thread("set-up", || Stage::set_up(Family::Ipv4, false).map(drop))?;
        Ok(Self {
            may_set_globals: false,
        })
    }

    /// Allows scenarios to change, for a moment, settings that the whole machine sees. Without it
    /// they are [`LabError::NotRun`].
    #[must_use]
    pub const fn with_globals(self) -> Self {
        Self {
            may_set_globals: true,
        }
    }

    /// Makes the kernel load the modules that the firewall scenario needs, so that a capture whose
    /// hooks are in them can attach before the scenario. An error means that the scenario will say
    /// so itself.
    pub fn load_firewall_modules(&self) -> Result<(), LabError> {
        on_own_thread("set-up", || {
            Stage::set_up(Family::Ipv4, false)?;
            scenario::install_reject_rule()
        })
    }

    /// Runs one scenario to its end, on a thread and in a namespace of its own. Several may run at
    /// once.
    pub fn run(&self, scenario: &Scenario, family: Family) -> Result<Observation, LabError> {
        let Scenario { id, play, .. } = *scenario;
        let may_set_globals = self.may_set_globals;
        on_own_thread(id, move || {
            let mut stage = Stage::set_up(family, may_set_globals)?;
            play(&mut stage)?;
            stage.finish(id)
        })
    }
}

fn on_own_thread<T: Send + 'static>(
    scenario: &'static str,
    work: impl FnOnce() -> Result<T, LabError> + Send + 'static,
) -> Result<T, LabError> {
    thread::spawn(work)
        .join()
        .map_err(|_| LabError::ThreadDied { scenario })?
}
