//! What a virtual machine is: a kernel's version on an architecture, and what that takes.

use crate::setup::Purpose;
use clap::ValueEnum;
use std::fmt;
use std::str::FromStr;

/// An architecture that rstmon runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Arch {
    /// x86-64
    #[default]
    Amd64,
    /// AArch64
    Arm64,
}

impl Arch {
    /// Debian's name of it.
    pub(super) const fn debian_name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Rust's name of the target of a binary without libraries.
    pub(super) const fn rust_target(self) -> &'static str {
        match self {
            Self::Amd64 => crate::setup::STATIC_TARGET,
            Self::Arm64 => crate::setup::STATIC_ARM64_TARGET,
        }
    }

    /// The compiler of what the crates have in C; `None`: the one that is found for the target.
    pub(super) const fn c_compiler(self) -> Option<&'static str> {
        match self {
            Self::Amd64 => None,
            Self::Arm64 => Some("aarch64-linux-gnu-gcc"),
        }
    }

    /// The emulator, and the machine that it plays.
    pub(super) const fn machine(self) -> (&'static str, &'static str) {
        match self {
            Self::Amd64 => ("qemu-system-x86_64", "-M q35 -cpu max"),
            Self::Arm64 => ("qemu-system-aarch64", "-M virt -cpu cortex-a57"),
        }
    }

    /// The kernel's command line for a console on the first serial port.
    pub(super) const fn command_line(self) -> &'static str {
        match self {
            // Without no_timer_check the check of the timer warns in many emulated boots.
            Self::Amd64 => "console=ttyS0 panic=-1 loglevel=3 no_timer_check",
            Self::Arm64 => "console=ttyAMA0 panic=-1 loglevel=3",
        }
    }

    /// What it needs to be set up.
    pub(crate) const fn purpose(self) -> Purpose {
        match self {
            Self::Amd64 => Purpose::Machines,
            Self::Arm64 => Purpose::Arm64Machines,
        }
    }
}

/// A kernel's version, as `6.12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |part: &str| {
            let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| part.parse().ok()).flatten()
        };
        let parts = text.split_once('.');
        parts
            .and_then(|(major, minor)| {
                Some(Self {
                    major: number(major)?,
                    minor: number(minor)?,
                })
            })
            .ok_or_else(|| format!("`{text}` is no kernel; one is named X.Y, as in 6.12"))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A kernel of the matrix. It names directories and log files: `6.12`, or `6.12-arm64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub(crate) arch: Arch,
    pub(crate) version: Version,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (version, arch) = match text.strip_suffix("-arm64") {
            Some(version) => (version, Arch::Arm64),
            None => (text, Arch::Amd64),
        };
        Ok(Self {
            arch,
            version: version.parse()?,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.arch {
            Arch::Amd64 => self.version.fmt(f),
            Arch::Arm64 => write!(f, "{}-arm64", self.version),
        }
    }
}

/// Which kernels something is declared for: `6.12`, `..6.9`, `6.10..`, `6.10..6.18`, each of
/// amd64, or of arm64 with `-arm64` behind it. Both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    arch: Arch,
    first: Option<Version>,
    last: Option<Version>,
}

impl Range {
    pub(super) fn contains(&self, target: Target) -> bool {
        self.arch == target.arch
            && self.first.is_none_or(|first| first <= target.version)
            && self.last.is_none_or(|last| target.version <= last)
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (versions, arch) = match text.strip_suffix("-arm64") {
            Some(versions) => (versions, Arch::Arm64),
            None => (text, Arch::Amd64),
        };
        let (first, last) = versions.split_once("..").unwrap_or((versions, versions));
        let end = |text: &str| (!text.is_empty()).then(|| text.parse()).transpose();
        Ok(Self {
            arch,
            first: end(first)?,
            last: end(last)?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;

    #[test]
    fn a_version_is_two_numbers() {
        assert_eq!("6.12".parse::<Version>().unwrap().to_string(), "6.12");
        for wrong in ["6", "6.", ".1", "6.1.0", "../x", "6.1/..", "6.+1", ""] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
        assert!("6.9".parse::<Version>().unwrap() < "6.12".parse().unwrap());
    }

    #[test]
    fn a_range_has_both_its_ends_and_one_architecture() {
        let contains = |range: &str, target: &str| {
            let range: Range = range.parse().unwrap();
            range.contains(target.parse().unwrap())
        };
        assert!(contains("..6.9", "6.9") && contains("..6.9", "5.10"));
        assert!(!contains("..6.9", "6.10") && !contains("..6.9", "6.1-arm64"));
        assert!(contains("6.10..", "7.3") && !contains("6.10..", "6.9"));
        assert!(contains("6.1..6.12-arm64", "6.12-arm64"));
        assert!(contains("6.12", "6.12") && !contains("6.12", "6.1"));
        assert!(contains("..", "5.10") && !contains("..", "5.10-arm64"));
        assert!("6.x".parse::<Range>().is_err());
    }
}
