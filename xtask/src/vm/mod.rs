//! `vm`: `rstmon check` and `rstmon lab` on real Debian kernels, in QEMU, in every mode they allow.
//!
//! [`kernels`] gets a kernel from the archives that [`mirrors`] finds, [`initramfs`] packs what runs in the guest, [`boot`] runs it,
//! [`judge`] reads the console. Everything is kept below `target/vm`, so that a second run downloads
//! nothing. Always emulation: a `/dev/kvm` that cannot boot a stock kernel is common.

mod boot;
mod initramfs;
mod judge;
mod kernels;
mod mirrors;

use crate::process::{cargo, root, run};
use anyhow::{Context, Result};
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Arguments of `vm`.
#[derive(Debug, Args)]
pub(crate) struct VmArgs {
    /// Kernels, as X.Y
    #[arg(value_name = "KERNEL", value_parser = parse_version, default_values = ["5.10", "6.1", "6.12", "7.3"])]
    pub(crate) kernels: Vec<String>,
    /// How often the lab runs in each mode
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repeat: u32,
    /// Only this mode
    #[arg(long, value_parser = MODES)]
    pub(crate) mode: Option<String>,
}

impl Default for VmArgs {
    fn default() -> Self {
        Self {
            kernels: Vec::new(),
            repeat: 1,
            mode: None,
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct VmOutcome {
    /// Checks and scenarios that gave what the kernel can give.
    pub(crate) passed: usize,
    /// Those that did not.
    pub(crate) failed: usize,
}

/// All modes, in the order in which they are tried.
const MODES: [&str; 3] = ["tracepoint", "probe", "classic"];
/// Target of a binary without libraries.
const TARGET: &str = "x86_64-unknown-linux-musl";

/// An error says why this machine has no way to Debian's kernels.
pub(crate) fn can_get_kernels() -> Result<()> {
    mirrors::read_mirrors().map(drop)
}

/// Boots the kernels one after another.
pub(crate) fn run_vm(args: &VmArgs) -> Result<VmOutcome> {
    let binary = build_static()?;
    let busybox = kernels::get_busybox()?;
    let modes: Vec<&str> = match &args.mode {
        Some(mode) => vec![mode.as_str()],
        None => MODES.to_vec(),
    };
    let init = initramfs::init_script(&modes, args.repeat);
    let mut outcome = VmOutcome::default();
    for version in &args.kernels {
        let started = Instant::now();
        let report = boot_kernel(version, &binary, &busybox, &init, args.repeat)
            .unwrap_or_else(|error| judge::unbootable(version, &format!("{error:#}")));
        for line in &report.lines {
            println!("{line}");
        }
        if report.failed > 0 && boot::log_path(version).is_file() {
            println!(
                "     the console of {version} is kept in {}",
                boot::log_path(version).display()
            );
        }
        println!(
            "vm {version}: {} passed ({} not visible, {} not run), {} failed, in {} s",
            report.passed,
            report.not_visible,
            report.not_run,
            report.failed,
            started.elapsed().as_secs()
        );
        outcome.passed += report.passed;
        outcome.failed += report.failed;
    }
    Ok(outcome)
}

/// Gets one kernel, boots it and judges what it said.
fn boot_kernel(
    version: &str,
    binary: &Path,
    busybox: &Path,
    init: &str,
    repeat: u32,
) -> Result<judge::Report> {
    boot::forget_log(version)?;
    let kernel = kernels::get_kernel(version)
        .with_context(|| format!("cannot get a Debian kernel {version}"))?;
    let image = initramfs::pack(&kernel, binary, busybox, init)
        .with_context(|| format!("cannot pack the initramfs for {version}"))?;
    let console = boot::boot(version, &kernel, &image, repeat)?;
    Ok(judge::judge(version, &console))
}

/// A kernel's version as X.Y: it names directories and is sought in the names of packages.
fn parse_version(text: &str) -> Result<String, String> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('.') {
        Some((major, minor)) if is_number(major) && is_number(minor) => Ok(text.to_owned()),
        _ => Err("a kernel is named X.Y, as in 6.12".to_owned()),
    }
}

/// Where kernels, images and logs are kept.
fn cache() -> PathBuf {
    root().join("target/vm")
}

/// Builds the binary that runs in the guest. The compiler's own linker makes a static binary of it
/// without a C toolchain for that target.
fn build_static() -> Result<PathBuf> {
    run(cargo(&[
        "build",
        "--release",
        "--locked",
        "--package",
        "rstmon",
        "--target",
        TARGET,
    ])
    .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld"))
    .context("cannot build the static binary for the virtual machines")?;
    Ok(root().join("target").join(TARGET).join("release/rstmon"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_two_numbers() {
        assert_eq!(parse_version("6.12").as_deref(), Ok("6.12"));
        for wrong in ["6", "6.", ".1", "6.1.0", "../x", "6.1/..", ""] {
            assert!(parse_version(wrong).is_err(), "{wrong}");
        }
    }
}
