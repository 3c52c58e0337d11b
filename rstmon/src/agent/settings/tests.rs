//! Settings from files, variables and flags, and their mistakes.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use super::layers::{Layers, Source, load};
use super::table::SettingsError;
use super::values::{EventsPerSec, SettingValue};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(text: &str) -> (Self, Layers) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rstmon.toml");
        fs::write(&file, text).unwrap();
        let layers = Layers {
            file: Some(file),
            ..Layers::default()
        };
        (Self(folder), layers)
    }

    fn drop_in(&self, name: &str, text: &str) {
        let folder = self.0.path().join("rstmon.toml.d");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), text).unwrap();
    }
}

fn message(text: &str) -> String {
    let (_folder, layers) = Folder::with(text);
    load(&layers).unwrap_err().to_string()
}

#[test]
fn a_budget_is_a_number_or_auto() {
    let parse = EventsPerSec::parse_setting;
    assert_eq!(parse("auto"), Ok(EventsPerSec(None)));
    assert_eq!(parse("500"), Ok(EventsPerSec(Some(500))));
    for wrong in ["0", "-1", "x", "Auto", "", "4294967296"] {
        let error = parse(wrong).unwrap_err();
        assert!(
            error.contains(&format!("`{wrong}`")) && error.contains("auto"),
            "{error}"
        );
    }
    for (text, number) in [
        ("500", Some(500)),
        ("\"500\"", Some(500)),
        ("\"auto\"", None),
    ] {
        let (_folder, layers) = Folder::with(&format!("[capture]\nmax-events-per-sec = {text}\n"));
        let (settings, _) = load(&layers).unwrap();
        assert_eq!(settings.capture_max_events_per_sec, EventsPerSec(number));
    }
    let told = message("[capture]\nmax-events-per-sec = 0\n");
    assert!(told.contains("nor auto"), "{told}");
}

#[test]
fn what_comes_later_wins_and_says_where_it_came_from() {
    let (folder, mut layers) = Folder::with(
        "[events]\nkeep = 1\nmax-size = \"1MiB\"\n[metrics]\nseries-ttl = \"5m\"\npeers = true\n",
    );
    folder.drop_in("20-b.toml", "[events]\nkeep = 3\n");
    folder.drop_in("10-a.toml", "[events]\nkeep = 2\nmax-size = 5\n");
    folder.drop_in("30-c.txt", "nothing that is read");
    let name = "RSTMON_METRICS_SERIES_TTL".to_owned();
    layers.variables.push((name.clone(), "10m".to_owned()));
    layers.flags = BTreeMap::from([("socket-group", "ops".to_owned())]);
    let (settings, effective) = load(&layers).unwrap();
    assert_eq!(settings.events_keep, 3);
    assert_eq!(settings.events_max_size.0, 5);
    assert_eq!(settings.metrics_series_ttl.0, Duration::from_mins(10));
    assert!(settings.metrics_peers);
    assert_eq!(settings.socket_group.0.as_deref(), Some("ops"));
    let source = |key| effective.get(key).unwrap().1.clone();
    assert!(matches!(source("events.keep"), Source::File(path, 2) if path.ends_with("20-b.toml")));
    assert_eq!(source("metrics.series-ttl"), Source::Variable(name));
    assert_eq!(source("socket.group"), Source::Flag("socket-group"));
    assert_eq!(source("web.listen-address"), Source::Default);
}

#[test]
fn lists_are_written_as_lists_or_with_commas() {
    for text in [
        "web.listen-address = [\"127.0.0.1:1\", \"[::1]:2\"]",
        "web.listen-address = \"127.0.0.1:1, [::1]:2\"",
    ] {
        let (_folder, layers) = Folder::with(text);
        let (settings, _) = load(&layers).unwrap();
        assert_eq!(settings.web_listen_address.0, ["127.0.0.1:1", "[::1]:2"]);
    }
}

#[test]
fn mistakes_are_named_with_their_line() {
    for (text, line, part) in [
        ("[events]\n\nkep = 1\n", 3, "the nearest is `events.keep`"),
        ("[event]\nkeep = 1\n", 1, "`event` is not a section"),
        ("keep = 1\n", 1, "`keep` is not a section"),
        ("[events]\nkeep = -1\n", 2, "`-1` is no number"),
        ("[events]\nkeep = 1.5\n", 2, "belongs here"),
        ("[events]\nfilter = \"kind sennt\"\n", 2, "sennt"),
        ("[metrics]\nmax-series = \"proces=1\"\n", 2, "process, port"),
        ("[events\n", 1, ""),
        ("[events]\nkeep = 1\nkeep = 2\n", 3, "duplicate"),
    ] {
        let message = message(text);
        assert!(
            message.contains(&format!("rstmon.toml:{line}: ")),
            "{message}"
        );
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_file_that_was_asked_for_must_be_there() {
    let layers = Layers {
        file: Some(PathBuf::from("/nonexistent/rstmon.toml")),
        ..Layers::default()
    };
    assert!(matches!(
        load(&layers),
        Err(SettingsError::Unreadable { .. })
    ));
}

#[test]
fn a_variable_that_is_no_setting_is_refused() {
    let (_folder, mut layers) = Folder::with("");
    layers
        .variables
        .push(("RSTMON_EVENTS_KEEEP".to_owned(), "1".to_owned()));
    let message = load(&layers).unwrap_err().to_string();
    assert!(message.contains("RSTMON_EVENTS_KEEP`"), "{message}");
    // Kubernetes sets these for a service of that name.
    let links = [
        "RSTMON_SERVICE_HOST",
        "RSTMON_PORT",
        "RSTMON_PORT_19435_TCP",
    ];
    layers.variables = links.map(|it| (it.to_owned(), "x".to_owned())).to_vec();
    assert!(load(&layers).is_ok());
    layers.variables = vec![("RSTMON_EVENTS_KEEP".to_owned(), "no".to_owned())];
    let message = load(&layers).unwrap_err().to_string();
    assert!(message.contains("RSTMON_EVENTS_KEEP: `no`"), "{message}");
}
