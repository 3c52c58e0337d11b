//! Every setting, once: its key in the file, its flag, its type, its default, what it is for. The
//! environment variable follows from the key, the help from the text.

use super::values::{
    ByteSize, EventsOutput, EventsPerSec, ListenAddresses, MaxSeries, OptionalPath, OptionalWord,
    PagePath, Period, SettingValue,
};
use crate::filter::Filter;
use crate::kernel::mode::ModeRequest;
use std::collections::BTreeMap;
use std::path::PathBuf;
use thiserror::Error;

/// One setting, as it is declared.
#[derive(Clone, Copy, Debug)]
pub struct Declaration {
    /// `section.key`, as in the file.
    pub key: &'static str,
    /// Long flag, without the hyphens.
    pub flag: &'static str,
    /// What stands for the value in the help.
    pub form: &'static str,
    /// Whether it is a list, to which a flag that is given again adds.
    pub is_list: bool,
    /// Text of the default.
    pub default: &'static str,
    /// Whether SIGHUP takes a new value over; else a restart does.
    pub reloads: bool,
    /// What it is for.
    pub help: &'static str,
    /// Whether a text is a value of it, and if not, why.
    pub check: fn(&str) -> Result<(), String>,
}

impl Declaration {
    /// Name of its environment variable: `RSTMON_WEB_LISTEN_ADDRESS` of `web.listen-address`.
    #[must_use]
    pub fn variable(&self) -> String {
        let key = self.key.replace(['.', '-'], "_").to_ascii_uppercase();
        format!("RSTMON_{key}")
    }

    /// Whether its flag alone, without a value, means that it is on.
    #[must_use]
    pub fn is_switch(&self) -> bool {
        self.form == <bool as SettingValue>::FORM
    }

    /// Section and key within it.
    #[must_use]
    pub fn section_and_key(&self) -> (&'static str, &'static str) {
        self.key.split_once('.').unwrap_or(("", self.key))
    }
}

/// What is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// A file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
        /// That this user may not.
        is_denied: bool,
    },
    /// A file says what it may not say.
    #[error("{}:{line}: {message}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// A variable or a flag says so.
    #[error("{place}: {message}")]
    Elsewhere {
        /// The variable or flag.
        place: String,
        /// What is wrong, and what would be right.
        message: String,
    },
}

/// Declares the settings.
macro_rules! settings {
    ($( $field:ident: $type:ty = $key:literal, $flag:literal, $default:literal, $reloads:literal, $help:literal; )+) => {
        /// The settings that are in force.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Settings { $( #[doc = $help] pub $field: $type, )+ }

        impl Settings {
            /// Every setting.
            pub const DECLARED: &'static [Declaration] = &[ $( Declaration {
                key: $key,
                flag: $flag,
                form: <$type as SettingValue>::FORM,
                is_list: <$type as SettingValue>::IS_LIST,
                default: $default,
                reloads: $reloads,
                help: $help,
                check: |text| <$type as SettingValue>::parse_setting(text).map(drop),
            }, )+ ];

            /// The settings of these texts, by key; what is not there has its default.
            pub fn from_texts(texts: &BTreeMap<&'static str, String>) -> Result<Self, SettingsError> {
                Ok(Self { $( $field: {
                    let text = texts.get($key).map_or($default, String::as_str);
                    <$type as SettingValue>::parse_setting(text).map_err(|message| {
                        SettingsError::Elsewhere { place: $key.to_owned(), message }
                    })?
                }, )+ })
            }

            /// Keys of settings that differ in `newer` and that only a restart takes over.
            #[must_use]
            pub fn differences_that_need_a_restart(&self, newer: &Self) -> Vec<&'static str> {
                let mut keys = Vec::new();
                $( if !$reloads && self.$field != newer.$field { keys.push($key); } )+
                keys
            }

            /// These settings with those of `newer` that are taken over while the agent runs.
            #[must_use]
            pub fn with_reloaded(&self, newer: &Self) -> Self {
                Self { $( $field: if $reloads { newer } else { self }.$field.clone(), )+ }
            }
        }
    };
}

settings! {
    capture_mode: ModeRequest = "capture.mode", "mode", "auto", false,
        "How to capture: auto, probe, tracepoint or classic";
    capture_btf: OptionalPath = "capture.btf", "btf", "", false,
        "BTF of this kernel, where it brings none of its own";
    capture_max_events_per_sec: EventsPerSec = "capture.max-events-per-sec", "max-events-per-sec", "auto", false,
        "Events a second that may be reported, for each CPU; more are counted, not reported, and \
         while such a flood goes on, a sixteenth is reported; auto: 76000, and no more than 608000 \
         for all CPUs; a number is taken as it is";
    events_output: EventsOutput = "events.output", "events", "off", false,
        "Where the event log goes besides the file: stdout, journald or off";
    events_file: OptionalPath = "events.file", "events-file", "", false,
        "File of the event log, JSON lines; empty: none";
    events_max_size: ByteSize = "events.max-size", "events-max-size", "64MiB", true,
        "Size at which the event log's file is rotated; 0: never, SIGHUP opens it again";
    events_keep: u32 = "events.keep", "events-keep", "5", true,
        "Rotated files that are kept";
    events_filter: Filter = "events.filter", "events-filter", "", true,
        "Which events are logged, in the language of `rstmon trace`; metrics count all";
    metrics_max_series: MaxSeries = "metrics.max-series", "metrics.max-series", "", true,
        "Caps of the families, e.g. process=200,port=100,workload=500,peer=100";
    metrics_series_ttl: Period = "metrics.series-ttl", "metrics.series-ttl", "1h", true,
        "Series of capped families that have not changed for this time are dropped";
    metrics_peers: bool = "metrics.peers", "metrics.peers", "false", true,
        "Count by remote address, too";
    metrics_closed_ports: bool = "metrics.closed-ports", "metrics.closed-ports", "false", true,
        "Tell ports apart on which nobody listens; a port scan then fills the family";
    audit_interval: Period = "audit.interval", "audit-interval", "15s", false,
        "How often the kernel's own counters are compared with rstmon's; 0: never";
    socket_path: OptionalPath = "socket.path", "socket", "/run/rstmon/rstmon.sock", false,
        "Control socket for `rstmon top` and `rstmon trace`; empty: none";
    socket_group: OptionalWord = "socket.group", "socket-group", "", false,
        "Group that may use the control socket besides root";
    socket_max_clients: u32 = "socket.max-clients", "socket-max-clients", "16", false,
        "Clients of the control socket at a time";
    web_listen_address: ListenAddresses = "web.listen-address", "web.listen-address", "127.0.0.1:19435", false,
        "Addresses of the web server; empty: none";
    web_systemd_socket: bool = "web.systemd-socket", "web.systemd-socket", "false", false,
        "Take the web server's sockets from systemd's socket unit instead of listening on addresses";
    web_telemetry_path: PagePath = "web.telemetry-path", "web.telemetry-path", "/metrics", false,
        "Path of the metrics";
    web_config_file: OptionalPath = "web.config-file", "web.config.file", "", false,
        "YAML file of the Prometheus exporter toolkit: TLS, client certificates, passwords";
    web_max_requests: u32 = "web.max-requests", "web.max-requests", "40", false,
        "Requests that are answered at a time";
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;

    #[test]
    fn every_default_is_a_value() {
        let settings = Settings::from_texts(&BTreeMap::new()).unwrap();
        assert_eq!(settings.events_keep, 5);
        for declared in Settings::DECLARED {
            assert_eq!(
                (declared.check)(declared.default),
                Ok(()),
                "{}",
                declared.key
            );
        }
    }

    #[test]
    fn variables_follow_from_the_keys() {
        let web = Settings::DECLARED
            .iter()
            .find(|it| it.key == "web.listen-address");
        assert_eq!(web.unwrap().variable(), "RSTMON_WEB_LISTEN_ADDRESS");
    }
}
