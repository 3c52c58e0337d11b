//! What a test does that cannot run here: it fails where it must run, and is counted elsewhere.
//!
//! A part of `support`, and by its path of the library's own tests.

use std::io::Write;

/// Says that this test cannot run, past the test harness, which keeps what `eprintln!` says in a test
/// that passes: `cargo xtask test` counts these lines, so each test says one at most and returns. With
/// `RSTMON_REQUIRE_BPF=1`, as the project's test command has it wherever the tests can run, it fails.
pub(crate) fn cannot_run(reason: &str) {
    assert!(
        std::env::var_os("RSTMON_REQUIRE_BPF").is_none_or(|value| value != "1"),
        "RSTMON_REQUIRE_BPF=1, but this test cannot run: {reason}"
    );
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("of no name");
    // One write, so that tests that run at once do not mix their lines. A standard error that is
    // closed has no reader to miss it.
    let _ = std::io::stderr().write_all(format!("SKIPPED test {test}: {reason}\n").as_bytes());
}
