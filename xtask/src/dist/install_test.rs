//! Installs the .deb on this machine, looks at what came, starts what the unit starts, purges it, and
//! looks for what stayed. Then the service under a systemd, and the manifests.
//!
//! Called by `dist --test`. A machine that has rstmon installed, or files of its own where the
//! package puts or removes some, is refused before anything is touched.

use super::manifests;
use super::systemd_test::{is_hardened, run_service};
use crate::process::{as_root, output_of, root, run};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where an agent has its socket.
const RUN_FOLDER: &str = "/run/rstmon";
/// What the package, the unit or dpkg make while they work, besides the files of the package.
const MADE_LATER: &[&str] = &[
    "/etc/rstmon",
    "/usr/share/rstmon",
    "/usr/share/doc/rstmon",
    "/var/lib/rstmon",
    "/var/log/rstmon",
    RUN_FOLDER,
    "/etc/systemd/system/multi-user.target.wants/rstmon.service",
    "/var/lib/systemd/deb-systemd-helper-enabled/rstmon.service.dsh-also",
    "/var/lib/systemd/deb-systemd-helper-enabled/multi-user.target.wants/rstmon.service",
];
/// What must be among the files.
const EXPECTED: &[&str] = &[
    "/usr/bin/rstmon",
    "/etc/rstmon/rstmon.toml",
    "/usr/lib/systemd/system/rstmon.service",
    "/usr/share/bash-completion/completions/rstmon",
    "/usr/share/fish/vendor_completions.d/rstmon.fish",
    "/usr/share/zsh/vendor-completions/_rstmon",
    "/usr/share/man/man1/rstmon.1.gz",
    "/usr/share/man/man1/rstmon-trace.1.gz",
    "/usr/share/man/man7/rstmon-filter.7.gz",
    "/usr/share/doc/rstmon/copyright",
];

/// Whether the package installs, works and leaves nothing. An error is what kept it from the test.
pub(super) fn test_deb(deb: &Path) -> Result<bool> {
    let files = files_of(deb)?;
    let mut taken = still_there(&files);
    if taken == [Path::new(RUN_FOLDER)] && !has_group() {
        // Empty, it is no installation: agents of before 2026-11-29 left it. Only an empty one goes.
        let _ = run(as_root("rmdir").arg(RUN_FOLDER).stderr(Stdio::null()));
        taken = still_there(&files);
    }
    if !taken.is_empty() || has_group() {
        bail!(
            "not tested: this machine has rstmon or its group already: {taken:?}; purge the package, \
             end its agents, and remove what is left (`groupdel rstmon`, too)"
        );
    }
    let mut checks = Checks::default();
    let installed = run(as_root("dpkg").arg("--install").arg(deb));
    checks.add("the package installs", installed.is_ok());
    if installed.is_ok() {
        look_at(&files, &mut checks);
    }
    // Whatever was found, and however far the installation came.
    let purged = run(as_root("dpkg").args(["--purge", "rstmon"]));
    checks.add("the package is purged", purged.is_ok());
    let left = still_there(&files);
    checks.add(&format!("no file stays {left:?}"), left.is_empty());
    checks.add("no group stays", !has_group());
    let unit = root().join("packaging/systemd/rstmon.service");
    checks.add("the unit is hardened as documented", is_hardened(&unit));
    for (name, passed) in run_service(deb)? {
        checks.add(&name, passed);
    }
    let are_valid = manifests::are_valid()?;
    checks.add("chart and kustomizations are valid", are_valid);
    Ok(checks.failed == 0)
}

/// Results, a line each.
#[derive(Debug, Default)]
struct Checks {
    failed: usize,
}

impl Checks {
    fn add(&mut self, name: &str, passed: bool) {
        println!(
            "test package: {name} ... {}",
            if passed { "ok" } else { "FAILED" }
        );
        self.failed += usize::from(!passed);
    }
}

/// What holds while the package is installed.
fn look_at(files: &[PathBuf], checks: &mut Checks) {
    for expected in EXPECTED {
        let is_there =
            files.iter().any(|it| it == Path::new(expected)) && Path::new(expected).exists();
        checks.add(&format!("{expected} is there"), is_there);
    }
    let version = output_of("/usr/bin/rstmon", &["--version"]).unwrap_or_default();
    let ours = concat!("rstmon ", env!("CARGO_PKG_VERSION"));
    checks.add("rstmon tells its version", version.trim() == ours);
    let manual = output_of("man", &["-l", "/usr/share/man/man1/rstmon.1.gz"]).unwrap_or_default();
    checks.add(
        "man shows the manual",
        manual.contains("rstmon") && manual.contains("SYNOPSIS"),
    );
    let conffiles = output_of("dpkg-query", &["-W", "-f", "${Conffiles}", "rstmon"]);
    let conffiles = conffiles.unwrap_or_default();
    checks.add(
        "the configuration is a conffile",
        conffiles.contains("/etc/rstmon/rstmon.toml"),
    );
    checks.add("the group is made", has_group());
    checks.add(
        "the unit's command takes the configuration",
        check_config().unwrap_or(false),
    );
}

/// The command of the unit's `ExecStart=`, with `--check-config`.
fn check_config() -> Result<bool> {
    let unit = std::fs::read_to_string("/usr/lib/systemd/system/rstmon.service")?;
    let command = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .context("the unit has no ExecStart")?;
    let mut words = command.split_whitespace();
    let program = words.next().context("ExecStart is empty")?;
    let status = Command::new(program)
        .args(words)
        .arg("--check-config")
        .status()?;
    Ok(status.success())
}

/// Paths of the files in the package.
fn files_of(deb: &Path) -> Result<Vec<PathBuf>> {
    let listing = output_of("dpkg-deb", &["--contents", &deb.to_string_lossy()])
        .with_context(|| format!("dpkg-deb cannot read {}", deb.display()))?;
    Ok(listing.lines().filter_map(path_of_line).collect())
}

/// The path in a line of `dpkg-deb --contents`; none of a folder, which other packages share.
fn path_of_line(line: &str) -> Option<PathBuf> {
    let path = line.split_whitespace().nth(5)?.strip_prefix('.')?;
    (!path.ends_with('/')).then(|| PathBuf::from(path))
}

/// Which of the files, and of what is made later, exist.
fn still_there(files: &[PathBuf]) -> Vec<PathBuf> {
    let made = MADE_LATER.iter().map(PathBuf::from);
    // A symbolic link to nothing is there, too.
    files
        .iter()
        .cloned()
        .chain(made)
        .filter(|path| path.symlink_metadata().is_ok())
        .collect()
}

fn has_group() -> bool {
    Command::new("getent")
        .args(["group", "rstmon"])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_listing_has_its_path_and_a_folder_none() {
        let line = "-rwxr-xr-x 0/0         12345 2026-01-02 03:04 ./usr/bin/rstmon";
        assert_eq!(path_of_line(line), Some(PathBuf::from("/usr/bin/rstmon")));
        assert_eq!(
            path_of_line("drwxr-xr-x 0/0 0 2026-01-02 03:04 ./usr/bin/"),
            None
        );
        assert_eq!(path_of_line(""), None);
    }
}
