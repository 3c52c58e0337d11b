//! `build`, and running what was built.

use crate::process::{as_root, cargo, root, run};
use anyhow::{Context, Result};
use std::path::PathBuf;

/// The release binary.
pub(crate) fn release_binary() -> PathBuf {
    root().join("target/release/rstmon")
}

/// Builds it from what set-up has fetched, without the network.
pub(crate) fn build_release() -> Result<()> {
    run(
        cargo(&["build", "--release", "--locked", "--package", "rstmon"])
            .env("CARGO_NET_OFFLINE", "true"),
    )
    .context("the build failed; if something is missing, run `cargo xtask setup`")
}

/// Runs the binary as root and waits for it; whether it ended well. It handles the signals of the
/// terminal itself, so this process must outlive them.
pub(crate) fn exec_as_root(args: &[String]) -> Result<bool> {
    use nix::sys::signal::{SigHandler, Signal, signal};
    for ignored in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: ignoring a signal runs no handler.
        unsafe { signal(ignored, SigHandler::SigIgn) }.context("cannot ignore a signal")?;
    }
    let binary = release_binary();
    let mut command = as_root(&binary.to_string_lossy());
    restore_signals(&mut command);
    let status = command
        .args(args)
        .status()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    Ok(status.success())
}

/// Gives the child the default actions back: what is ignored stays so across `execve`.
fn restore_signals(command: &mut std::process::Command) {
    use nix::sys::signal::{SigHandler, Signal, signal};
    use std::os::unix::process::CommandExt;
    let restore = || {
        for restored in [Signal::SIGINT, Signal::SIGTERM] {
            // SAFETY: the default action runs no handler.
            unsafe { signal(restored, SigHandler::SigDfl) }?;
        }
        Ok(())
    };
    // SAFETY: `sigaction` may be called between fork and exec.
    unsafe { command.pre_exec(restore) };
}
