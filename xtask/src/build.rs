//! `build`, and running what was built.

use crate::process::{as_root, cargo, root, run};
use anyhow::{Context, Result, anyhow};
use std::convert::Infallible;
use std::os::unix::process::CommandExt;
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

/// Becomes the binary, as root: its exit code and the signals of the terminal are its own. Returns
/// only if it, or sudo, cannot be started.
pub(crate) fn exec_as_root(args: &[String]) -> Result<Infallible> {
    let binary = release_binary();
    let error = as_root(&binary.to_string_lossy()).args(args).exec();
    Err(anyhow!(error)).with_context(|| format!("cannot start {}", binary.display()))
}
