//! `dist`: the packages. Builds the static binary, lets it write its manual and completions, and
//! hands all of that to cargo-deb and cargo-generate-rpm, whose file lists are in `rstmon/Cargo.toml`.
//!
//! Called by `main`. What it makes lies in `target/dist` and nowhere else.

mod install_test;
pub(crate) mod manifests;
mod systemd_test;

use crate::process::{cargo, root, run};
use crate::setup::{Purpose, STATIC_TARGET, set_up};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Arguments of `dist`.
#[derive(Debug, Default, Args)]
pub(crate) struct DistArgs {
    /// Install the .deb on this machine, look at what it does, and purge it
    #[arg(long)]
    pub(crate) test: bool,
}

/// Makes the packages; with `--test`, whether the .deb passes.
pub(crate) fn run_dist(args: &DistArgs) -> Result<bool> {
    set_up(&[Purpose::Packages])?;
    let folder = root().join("target/dist");
    // What an earlier version left there is no part of this one.
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let binary = build_static(&folder)?;
    write_documents(&binary, &folder)?;
    let deb = make_deb(&folder)?;
    let rpm = make_rpm(&folder)?;
    println!("{}\n{}", deb.display(), rpm.display());
    if args.test {
        return install_test::test_deb(&deb);
    }
    Ok(true)
}

/// The release binary without libraries and symbols.
fn build_static(folder: &Path) -> Result<PathBuf> {
    run(cargo(&[
        "build",
        "--release",
        "--locked",
        "--package",
        "rstmon",
        "--target",
        STATIC_TARGET,
    ])
    .env("CARGO_NET_OFFLINE", "true")
    // The compiler's own linker, as for the virtual machines: no C toolchain of that target is
    // needed, and the two builds do not undo each other.
    .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld"))
    .context("cannot build the static binary; if something is missing, run `cargo xtask setup`")?;
    let built = root().join(format!("target/{STATIC_TARGET}/release/rstmon"));
    let stripped = folder.join("rstmon");
    run(Command::new("strip").arg("-o").args([&stripped, &built]))?;
    Ok(stripped)
}

/// Manual and completions, by the binary itself.
fn write_documents(binary: &Path, folder: &Path) -> Result<()> {
    let manuals = folder.join("man");
    run(Command::new(binary).args(["man", "--out"]).arg(&manuals))?;
    for shell in ["bash", "fish", "zsh"] {
        let script = folder.join(format!("rstmon.{shell}"));
        write_output(binary, &["completions", shell], &script)?;
    }
    // cargo-deb compresses manuals itself, cargo-generate-rpm does not.
    run(Command::new("gzip")
        .args(["-9", "--no-name", "--keep", "--recursive"])
        .arg(manuals))
}

fn write_output(binary: &Path, args: &[&str], file: &Path) -> Result<()> {
    let output = Command::new(binary)
        .args(args)
        .output()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    if !output.status.success() || output.stdout.is_empty() {
        bail!(
            "rstmon {} ended with {}: {}",
            args.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    fs::write(file, output.stdout).with_context(|| format!("cannot write {}", file.display()))
}

fn make_deb(folder: &Path) -> Result<PathBuf> {
    run(cargo(&[
        "deb",
        "--package",
        "rstmon",
        "--no-build",
        "--no-strip",
        "--locked",
    ])
    .args(["--target", STATIC_TARGET, "--output"])
    .arg(folder))?;
    only_file(folder, "deb")
}

fn make_rpm(folder: &Path) -> Result<PathBuf> {
    run(cargo(&[
        "generate-rpm",
        "--package",
        "rstmon",
        "--target",
        STATIC_TARGET,
        "--output",
    ])
    .arg(folder))?;
    only_file(folder, "rpm")
}

/// The one file with this extension.
fn only_file(folder: &Path, extension: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
    match found.as_slice() {
        [path] => Ok(path.clone()),
        _ => bail!(
            "{} .{extension} files in {}, not one",
            found.len(),
            folder.display()
        ),
    }
}
