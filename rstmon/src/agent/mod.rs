//! The agent: what `rstmon agent` is made of.
//!
//! Two threads, and one for each thing that may wait: the *capture thread* ([`capture_loop`]) reads the
//! ring, diagnoses, counts, and hands lines on; the *serving thread* ([`server`]) answers scrapes
//! and clients of the control socket. They talk by messages, so nobody who serves ever holds up the
//! ring; what a reader does not take in time is lost to that reader, and counted.

pub mod audit;
pub mod capture_loop;
pub mod client;
pub mod event_log;
pub mod flags;
pub mod health;
pub mod lines;
pub mod notice;
pub mod paths;
pub mod privilege;
pub mod server;
pub mod settings;
pub mod site;
pub mod socket;
pub mod subscribers;
mod system_calls;
pub mod systemd;
