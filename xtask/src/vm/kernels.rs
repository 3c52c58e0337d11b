//! Debian's kernels, from the mirrors that this machine already uses, with apt's state kept apart.

use super::cache;
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
    /// What the packages were unpacked to.
    pub(super) root: PathBuf,
    /// The image.
    pub(super) image: PathBuf,
    /// `uname -r`.
    pub(super) release: String,
}

/// Releases that hold kernels of the matrix; of each, its updates are looked through too.
const SUITES: &[&str] = &[
    "bullseye",
    "bookworm",
    "bookworm-backports",
    "trixie",
    "trixie-backports",
    "sid",
];
/// Releases with an archive of security updates.
const SECURITY_SUITES: &[&str] = &["bullseye-security", "bookworm-security", "trixie-security"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Where this machine says which mirrors it uses.
const SOURCES: [&str; 2] = ["/etc/apt/sources.list", "/etc/apt/sources.list.d"];

/// The newest kernel `version` (X.Y), from the cache or from Debian.
pub(super) fn get_kernel(version: &str) -> Result<Kernel> {
    let directory = cache().join("kernels").join(version);
    if let Some(kernel) = find_kernel(&directory) {
        return Ok(kernel);
    }
    let apt = Apt::prepare()?;
    let mut failure = None;
    for packages in apt.kernel_packages(version)? {
        eprintln!("vm: getting {}", packages.join(" and "));
        match apt.unpack_kernel(&packages, &directory) {
            Ok(kernel) => return Ok(kernel),
            // An archive may list a package that it no longer holds.
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.context("no package was tried")?)
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
    Apt::prepare()?.unpack("busybox-static", &directory)?;
    find().context("the package busybox-static holds no busybox")
}

/// The kernel below `root`: its image lies in `boot`, since 6.19 beside its modules.
fn find_kernel(root: &Path) -> Option<Kernel> {
    for entry in entries(&root.join("boot")) {
        let name = entry
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if let Some(release) = name.strip_prefix("vmlinuz-") {
            let release = release.to_owned();
            return Some(Kernel {
                root: root.to_owned(),
                image: entry,
                release,
            });
        }
    }
    for modules in ["lib/modules", "usr/lib/modules"] {
        for entry in entries(&root.join(modules)) {
            let image = entry.join("vmlinuz");
            if image.is_file() {
                let release = entry
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                return Some(Kernel {
                    root: root.to_owned(),
                    image,
                    release,
                });
            }
        }
    }
    None
}

/// What a directory holds; nothing, if there is none.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

/// apt with lists, cache and sources of its own.
struct Apt {
    directory: PathBuf,
}

impl Apt {
    /// Writes the sources and fetches the lists, once.
    fn prepare() -> Result<Self> {
        let apt = Self {
            directory: cache().join("apt"),
        };
        for part in ["lists/partial", "cache/archives/partial", "debs"] {
            fs::create_dir_all(apt.directory.join(part))?;
        }
        let sources = sources(&mirrors()?);
        let path = apt.directory.join("sources.list");
        let is_new = fs::read_to_string(&path).ok().as_deref() != Some(&sources);
        if is_new {
            fs::write(&path, sources)?;
            run(apt.command("apt-get").args(["-q", "update"]))?;
        }
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let place = |part: &str| self.directory.join(part).display().to_string();
        command.args([
            "-o",
            &format!("Dir::Etc::sourcelist={}", place("sources.list")),
        ]);
        command.args(["-o", "Dir::Etc::sourceparts=/dev/null"]);
        command.args(["-o", &format!("Dir::State::lists={}", place("lists"))]);
        command.args(["-o", &format!("Dir::Cache={}", place("cache"))]);
        command.args(["-o", "Acquire::Languages=none"]);
        // An old release's lists are past their date, and its kernels are what is wanted.
        command.args(["-o", "Acquire::Check-Valid-Until=false"]);
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
        // Left by a run that was interrupted.
        let _ = fs::remove_dir_all(&unpacked);
        fs::create_dir_all(&unpacked)?;
        for package in packages {
            self.unpack(package, &unpacked)?;
        }
        if find_kernel(&unpacked).is_none() {
            bail!("{} hold no kernel", packages.join(" and "));
        }
        fs::rename(&unpacked, directory)?;
        find_kernel(directory).context("the unpacked kernel is gone")
    }

    fn unpack(&self, package: &str, into: &Path) -> Result<()> {
        let debs = self.directory.join("debs").join(package);
        fs::create_dir_all(&debs)?;
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
    let is_image = |name: &&&str| {
        ["linux-image-", "linux-binary-"].iter().any(|prefix| {
            name.strip_prefix(prefix)
                .is_some_and(|rest| rest.starts_with(&format!("{version}.")))
        }) && (name.ends_with("cloud-amd64") || name.ends_with("cloud-amd64-unsigned"))
    };
    let mut images: Vec<&str> = names.iter().filter(is_image).copied().collect();
    images.sort_by_key(|name| Reverse(natural_key(name)));
    images
        .into_iter()
        .take(CANDIDATES)
        .map(|image| {
            let modules = image.strip_prefix("linux-binary-");
            let modules = modules.map(|rest| format!("linux-modules-{rest}"));
            std::iter::once(image.to_owned()).chain(modules).collect()
        })
        .collect()
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
        .filter_map(|name| {
            name.strip_prefix("linux-image-")
                .or(name.strip_prefix("linux-binary-"))
        })
        .map(|rest| rest.split(['.', '-']).take(2).collect::<Vec<_>>().join("."))
        .collect();
    versions.into_iter().collect::<Vec<_>>().join(", ")
}

/// The archives of this machine: of releases and of security updates.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mirrors {
    main: Option<String>,
    security: Option<String>,
}

fn mirrors() -> Result<Mirrors> {
    let mut mirrors = Mirrors::default();
    for place in SOURCES.map(Path::new) {
        let files: Vec<PathBuf> = if place.is_dir() {
            fs::read_dir(place)?
                .filter_map(|entry| Some(entry.ok()?.path()))
                .collect()
        } else {
            vec![place.to_owned()]
        };
        for file in files {
            if file
                .extension()
                .is_some_and(|extension| extension == "sources" || extension == "list")
            {
                read_mirrors(&fs::read_to_string(&file).unwrap_or_default(), &mut mirrors);
            }
        }
    }
    if mirrors.main.is_none() {
        bail!(
            "this machine's apt has no source of Debian's archive: add one to {}, or run this on \
             a Debian machine",
            SOURCES[0]
        );
    }
    Ok(mirrors)
}

/// Takes the archives from a file of apt's sources, of either form.
fn read_mirrors(text: &str, mirrors: &mut Mirrors) {
    for line in text.lines().map(str::trim) {
        let uris = match line.split_once(':') {
            Some(("URIs", uris)) => uris,
            _ if line.starts_with("deb ") => line,
            _ => continue,
        };
        for word in uris.split_whitespace() {
            let uri = word.trim_end_matches('/');
            if uri.ends_with("/debian") {
                mirrors.main.get_or_insert_with(|| uri.to_owned());
            } else if uri.ends_with("/debian-security") {
                mirrors.security.get_or_insert_with(|| uri.to_owned());
            }
        }
    }
}

fn sources(mirrors: &Mirrors) -> String {
    let line =
        |uri: &String, suite: &&str| format!("deb [signed-by={KEYRING}] {uri} {suite} main\n");
    let main = mirrors
        .main
        .iter()
        .flat_map(|uri| SUITES.iter().map(move |suite| line(uri, suite)));
    let security = mirrors
        .security
        .iter()
        .flat_map(|uri| SECURITY_SUITES.iter().map(move |suite| line(uri, suite)));
    main.chain(security).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_read_from_both_forms_of_sources() {
        let expected = Mirrors {
            main: Some("http://mirror.example/debian".to_owned()),
            security: Some("http://mirror.example/debian-security".to_owned()),
        };
        let mut found = Mirrors::default();
        read_mirrors(
            "Types: deb\nURIs: http://mirror.example/debian/\nSuites: bookworm\n\n\
             URIs: http://mirror.example/debian-security\n",
            &mut found,
        );
        assert_eq!(found, expected);
        let mut found = Mirrors::default();
        read_mirrors(
            "# deb http://other.example/debian x main\ndeb [arch=amd64] \
             http://mirror.example/debian bookworm main\ndeb http://mirror.example/debian-security \
             bookworm-security main\n",
            &mut found,
        );
        assert_eq!(found, expected);
    }

    #[test]
    fn the_newest_kernel_is_taken_by_number() {
        let names = BTreeSet::from([
            "linux-image-6.1.0-9-cloud-amd64-unsigned",
            "linux-image-6.1.0-56-cloud-amd64-unsigned",
            "linux-image-6.12.1-cloud-amd64-unsigned",
            "linux-image-6.1.0-57-cloud-amd64-dbg",
            "linux-binary-7.3.4+deb13-cloud-amd64",
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
            [[
                "linux-binary-7.3.4+deb13-cloud-amd64",
                "linux-modules-7.3.4+deb13-cloud-amd64"
            ]]
        );
        assert!(of("4.19").is_empty());
    }
}
