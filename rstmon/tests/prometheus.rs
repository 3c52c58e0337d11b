//! A real Prometheus scrapes a real agent while the lab makes resets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

mod support;

use serde_json::Value;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::agent::{Agent, free_address};
use support::programs::{installed, wait_until};
use support::{Family, abort, bpf_works, closed_port, connected, rstmon};

/// A Prometheus that scrapes one agent each second.
struct Prometheus {
    server: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(target: SocketAddr) -> Self {
        Self::start_with(target, &[])
    }

    /// One with these rules.
    fn start_with(target: SocketAddr, rules: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = free_address();
        let config = folder.path().join("prometheus.yml");
        fs::write(
            &config,
            format!(
                "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n\
                 rule_files: ['*.rules.yml']\nscrape_configs:\n  - job_name: rstmon\n    \
                 static_configs:\n      - targets: ['{target}']\n"
            ),
        )
        .unwrap();
        for (number, rules) in rules.iter().enumerate() {
            fs::write(folder.path().join(format!("{number}.rules.yml")), rules).unwrap();
        }
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let server = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus starts");
        let prometheus = Self {
            server,
            address,
            _folder: folder,
        };
        wait_until("Prometheus's first scrape", || {
            // Until it listens, and until it is ready, it has no answer.
            prometheus.ask("up") == Ok(Some(1.0))
        });
        prometheus
    }

    /// Result of an instant query with one series; none if there is none.
    fn value(&self, query: &str) -> Option<f64> {
        let value = self.ask(query);
        value.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// The same, or why there is no result.
    fn ask(&self, query: &str) -> Result<Option<f64>, String> {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "10"])
            .args(["--get", "--data-urlencode"])
            .arg(format!("query={query}"))
            .arg(format!("http://{}/api/v1/query", self.address))
            .output()
            .expect("curl runs");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let answer: Value =
            serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        if answer["status"] != "success" {
            return Err(answer.to_string());
        }
        match answer["data"]["result"].as_array().map(Vec::as_slice) {
            Some([]) => Ok(None),
            Some([series]) => {
                let value = series["value"][1].as_str().and_then(|it| it.parse().ok());
                value.map(Some).ok_or_else(|| series.to_string())
            }
            _ => Err(format!("not one series: {answer}")),
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn prometheus_has_the_causes_and_counts_of_the_lab() {
    if !bpf_works() || !installed(&["prometheus", "curl"]) {
        return;
    }
    let agent = Agent::start(&["--audit-interval", "1s"]);
    let prometheus = Prometheus::start(agent.address);
    let count = |cause: &str| {
        let query = format!("sum(rstmon_resets_total{{cause=\"{cause}\",kind=\"sent\"}})");
        prometheus.value(&query).unwrap_or_default()
    };
    let scenarios = ["port-closed", "linger-abort", "close-unread-data"];
    let before = scenarios.map(count);
    let lab = rstmon().arg("lab").args(scenarios).output().unwrap();
    assert!(lab.status.success(), "{lab:?}");
    // Each scenario runs over IPv4 and IPv6.
    wait_until("the causes in Prometheus", || {
        let now = scenarios.map(count);
        now.iter()
            .zip(&before)
            .all(|(now, before)| *now >= before + 2.0)
    });
    wait_until("equal sums in Prometheus", || {
        prometheus.value("sum(rstmon_resets_total) - sum(rstmon_kernel_resets_total)") == Some(0.0)
    });
    // The lab's namespaces are gone before anybody can read their counters; the host's own stays.
    wait_until("the first look of the audit", || {
        prometheus.value("rstmon_snmp_resets_total").is_some()
    });
    let sent_before = prometheus.value("rstmon_snmp_resets_total").unwrap();
    for _ in 0..10 {
        TcpStream::connect(closed_port(Family::V4)).expect_err("nobody listens");
    }
    wait_until("the audit", || {
        let sent = prometheus.value("rstmon_snmp_resets_total");
        sent.is_some_and(|sent| sent >= sent_before + 10.0)
    });
    let unaccounted = prometheus.value("rstmon_unaccounted_resets{kind=\"sent\"}");
    assert_eq!(unaccounted, Some(0.0));
    let hooks = prometheus.value("min(rstmon_hook_attached{hook=\"tcp_send_reset\"})");
    assert_eq!(hooks, Some(1.0));
}

/// The shipped rules with every duration made short: a minute is a second, an hour six, a day thirty.
fn hasty(rules: &str) -> String {
    let mut hasty = rules.to_owned();
    let durations = [
        ("1m", "1s"),
        ("5m", "5s"),
        ("10m", "10s"),
        ("15m", "15s"),
        ("1h", "6s"),
        ("1d", "30s"),
    ];
    for (long, short) in durations {
        for (before, after) in [
            ("[", "]"),
            ("for: ", "\n"),
            ("interval: ", "\n"),
            ("offset ", ")"),
        ] {
            let long = format!("{before}{long}{after}");
            hasty = hasty.replace(&long, &format!("{before}{short}{after}"));
        }
    }
    hasty
}

#[test]
fn the_shipped_alerts_fire_in_a_storm_and_not_before() {
    if !bpf_works() || !installed(&["prometheus", "curl"]) {
        return;
    }
    let agent = Agent::start(&[]);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/prometheus");
    let rules = ["recording.yml", "alerts.yml"]
        .map(|name| hasty(&fs::read_to_string(format!("{folder}/{name}")).unwrap()));
    let prometheus = Prometheus::start_with(agent.address, &rules);
    // The rule compares with the day before.
    let yesterday = "count(instance_kind_cause:rstmon_resets:rate1h offset 30s)";
    let patience = Instant::now() + Duration::from_mins(2);
    while prometheus.value(yesterday).is_none() {
        assert!(Instant::now() < patience, "no series of the day before");
        std::thread::sleep(Duration::from_millis(500));
    }
    let firing = "count(ALERTS{alertstate=\"firing\"})";
    assert_eq!(prometheus.value(firing), None);
    let is_over = Arc::new(AtomicBool::new(false));
    let storm = std::thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            while !is_over.load(Ordering::Relaxed) {
                abort(connected(Family::V4).1);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    });
    let of_the_storm = "ALERTS{alertname=\"RstmonResetRateHigh\",alertstate=\"firing\",\
        cause=\"linger-abort\",kind=\"sent\"}";
    wait_until("the alert", || prometheus.value(of_the_storm) == Some(1.0));
    is_over.store(true, Ordering::Relaxed);
    storm.join().unwrap();
    wait_until("the end of the alert", || {
        prometheus.value(of_the_storm).is_none()
    });
}

#[test]
fn promtool_finds_nothing_wrong_with_the_page() {
    if !bpf_works() || !installed(&["promtool", "curl"]) {
        return;
    }
    let agent = Agent::start(&["--metrics.peers", "true"]);
    let lab = rstmon()
        .args(["lab", "port-closed", "linger-abort"])
        .output()
        .unwrap();
    assert!(lab.status.success(), "{lab:?}");
    let (_, page) = agent.get("/metrics").unwrap();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(page.as_bytes())
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(
        output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(),
        "{output:?}"
    );
}
