//! What each kernel gave when it was last run: `docs/kernel-results.toml`. Pure, but for that file.
//!
//! [`super::judge`] gathers it from a console, [`super::document`] makes a page of it, and
//! [`agree`] compares it with the declaration. Only a run of everything without a failure is kept
//! (see [`super::judge::Report::recordable`]), so what stands here is whole, and as declared then.

mod agree;

pub(super) use agree::{contradictions, is_as_expected};

use super::runs::RUNS;
use super::target::Target;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The lab's word for a scenario of which all was seen.
pub(super) const SEEN: &str = "matched";

const HEAD: &str = "\
# What each kernel gave when `cargo xtask vm --record-results` last ran all of it. Not edited by hand:
# docs/kernel-support.md is made from it, with the reasons in kernel-support.toml.
";

/// The kernels that were run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Results {
    kernels: BTreeMap<Target, KernelResult>,
}

/// How a run was made, which its console tells, so that it can be recorded later too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Made {
    /// Version of Debian's package of the kernel.
    pub(super) debian: String,
    /// When, the day in UTC.
    pub(super) day: String,
    /// With which eBPF programs: see [`super::programs`].
    pub(super) programs: String,
}

/// What one kernel gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KernelResult {
    /// What `uname -r` said.
    pub(super) release: String,
    /// How many variants of hooks attached.
    pub(super) attached: usize,
    /// Those that the kernel refused.
    pub(super) refused: BTreeSet<String>,
    pub(super) made: Made,
    /// By the names of the runs.
    pub(super) ways: BTreeMap<String, Way>,
}

/// What one way to capture gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Way {
    /// The mode that it gave; `None`: the kernel does not allow this way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mode: Option<String>,
    /// Ids of what `check` calls degraded.
    pub(super) degraded: BTreeSet<String>,
    /// Of the last lab, where this way has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lab: Option<Lab>,
}

/// What a lab gave. A result is a scenario with one IP version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Lab {
    /// Results that were played, whatever came of them.
    pub(super) played: usize,
    pub(super) seen: usize,
    pub(super) not_visible: usize,
    pub(super) told_otherwise: usize,
    pub(super) not_run: usize,
    /// The lab's verdict on each scenario that was not seen; its name has the IP version behind it
    /// where the verdict is not that of both.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) unseen: BTreeMap<String, String>,
}

/// Verdicts by scenario, then by IP version.
pub(super) type Verdicts = BTreeMap<String, BTreeMap<String, String>>;

impl Lab {
    pub(super) fn of(verdicts: &Verdicts) -> Self {
        let mut lab = Self::default();
        for (id, by_family) in verdicts {
            for verdict in by_family.values() {
                let sum = match verdict.as_str() {
                    SEEN => &mut lab.seen,
                    "not-visible" => &mut lab.not_visible,
                    "not-run" | "skipped" => &mut lab.not_run,
                    _ => &mut lab.told_otherwise,
                };
                *sum += 1;
            }
            let different: BTreeSet<&String> = by_family.values().collect();
            for (family, verdict) in by_family.iter().filter(|(_, verdict)| *verdict != SEEN) {
                let name = match different.len() {
                    1 => id.clone(),
                    _ => format!("{id}/{family}"),
                };
                lab.unseen.insert(name, verdict.clone());
            }
        }
        lab.played = lab.seen + lab.not_visible + lab.told_otherwise;
        lab
    }
}

impl Results {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is wrong", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let by_name: BTreeMap<String, KernelResult> = toml::from_str(text)?;
        let mut kernels = BTreeMap::new();
        for (name, result) in by_name {
            let target = name.parse().map_err(anyhow::Error::msg)?;
            let known = |way: &&String| RUNS.iter().any(|run| run.name == **way);
            if let Some(unknown) = result.ways.keys().find(|way| !known(way)) {
                bail!("no way to capture is called `{unknown}`, of {name}");
            }
            kernels.insert(target, result);
        }
        Ok(Self { kernels })
    }

    /// The file's text: the kernels in the order of the matrix, so that a new run of one changes its
    /// section alone.
    pub(super) fn render(&self) -> Result<String> {
        let mut text = HEAD.to_owned();
        for (target, result) in &self.kernels {
            let section = BTreeMap::from([(target.to_string(), result)]);
            text.push('\n');
            text.push_str(&toml::to_string_pretty(&section).context("cannot write a result")?);
        }
        Ok(text)
    }

    /// Puts one kernel's result in place of the one before, in the file. Machines that end at the
    /// same time must call it one after the other.
    pub(super) fn record(path: &Path, target: Target, result: KernelResult) -> Result<()> {
        let mut results = Self::read(path)?;
        results.kernels.insert(target, result);
        // In one step: whoever interrupts this must not find half a file.
        let new = path.with_extension("toml.new");
        fs::write(&new, results.render()?)
            .and_then(|()| fs::rename(&new, path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// What a kernel gave; `None`: it was not run.
    pub(super) fn of(&self, target: Target) -> Option<&KernelResult> {
        self.kernels.get(&target)
    }

    /// All of them, in the order of the matrix.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Target, &KernelResult)> {
        self.kernels
            .iter()
            .map(|(target, result)| (*target, result))
    }
}

#[cfg(test)]
pub(in crate::vm) mod tests;
