//! The scenarios. Each makes one kind of reset (or the silence that people take for one) happen and
//! states what must be seen of it. A new one is a function and a row in its file's table.

use std::fmt;

use crate::error::LabError;
use crate::stage::Stage;

mod abort;
mod after_close;
mod destroyed;
mod firewall;
mod gave_up;
mod handshake;
mod idle;
mod impostor;
mod killed;
mod multipath;
mod no_socket;
mod quiet;
mod received;
mod refused;

/// A scenario: what it is called and what it does.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its id: the cause's where one fits, with a suffix where a cause has several.
    pub id: &'static str,
    /// What happens, in a few words.
    pub title: &'static str,
    pub(crate) play: fn(&mut Stage) -> Result<(), LabError>,
}

impl Scenario {
    /// Whether it also resets what other scenarios have left behind. Whoever orders them lets it go
    /// before those of its round.
    #[must_use]
    pub fn resets_orphans_of_others(&self) -> bool {
        self.id == gave_up::OUT_OF_MEMORY
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id)
    }
}

pub(crate) use firewall::install_reject_rule;

/// All scenarios, in the order of the report.
pub fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    [
        no_socket::SCENARIOS,
        handshake::SCENARIOS,
        abort::SCENARIOS,
        killed::SCENARIOS,
        destroyed::SCENARIOS,
        gave_up::SCENARIOS,
        after_close::SCENARIOS,
        multipath::SCENARIOS,
        firewall::SCENARIOS,
        received::SCENARIOS,
        idle::SCENARIOS,
        impostor::SCENARIOS,
        refused::SCENARIOS,
        quiet::SCENARIOS,
    ]
    .into_iter()
    .flatten()
}

/// The scenario with this id.
#[must_use]
pub fn find_scenario(id: &str) -> Option<&'static Scenario> {
    scenarios().find(|scenario| scenario.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_kebab_case() {
        let mut ids: Vec<_> = scenarios().map(|scenario| scenario.id).collect();
        let is_kebab = |id: &&str| {
            id.bytes()
                .all(|b| b.is_ascii_lowercase() || b"-0123456789".contains(&b))
        };
        assert!(ids.iter().all(is_kebab), "{ids:?}");
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
        assert!(find_scenario("port-closed").is_some());
        assert!(find_scenario("no-such-thing").is_none());
    }
}
