//! `rstmon top`: the interactive view.
//!
//! [`state`] is all that is shown, [`update`] turns what happened into a new state and effects, and
//! `view` draws it: the three know no clock, no file, no lock. [`columns`] and [`keys`] are declared
//! once, for screen, batch output and help. [`source`] feeds it, [`terminal`] owns the screen,
//! [`run`] is the loop. Called by `cmd::top`.

pub mod batch;
pub mod columns;
pub mod keys;
pub mod run;
pub mod source;
pub mod state;
pub mod terminal;
#[cfg(test)]
mod testing;
pub mod theme;
pub mod update;
pub mod view;
