//! `setup`: installs what is missing, and does nothing the second time.
//!
//! Every thing is asked for, no stamp is trusted. Where apt is not there, or this is not root and
//! there is no sudo, what is missing is said by name.

use crate::process::{as_root, cargo, is_installed, is_root, output_of, root, run};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};

/// What the set-up is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Building and running.
    Build,
    /// The tests too.
    Test,
}

/// The linker whose LLVM is the compiler's.
const BPF_LINKER: (&str, &str) = ("0.10.3", "bpf-linker 0.10.");
/// Components of the toolchain beyond the compiler.
const COMPONENTS: &[&str] = &["rust-src", "clippy", "rustfmt"];
/// The target of the binary that runs in the virtual machines.
const VM_TARGET: &str = "x86_64-unknown-linux-musl";
/// Programs that the tests run, and the Debian package of each.
const PROGRAMS: &[(&str, &str)] = &[
    ("bpftool", "bpftool"),
    ("bpftrace", "bpftrace"),
    ("cpio", "cpio"),
    ("curl", "curl"),
    ("ip", "iproute2"),
    ("modinfo", "kmod"),
    ("nft", "nftables"),
    ("nginx", "nginx-light"),
    ("prometheus", "prometheus"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("tcpdump", "tcpdump"),
    ("tmux", "tmux"),
    ("wrk", "wrk"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
];
/// Told by Debian's packages before they start a daemon; 101 forbids it.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Sets up, and says what it did.
pub(crate) fn set_up(purpose: Purpose) -> Result<()> {
    let mut did = Vec::new();
    did.extend(toolchain(purpose)?);
    did.extend(bpf_linker()?);
    did.extend(crates()?);
    did.extend(file_systems()?);
    if purpose == Purpose::Test {
        did.extend(packages()?);
    }
    if did.is_empty() {
        eprintln!("set-up: nothing to do");
    } else {
        eprintln!("set-up: {}", did.join(", "));
    }
    Ok(())
}

fn toolchain(purpose: Purpose) -> Result<Vec<String>> {
    let Some(components) = output_of("rustup", &["component", "list", "--installed"]) else {
        if cfg!(target_os = "linux") && output_of("rustc", &["--version"]).is_some() {
            bail!(
                "rustup is not there: the eBPF programs need the component rust-src of the \
                 toolchain in rust-toolchain.toml; install rustup, or that component by other means"
            );
        }
        bail!("no Rust toolchain is there; install rustup");
    };
    let targets = output_of("rustup", &["target", "list", "--installed"]).unwrap_or_default();
    let mut did = Vec::new();
    for component in COMPONENTS {
        if !components.lines().any(|line| line.starts_with(component)) {
            run(Command::new("rustup")
                .args(["component", "add", component])
                .current_dir(root()))?;
            did.push(format!("added {component}"));
        }
    }
    if purpose == Purpose::Test && !targets.lines().any(|line| line == VM_TARGET) {
        run(Command::new("rustup")
            .args(["target", "add", VM_TARGET])
            .current_dir(root()))?;
        did.push(format!("added {VM_TARGET}"));
    }
    Ok(did)
}

fn bpf_linker() -> Result<Option<String>> {
    let (version, prefix) = BPF_LINKER;
    let installed = output_of("bpf-linker", &["--version"]).unwrap_or_default();
    if installed.starts_with(prefix) {
        return Ok(None);
    }
    let install = [
        "install",
        "bpf-linker",
        "--version",
        version,
        "--locked",
        "--force",
    ];
    run(&mut cargo(&install))
        .context("bpf-linker, which links the eBPF programs, did not build")?;
    Ok(Some(format!("installed bpf-linker {version}")))
}

/// Fetches the crates, so that the build needs no network.
fn crates() -> Result<Option<String>> {
    let is_there = cargo(&["fetch", "--locked", "--offline"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if is_there {
        return Ok(None);
    }
    run(&mut cargo(&["fetch", "--locked"]))?;
    Ok(Some("fetched the crates".to_owned()))
}

fn file_systems() -> Result<Vec<String>> {
    let mut did = Vec::new();
    if !is_root() {
        return Ok(did);
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for (kind, place) in [("tracefs", "/sys/kernel/tracing"), ("bpf", "/sys/fs/bpf")] {
        let is_mounted = mounts
            .lines()
            .any(|line| line.split(' ').nth(1) == Some(place));
        if !is_mounted && Path::new(place).is_dir() {
            run(Command::new("mount").args(["-t", kind, kind, place]))?;
            did.push(format!("mounted {kind}"));
        }
    }
    Ok(did)
}

fn packages() -> Result<Option<String>> {
    let missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !is_installed(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(None);
    }
    let names = missing.join(" ");
    let may_install = is_installed("apt-get") && (is_root() || is_installed("sudo"));
    if !may_install {
        bail!(
            "the tests need programs that are not installed; install what your system calls these \
             Debian packages, as root: {names}"
        );
    }
    install(&missing).with_context(|| format!("cannot install {names}"))?;
    Ok(Some(format!("installed {names}")))
}

/// Installs packages without starting their daemons.
fn install(packages: &[&str]) -> Result<()> {
    let apt = || {
        let mut command = as_root("env");
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]);
        command
    };
    let forbids_daemons = is_root() && !Path::new(POLICY).exists();
    if forbids_daemons {
        std::fs::write(POLICY, "#!/bin/sh\nexit 101\n")?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(POLICY, mode)?;
    }
    let installed = run(apt().arg("update")).and_then(|()| {
        run(apt()
            .args(["install", "-y", "--no-install-recommends"])
            .args(packages))
    });
    if forbids_daemons {
        std::fs::remove_file(POLICY)?;
    }
    installed
}
