//! The agent's settings: declared once in [`table`], read from files, environment and flags in rising
//! order by [`layers`].
//!
//! Called by `cmd::agent` at the start and on SIGHUP, and by `cmd::config`.

pub mod layers;
pub mod table;
pub mod values;

pub use layers::{Source, load};
pub use table::{Settings, SettingsError};

#[cfg(test)]
mod tests;
