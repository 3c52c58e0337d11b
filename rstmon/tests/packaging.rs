//! What `packaging/` ships agrees with what rstmon has: each metric that a dashboard or a rule names
//! is one that the agent shows, and each setting of the default configuration is one that it takes.
//! Reads files of the repository.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod support;

use rstmon::agent::settings::Settings;
use rstmon::agent::settings::layers::{Layers, load};
use rstmon::metrics::families::Family;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use support::programs::installed;

fn packaging(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../packaging")
        .join(path)
}

/// A YAML file, or a text of YAML within one.
fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
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
    let dashboard: Value = serde_json::from_str(&text("grafana/rstmon.json")).unwrap();
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
    if !installed(&["promtool"]) {
        return;
    }
    let output = std::process::Command::new("promtool")
        .args(["test", "rules"])
        .arg(packaging("prometheus/tests.yml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Families that the expression of an alert reads first, by itself or through a recorded one.
fn first_family(expression: &str, recorded: &BTreeMap<String, String>) -> String {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    let mut words = words.filter(|word| *word == "up" || word.contains("rstmon_"));
    let first = words.next().unwrap_or_else(|| panic!("{expression}"));
    recorded.get(first).map_or_else(
        || first.to_owned(),
        |expression| first_family(expression, &BTreeMap::new()),
    )
}

/// The rules of a file.
fn rules_of(file: &str) -> Vec<Value> {
    let rules = yaml(&text(file));
    let groups = rules["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
    rules.cloned().collect()
}

/// A test that gives an alert nothing to look at says nothing of it.
#[test]
fn each_test_of_an_alert_gives_it_series_that_it_reads() {
    let named = |rule: &Value, key: &str| rule[key].as_str().unwrap().to_owned();
    let recorded = rules_of("prometheus/recording.yml");
    let recorded = recorded.iter();
    let recorded = recorded.map(|rule| (named(rule, "record"), named(rule, "expr")));
    let recorded: BTreeMap<String, String> = recorded.collect();
    let alerts = rules_of("prometheus/alerts.yml");
    let alerts = alerts.iter();
    let alerts = alerts.map(|rule| {
        let family = first_family(&named(rule, "expr"), &recorded);
        (named(rule, "alert"), family)
    });
    let alerts: BTreeMap<String, String> = alerts.collect();
    for test in yaml(&text("prometheus/tests.yml"))["tests"]
        .as_array()
        .unwrap()
    {
        let series = test["input_series"].as_array().unwrap().iter();
        let series = series.map(|it| it["series"].as_str().unwrap().split('{').next().unwrap());
        let families: BTreeSet<&str> = series.collect();
        for alert in test["alert_rule_test"].as_array().unwrap() {
            let alert = alert["alertname"].as_str().unwrap();
            let family = &alerts[alert];
            assert!(families.contains(family.as_str()), "{alert}: {family}");
        }
    }
}

#[test]
fn each_alert_has_a_test_of_when_it_fires_and_of_when_it_does_not() {
    let alerts: BTreeSet<String> = rules_of("prometheus/alerts.yml")
        .iter()
        .map(|rule| rule["alert"].as_str().unwrap().to_owned())
        .collect();
    let tests = yaml(&text("prometheus/tests.yml"));
    let tests = tests["tests"].as_array().unwrap().iter();
    let tests: Vec<&Value> = tests
        .flat_map(|test| test["alert_rule_test"].as_array().unwrap())
        .collect();
    for fires in [true, false] {
        let of_these = |test: &&&Value| (test["exp_alerts"] != json!([])) == fires;
        let tested: BTreeSet<String> = tests
            .iter()
            .filter(of_these)
            .map(|test| test["alertname"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(tested, alerts, "fires: {fires}");
    }
}

/// The folder of a kustomization and what it builds on: each file and folder that it names is there.
fn kustomization(folder: &str) -> Value {
    let kustomization = yaml(&text(&format!("{folder}/kustomization.yaml")));
    for resource in kustomization["resources"].as_array().unwrap() {
        let path = packaging(folder).join(resource.as_str().unwrap());
        let is_there = path.is_file() || path.join("kustomization.yaml").is_file();
        assert!(is_there, "{folder}: {resource}");
    }
    kustomization
}

/// What kubectl would build, as far as it matters: there is no kubectl on most machines that test.
#[test]
fn the_privileged_overlay_changes_the_bases_container_and_leaves_no_contradiction() {
    kustomization("kubernetes/base");
    kustomization("kubernetes/overlays/prometheus-operator");
    let overlay = kustomization("kubernetes/overlays/privileged");
    assert_eq!(overlay["resources"], json!(["../../base"]));
    let mut daemon_set = yaml(&text("kubernetes/base/daemonset.yaml"));
    let patches = overlay["patches"].as_array().unwrap();
    assert!(!patches.is_empty());
    for patch in patches {
        let target = &patch["target"];
        assert_eq!(target["kind"], daemon_set["kind"]);
        assert_eq!(target["name"], daemon_set["metadata"]["name"]);
        let changes = yaml(patch["patch"].as_str().unwrap());
        for change in changes.as_array().unwrap() {
            assert_eq!(change["op"], "replace", "{change}");
            let path = change["path"].as_str().unwrap();
            // RFC 6902: what is replaced must be there.
            let replaced = daemon_set.pointer_mut(path);
            *replaced.unwrap_or_else(|| panic!("{path} is not in the base")) =
                change["value"].clone();
        }
    }
    let pod = &daemon_set["spec"]["template"]["spec"];
    assert_eq!(pod["containers"].as_array().unwrap().len(), 1);
    let context = pod["containers"][0]["securityContext"].as_object().unwrap();
    assert_eq!(context["privileged"], true);
    assert_eq!(context["runAsUser"], 0);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    // The API refuses this beside `privileged`, and capabilities would say less than is given.
    for contradiction in ["allowPrivilegeEscalation", "capabilities"] {
        assert!(!context.contains_key(contradiction), "{contradiction}");
    }
}
