//! Which packages the kernels of the matrix are: `xtask/kernels.toml`.
//!
//! A record makes a run repeatable; it must not break one because Debian moved on. So a package that
//! the archive has at the recorded version must have the recorded checksum, and one that it has no
//! more is replaced by the newest of that kernel, checked by the archive's signature, with a note.

use super::target::Target;
use crate::process::root;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// A package at a version.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pin {
    pub(super) version: String,
    pub(super) sha256: String,
}

/// The packages of one kernel, by name.
pub(super) type Pins = BTreeMap<String, Pin>;

/// The record: the kernels of the matrix, with their packages.
#[derive(Debug, Default)]
pub(super) struct Record {
    kernels: BTreeMap<Target, Pins>,
}

const HEAD: &str = "\
# The kernels of the matrix, as Debian's packages. What is recorded is what `cargo xtask vm` boots, by
# checksum, as long as the archive has it. Written by `cargo xtask vm --record [KERNEL…]`.
";

impl Record {
    /// Reads it.
    pub(super) fn read() -> Result<Self> {
        let text = fs::read_to_string(path())
            .with_context(|| format!("cannot read {}", path().display()))?;
        Self::parse(&text).with_context(|| format!("{} is wrong", path().display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let by_name: BTreeMap<String, Pins> = toml::from_str(text)?;
        let kernels = by_name
            .into_iter()
            .map(|(name, pins)| Ok((name.parse().map_err(anyhow::Error::msg)?, pins)));
        Ok(Self {
            kernels: kernels.collect::<Result<_>>()?,
        })
    }

    /// The kernels, oldest first, one architecture after the other.
    pub(super) fn targets(&self) -> impl DoubleEndedIterator<Item = Target> {
        self.kernels.keys().copied()
    }

    /// The packages of a kernel, if it is recorded.
    pub(super) fn pins(&self, target: Target) -> Option<&Pins> {
        self.kernels.get(&target)
    }

    /// Puts a kernel's packages in place of those before.
    pub(super) fn put(&mut self, target: Target, pins: Pins) {
        self.kernels.insert(target, pins);
    }

    /// Writes it.
    pub(super) fn write(&self) -> Result<()> {
        fs::write(path(), self.render())
            .with_context(|| format!("cannot write {}", path().display()))
    }

    fn render(&self) -> String {
        let of_kernel = |(target, pins): (&Target, &Pins)| {
            let lines: String = pins.iter().map(render_pin).collect();
            format!("\n[\"{target}\"]\n{lines}")
        };
        HEAD.to_owned() + &self.kernels.iter().map(of_kernel).collect::<String>()
    }
}

/// A package's line.
pub(super) fn render_pin((package, pin): (&String, &Pin)) -> String {
    let Pin { version, sha256 } = pin;
    format!("\"{package}\" = {{ version = \"{version}\", sha256 = \"{sha256}\" }}\n")
}

/// The version of a kernel's packages: they are of one source.
pub(super) fn version_of(pins: &Pins) -> &str {
    let first = pins.values().next();
    first.map_or("", |pin| pin.version.as_str())
}

fn path() -> PathBuf {
    root().join("xtask/kernels.toml")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;

    #[test]
    fn the_record_is_as_the_command_writes_it() {
        let text = fs::read_to_string(path()).unwrap();
        let record = Record::parse(&text).unwrap();
        assert_eq!(record.render(), text);
        assert!(record.targets().count() > 0);
        for pins in record.kernels.values() {
            assert!(!pins.is_empty());
            let is_sha256 = |pin: &Pin| {
                pin.sha256.len() == 64 && pin.sha256.bytes().all(|it| it.is_ascii_hexdigit())
            };
            assert!(pins.values().all(is_sha256));
        }
    }

    #[test]
    fn kernels_stand_in_the_order_of_their_versions() {
        let kernel = "\np = { version = \"1\", sha256 = \"0\" }\n";
        let names = ["6.12-arm64", "6.12", "5.10", "6.1"];
        let sections = names.map(|name| format!("[\"{name}\"]{kernel}"));
        let text = sections.concat();
        let record = Record::parse(&text).unwrap();
        let order: Vec<String> = record.targets().map(|it| it.to_string()).collect();
        assert_eq!(order, ["5.10", "6.1", "6.12", "6.12-arm64"]);
        assert!(Record::parse("[\"six\"]").is_err());
    }
}
