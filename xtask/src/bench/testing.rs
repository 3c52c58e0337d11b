//! What the tests of the bench share: a workshop, and what must be there for a test to run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

#[path = "../../../rstmon/tests/support/skip.rs"]
mod skip;

use super::{Interrupt, Workshop};
use crate::process::{is_installed, is_root};
use std::path::PathBuf;

/// Whether a test can run that needs root and these programs. Says so if not, in one line; with
/// `RSTMON_REQUIRE_BPF=1`, as CI has it, it fails instead.
pub(super) fn can_run(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| !is_installed(program));
    let reason = match missing {
        Some(program) => format!("{program} is not installed"),
        None if !is_root() => "this is not root".to_owned(),
        None => return true,
    };
    skip::cannot_run(&reason);
    false
}

/// The rstmon that was built beside this test, if it was.
pub(super) fn rstmon() -> Option<PathBuf> {
    let test = std::env::current_exe().expect("a test has a path");
    let binary = test.parent()?.parent()?.join("rstmon");
    if binary.is_file() {
        return Some(binary);
    }
    skip::cannot_run(&format!("{} is not built", binary.display()));
    None
}

/// A workshop of a test: short, and beside others.
pub(super) fn workshop(rstmon: PathBuf) -> Workshop {
    Workshop {
        rstmon,
        scratch: tempfile::tempdir().unwrap(),
        seconds: 1,
        // As the command does it: an observer then starts with SIGINT as it is by default, and can be
        // ended by it, also where a shell started these tests in the background and has it ignored.
        interrupt: Interrupt::register().unwrap(),
        _only_bench: tempfile::tempfile().unwrap(),
    }
}
