//! `vm`: `rstmon check` and `rstmon lab` on real Debian kernels, in QEMU, in every mode they allow.
//!
//! [`kernels`] gets a kernel, [`initramfs`] packs what runs in the guest, [`boot`] runs it,
//! [`judge`] reads the console. Everything is kept below `target/vm`, so that a second run downloads
//! nothing. Always emulation: a `/dev/kvm` that cannot boot a stock kernel is common.

mod boot;
mod initramfs;
mod judge;
mod kernels;

use crate::process::{cargo, root, run};
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `vm`.
#[derive(Debug, Args)]
pub(crate) struct VmArgs {
    /// Kernels, as X.Y
    #[arg(value_name = "KERNEL", default_values = ["5.10", "6.1", "6.12", "7.3"])]
    pub(crate) kernels: Vec<String>,
    /// How often the lab runs in each mode
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) repeat: u32,
    /// Only this mode
    #[arg(long)]
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

/// Boots the kernels one after another.
pub(crate) fn run_vm(args: &VmArgs) -> Result<VmOutcome> {
    let binary = build_static()?;
    let busybox = kernels::get_busybox()?;
    let modes: Vec<&str> = match &args.mode {
        Some(mode) => vec![mode.as_str()],
        None => MODES.to_vec(),
    };
    let mut outcome = VmOutcome::default();
    for version in &args.kernels {
        let kernel = kernels::get_kernel(version)
            .with_context(|| format!("cannot get a Debian kernel {version}"))?;
        let init = initramfs::init_script(&modes, args.repeat);
        let image = initramfs::pack(&kernel, &binary, &busybox, &init)
            .with_context(|| format!("cannot pack the initramfs for {version}"))?;
        let console = boot::boot(version, &kernel, &image, args.repeat)?;
        let report = judge::judge(version, &console);
        for line in &report.lines {
            println!("{line}");
        }
        if report.failed > 0 {
            println!(
                "     the console of {version} is in {}",
                boot::log_path(version).display()
            );
        }
        outcome.passed += report.passed;
        outcome.failed += report.failed;
    }
    Ok(outcome)
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
