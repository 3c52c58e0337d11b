//! Debian's kernels, from the mirrors that this machine already uses, with apt's state kept apart.

use super::{cache, mirrors};
use crate::process::run;
use anyhow::{Context, Result, bail};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An unpacked kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Directory of its modules, `lib/modules/RELEASE`.
    pub(super) modules: PathBuf,
    /// The image.
    pub(super) image: PathBuf,
    /// `uname -r`.
    pub(super) release: String,
}

/// The newest kernel `version` (X.Y), from the cache or from Debian.
pub(super) fn get_kernel(version: &str) -> Result<Kernel> {
    let directory = cache().join("kernels").join(version);
    if let Some(kernel) = find_kernel(&directory) {
        return Ok(kernel);
    }
    Apt::prepare()?.with_current_lists(|apt| {
        let mut failures = Vec::new();
        for packages in apt.kernel_packages(version)? {
            eprintln!("vm: getting {}", packages.join(" and "));
            match apt.unpack_kernel(&packages, &directory) {
                Ok(kernel) => return Ok(kernel),
                // An archive may list a package that it no longer holds.
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        bail!("{}", failures.join("; "))
    })
}

/// Makes a directory; what an interrupted run has left there goes.
fn make_empty(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)
            .with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))
}

/// A static busybox. The package conflicts with an installed busybox, so it is only unpacked.
pub(super) fn get_busybox() -> Result<PathBuf> {
    let directory = cache().join("busybox");
    let binaries = ["bin/busybox", "usr/bin/busybox"].map(|path| directory.join(path));
    let find = || binaries.iter().find(|path| path.is_file()).cloned();
    if let Some(binary) = find() {
        return Ok(binary);
    }
    fs::create_dir_all(&directory)?;
    Apt::prepare()?.with_current_lists(|apt| apt.unpack("busybox-static", &directory))?;
    find().context("the package busybox-static holds no busybox")
}

/// The kernel below `root`. Up to 6.18 the image is `boot/vmlinuz-RELEASE`; since then it lies with
/// the modules.
fn find_kernel(root: &Path) -> Option<Kernel> {
    ["lib/modules", "usr/lib/modules"]
        .iter()
        .flat_map(|modules| entries(&root.join(modules)))
        .filter(|modules| modules.join("kernel").is_dir())
        .find_map(|modules| {
            let release = modules.file_name()?.to_string_lossy().into_owned();
            let images = [
                root.join("boot").join(format!("vmlinuz-{release}")),
                modules.join("vmlinuz"),
            ];
            let image = images.into_iter().find(|image| image.is_file())?;
            Some(Kernel {
                modules,
                image,
                release,
            })
        })
}

/// What a directory holds; nothing, if there is none.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

/// apt with lists, cache and sources of its own. Its proxies and credentials stay the machine's.
struct Apt {
    directory: PathBuf,
    /// The lists were fetched by this process.
    are_lists_current: bool,
}

impl Apt {
    /// Writes the sources, and fetches the lists unless an earlier run has fetched those.
    fn prepare() -> Result<Self> {
        let mut apt = Self {
            directory: cache().join("apt"),
            are_lists_current: false,
        };
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(apt.directory.join(part))?;
        }
        let sources = mirrors::render_sources(&mirrors::read_mirrors()?);
        fs::write(apt.directory.join("sources.list"), &sources)?;
        if fs::read_to_string(apt.stamp()).ok().as_deref() != Some(&sources) {
            apt.update()?;
        }
        Ok(apt)
    }

    /// Holds the sources whose lists were fetched.
    fn stamp(&self) -> PathBuf {
        self.directory.join("fetched.list")
    }

    /// Fetches the lists. A suite that cannot be had, because it has moved to the archive of old
    /// releases, leaves the others usable: whether something is missing shows when it is looked for.
    fn update(&mut self) -> Result<()> {
        match run(self.command("apt-get").args(["-q", "update"])) {
            Ok(()) => {
                fs::copy(self.directory.join("sources.list"), self.stamp())?;
            }
            Err(error) => eprintln!("vm: some of apt's lists are missing: {error:#}"),
        }
        self.are_lists_current = true;
        Ok(())
    }

    /// Does what needs the lists; once more with new ones if it fails with those of an earlier run:
    /// a mirror drops a package when the next version comes.
    fn with_current_lists<T>(mut self, work: impl Fn(&Self) -> Result<T>) -> Result<T> {
        match work(&self) {
            Err(error) if !self.are_lists_current => {
                eprintln!("vm: {error:#}; trying with new lists");
                self.update()?;
                work(&self)
            }
            outcome => outcome,
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let place = |part: &str| self.directory.join(part).display().to_string();
        let options = [
            format!("Dir::Etc::sourcelist={}", place("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::Etc::preferences=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            format!("Dir::State::lists={}", place("lists")),
            format!("Dir::Cache={}", place("cache")),
            "APT::Architecture=amd64".to_owned(),
            // apt's own user may not be let into this directory.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            // An old release's lists are past their date, and its kernels are what is wanted.
            "Acquire::Check-Valid-Until=false".to_owned(),
        ];
        for option in options {
            command.arg("-o").arg(option);
        }
        command
    }

    /// Names of the packages that make up the newest kernels `version`, the newest first: since 6.19
    /// the image and its modules are two.
    fn kernel_packages(&self, version: &str) -> Result<Vec<Vec<String>>> {
        let output = self
            .command("apt-cache")
            .args([
                "search",
                "--names-only",
                "^linux-(image|binary|modules)-.*cloud-amd64",
            ])
            .output()
            .context("cannot start apt-cache")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let names: BTreeSet<&str> = text
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        let candidates = newest(&names, version);
        if candidates.is_empty() {
            bail!(
                "none of Debian's suites has one; known are {}",
                known_versions(&names)
            );
        }
        Ok(candidates)
    }

    /// Unpacks a kernel's packages to `directory`, which is made only if all of it is there.
    fn unpack_kernel(&self, packages: &[String], directory: &Path) -> Result<Kernel> {
        let unpacked = directory.with_file_name("unpacking");
        make_empty(&unpacked)?;
        for package in packages {
            self.unpack(package, &unpacked)?;
        }
        if find_kernel(&unpacked).is_none() {
            bail!("{} hold no kernel with modules", packages.join(" and "));
        }
        // What is there is no kernel, or it would have been found.
        make_empty(directory)?;
        fs::rename(&unpacked, directory)
            .with_context(|| format!("cannot put a kernel at {}", directory.display()))?;
        find_kernel(directory).context("the unpacked kernel is gone")
    }

    /// Downloads a package and unpacks it, without installing anything.
    fn unpack(&self, package: &str, into: &Path) -> Result<()> {
        let debs = self.directory.join("debs").join(package);
        make_empty(&debs)?;
        run(self
            .command("apt-get")
            .args(["-q", "download", package])
            .current_dir(&debs))?;
        for entry in fs::read_dir(&debs)? {
            let path = entry?.path();
            run(Command::new("dpkg-deb").arg("-x").arg(path).arg(into))?;
        }
        fs::remove_dir_all(&debs)?;
        Ok(())
    }
}

/// Packages that are tried at most.
const CANDIDATES: usize = 4;

/// The newest images of `version`, each with the package of its modules where that is one of its
/// own.
fn newest(names: &BTreeSet<&str>, version: &str) -> Vec<Vec<String>> {
    let mut images: Vec<Image<'_>> = names
        .iter()
        .filter_map(|name| Image::parse(name))
        .filter(|image| image.release.starts_with(&format!("{version}.")))
        .collect();
    images.sort_by_key(|image| Reverse((natural_key(image.release), image.has_own_modules)));
    images
        .iter()
        .take(CANDIDATES)
        .map(Image::packages)
        .collect()
}

/// A package named for a kernel image.
#[derive(Debug)]
struct Image<'a> {
    package: &'a str,
    /// What the package's name says of the kernel's release.
    release: &'a str,
    /// It holds the image alone. Beside it is an empty `linux-image-…` of the same release, which
    /// only depends on it.
    has_own_modules: bool,
}

impl<'a> Image<'a> {
    fn parse(package: &'a str) -> Option<Self> {
        let binary = package.strip_prefix("linux-binary-");
        let name = binary.or_else(|| package.strip_prefix("linux-image-"))?;
        Some(Self {
            package,
            release: name
                .strip_suffix("-unsigned")
                .unwrap_or(name)
                .strip_suffix("-cloud-amd64")?,
            has_own_modules: binary.is_some(),
        })
    }

    fn packages(&self) -> Vec<String> {
        let mut packages = vec![self.package.to_owned()];
        if self.has_own_modules {
            packages.push(format!("linux-modules-{}-cloud-amd64", self.release));
        }
        packages
    }
}

/// Digits compare as numbers: 6.1.0-9 is before 6.1.0-56.
fn natural_key(name: &str) -> Vec<(u64, String)> {
    let mut key = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (text, next) = after.split_at(letters);
        key.push((number.parse().unwrap_or(0), text.to_owned()));
        rest = next;
    }
    key
}

fn known_versions(names: &BTreeSet<&str>) -> String {
    let versions: BTreeSet<String> = names
        .iter()
        .filter_map(|name| Some(Image::parse(name)?.release))
        // Packages for all of Debian's versions are named for none.
        .filter(|release| release.starts_with(|first: char| first.is_ascii_digit()))
        .map(|release| {
            release
                .split(['.', '-'])
                .take(2)
                .collect::<Vec<_>>()
                .join(".")
        })
        .collect();
    versions.into_iter().collect::<Vec<_>>().join(", ")
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
        let found = |root: &str| find_kernel(&place.path().join(root));
        assert!(found("nothing").is_none());
        make("old/boot/vmlinuz-5.10.0-46");
        assert!(found("old").is_none(), "no modules yet");
        make("old/lib/modules/5.10.0-46/kernel/drivers/net/tun.ko");
        assert_eq!(found("old").expect("a kernel").release, "5.10.0-46");
        make("new/usr/lib/modules/7.3.4/vmlinuz");
        assert!(found("new").is_none(), "no modules yet");
        make("new/usr/lib/modules/7.3.4/kernel/drivers/net/tun.ko.xz");
        let new = found("new").expect("a kernel");
        assert_eq!(new.image, new.modules.join("vmlinuz"));
    }

    #[test]
    fn the_newest_kernel_is_taken_by_number() {
        let names = BTreeSet::from([
            "linux-image-6.1.0-9-cloud-amd64-unsigned",
            "linux-image-6.1.0-56-cloud-amd64-unsigned",
            "linux-image-6.12.1-cloud-amd64-unsigned",
            "linux-image-6.1.0-57-cloud-amd64-dbg",
            "linux-binary-7.3.4+deb13-cloud-amd64",
            "linux-image-7.3.4+deb13-cloud-amd64",
            "linux-modules-7.3.4+deb13-cloud-amd64",
        ]);
        let of = |version| newest(&names, version);
        assert_eq!(
            of("6.1"),
            [
                ["linux-image-6.1.0-56-cloud-amd64-unsigned"],
                ["linux-image-6.1.0-9-cloud-amd64-unsigned"]
            ]
        );
        assert_eq!(
            of("7.3"),
            [
                vec![
                    "linux-binary-7.3.4+deb13-cloud-amd64",
                    "linux-modules-7.3.4+deb13-cloud-amd64"
                ],
                vec!["linux-image-7.3.4+deb13-cloud-amd64"],
            ]
        );
        assert!(of("4.19").is_empty());
    }
}
