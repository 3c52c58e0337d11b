//! `setup`: installs what is missing, and does nothing the second time.
//!
//! Every thing is asked for, no stamp is trusted. A command asks for what it needs itself; `setup`
//! for everything. Where apt is not there, or this is not root and there is no sudo, what is missing
//! is said by name.

use crate::dist::manifests::install_tools;
use crate::process::{as_root, can_be_root, cargo, is_installed, output_of, root, run};
use anyhow::{Context, Result, bail};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the set-up is for, besides building and running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The tests and the lab on this kernel.
    Tests,
    /// The virtual machines.
    Machines,
    /// The virtual machines of arm64.
    Arm64Machines,
    /// The measurements.
    Bench,
    /// The packages.
    Packages,
    /// Nothing that a command does: what is of use while working on rstmon.
    Work,
}

impl Purpose {
    /// Everything.
    pub(crate) const ALL: &[Self] = &[
        Self::Tests,
        Self::Machines,
        Self::Arm64Machines,
        Self::Bench,
        Self::Packages,
        Self::Work,
    ];
}

/// The linker whose LLVM is the compiler's.
const BPF_LINKER: (&str, &str) = ("0.10.3", "bpf-linker 0.10.");
/// Components of the toolchain beyond the compiler.
const COMPONENTS: &[&str] = &["rust-src", "clippy", "rustfmt"];
/// Commands of cargo that make packages, and the version of each that is installed.
const PACKAGERS: &[(&str, &str)] = &[("cargo-deb", "3.8.0"), ("cargo-generate-rpm", "0.16.1")];
/// The target of the binary that needs no library: for virtual machines and packages.
pub(crate) const STATIC_TARGET: &str = "x86_64-unknown-linux-musl";
/// The same for arm64.
pub(crate) const STATIC_ARM64_TARGET: &str = "aarch64-unknown-linux-musl";
/// Programs that are run, or whole paths of files; the Debian package of each, and what needs it.
const PROGRAMS: &[(&str, &str, &[Purpose])] = {
    use Purpose::{Arm64Machines, Bench, Machines, Packages, Tests, Work};
    &[
        (ARM64_C_HEADERS, "libc6-dev-arm64-cross", &[Arm64Machines]),
        (DEBIAN_KEYRING, "debian-archive-keyring", &[Machines]),
        (
            "aarch64-linux-gnu-gcc",
            "gcc-aarch64-linux-gnu",
            &[Arm64Machines],
        ),
        ("bpftool", "bpftool", &[Tests, Bench]),
        ("bpftrace", "bpftrace", &[Tests, Bench]),
        ("cpio", "cpio", &[Machines]),
        ("curl", "curl", &[Tests, Work]),
        ("python3", "python3", &[Tests]),
        ("deb-systemd-helper", "init-system-helpers", &[Packages]),
        ("depmod", "kmod", &[Machines]),
        ("dpkg-deb", "dpkg", &[Packages]),
        ("gzip", "gzip", &[Packages]),
        ("ip", "iproute2", &[Tests, Work]),
        ("man", "man-db", &[Packages]),
        ("musl-gcc", "musl-tools", &[Machines, Packages]),
        ("nft", "nftables", &[Tests, Machines]),
        ("nginx", "nginx-light", &[Tests, Bench]),
        ("perf", "linux-perf", &[Bench]),
        ("pip3", "python3-pip", &[Packages]),
        ("prometheus", "prometheus", &[Tests, Work]),
        ("qemu-system-aarch64", "qemu-system-arm", &[Arm64Machines]),
        ("qemu-system-x86_64", "qemu-system-x86", &[Machines]),
        ("ss", "iproute2", &[Tests, Machines]),
        ("strip", "binutils", &[Packages]),
        ("systemd-analyze", "systemd", &[Packages]),
        ("systemd-nspawn", "systemd-container", &[Packages]),
        ("tcpdump", "tcpdump", &[Tests, Bench]),
        ("tmux", "tmux", &[Tests, Work]),
        ("wrk", "wrk", &[Tests, Bench]),
        ("xz", "xz-utils", &[Machines]),
        ("zstd", "zstd", &[Machines]),
    ]
};
/// What the suites of Debian's archive are signed with.
pub(crate) const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// What the C code of some crates includes.
const ARM64_C_HEADERS: &str = "/usr/aarch64-linux-gnu/include/stdint.h";
/// Told by Debian's packages before they start a daemon; 101 forbids it.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Sets up for building, for running and for these purposes, and says what it did.
pub(crate) fn set_up(purposes: &[Purpose]) -> Result<()> {
    let mut did = Vec::new();
    did.extend(toolchain(purposes)?);
    did.extend(bpf_linker()?);
    if purposes.contains(&Purpose::Packages) {
        did.extend(packagers()?);
    }
    did.extend(crates()?);
    did.extend(file_systems());
    did.extend(packages(purposes)?);
    if purposes.contains(&Purpose::Packages) {
        did.extend(install_tools()?);
    }
    if did.is_empty() {
        eprintln!("set-up: nothing to do");
    } else {
        eprintln!("set-up: {}", did.join(", "));
    }
    Ok(())
}

fn toolchain(purposes: &[Purpose]) -> Result<Vec<String>> {
    let Some(components) = output_of("rustup", &["component", "list", "--installed"]) else {
        return toolchain_without_rustup(purposes).map(|()| Vec::new());
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
    for target in static_targets(purposes) {
        if !targets.lines().any(|line| line == target) {
            run(Command::new("rustup")
                .args(["target", "add", target])
                .current_dir(root()))?;
            did.push(format!("added {target}"));
        }
    }
    Ok(did)
}

/// The targets of static binaries that are needed.
fn static_targets(purposes: &[Purpose]) -> impl Iterator<Item = &'static str> {
    let needed_by: [(&str, &[Purpose]); 2] = [
        (STATIC_TARGET, &[Purpose::Machines, Purpose::Packages]),
        (STATIC_ARM64_TARGET, &[Purpose::Arm64Machines]),
    ];
    needed_by
        .into_iter()
        .filter(|(_, needed_by)| needed_by.iter().any(|it| purposes.contains(it)))
        .map(|(target, _)| target)
}

/// Checks that the toolchain has what rustup would have added.
fn toolchain_without_rustup(purposes: &[Purpose]) -> Result<()> {
    let Some(sysroot) = output_of("rustc", &["--print", "sysroot"]) else {
        bail!("no Rust toolchain is there; install rustup");
    };
    let missing = missing_libraries(Path::new(sysroot.trim()), purposes);
    if !missing.is_empty() {
        bail!(
            "rustup is not there, and the Rust toolchain lacks {}; install rustup, or what your \
             system calls these",
            missing.join(", ")
        );
    }
    Ok(())
}

/// What the toolchain in `sysroot` lacks: the sources of `core`, which the eBPF programs are built
/// with, and the target of the virtual machines.
fn missing_libraries(sysroot: &Path, purposes: &[Purpose]) -> Vec<String> {
    let libraries = sysroot.join("lib/rustlib");
    let mut missing = Vec::new();
    if !libraries.join("src/rust/library/core").is_dir() {
        missing.push("the component rust-src".to_owned());
    }
    let targets = static_targets(purposes).filter(|target| !libraries.join(target).is_dir());
    missing.extend(targets.map(|target| format!("the target {target}")));
    missing
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

/// Installs what makes packages. What is installed is asked of cargo: of these programs, not each
/// tells its version.
fn packagers() -> Result<Option<String>> {
    let installed = output_of("cargo", &["install", "--list"]).unwrap_or_default();
    let mut did = Vec::new();
    for (name, version) in PACKAGERS {
        let line = format!("{name} v{version}:");
        if installed.lines().any(|it| it == line) {
            continue;
        }
        run(&mut cargo(&[
            "install",
            name,
            "--version",
            version,
            "--locked",
            "--force",
        ]))
        .with_context(|| format!("{name}, which makes packages, did not build"))?;
        did.push(format!("installed {name} {version}"));
    }
    Ok((!did.is_empty()).then(|| did.join(", ")))
}

/// Fetches the crates, so that the build needs no network: the workspace's, and those of the
/// standard library, by its own lock file. The latter is read even where `core` alone is built, as
/// for the eBPF programs.
fn crates() -> Result<Option<String>> {
    let sysroot = output_of("rustc", &["--print", "sysroot"]).context("rustc does not run")?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/Cargo.toml");
    let mut has_fetched = false;
    for manifest in [root().join("Cargo.toml"), library] {
        let fetch = || {
            let mut command = cargo(&["fetch", "--locked", "--manifest-path"]);
            // The standard library's manifest uses features of cargo that are unstable elsewhere.
            command.arg(&manifest).env("RUSTC_BOOTSTRAP", "1");
            command
        };
        let is_there = fetch()
            .arg("--offline")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !is_there {
            run(&mut fetch())?;
            has_fetched = true;
        }
    }
    Ok(has_fetched.then(|| "fetched the crates".to_owned()))
}

/// Mounts what the tracer reads. Where that is refused, `rstmon check` says what is lost by it.
fn file_systems() -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut did = Vec::new();
    for (kind, place) in [("tracefs", "/sys/kernel/tracing"), ("bpf", "/sys/fs/bpf")] {
        let is_mounted = mounts
            .lines()
            .any(|line| line.split(' ').nth(1) == Some(place));
        if is_mounted || !Path::new(place).is_dir() || !can_be_root() {
            continue;
        }
        match run(as_root("mount").args(["-t", kind, kind, place])) {
            Ok(()) => did.push(format!("mounted {kind}")),
            Err(error) => eprintln!("set-up: {kind} is not mounted at {place}: {error:#}"),
        }
    }
    did
}

fn packages(purposes: &[Purpose]) -> Result<Option<String>> {
    let missing = missing_packages(purposes, is_installed);
    if missing.is_empty() {
        return Ok(None);
    }
    let names = missing.join(" ");
    if !is_installed("apt-get") || !can_be_root() {
        bail!(
            "this needs programs that are not installed; install what your system calls these \
             Debian packages, as root: {names}"
        );
    }
    install(&missing).with_context(|| format!("cannot install {names}"))?;
    Ok(Some(format!("installed {names}")))
}

/// The packages of those programs that are needed and not there.
fn missing_packages(purposes: &[Purpose], is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    PROGRAMS
        .iter()
        .filter(|(_, _, needed_by)| needed_by.iter().any(|need| purposes.contains(need)))
        .filter(|(program, _, _)| !is_there(program))
        .map(|(_, package, _)| *package)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

/// Installs packages without starting their daemons.
fn install(packages: &[&str]) -> Result<()> {
    let apt = || {
        let mut command = as_root("env");
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]);
        command
    };
    let _no_daemons = NoDaemons::declare()?;
    run(apt().arg("update"))?;
    run(apt()
        .args(["install", "-y", "--no-install-recommends"])
        .args(packages))
}

/// While it lives, packages start no daemons, unless this machine has a policy of its own. An
/// interrupt ends apt, and then this: the policy must not stay behind.
struct NoDaemons {
    actions: Vec<(Signal, SigAction)>,
}

impl NoDaemons {
    fn declare() -> Result<Option<Self>> {
        if Path::new(POLICY).exists() {
            return Ok(None);
        }
        let mut policy = Self {
            actions: Vec::new(),
        };
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let survive = SigAction::new(
                SigHandler::Handler(ignore_signal),
                SaFlags::SA_RESTART,
                SigSet::empty(),
            );
            // SAFETY: the handler does nothing. Unlike an ignored signal, apt does not inherit it.
            let former = unsafe { sigaction(signal, &survive) }.context("cannot handle signals")?;
            policy.actions.push((signal, former));
        }
        let script = r#"printf '#!/bin/sh\nexit 101\n' > "$0" && chmod 755 "$0""#;
        run(as_root("sh").args(["-c", script, POLICY]))?;
        Ok(Some(policy))
    }
}

impl Drop for NoDaemons {
    fn drop(&mut self) {
        if let Err(error) = run(as_root("rm").args(["-f", POLICY])) {
            eprintln!("set-up: {POLICY} forbids daemons to start, remove it: {error:#}");
        }
        for (signal, former) in &self.actions {
            // SAFETY: these actions were in force before.
            if let Err(error) = unsafe { sigaction(*signal, former) } {
                eprintln!("set-up: {signal} stays without effect: {error}");
            }
        }
    }
}

extern "C" fn ignore_signal(_: nix::libc::c_int) {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;

    #[test]
    fn each_purpose_asks_for_its_own_programs() {
        let nothing_there = |_: &str| false;
        assert!(missing_packages(&[], nothing_there).is_empty());
        assert_eq!(
            missing_packages(&[Purpose::Tests], nothing_there),
            [
                "bpftool",
                "bpftrace",
                "curl",
                "iproute2",
                "nftables",
                "nginx-light",
                "prometheus",
                "python3",
                "tcpdump",
                "tmux",
                "wrk"
            ]
        );
        let all = missing_packages(Purpose::ALL, nothing_there);
        assert!(PROGRAMS.iter().all(|(_, package, _)| all.contains(package)));
    }

    #[test]
    fn a_toolchain_without_rustup_is_asked_for_its_libraries() {
        let sysroot = std::env::temp_dir().join(format!("rstmon-sysroot-{}", std::process::id()));
        let core = sysroot.join("lib/rustlib/src/rust/library/core");
        assert_eq!(missing_libraries(&sysroot, &[]), ["the component rust-src"]);
        std::fs::create_dir_all(core).unwrap();
        assert!(missing_libraries(&sysroot, &[]).is_empty());
        assert_eq!(missing_libraries(&sysroot, &[Purpose::Machines]).len(), 1);
        std::fs::remove_dir_all(sysroot).unwrap();
    }

    #[test]
    fn what_is_there_is_not_asked_for() {
        let but_zstd = |program: &str| program != "zstd";
        assert_eq!(missing_packages(Purpose::ALL, but_zstd), ["zstd"]);
        assert!(missing_packages(&[Purpose::Tests], but_zstd).is_empty());
    }
}
