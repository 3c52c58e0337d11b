//! The service under a real systemd: one that is process 1 of a container over a copy-on-write view of
//! this machine, with a network of its own (systemd-nspawn). There the .deb is installed, started by
//! its unit, reloaded, hung, stopped and purged; nothing of it touches this machine.
//!
//! Called by `dist --test`. `container.sh` makes the container, `in_container.sh` is what happens in it.

use crate::process::{as_root, output_of, run};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// What `systemd-analyze security` may make of the unit, tenths; docs/packaging.md tells the figure.
const EXPOSURE: &str = "35";

/// What was found, by name.
pub(super) type Results = Vec<(String, bool)>;

/// Whether `systemd-analyze security` finds the unit no more exposed than that.
pub(super) fn is_hardened(unit: &Path) -> bool {
    run(Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(format!("--threshold={EXPOSURE}"))
        .arg(unit)
        .stdout(Stdio::null()))
    .is_ok()
}

/// Runs the service in its container.
pub(super) fn run_service(deb: &Path) -> Result<Results> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let script = folder.path().join("container.sh");
    fs::write(&script, include_str!("container.sh"))?;
    fs::write(
        folder.path().join("inside.sh"),
        include_str!("in_container.sh"),
    )?;
    fs::copy(deb, folder.path().join("rstmon.deb"))?;
    // What is mounted for the container is seen by nobody else, and goes with it.
    let booted = run(as_root("timeout")
        .args(["--kill-after=10", "300", "unshare", "--mount"])
        .args(["--propagation", "private", "sh"])
        .arg(&script)
        .arg(folder.path())
        .stdin(Stdio::null()));
    let results = folder.path().join("results");
    let Some(text) = output_of("cat", &[&results.to_string_lossy()]) else {
        booted.context("systemd did not start in its container")?;
        bail!("systemd started in its container, and nothing came of it");
    };
    let results = parse(&text);
    if results.iter().any(|(_, passed)| !passed) {
        let journal = folder.path().join("journal");
        print!(
            "{}",
            output_of("cat", &[&journal.to_string_lossy()]).unwrap_or_default()
        );
    }
    Ok(results)
}

/// A line `ok NAME` or `FAILED NAME` for each check; without `end` as the last, they are not all.
fn parse(text: &str) -> Results {
    let mut results: Results = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(verdict, name)| (format!("systemd: {name}"), verdict == "ok"))
        .collect();
    let is_whole = text.lines().last() == Some("end");
    results.push(("systemd: every check was made".to_owned(), is_whole));
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_and_a_missing_end_is_a_failure() {
        let found = |text: &str| -> Vec<bool> { parse(text).into_iter().map(|it| it.1).collect() };
        assert_eq!(
            found("ok it starts\nFAILED it stops\nend\n"),
            [true, false, true]
        );
        assert_eq!(found("ok it starts\n"), [true, false]);
        assert_eq!(found(""), [false]);
    }
}
