//! rstmon: who reset this connection, why, and what to do about it.
//!
//! The library behind the command `rstmon`; ARCHITECTURE.md tells where everything is.

pub mod diagnose;
pub mod event;
pub mod kernel;
