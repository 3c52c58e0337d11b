//! The web server on real sockets, asked by the real curl.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

mod closing;
mod limits;
mod plain;
mod running;
mod secured;
#[path = "../support/mod.rs"]
mod support;
