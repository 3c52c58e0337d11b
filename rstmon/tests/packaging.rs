//! What `packaging/` ships agrees with what rstmon has: each metric that a dashboard or a rule names
//! is one that the agent shows. Pure: reads
//! files of the repository.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Every family that the dashboard and the rules may name, here and nowhere else in the tests.
const FAMILIES: &[&str] = &[
    "rstmon_build_info",
    "rstmon_config_last_reload_successful",
    "rstmon_connection_age_seconds",
    "rstmon_connection_idle_seconds",
    "rstmon_events_lost_total",
    "rstmon_hook_attached",
    "rstmon_kernel_info",
    "rstmon_kernel_resets_total",
    "rstmon_peer_resets_total",
    "rstmon_port_resets_total",
    "rstmon_process_resets_total",
    "rstmon_resets_total",
    "rstmon_series",
    "rstmon_series_limit",
    "rstmon_series_overflow_total",
    "rstmon_snmp_resets_total",
    "rstmon_unaccounted_resets",
    "rstmon_workload_resets_total",
];

fn packaging(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../packaging")
        .join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(packaging(path)).unwrap()
}

/// Words that look like a family: `rstmon_…`, not a part of a recorded name (`level:rstmon_…:rate`).
fn named_families(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .filter(|word| word.starts_with("rstmon_") && !word.contains(':'))
        .map(|word| word.strip_suffix("_bucket").unwrap_or(word))
        .collect()
}

#[test]
fn dashboards_and_rules_name_families_that_exist() {
    let families: BTreeSet<&str> = FAMILIES.iter().copied().collect();
    for file in [
        "prometheus/alerts.yml",
        "prometheus/recording.yml",
        "grafana/rstmon.json",
    ] {
        let text = text(file);
        let named = named_families(&text);
        assert!(
            !named.is_empty(),
            "{file} names none: is this test reading it?"
        );
        let unknown: Vec<_> = named.difference(&families).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn an_unknown_family_is_found() {
    let named = named_families("rate(rstmon_typo_total[5m]) + instance:rstmon_events_lost:rate5m");
    assert_eq!(named, BTreeSet::from(["rstmon_typo_total"]));
}

#[test]
fn recorded_names_in_alerts_are_recorded() {
    let recording = text("prometheus/recording.yml");
    let recorded: BTreeSet<&str> = recording
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- record: "))
        .collect();
    let alerts = text("prometheus/alerts.yml");
    let used: BTreeSet<&str> = alerts
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .filter(|word| word.contains(":rstmon_"))
        .collect();
    assert!(!used.is_empty());
    assert!(used.is_subset(&recorded), "{used:?} of {recorded:?}");
}

#[test]
fn dashboard_has_the_variables_and_no_identity_of_one_grafana() {
    let dashboard: serde_json::Value = serde_json::from_str(&text("grafana/rstmon.json")).unwrap();
    assert!(dashboard["id"].is_null());
    assert!(dashboard.get("__inputs").is_none());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<_> = variables
        .iter()
        .filter_map(|it| it["name"].as_str())
        .collect();
    assert_eq!(names, ["datasource", "job", "instance"]);
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(
                target["datasource"]["uid"], "${datasource}",
                "{}",
                panel["title"]
            );
        }
    }
}
