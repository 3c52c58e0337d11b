//! Debian's kernels and what else a guest needs of Debian, from the cache below `target/vm` or from
//! the archive.

use super::apt::{Apt, Gone, entries, make_empty};
use super::cache;
use super::record::{Pins, Record, render_pin, version_of};
use super::target::{Arch, Target};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// An unpacked kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Directory of its modules, `lib/modules/RELEASE`; `None` where the archive has none.
    pub(super) modules: Option<PathBuf>,
    /// The image.
    pub(super) image: PathBuf,
    /// `uname -r`.
    pub(super) release: String,
    /// The version of its packages.
    pub(super) version: String,
    /// What is to be said about it, where it is not as recorded.
    pub(super) note: Option<String>,
}

/// Which packages an unpacked kernel is of.
const STAMP: &str = "packages.toml";

/// The recorded kernel, else the newest of that version; `None`: Debian's archive has none, which it
/// itself says. That it could not be asked is an error, and so is a kernel that is not what it must be.
pub(super) fn get_kernel(target: Target, record: &Record) -> Result<Option<Kernel>> {
    let directory = cache().join("kernels").join(target.to_string());
    let recorded = record.pins(target);
    if let Some(kernel) = recorded.and_then(|pins| cached(&directory, pins)) {
        return Ok(Some(kernel));
    }
    let mut apt = Apt::prepare(target.arch)?;
    if let Some(pins) = recorded {
        if !apt.offers(pins)? {
            apt.refresh()?;
        }
        if apt.offers(pins)? {
            match unpack(&apt, pins, &directory) {
                Ok(mut kernel) => {
                    kernel.note = newer_note(&apt, target, pins)?;
                    return Ok(Some(kernel));
                }
                Err(error) if error.is::<Gone>() => {}
                Err(error) => return Err(error),
            }
        }
    }
    apt.refresh()?;
    let newest = newest_kernel(&apt, target, &directory)?;
    if newest.is_none() {
        apt.require_lists()?;
    }
    Ok(newest)
}

/// The newest kernel that can be had; `None`: of none that is listed, the archive has the packages.
fn newest_kernel(apt: &Apt, target: Target, directory: &Path) -> Result<Option<Kernel>> {
    let mut failures = Vec::new();
    for packages in &apt.kernel_packages(target)? {
        let pins = apt.describe(packages)?;
        let kernel = match cached(directory, &pins) {
            Some(kernel) => Ok(kernel),
            None => unpack(apt, &pins, directory),
        };
        match kernel {
            Ok(mut kernel) => {
                kernel.note = Some(format!(
                    "not the recorded kernel, which the archive has no more, but {}; \
                     `cargo xtask vm --record {target}` records it",
                    packages.join(" and ")
                ));
                return Ok(Some(kernel));
            }
            Err(error) => failures.push(error),
        }
    }
    if failures.iter().all(anyhow::Error::is::<Gone>) {
        return Ok(None);
    }
    let failures: Vec<String> = failures.iter().map(|it| format!("{it:#}")).collect();
    bail!("{}", failures.join("; "))
}

/// Says that the archive has a newer one than is recorded.
fn newer_note(apt: &Apt, target: Target, pins: &Pins) -> Result<Option<String>> {
    let newest = apt.kernel_packages(target)?.into_iter().next();
    let newer = newest.filter(|packages| packages.iter().any(|name| !pins.contains_key(name)));
    Ok(newer.map(|packages| {
        format!(
            "Debian has a newer one: {}; `cargo xtask vm --record {target}` records it",
            packages.join(" and ")
        )
    }))
}

/// Puts the newest packages of these kernels, all of one architecture, into the record, and returns
/// those that Debian does not have.
pub(super) fn record_newest(
    arch: Arch,
    targets: &[Target],
    record: &mut Record,
) -> Result<Vec<Target>> {
    let mut apt = Apt::prepare(arch)?;
    apt.refresh()?;
    apt.require_lists()?;
    let mut absent = Vec::new();
    for &target in targets {
        match apt.kernel_packages(target)?.first() {
            Some(packages) => record.put(target, apt.describe(packages)?),
            None => absent.push(target),
        }
    }
    Ok(absent)
}

/// The kernel in the cache, if it is of these packages.
fn cached(directory: &Path, pins: &Pins) -> Option<Kernel> {
    let stamp = fs::read_to_string(directory.join(STAMP)).ok()?;
    (stamp == stamp_of(pins)).then(|| find_kernel(directory, version_of(pins)))?
}

fn stamp_of(pins: &Pins) -> String {
    pins.iter().map(render_pin).collect()
}

/// Unpacks a kernel's packages to `directory`, which is made only if all of it is there.
fn unpack(apt: &Apt, pins: &Pins, directory: &Path) -> Result<Kernel> {
    let names: Vec<&str> = pins.keys().map(String::as_str).collect();
    eprintln!("vm: getting {}", names.join(" and "));
    let unpacked = directory.with_file_name("unpacking");
    make_empty(&unpacked)?;
    apt.unpack_pinned(pins, &unpacked)?;
    let version = version_of(pins);
    if find_kernel(&unpacked, version).is_none() {
        bail!("{} hold no kernel", names.join(" and "));
    }
    fs::write(unpacked.join(STAMP), stamp_of(pins))?;
    make_empty(directory)?;
    fs::rename(&unpacked, directory)
        .with_context(|| format!("cannot put a kernel at {}", directory.display()))?;
    find_kernel(directory, version).context("the unpacked kernel is gone")
}

/// A static busybox. The package conflicts with an installed busybox, so it is only unpacked.
pub(super) fn get_busybox(arch: Arch) -> Result<PathBuf> {
    let directory = cache().join("busybox").join(arch.debian_name());
    let binaries = ["bin/busybox", "usr/bin/busybox"].map(|path| directory.join(path));
    let find = || binaries.iter().find(|path| path.is_file()).cloned();
    if let Some(binary) = find() {
        return Ok(binary);
    }
    fs::create_dir_all(&directory)?;
    Apt::prepare(arch)?.with_current_lists(|apt| apt.unpack("busybox-static", &directory))?;
    find().context("the package busybox-static holds no busybox")
}

/// The programs of the lab that are not its own, for an architecture that is not this machine's, with
/// their libraries: a directory like a system's root.
pub(super) fn get_programs(arch: Arch) -> Result<PathBuf> {
    const PACKAGES: [&str; 2] = ["nftables", "iproute2"];
    let directory = cache().join("programs").join(arch.debian_name());
    if directory.is_dir() {
        return Ok(directory);
    }
    let unpacked = directory.with_file_name("unpacking");
    make_empty(&unpacked)?;
    Apt::prepare(arch)?
        .with_current_lists(|apt| apt.unpack_whole(&PACKAGES, "bookworm", &unpacked))?;
    fs::rename(&unpacked, &directory)?;
    Ok(directory)
}

/// The kernel below `root`, of packages of this version. The image is `boot/vmlinuz-RELEASE`, or since 7.2
/// lies with the modules.
fn find_kernel(root: &Path, version: &str) -> Option<Kernel> {
    let places = ["lib/modules", "usr/lib/modules"].map(|place| root.join(place));
    let with_modules = places.iter().flat_map(|place| entries(place));
    let with_modules = with_modules.filter_map(|modules| {
        let release = modules.file_name()?.to_str()?.to_owned();
        Some((release, modules.join("vmlinuz")))
    });
    let in_boot = entries(&root.join("boot")).into_iter().filter_map(|image| {
        let release = image.file_name()?.to_str()?.strip_prefix("vmlinuz-")?;
        Some((release.to_owned(), image))
    });
    let (release, image) = in_boot
        .chain(with_modules)
        .find(|(_, image)| image.is_file())?;
    let mut modules = places.iter().map(|place| place.join(&release));
    Some(Kernel {
        modules: modules.find(|modules| modules.join("kernel").is_dir()),
        image,
        release,
        version: version.to_owned(),
        note: None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "a failed test panics")]

    use super::*;

    #[test]
    fn a_kernel_is_found_where_any_release_puts_it() {
        let place = tempfile::tempdir().expect("a directory");
        let make = |path: &str| {
            let path = place.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, "").expect("a file");
        };
        let found = |root: &str| find_kernel(&place.path().join(root), "1-1");
        assert!(found("nothing").is_none());
        make("old/boot/vmlinuz-5.10.0-46");
        assert!(found("old").expect("a kernel").modules.is_none());
        make("old/lib/modules/5.10.0-46/kernel/drivers/net/tun.ko");
        let old = found("old").expect("a kernel");
        assert_eq!(old.release, "5.10.0-46");
        assert_eq!(old.version, "1-1");
        assert!(old.modules.is_some());
        make("new/usr/lib/modules/7.3.4/vmlinuz");
        assert!(found("new").expect("a kernel").modules.is_none());
        make("new/usr/lib/modules/7.3.4/kernel/drivers/net/tun.ko.xz");
        let new = found("new").expect("a kernel");
        assert_eq!(
            Some(new.image),
            new.modules.map(|modules| modules.join("vmlinuz"))
        );
    }

    #[test]
    fn a_cached_kernel_is_used_if_it_is_of_these_packages() {
        let place = tempfile::tempdir().expect("a directory");
        let modules = place.path().join("usr/lib/modules/7.3.4");
        fs::create_dir_all(&modules).expect("a directory");
        fs::write(modules.join("vmlinuz"), "").expect("a file");
        let pins = |version: &str| {
            let pin = crate::vm::record::Pin {
                version: version.to_owned(),
                sha256: "aa".to_owned(),
            };
            Pins::from([("linux-binary-7.3.4".to_owned(), pin)])
        };
        assert!(
            cached(place.path(), &pins("1")).is_none(),
            "of unknown packages"
        );
        fs::write(place.path().join(STAMP), stamp_of(&pins("1"))).expect("a file");
        assert!(cached(place.path(), &pins("1")).is_some());
        assert!(cached(place.path(), &pins("2")).is_none());
    }
}
