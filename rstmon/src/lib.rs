//! rstmon: who reset this connection, why, and what to do about it.
//!
//! The library behind the command `rstmon`; ARCHITECTURE.md tells where everything is.

pub mod agent;
pub mod annotate;
pub mod board;
pub mod bpf;
pub mod cmd;
pub mod diagnose;
pub mod event;
pub mod filter;
pub mod kernel;
pub mod memory;
pub mod metrics;
mod pieces;
pub mod pipeline;
pub mod sink;
#[cfg(test)]
#[path = "../tests/support/skip.rs"]
mod skip;
pub mod top;
pub mod web;
