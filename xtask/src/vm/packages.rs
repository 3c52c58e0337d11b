//! Names of Debian's kernel packages. Pure.

use super::target::{Arch, Target};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Packages that are tried at most.
const CANDIDATES: usize = 4;

/// What apt-cache is asked for: all names of kernels for clouds, which are small and quick to boot.
pub(super) fn pattern(arch: Arch) -> String {
    let arch = arch.debian_name();
    format!("^linux-(image|binary|modules)-.*cloud-{arch}")
}

/// The packages that make up the newest kernels, the newest first. Since 6.19 the image and its
/// modules are two, and the archive may have let go of the modules.
pub(super) fn newest(names: &BTreeSet<&str>, target: Target) -> Vec<Vec<String>> {
    let mut images: Vec<Image<'_>> = names
        .iter()
        .filter_map(|name| Image::parse(name, target.arch))
        .filter(|image| image.release.starts_with(&format!("{}.", target.version)))
        .collect();
    images.sort_by_key(|image| Reverse((natural_key(image.release), image.has_own_modules)));
    images
        .iter()
        .take(CANDIDATES)
        .map(|image| image.packages(names, target.arch))
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
    fn parse(package: &'a str, arch: Arch) -> Option<Self> {
        let binary = package.strip_prefix("linux-binary-");
        let name = binary.or_else(|| package.strip_prefix("linux-image-"))?;
        Some(Self {
            package,
            release: name
                .strip_suffix("-unsigned")
                .unwrap_or(name)
                .strip_suffix(arch.debian_name())?
                .strip_suffix("-cloud-")?,
            has_own_modules: binary.is_some(),
        })
    }

    fn packages(&self, names: &BTreeSet<&str>, arch: Arch) -> Vec<String> {
        let mut packages = vec![self.package.to_owned()];
        let modules = format!(
            "linux-modules-{}-cloud-{}",
            self.release,
            arch.debian_name()
        );
        if self.has_own_modules && names.contains(modules.as_str()) {
            packages.push(modules);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;

    #[test]
    fn the_newest_kernel_is_taken_by_number() {
        let names = BTreeSet::from([
            "linux-image-6.1.0-9-cloud-amd64-unsigned",
            "linux-image-6.1.0-56-cloud-amd64-unsigned",
            "linux-image-6.1.0-57-cloud-arm64",
            "linux-image-6.12.1-cloud-amd64-unsigned",
            "linux-image-6.1.0-57-cloud-amd64-dbg",
            "linux-image-6.1-cloud-amd64",
            "linux-binary-7.1.4+deb13-cloud-amd64",
            "linux-binary-7.3.4+deb13-cloud-amd64",
            "linux-image-7.3.4+deb13-cloud-amd64",
            "linux-modules-7.3.4+deb13-cloud-amd64",
        ]);
        let of = |target: &str| newest(&names, target.parse().unwrap());
        assert_eq!(
            of("6.1"),
            [
                ["linux-image-6.1.0-56-cloud-amd64-unsigned"],
                ["linux-image-6.1.0-9-cloud-amd64-unsigned"]
            ]
        );
        assert_eq!(of("6.1-arm64"), [["linux-image-6.1.0-57-cloud-arm64"]]);
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
        // The archive has no modules of it.
        assert_eq!(of("7.1"), [["linux-binary-7.1.4+deb13-cloud-amd64"]]);
        assert!(of("4.19").is_empty());
    }
}
