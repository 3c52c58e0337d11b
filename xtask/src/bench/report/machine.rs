//! What the bench ran on and with. Read once, when a report begins.

use crate::process::output_of;
use anyhow::Context;
use serde::Serialize;
use std::fs;
use std::path::Path;

/// Programs that a measurement depends on, and how each is asked for its version.
const TOOLS: [(&str, &str); 5] = [
    ("tcpdump", "--version"),
    ("bpftrace", "--version"),
    ("perf", "--version"),
    ("nginx", "-v"),
    ("wrk", "-v"),
];

/// The machine.
#[derive(Clone, Debug, Serialize)]
pub(in crate::bench) struct Machine {
    /// Model of the processors.
    pub(super) processor: String,
    /// Processors that this process may use.
    pub(super) processors: usize,
    /// Memory, GiB.
    pub(super) memory_gib: f64,
    /// `uname -r`, without what its builder adds.
    pub(super) kernel: String,
    /// Processes that wanted to run when the bench began, over one minute: others' work is noise.
    pub(super) load_average: f64,
    /// How rstmon captures here, by its `check`: other modes run other programs.
    pub(super) mode: Option<String>,
    /// What the programs say of their versions; those that are not installed are not there.
    pub(super) tools: Vec<String>,
}

impl Machine {
    /// Reads what this one is.
    pub(super) fn read(rstmon: &Path) -> anyhow::Result<Self> {
        let read =
            |path: &str| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
        let uname = nix::sys::utsname::uname().context("cannot ask for the kernel's release")?;
        Ok(Self {
            processor: parse_processor(&read("/proc/cpuinfo")?),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: parse_memory(&read("/proc/meminfo")?)
                .context("/proc/meminfo has no MemTotal")?,
            kernel: version_of(&uname.release().to_string_lossy()).to_owned(),
            load_average: read("/proc/loadavg")?
                .split_whitespace()
                .next()
                .and_then(|load| load.parse().ok())
                .context("/proc/loadavg does not begin with a number")?,
            mode: read_mode(rstmon),
            tools: read_versions(rstmon),
        })
    }
}

/// The numbers that a release begins with.
fn version_of(release: &str) -> &str {
    let ends = release.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    &release[..ends.unwrap_or(release.len())]
}

fn read_mode(rstmon: &Path) -> Option<String> {
    let report = output_of(&rstmon.to_string_lossy(), &["check", "-o", "json"])?;
    let report: serde_json::Value = serde_json::from_str(&report).ok()?;
    Some(report["mode"].as_str()?.to_owned())
}

fn read_versions(rstmon: &Path) -> Vec<String> {
    let rstmon = rstmon.to_string_lossy();
    let asked = std::iter::once((rstmon.as_ref(), "--version")).chain(TOOLS);
    asked
        .filter_map(|(program, flag)| both_outputs_of(program, flag))
        .filter_map(|output| parse_version(&output))
        .collect()
}

/// nginx and wrk tell their version on standard error or with an exit code of failure.
fn both_outputs_of(program: &str, flag: &str) -> Option<String> {
    output_of("sh", &["-c", "\"$0\" \"$1\" 2>&1; true", program, flag])
}

/// The first line that has a version in it, without what follows it.
fn parse_version(output: &str) -> Option<String> {
    let line = output
        .lines()
        .find(|line| line.contains(|letter: char| letter.is_ascii_digit()))?;
    if line.contains("not found") {
        return None;
    }
    let line = line.trim_start_matches("nginx version: ");
    let version = line.split([' ', '/']).take(3).collect::<Vec<_>>();
    let ends = version
        .iter()
        .position(|word| word.contains(|letter: char| letter.is_ascii_digit()))?;
    Some(version[..=ends].join(" "))
}

/// `model name` of the first processor, or what arm64 has instead.
fn parse_processor(cpuinfo: &str) -> String {
    let value_of = |name: &str| {
        cpuinfo.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    };
    value_of("model name")
        .or_else(|| value_of("CPU part").map(|part| format!("CPU part {part}")))
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// `MemTotal`, GiB.
fn parse_memory(meminfo: &str) -> Option<f64> {
    let value = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: f64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0 / 1024.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::{Machine, parse_memory, parse_processor, parse_version};
    use std::path::Path;

    #[test]
    fn versions_are_cut_to_the_name_and_the_number() {
        for (output, version) in [
            (
                "tcpdump version 4.99.3\nlibpcap version 1.10.3\n",
                "tcpdump version 4.99.3",
            ),
            ("bpftrace v0.17.0\n", "bpftrace v0.17.0"),
            ("perf version 6.1.192\n", "perf version 6.1.192"),
            ("nginx version: nginx/1.22.1\n", "nginx 1.22.1"),
            (
                "wrk debian/4.1.0-3+b2 [epoll] Copyright (C) 2012\n",
                "wrk debian 4.1.0-3+b2",
            ),
        ] {
            assert_eq!(parse_version(output).as_deref(), Some(version));
        }
        assert_eq!(parse_version("sh: 1: wrk: not found\n"), None);
        assert_eq!(parse_version(""), None);
    }

    #[test]
    fn the_processor_and_the_memory_are_read() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A CPU @ 2.80GHz\nmodel name\t: B\n";
        assert_eq!(parse_processor(cpuinfo), "A CPU @ 2.80GHz");
        assert_eq!(parse_processor("CPU part\t: 0xd0c\n"), "CPU part 0xd0c");
        let memory = parse_memory("MemTotal:       2097152 kB\nMemFree: 1 kB\n").unwrap();
        assert!((memory - 2.0).abs() < 1e-9);
        assert_eq!(parse_memory("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn this_machine_is_one() {
        let machine = Machine::read(Path::new("/nonexistent")).unwrap();
        assert!(machine.processors >= 1);
        assert!(machine.memory_gib > 0.0);
        assert!(!machine.processor.is_empty());
    }
}
