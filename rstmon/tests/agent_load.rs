//! What `rstmon agent` costs when nothing happens.
//!
//! The promises are of a release build: `cargo test --release -p rstmon --test agent_load`. A debug
//! build is held to lax bounds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failed test panics; a measurement is shown with --nocapture"
)]

mod support;

use support::agent::Agent;
use support::bpf_works;
use support::process::{cores_at_rest, resident_memory_kib};

const IS_DEBUG: bool = cfg!(debug_assertions);
/// Part of a core.
const REST: f64 = if IS_DEBUG { 0.02 } else { 0.001 };
/// Memory, in KiB.
const MEMORY_KIB: u64 = if IS_DEBUG { 64 << 10 } else { 30 << 10 };

#[test]
fn at_rest_it_takes_nothing() {
    if !bpf_works() {
        return;
    }
    let agent = Agent::start(&[]);
    agent.scrape();
    let pid = agent.pid().as_raw().unsigned_abs();
    let (rest, memory) = (cores_at_rest(pid), resident_memory_kib(pid));
    println!("{:.3} % of a core, {memory} KiB", rest * 100.0);
    assert!(rest < REST, "{rest}");
    assert!(memory < MEMORY_KIB, "{memory}");
}
