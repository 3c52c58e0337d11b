//! One file a command, and what they share. Thin: each parses arguments, calls the library, and says
//! how it ended.

pub mod check;
pub mod exit;
pub mod lab;
pub mod session;
pub mod start;
pub mod trace;
