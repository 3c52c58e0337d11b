//! How a test of this workspace says that it cannot run here. Called by tests alone.

use std::io::Write;

/// Writes `SKIPPED: reason` past the test harness, which keeps what `eprintln!` says in a test that
/// passes.
pub fn say_skipped(reason: &str) {
    // One write, so that tests that run at once do not mix their lines. A standard error that is
    // closed has no reader to miss it.
    let _ = std::io::stderr().write_all(format!("SKIPPED: {reason}\n").as_bytes());
}
