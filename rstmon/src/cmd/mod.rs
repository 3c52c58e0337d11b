//! The commands of the binary, a file each: arguments in, output and exit code out.
//!
//! Called by `main` alone. A command says how it ended (contract, section 1) and never ends the
//! process itself.

pub mod agent;
pub mod check;
pub mod config;
mod end_signals;
pub mod exit;
pub mod explain;
pub mod lab;
pub mod man;
mod offered;
pub mod session;
pub mod start;
mod stdout;
pub mod top;
pub mod trace;
