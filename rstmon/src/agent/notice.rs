//! What the agent says of itself: a line on standard error, which systemd puts into the journal.
//!
//! Under systemd each line begins with its level as sd-daemon(3) wants it.

use std::io::Write;
use std::sync::LazyLock;

/// Whether standard error is the journal's.
static IN_JOURNAL: LazyLock<bool> = LazyLock::new(|| std::env::var_os("JOURNAL_STREAM").is_some());

/// Something to know.
pub fn say(message: &str) {
    print("<6>", message);
}

/// Something to look after.
pub fn warn(message: &str) {
    print("<4>", message);
}

fn print(level: &str, message: &str) {
    let level = if *IN_JOURNAL { level } else { "" };
    // Without a standard error there is nobody to tell.
    let _ = writeln!(anstream::stderr(), "{level}rstmon: {message}");
}
