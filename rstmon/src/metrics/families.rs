//! Every metric family, once: name, type, labels, help. The page, docs/metrics.md and the tests derive
//! from this table.

/// What a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyType {
    /// Only goes up while the process lives.
    Counter,
    /// A value of now.
    Gauge,
    /// Counts by upper bound.
    Histogram,
}

impl FamilyType {
    /// As the exposition format names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Declares the families.
macro_rules! families {
    ($( $variant:ident = $name:literal, $kind:ident, [$($label:literal),*], $help:literal; )+) => {
        /// A metric family.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Family { $( #[doc = $help] $variant, )+ }

        impl Family {
            /// All, in the order of the documentation.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }

            /// What it is.
            #[must_use]
            pub const fn kind(self) -> FamilyType {
                match self { $( Self::$variant => FamilyType::$kind, )+ }
            }

            /// Names of its labels, in the order of the values.
            #[must_use]
            pub const fn labels(self) -> &'static [&'static str] {
                match self { $( Self::$variant => &[$($label),*], )+ }
            }

            /// What it says.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $( Self::$variant => $help, )+ }
            }
        }
    };
}

families! {
    Resets = "rstmon_resets_total", Counter, ["kind", "cause", "initiator"],
        "TCP resets by kind, diagnosed cause and who began it; its sum is that of rstmon_kernel_resets_total.";
    KernelResets = "rstmon_kernel_resets_total", Counter, ["kind", "reason", "state", "family"],
        "TCP resets as counted in the kernel, exact under any load, by the kernel's own reason and the state before; without those that are in flight.";
    ProcessResets = "rstmon_process_resets_total", Counter, ["kind", "cause", "comm"],
        "TCP resets by the process that owns the socket; empty where none does, ~other beyond the cap.";
    PortResets = "rstmon_port_resets_total", Counter, ["kind", "cause", "port"],
        "TCP resets by the service port of the connection; ~closed where nobody listens, ~ephemeral where no end is a service, ~other beyond the cap.";
    WorkloadResets = "rstmon_workload_resets_total", Counter, ["kind", "cause", "namespace", "pod", "container", "unit"],
        "TCP resets by pod and container, or by systemd unit, of the socket; ~other beyond the cap.";
    PeerResets = "rstmon_peer_resets_total", Counter, ["kind", "cause", "peer"],
        "TCP resets by the remote address; only with --metrics.peers, empty where it is not known, ~other beyond the cap.";
    ConnectionAge = "rstmon_connection_age_seconds", Histogram, ["kind", "cause"],
        "Age of connections when they were reset.";
    ConnectionIdle = "rstmon_connection_idle_seconds", Histogram, ["kind", "cause"],
        "Time since the last data in either direction when a connection was reset.";
    EventsLost = "rstmon_events_lost_total", Counter, ["stage"],
        "Events lost on their way, by the place. The resets stay counted, except at program-missed, too-deep and unreadable. Misses of kprobes are known since Linux 6.7 only.";
    EventsInFlight = "rstmon_events_in_flight", Gauge, [],
        "Resets that the kernel side has counted and whose events are not diagnosed yet; falls to 0 within a second, but for records that were unreadable.";
    HookAttached = "rstmon_hook_attached", Gauge, ["hook", "variant"],
        "Whether a hook of the plan is attached: 1, or 0; no series while the module that it is in is not loaded.";
    Degradation = "rstmon_degradation", Gauge, ["id"],
        "1 for each thing that this kernel or this process cannot give; `rstmon check` explains.";
    SnmpResets = "rstmon_snmp_resets_total", Counter, ["kind"],
        "Resets sent by the kernel's own counters (OutRsts) of all network namespaces that can be seen, since the start; those received it does not count.";
    SnmpEvents = "rstmon_snmp_events_total", Counter, ["counter"],
        "Growth of the kernel's other counters that have to do with resets, of all network namespaces that can be seen, since the start.";
    UnaccountedResets = "rstmon_unaccounted_resets", Gauge, ["kind"],
        "Resets sent that the kernel's own counters have and rstmon has not; where it goes on growing, there is a path that rstmon cannot see.";
    NetworkNamespaces = "rstmon_network_namespaces", Gauge, ["audited"],
        "Network namespaces found, by whether their counters could be read.";
    Series = "rstmon_series", Gauge, ["family"],
        "Series of a capped family.";
    SeriesLimit = "rstmon_series_limit", Gauge, ["family"],
        "Cap of the series of a family.";
    SeriesOverflow = "rstmon_series_overflow_total", Counter, ["family"],
        "Resets counted under ~other because the family was at its cap.";
    SocketClients = "rstmon_socket_clients", Gauge, [],
        "Clients of the control socket.";
    WebRequests = "rstmon_web_requests_total", Counter, ["code"],
        "Requests answered by the web server, by status.";
    WebConnectionsRefused = "rstmon_web_connections_refused_total", Counter, [],
        "Connections to the web server that were closed for a limit or a failed handshake.";
    WebReloadFailures = "rstmon_web_reload_failures_total", Counter, [],
        "Changes of the web configuration or its certificates that could not be taken over; the former ones stay.";
    ReloadSuccessful = "rstmon_config_last_reload_successful", Gauge, [],
        "Whether the last reading of the configuration succeeded: 1, or 0.";
    ReloadTime = "rstmon_config_last_reload_success_timestamp_seconds", Gauge, [],
        "When the configuration was last read with success.";
    ScrapeDuration = "rstmon_scrape_duration_seconds", Gauge, [],
        "How long it took to gather this page.";
    BuildInfo = "rstmon_build_info", Gauge, ["version", "abi"],
        "1, with what this rstmon is.";
    KernelInfo = "rstmon_kernel_info", Gauge, ["release", "mode"],
        "1, with the kernel and how rstmon watches it.";
}

impl Family {
    /// The capped families: those whose label values come from the traffic.
    pub const CAPPED: [Self; 4] = [
        Self::ProcessResets,
        Self::PortResets,
        Self::WorkloadResets,
        Self::PeerResets,
    ];

    /// The name by which configuration and labels call a capped family: `process` of
    /// `rstmon_process_resets_total`.
    #[must_use]
    pub fn short_name(self) -> &'static str {
        let name = self.name();
        let name = name.strip_prefix("rstmon_").unwrap_or(name);
        name.strip_suffix("_resets_total").unwrap_or(name)
    }
}

/// The table as docs/metrics.md.
#[must_use]
pub fn render_markdown() -> String {
    use std::fmt::Write;
    let mut page = String::from(
        "# Metrics of `rstmon agent`\n\n\
         Written by `cargo run -p rstmon --example metrics_page > docs/metrics.md`; a test compares.\n\n\
         | family | type | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    for family in Family::ALL {
        let labels: Vec<String> = family.labels().iter().map(|it| format!("`{it}`")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            family.name(),
            family.kind().name(),
            labels.join(", "),
            family.help()
        );
    }
    page.push_str(PROCESS);
    page
}

/// What the process collector adds.
const PROCESS: &str = "| `process_*` | | | the usual ones of the agent itself: CPU, memory, descriptors, start time |\n\n\
    Counters start from zero with the process (`process_start_time_seconds`). No address, pid or cookie is \
    a label unless `--metrics.peers` asks for addresses.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for family in Family::ALL {
            let name = family.name();
            assert!(name.starts_with("rstmon_"), "{name}");
            let is_total = name.ends_with("_total");
            assert_eq!(is_total, family.kind() == FamilyType::Counter, "{name}");
            assert!(family.help().ends_with('.'), "{name}");
        }
    }

    #[test]
    fn the_documentation_is_made_of_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(written, render_markdown(), "run the command at its top");
    }
}
