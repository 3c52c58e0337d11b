//! The command line of `vm`: which kernels, which runs, and what is to become of them.

use super::record::Record;
use super::runs::{RUNS, Run};
use super::target::{Arch, Target, Version};
use crate::setup::Purpose;
use anyhow::{Result, bail};
use clap::Args;
use std::collections::BTreeSet;
use std::str::FromStr;

/// Arguments of `vm`.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
#[derive(Clone, Debug, Args)]
pub(crate) struct VmArgs {
    /// Kernels, as X.Y or X.Y-arm64; without an architecture that of --arch, else amd64. Without any,
    /// all that are recorded, of both architectures
    #[arg(value_name = "KERNEL")]
    kernels: Vec<Named>,
    /// Only kernels of this architecture
    #[arg(long, value_enum)]
    arch: Option<Arch>,
    /// How often the lab runs in each way to capture, from the second time in random order
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) repeat: u32,
    /// Only the runs of this mode, or the run of this name
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    mode: Option<String>,
    /// How many machines run beside each other
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) jobs: u32,
    /// Keep what each kernel gives in docs/kernel-results.toml, if nothing fails there, and write
    /// docs/kernel-support.md from it
    #[arg(long, conflicts_with_all = ["mode", "record", "document"])]
    pub(super) record_results: bool,
    /// Boot nothing: record the newest packages of these kernels in xtask/kernels.toml
    #[arg(long, conflicts_with_all = ["repeat", "mode", "document", "again"])]
    pub(super) record: bool,
    /// Boot nothing: compare the consoles of the last run with the declaration as it is now
    #[arg(long)]
    pub(super) again: bool,
    /// Boot nothing: write docs/kernel-support.md from docs/kernel-results.toml, with the reasons in
    /// docs/kernel-support.toml
    #[arg(long, conflicts_with = "again")]
    pub(super) document: bool,
}

/// A kernel as it is named there.
#[derive(Clone, Copy, Debug)]
struct Named {
    version: Version,
    arch: Option<Arch>,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('-').unwrap_or((text, ""));
        let arch = match parts.1 {
            "" if text.ends_with('-') => return Err(format!("`{text}` names no architecture")),
            "" => None,
            "amd64" => Some(Arch::Amd64),
            "arm64" => Some(Arch::Arm64),
            other => return Err(format!("`{other}` is no architecture; amd64 and arm64 are")),
        };
        Ok(Self {
            version: parts.0.parse()?,
            arch,
        })
    }
}

impl VmArgs {
    /// What continuous integration has time for: the oldest and the newest kernel.
    pub(crate) fn ends() -> Result<Self> {
        let all = Self {
            kernels: Vec::new(),
            arch: Some(Arch::Amd64),
            repeat: 1,
            mode: None,
            jobs: 2,
            record_results: false,
            record: false,
            again: false,
            document: false,
        };
        let targets = all.targets(&Record::read()?)?;
        let ends = targets.first().into_iter().chain(targets.last());
        let named = |target: &Target| Named {
            version: target.version,
            arch: Some(target.arch),
        };
        Ok(Self {
            kernels: ends.map(named).collect(),
            ..all
        })
    }

    /// The kernels that are meant.
    pub(super) fn targets(&self, record: &Record) -> Result<Vec<Target>> {
        if self.kernels.is_empty() {
            let is_meant = |target: &Target| self.arch.is_none_or(|arch| arch == target.arch);
            let recorded: Vec<Target> = record.targets().filter(is_meant).collect();
            if recorded.is_empty() {
                bail!("no kernel is recorded; `cargo xtask vm --record KERNEL…` does it");
            }
            return Ok(recorded);
        }
        let mut targets = Vec::new();
        for named in &self.kernels {
            let arch = named.arch.or(self.arch).unwrap_or_default();
            let target = Target {
                arch,
                version: named.version,
            };
            if self.arch.is_some_and(|only| only != arch) {
                bail!("{target} is not of the architecture that --arch gives");
            }
            // Two machines of one kernel would write to the same console.
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        Ok(targets)
    }

    /// What must be set up for them.
    pub(crate) fn purposes(&self) -> Result<Vec<Purpose>> {
        let targets = self.targets(&Record::read()?)?;
        let archs: BTreeSet<Arch> = targets.iter().map(|target| target.arch).collect();
        let of_archs = archs.into_iter().map(Arch::purpose);
        Ok(std::iter::once(Purpose::Machines).chain(of_archs).collect())
    }

    /// The runs that are meant.
    pub(super) fn runs(&self) -> Vec<&'static Run> {
        let is_meant = |run: &&Run| self.mode.as_ref().is_none_or(|word| run.is_called(word));
        RUNS.iter().filter(is_meant).collect()
    }
}

/// A mode, or the name of a run.
fn parse_mode(text: &str) -> Result<String, String> {
    if RUNS.iter().any(|run| run.is_called(text)) {
        return Ok(text.to_owned());
    }
    let names: Vec<&str> = RUNS.iter().map(|run| run.name).collect();
    Err(format!(
        "give probe, tracepoint, classic, or one of {}",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        vm: VmArgs,
    }

    fn parsed(line: &str) -> Result<VmArgs, clap::Error> {
        let words = std::iter::once("vm").chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| cli.vm)
    }

    fn targets(line: &str) -> Result<Vec<String>> {
        let targets = parsed(line)?.targets(&Record::read().unwrap())?;
        Ok(targets.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn without_a_kernel_the_whole_matrix_is_meant_and_an_architecture_narrows_it() {
        let all: Vec<String> = Record::read()
            .unwrap()
            .targets()
            .map(|target| target.to_string())
            .collect();
        assert_eq!(targets("").unwrap(), all);
        let is_arm64 = |name: &&String| name.ends_with("-arm64");
        let (arm64, amd64): (Vec<&String>, Vec<&String>) = all.iter().partition(is_arm64);
        assert!(!arm64.is_empty() && !amd64.is_empty());
        assert_eq!(
            targets("--arch arm64").unwrap().iter().collect::<Vec<_>>(),
            arm64
        );
        assert_eq!(
            targets("--arch amd64").unwrap().iter().collect::<Vec<_>>(),
            amd64
        );
    }

    #[test]
    fn a_kernel_is_of_the_architecture_that_its_name_or_the_option_gives() {
        let cases: [(&str, &[&str]); 5] = [
            ("6.12", &["6.12"]),
            ("6.12-amd64 6.12", &["6.12"]),
            ("6.12-arm64 6.1", &["6.12-arm64", "6.1"]),
            ("6.12 --arch arm64", &["6.12-arm64"]),
            ("6.12-arm64 --arch arm64", &["6.12-arm64"]),
        ];
        for (line, expected) in cases {
            assert_eq!(targets(line).unwrap(), expected, "{line}");
        }
        let error = targets("6.12-arm64 --arch amd64").unwrap_err();
        assert!(
            error.to_string().starts_with("6.12-arm64 is not of"),
            "{error}"
        );
        for wrong in ["6", "6.12-", "6.12-riscv", "--arch riscv"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_a_whole_run_is_not_recorded() {
        for wrong in ["--mode probe", "--record", "--document"] {
            assert!(
                parsed(&format!("--record-results {wrong}")).is_err(),
                "{wrong}"
            );
        }
        assert!(parsed("--record-results --again 6.12").is_ok());
    }

    #[test]
    fn a_mode_means_its_runs_and_a_name_its_run() {
        let runs = |word: &str| {
            let args = parsed(&format!("--mode {word}")).unwrap();
            args.runs().iter().map(|run| run.name).collect::<Vec<_>>()
        };
        assert_eq!(runs("tracepoint"), ["tracepoint", "btf-file-tracepoint"]);
        assert_eq!(runs("kprobe"), ["kprobe"]);
        assert!(runs("probe").contains(&"fentry") && !runs("probe").contains(&"classic"));
        assert!(parse_mode("fast").is_err());
    }

    #[test]
    fn the_ends_are_the_oldest_and_the_newest_recorded_of_amd64() {
        let record = Record::read().unwrap();
        let targets = VmArgs::ends().unwrap().targets(&record).unwrap();
        let recorded: Vec<Target> = record
            .targets()
            .filter(|it| it.arch == Arch::Amd64)
            .collect();
        assert_eq!(targets.len(), 2);
        assert_eq!(
            (targets[0], targets[1]),
            (recorded[0], recorded[recorded.len() - 1])
        );
        let purposes = VmArgs::ends().unwrap().purposes().unwrap();
        assert!(!purposes.contains(&Purpose::Arm64Machines));
    }
}
