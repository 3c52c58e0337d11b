//! The only place that names aya: loading, attaching, the ring, the counters.
//!
//! The commands build a [`capture::Capture`] from the probe plan and read raw records from it;
//! nothing of aya's types goes further. Everything in the kernel hangs on file descriptors of this
//! process: when it ends, however it ends, nothing is left there.

pub mod capture;
pub mod counters;
mod log;
mod misses;
pub mod programs;
pub mod ring;
pub mod support;
mod target_btf;
pub mod variants;
