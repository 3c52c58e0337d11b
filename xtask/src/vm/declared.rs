//! What is declared of each kernel: `docs/kernel-support.toml`. Pure, but for reading that file.
//!
//! [`super::judge`] compares it with what a guest showed, [`super::document`] writes it out for
//! people. Whatever no rule speaks of is there, attached and seen.

use super::runs::{RUNS, Run};
use super::target::{Range, Target};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Deserializer, de};
use std::collections::BTreeSet;
use std::path::Path;

/// The whole declaration.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Declaration {
    /// Runs that a kernel does not allow: `check` exits with 4.
    pub(super) run_missing: Vec<Rule>,
    /// Variants of hooks that a kernel does not take, by the names of their programs.
    pub(super) variant_missing: Vec<Rule>,
    /// Degradations that `check` tells of, by their ids.
    pub(super) degraded: Vec<Rule>,
    /// Scenarios that a run does not show, or not whole.
    pub(super) unseen: Vec<Rule>,
    /// Scenarios that are told as another cause: known defects.
    pub(super) mistold: Vec<Rule>,
    /// Scenarios that the lab does not play there.
    pub(super) not_run: Vec<Rule>,
    /// Scenarios that are seen at one time and not at another.
    pub(super) races: Vec<Rule>,
}

/// Something about some kernels and some runs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// What it is about.
    pub(super) names: Vec<String>,
    /// What it is not about, where the only name is [`EVERY`].
    #[serde(default)]
    pub(super) but: Vec<String>,
    /// For which kernels.
    #[serde(default = "all_kernels", deserialize_with = "kernels")]
    pub(super) kernels: Vec<(String, Range)>,
    /// In which runs, by name or by mode; empty: in all.
    #[serde(default)]
    pub(super) runs: Vec<String>,
    /// Why.
    pub(super) why: String,
}

/// Stands for every scenario.
pub(super) const EVERY: &str = "*";

/// What must become of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// All of it is seen.
    Seen,
    /// Not all of it.
    Unseen,
    /// It is not played.
    NotRun,
    /// The one or the other.
    SeenOrNot,
    /// It is told as something else.
    Mistold,
}

impl Declaration {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is wrong", path.display()))
    }

    /// Reads its text.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let declaration: Self = toml::from_str(text)?;
        let known = |word: &String| RUNS.iter().any(|run| run.is_called(word));
        for rule in declaration.rules() {
            if let Some(unknown) = rule.runs.iter().find(|word| !known(word)) {
                bail!("no run and no mode is called `{unknown}`");
            }
            if rule.why.trim().is_empty() {
                bail!("no reason is given for {}", rule.names.join(", "));
            }
        }
        Ok(declaration)
    }

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        [
            &self.run_missing,
            &self.variant_missing,
            &self.degraded,
            &self.unseen,
            &self.mistold,
            &self.not_run,
            &self.races,
        ]
        .into_iter()
        .flatten()
    }

    /// Whether a run is declared to be refused.
    pub(super) fn is_missing(&self, target: Target, run: &Run) -> bool {
        let refuses =
            |rule: &&Rule| rule.is_for(target) && rule.names.iter().any(|name| name == run.name);
        self.run_missing.iter().any(|rule| refuses(&rule))
    }

    /// Names of the programs that this kernel does not take.
    pub(super) fn missing_variants(&self, target: Target) -> BTreeSet<&str> {
        let rules = self.variant_missing.iter();
        rules
            .filter(|rule| rule.is_for(target))
            .flat_map(Rule::names)
            .collect()
    }

    /// Ids of what is degraded.
    pub(super) fn degradations(&self, target: Target, run: &Run) -> BTreeSet<&str> {
        names_for(&self.degraded, target, run).collect()
    }

    /// What must become of a scenario, `family` being `ipv4` or `ipv6`.
    pub(super) fn expected(&self, target: Target, run: &Run, id: &str, family: &str) -> Expected {
        let mut not_run = rules_for(&self.not_run, target, run);
        if not_run.any(|rule| rule.speaks_of(id, family)) {
            return Expected::NotRun;
        }
        self.expected_if_played(target, run, id, family)
    }

    /// The same where it is played: what a guest cannot play, another machine with that kernel may.
    pub(super) fn expected_if_played(
        &self,
        target: Target,
        run: &Run,
        id: &str,
        family: &str,
    ) -> Expected {
        let is_in = |rules: &[Rule]| {
            let mut rules = rules_for(rules, target, run);
            rules.any(|rule| rule.speaks_of(id, family))
        };
        if is_in(&self.mistold) {
            Expected::Mistold
        } else if is_in(&self.races) {
            Expected::SeenOrNot
        } else if is_in(&self.unseen) {
            Expected::Unseen
        } else {
            Expected::Seen
        }
    }

    /// Every scenario that a rule speaks of, without the family.
    pub(super) fn scenarios(&self, target: Target, run: &Run) -> BTreeSet<&str> {
        [&self.not_run, &self.races, &self.mistold, &self.unseen]
            .into_iter()
            .flat_map(|rules| names_for(rules, target, run))
            .filter(|name| *name != EVERY)
            .map(|name| name.split_once('/').map_or(name, |(id, _)| id))
            .collect()
    }

    /// The scenarios that are played where most are not.
    pub(super) fn only_played(&self, target: Target, run: &Run) -> Option<&[String]> {
        let mut rules = rules_for(&self.not_run, target, run);
        let rule = rules.find(|rule| rule.names().any(|name| name == EVERY))?;
        Some(&rule.but)
    }
}

fn rules_for<'a>(rules: &'a [Rule], target: Target, run: &Run) -> impl Iterator<Item = &'a Rule> {
    let run = *run;
    let rules = rules.iter();
    rules.filter(move |rule| rule.is_for(target) && rule.is_about(&run))
}

fn names_for<'a>(rules: &'a [Rule], target: Target, run: &Run) -> impl Iterator<Item = &'a str> {
    rules_for(rules, target, run).flat_map(Rule::names)
}

impl Rule {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Whether it speaks of this scenario.
    fn speaks_of(&self, id: &str, family: &str) -> bool {
        self.names().any(|name| match name.split_once('/') {
            _ if name == EVERY => !self.but.iter().any(|but| but == id),
            Some((name, of)) => name == id && of == family,
            None => name == id,
        })
    }

    /// Whether it speaks of this kernel.
    pub(super) fn is_for(&self, target: Target) -> bool {
        self.kernels.iter().any(|(_, range)| range.contains(target))
    }

    /// Whether it speaks of this run.
    pub(super) fn is_about(&self, run: &Run) -> bool {
        self.runs.is_empty() || self.runs.iter().any(|word| run.is_called(word))
    }
}

fn kernels<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, Range)>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    let parsed = texts.into_iter().map(|text| {
        let range = text.parse().map_err(de::Error::custom)?;
        Ok((text, range))
    });
    parsed.collect()
}

/// Of every version and architecture.
fn all_kernels() -> Vec<(String, Range)> {
    ["..", "..-arm64"]
        .into_iter()
        .filter_map(|text| Some((text.to_owned(), text.parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use crate::vm::runs::find_run;

    const TEXT: &str = r#"
        [[run-missing]]
        names = ["fentry"]
        kernels = ["..6.1-arm64"]
        why = "no trampolines"

        [[degraded]]
        names = ["no-kernel-reason"]
        kernels = ["..6.9", "..6.9-arm64"]
        runs = ["tracepoint", "probe"]
        why = "the argument came with 6.10"

        [[unseen]]
        names = ["firewall-reject", "stray-reset/ipv6"]
        runs = ["tracepoint"]
        why = "no probes"

        [[not-run]]
        kernels = ["7.1"]
        names = ["*"]
        but = ["port-closed"]
        why = "no modules"

        [[races]]
        names = ["data-after-close"]
        runs = ["classic"]
        why = "who is first"
    "#;

    #[test]
    fn rules_speak_of_their_kernels_and_runs_alone() {
        let declared = Declaration::parse(TEXT).unwrap();
        let target = |text: &str| text.parse::<Target>().unwrap();
        let run = |name: &str| find_run(name).unwrap();
        assert!(declared.is_missing(target("6.1-arm64"), run("fentry")));
        assert!(!declared.is_missing(target("6.1"), run("fentry")));
        let degraded = |name: &str| declared.degradations(target("6.1"), run(name)).len();
        // A run is meant by its name or by its mode.
        assert_eq!(
            ["tracepoint", "fentry", "btf-file", "classic"].map(degraded),
            [1, 1, 1, 0]
        );
        let expected = |name: &str, id: &str, family: &str| {
            declared.expected(target("7.3"), run(name), id, family)
        };
        assert_eq!(
            expected("tracepoint", "firewall-reject", "ipv4"),
            Expected::Unseen
        );
        assert_eq!(
            expected("tracepoint", "stray-reset", "ipv4"),
            Expected::Seen
        );
        assert_eq!(
            expected("tracepoint", "stray-reset", "ipv6"),
            Expected::Unseen
        );
        assert_eq!(
            expected("kprobe", "firewall-reject", "ipv4"),
            Expected::Seen
        );
        assert_eq!(
            expected("classic", "data-after-close", "ipv4"),
            Expected::SeenOrNot
        );
        let of_7_1 = |id| declared.expected(target("7.1"), run("kprobe"), id, "ipv4");
        assert_eq!(of_7_1("firewall-reject"), Expected::NotRun);
        assert_eq!(of_7_1("port-closed"), Expected::Seen);
        let only = declared.only_played(target("7.1"), run("kprobe"));
        assert_eq!(only, Some(&["port-closed".to_owned()][..]));
        assert_eq!(declared.only_played(target("7.3"), run("kprobe")), None);
        let scenarios = declared.scenarios(target("7.3"), run("tracepoint"));
        assert_eq!(
            scenarios,
            BTreeSet::from(["firewall-reject", "stray-reset"])
        );
    }

    #[test]
    fn what_no_reader_would_find_is_refused() {
        let wrong = [
            TEXT.replace("\"tracepoint\", \"probe\"", "\"tracepoints\""),
            TEXT.replace("[[unseen]]", "[[unsen]]"),
            TEXT.replace("no probes", " "),
            TEXT.replace("..6.1-arm64", "6.x"),
        ];
        for text in wrong {
            assert!(Declaration::parse(&text).is_err(), "{text}");
        }
    }
}
