//! What `packaging/` ships agrees with what rstmon has: each metric that a dashboard or a rule names
//! is one that the agent shows, and each setting of the default configuration is one that it takes.
//! Reads files of the repository.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use rstmon::agent::settings::Settings;
use rstmon::agent::settings::layers::{Layers, load};
use rstmon::metrics::families::Family;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

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
    let families: BTreeSet<&str> = Family::ALL.iter().map(|it| it.name()).collect();
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

#[test]
fn the_default_configuration_names_every_setting_with_its_default() {
    let text = text("rstmon.toml");
    // A line that is commented out: `#key = value`, no blank after the sign.
    let uncommented: Vec<&str> = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if setting.starts_with(|it: char| it.is_ascii_lowercase()) => setting,
            _ => line,
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rstmon.toml");
    std::fs::write(&file, uncommented.join("\n")).unwrap();
    let layers = Layers {
        file: Some(file),
        ..Layers::default()
    };
    let (settings, effective) = load(&layers).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(settings, Settings::from_texts(&BTreeMap::new()).unwrap());
    for (key, (_, source)) in effective {
        assert!(
            source.to_string().contains("rstmon.toml"),
            "{key}: {source}"
        );
    }
}

#[test]
fn rules_pass_the_tests_of_promtool() {
    if std::process::Command::new("promtool")
        .arg("--version")
        .output()
        .is_err()
    {
        let is_required = std::env::var_os("RSTMON_REQUIRE_BPF").is_some_and(|it| it == "1");
        assert!(!is_required, "promtool is missing");
        rstmon_lab::say_skipped("needs promtool");
        return;
    }
    let output = std::process::Command::new("promtool")
        .args(["test", "rules"])
        .arg(packaging("prometheus/tests.yml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}
