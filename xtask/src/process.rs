//! Running other programs, for every command here.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// A command of cargo in the workspace's root, by the cargo that runs this. What it builds lies
/// below `target`, wherever the caller's own builds go: others look for it there.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(args)
        .current_dir(root())
        .env("CARGO_TARGET_DIR", root().join("target"));
    command
}

/// Runs a command to its end; an exit code other than zero is an error that names it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// Standard output of a command; an exit code other than zero is an error that shows what it said.
pub(crate) fn read_output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {command:?}: is it installed?"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}: {said}", output.status);
    }
    Ok(output.stdout)
}

/// Standard output of a command that succeeds; `None` if it does not, or is not there.
pub(crate) fn output_of(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program is on the path, or where root's programs are.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from))
        .any(|directory| directory.join(program).is_file())
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether [`as_root`] gives a command that may run.
pub(crate) fn can_be_root() -> bool {
    is_root() || is_installed("sudo")
}

/// A command that runs as root: itself where this process is, else through sudo.
pub(crate) fn as_root(program: &str) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::read_output;
    use std::process::Command;

    #[test]
    fn what_a_command_printed_is_read_and_what_it_complained_of_is_shown() {
        let sh = |script: &str| read_output(Command::new("sh").args(["-c", script]));
        assert_eq!(sh("echo yes").ok().as_deref(), Some(&b"yes\n"[..]));
        let error = sh("echo no >&2; exit 3").map_err(|error| error.to_string());
        assert!(error.is_err_and(|said| said.contains("exit status: 3: no")));
        let absent = read_output(&mut Command::new("/no/such/program"));
        assert!(absent.is_err_and(|error| error.to_string().contains("is it installed?")));
    }
}
