//! Debian's packages, from the mirrors that this machine already uses, with apt's state kept apart:
//! looked up, downloaded, compared with what is expected, unpacked. Nothing is installed.

use super::record::{Pin, Pins};
use super::target::{Arch, Target};
use super::{cache, mirrors, packages};
use crate::process::{output_of, run};
use anyhow::{Context, Result, anyhow, bail};
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// apt with lists, cache and sources of its own. Its proxies and credentials stay the machine's.
pub(super) struct Apt {
    arch: Arch,
    directory: PathBuf,
    /// The lists were fetched by this process.
    are_lists_current: bool,
    /// What kept it from some of them, unless the archive has no such list.
    trouble: Option<String>,
}

/// The archive lists a package that it no longer holds.
#[derive(Debug)]
pub(super) struct Gone(String);

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the archive lists {}, but does not hold it", self.0)
    }
}

impl std::error::Error for Gone {}

impl Apt {
    /// Writes the sources, and fetches the lists unless an earlier run has fetched those.
    pub(super) fn prepare(arch: Arch) -> Result<Self> {
        let name = match arch {
            Arch::Amd64 => "apt".to_owned(),
            Arch::Arm64 => format!("apt-{}", arch.debian_name()),
        };
        let mut apt = Self {
            arch,
            directory: cache().join(name),
            are_lists_current: false,
            trouble: None,
        };
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(apt.directory.join(part))?;
        }
        // As if nothing were installed: what something depends on is part of it.
        fs::write(apt.directory.join("status"), "")?;
        let sources = mirrors::render_sources(&mirrors::read_mirrors()?);
        fs::write(apt.directory.join("sources.list"), &sources)?;
        if fs::read_to_string(apt.stamp()).ok().as_deref() != Some(&sources) {
            apt.refresh()?;
        }
        Ok(apt)
    }

    /// Holds the sources whose lists were fetched.
    fn stamp(&self) -> PathBuf {
        self.directory.join("fetched.list")
    }

    /// Fetches the lists, unless this process has done so. A suite that cannot be had, because it
    /// has moved to the archive of old releases, leaves the others usable: whether something is
    /// missing shows when it is looked for.
    pub(super) fn refresh(&mut self) -> Result<()> {
        if self.are_lists_current {
            return Ok(());
        }
        let (succeeded, said) = told(self.command("apt-get").args(["-q", "update"]))?;
        self.trouble = trouble_of_update(succeeded, &said);
        match &self.trouble {
            None => {
                fs::copy(self.directory.join("sources.list"), self.stamp())?;
            }
            Some(why) => eprintln!("vm: some of apt's lists are missing: {why}"),
        }
        self.are_lists_current = true;
        Ok(())
    }

    /// An error where it cannot be said that the archive does not have something: its lists could not
    /// be had.
    pub(super) fn require_lists(&self) -> Result<()> {
        match &self.trouble {
            None => Ok(()),
            Some(why) => bail!("the archive's lists could not be had: {why}"),
        }
    }

    /// Does what needs the lists; once more with new ones if it fails with those of an earlier run:
    /// a mirror drops a package when the next version comes.
    pub(super) fn with_current_lists<T>(mut self, work: impl Fn(&Self) -> Result<T>) -> Result<T> {
        match work(&self) {
            Err(error) if !self.are_lists_current => {
                eprintln!("vm: {error:#}; trying with new lists");
                self.refresh()?;
                work(&self)
            }
            outcome => outcome,
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let place = |part: &str| self.directory.join(part).display().to_string();
        let arch = self.arch.debian_name();
        let options = [
            format!("Dir::Etc::sourcelist={}", place("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::Etc::preferences=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            format!("Dir::State::lists={}", place("lists")),
            format!("Dir::State::status={}", place("status")),
            format!("Dir::Cache={}", place("cache")),
            format!("APT::Architecture={arch}"),
            format!("APT::Architectures={arch}"),
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

    fn cache_text(&self, args: &[&str]) -> Result<String> {
        let output = self
            .command("apt-cache")
            .args(args)
            .output()
            .context("cannot start apt-cache")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The packages that make up the newest kernels of `target`, the newest first.
    pub(super) fn kernel_packages(&self, target: Target) -> Result<Vec<Vec<String>>> {
        let pattern = packages::pattern(self.arch);
        let text = self.cache_text(&["search", "--names-only", &pattern])?;
        let names: BTreeSet<&str> = text
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        Ok(packages::newest(&names, target))
    }

    /// Version and checksum that the archive tells of these packages.
    pub(super) fn describe(&self, packages: &[String]) -> Result<Pins> {
        let of_package = |package: &String| {
            let text = self.cache_text(&["show", package])?;
            let pin = pins_of(&text).into_iter().next();
            let pin = pin.with_context(|| format!("the archive does not describe {package}"))?;
            Ok((package.clone(), pin))
        };
        packages.iter().map(of_package).collect()
    }

    /// Whether the archive has all of these at their versions. That it has one with another checksum
    /// is an error: such a thing does not happen to Debian's packages.
    pub(super) fn offers(&self, pins: &Pins) -> Result<bool> {
        for (package, pin) in pins {
            let text = self.cache_text(&["show", &format!("{package}={}", pin.version)])?;
            let offered = pins_of(&text);
            if offered.is_empty() {
                return Ok(false);
            }
            if !offered.contains(pin) {
                bail!(
                    "the archive's {package} {} is not what was recorded: its checksum is another",
                    pin.version
                );
            }
        }
        Ok(true)
    }

    /// Downloads packages and unpacks them below `into`, if they are what they must be.
    pub(super) fn unpack_pinned(&self, pins: &Pins, into: &Path) -> Result<()> {
        for (package, pin) in pins {
            let debs = self.download(&format!("{package}={}", pin.version))?;
            for deb in entries(&debs) {
                let found = checksum(&deb)?;
                if found != pin.sha256 {
                    bail!(
                        "{} has the checksum {found}, not {}",
                        deb.display(),
                        pin.sha256
                    );
                }
                run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(into))?;
            }
            fs::remove_dir_all(&debs)?;
        }
        Ok(())
    }

    /// Downloads a package, which apt checks by the archive's signature, and unpacks it.
    pub(super) fn unpack(&self, package: &str, into: &Path) -> Result<()> {
        let debs = self.download(package)?;
        for deb in entries(&debs) {
            run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(into))?;
        }
        fs::remove_dir_all(&debs)?;
        Ok(())
    }

    /// The same for packages of a release with all that they depend on.
    pub(super) fn unpack_whole(&self, packages: &[&str], release: &str, into: &Path) -> Result<()> {
        run(self
            .command("apt-get")
            .args(["-q", "-y", "--no-install-recommends", "--download-only"])
            .args(["--target-release", release, "install"])
            .args(packages))?;
        let archives = self.directory.join("cache/archives");
        for deb in entries(&archives) {
            if deb.extension().is_some_and(|extension| extension == "deb") {
                run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(into))?;
                fs::remove_file(deb)?;
            }
        }
        Ok(())
    }

    /// Downloads one package into a directory of its own.
    fn download(&self, package: &str) -> Result<PathBuf> {
        let name = package.split('=').next().unwrap_or(package);
        let debs = self.directory.join("debs").join(name);
        make_empty(&debs)?;
        let mut download = self.command("apt-get");
        download
            .args(["-q", "download", package])
            .current_dir(&debs);
        match told(&mut download)? {
            (true, _) => Ok(debs),
            (false, said) if is_not_held(&said) => Err(Gone(package.to_owned()).into()),
            (false, said) => Err(anyhow!("cannot download {package}: {}", said.trim())),
        }
    }
}

/// Runs apt to its end, shows what it says, and returns whether it succeeded and what that was, in
/// English.
fn told(command: &mut Command) -> Result<(bool, String)> {
    let output = command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let said = [output.stdout, output.stderr].concat();
    // Whether anybody reads it changes nothing.
    let _ = std::io::stderr().write_all(&said);
    let said = String::from_utf8_lossy(&said).into_owned();
    Ok((output.status.success(), said))
}

/// How apt tells of a file that a server does not have.
const NOT_FOUND: &str = "404  Not Found";

/// What kept `apt-get update` from a list. apt succeeds with the lists that it had, or with none,
/// where the network fails; and it fails where a server has no such suite (any more), which is no
/// trouble: nothing of it is served.
fn trouble_of_update(succeeded: bool, said: &str) -> Option<String> {
    let lines: Vec<&str> = said.lines().collect();
    // The reason stands below what could not be had.
    let failures = lines.windows(2).filter(|pair| pair[0].starts_with("Err:"));
    let mut reasons = failures.map(|pair| pair[1].trim());
    let other = reasons.find(|reason| !reason.starts_with(NOT_FOUND));
    if let Some(reason) = other {
        return Some(reason.to_owned());
    }
    let errors = lines.iter().filter(|line| line.starts_with("E: "));
    let mut unknown = errors.filter(|line| !line.ends_with(" Release file."));
    match unknown.next() {
        Some(error) => Some((*error).to_owned()),
        None if succeeded || said.contains(NOT_FOUND) => None,
        None => Some("apt-get update failed without a reason".to_owned()),
    }
}

/// Whether `apt-get download` failed for nothing but that the server does not have the file.
fn is_not_held(said: &str) -> bool {
    let mut failures = said
        .lines()
        .filter(|line| line.starts_with("E: Failed to fetch "))
        .peekable();
    failures.peek().is_some() && failures.all(|line| line.contains(NOT_FOUND))
}

/// The versions and checksums in what `apt-cache show` prints.
fn pins_of(text: &str) -> Vec<Pin> {
    let field = |stanza: &str, name: &str| {
        let lines = stanza.lines();
        let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        values.next().map(str::to_owned)
    };
    text.split("\n\n")
        .filter_map(|stanza| {
            Some(Pin {
                version: field(stanza, "Version")?,
                sha256: field(stanza, "SHA256")?,
            })
        })
        .collect()
}

/// SHA-256 of a file.
pub(super) fn checksum(file: &Path) -> Result<String> {
    let text = output_of("sha256sum", &[&file.display().to_string()]);
    let text = text.with_context(|| format!("cannot take the checksum of {}", file.display()))?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

/// Makes a directory; what an interrupted run has left there goes.
pub(super) fn make_empty(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)
            .with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))
}

/// What a directory holds; nothing, if there is none.
pub(super) fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_that_is_gone_is_no_trouble_and_a_network_that_fails_is() {
        let gone = "Ign:1 http://mirror.example/debian bullseye InRelease\n\
                    Get:2 http://mirror.example/debian sid InRelease [47.3 kB]\n\
                    Err:3 http://mirror.example/debian bullseye Release\n  \
                    404  Not Found [IP: 192.0.2.1 80]\nReading package lists...\n\
                    E: The repository 'http://mirror.example/debian bullseye Release' does not have \
                    a Release file.\n";
        assert_eq!(trouble_of_update(false, gone), None);
        assert_eq!(
            trouble_of_update(true, "Hit:1 http://mirror.example\n"),
            None
        );
        // apt calls this a success.
        let offline = "Err:1 http://mirror.example/debian sid InRelease\n  \
                       Could not resolve 'mirror.example'\nReading package lists...\n\
                       W: Failed to fetch http://mirror.example/debian/dists/sid/InRelease  Could \
                       not resolve 'mirror.example'\n";
        let trouble = trouble_of_update(true, offline);
        assert_eq!(
            trouble.as_deref(),
            Some("Could not resolve 'mirror.example'")
        );
        assert_eq!(
            trouble_of_update(false, &(gone.to_owned() + offline)),
            trouble
        );
        let locked = "E: Could not get lock /lists/lock. It is held by process 7 (apt-get)\n";
        assert_eq!(
            trouble_of_update(false, locked).as_deref(),
            Some(locked.trim())
        );
        assert!(trouble_of_update(false, "").is_some());
    }

    #[test]
    fn a_package_is_gone_if_nothing_else_kept_apt_from_it() {
        let failed = |why: &str| format!("E: Failed to fetch http://mirror.example/a.deb  {why}\n");
        let gone = failed("404  Not Found [IP: 192.0.2.1 80]");
        assert!(is_not_held(&gone));
        assert!(!is_not_held(&failed("Hash Sum mismatch")));
        assert!(!is_not_held(&(gone + &failed("Connection timed out"))));
        assert!(!is_not_held("E: Unable to locate package a\n"));
    }

    #[test]
    fn each_version_comes_with_its_own_checksum() {
        let text = "Package: a\nVersion: 2-1\nDescription: Version: 3\n x\nSHA256: aa\n\n\
                    Package: a\nSHA256: bb\nVersion: 1-1\n\nPackage: c\nVersion: 9\n";
        let pin = |version: &str, sha256: &str| Pin {
            version: version.to_owned(),
            sha256: sha256.to_owned(),
        };
        assert_eq!(pins_of(text), [pin("2-1", "aa"), pin("1-1", "bb")]);
        assert!(pins_of("").is_empty());
    }

    #[test]
    fn a_checksum_is_that_of_the_file() -> Result<()> {
        let place = tempfile::tempdir()?;
        let file = place.path().join("abc");
        fs::write(&file, "abc")?;
        let of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(checksum(&file)?, of_abc);
        assert!(checksum(&place.path().join("none")).is_err());
        Ok(())
    }
}
