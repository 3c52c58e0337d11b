//! Whether a kernel's result is what the declaration says of it. Pure.
//!
//! A declaration that has changed since the kernel was run is found here, without a machine.

use super::{KernelResult, Lab};
use crate::vm::declared::{Declaration, EVERY, Expected};
use crate::vm::runs::{Run, find_run};
use crate::vm::target::Target;
use std::collections::BTreeSet;

const FAMILIES: [&str; 2] = ["ipv4", "ipv6"];

/// Whether the lab's verdict on a scenario is what is expected of it.
pub(in crate::vm) fn is_as_expected(verdict: &str, expected: Expected) -> bool {
    match verdict {
        super::SEEN => matches!(expected, Expected::Seen | Expected::SeenOrNot),
        "not-visible" => matches!(expected, Expected::Unseen | Expected::SeenOrNot),
        "not-run" | "skipped" => expected == Expected::NotRun,
        "differs" => expected == Expected::Mistold,
        _ => false,
    }
}

/// Each difference, in words.
pub(in crate::vm) fn contradictions(
    target: Target,
    result: &KernelResult,
    declared: &Declaration,
) -> Vec<String> {
    let mut found = Vec::new();
    let refused: BTreeSet<&str> = result.refused.iter().map(String::as_str).collect();
    for name in refused.symmetric_difference(&declared.missing_variants(target)) {
        let what = if refused.contains(name) {
            "was refused, declared is that it attaches"
        } else {
            "was not refused, declared is that it is"
        };
        found.push(format!("{target}: {name} {what}"));
    }
    for (name, way) in &result.ways {
        let Some(run) = find_run(name) else {
            found.push(format!("{target}: there is no way `{name}`"));
            continue;
        };
        let is_missing = declared.is_missing(target, run);
        let is_had = way.mode.is_some();
        if is_had == is_missing {
            let what = if is_had {
                "had, declared is that it is not"
            } else {
                "not had, declared is that it is"
            };
            found.push(format!("{target} {name}: {what}"));
        }
        if is_missing {
            continue;
        }
        let degraded: BTreeSet<&str> = way.degraded.iter().map(String::as_str).collect();
        let declared_ids = declared.degradations(target, run);
        for id in degraded.difference(&declared_ids) {
            found.push(format!(
                "{target} {name}: degraded by {id}, which is not declared"
            ));
        }
        for id in declared_ids.difference(&degraded) {
            found.push(format!(
                "{target} {name}: not degraded by {id}, as is declared"
            ));
        }
        if let Some(lab) = &way.lab {
            found.extend(contradictions_of_lab(target, run, lab, declared));
        }
    }
    found
}

fn contradictions_of_lab(
    target: Target,
    run: &Run,
    lab: &Lab,
    declared: &Declaration,
) -> Vec<String> {
    let mut found = Vec::new();
    let expected = |id: &str, family: &str| declared.expected(target, run, id, family);
    let mut tell = |id: &str, family: &str, verdict: &str| {
        if !is_as_expected(verdict, expected(id, family)) {
            let name = run.name;
            found.push(format!(
                "{target} {name}: {id}/{family} gave `{verdict}`, declared is otherwise"
            ));
        }
    };
    for (name, verdict) in &lab.unseen {
        match name.split_once('/') {
            Some((id, family)) => tell(id, family, verdict),
            None => FAMILIES
                .iter()
                .for_each(|family| tell(name, family, verdict)),
        }
    }
    for id in declared.scenarios(target, run) {
        for family in FAMILIES {
            let is_told = |name: &str| lab.unseen.contains_key(name);
            // What is not told apart was seen.
            if !is_told(id) && !is_told(&format!("{id}/{family}")) {
                tell(id, family, super::SEEN);
            }
        }
    }
    if let Some(only) = declared.only_played(target, run)
        && lab.played > only.len() * FAMILIES.len()
    {
        found.push(format!(
            "{target} {}: {} were played, declared is `{EVERY}` not to be",
            run.name, lab.played
        ));
    }
    found
}
