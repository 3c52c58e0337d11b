//! HTTP loads: a real nginx, asked by wrk. Either it answers from memory, or it is a reverse proxy
//! before an application (another server of the same nginx) that resets one connection in a hundred.

use super::Work;
use super::ports::ClosedPort;
use crate::bench::observers::signal;
use crate::bench::snmp::read_out_rsts;
use crate::bench::statistics::as_number;
use crate::bench::{Interrupt, Workshop};
use anyhow::{Context, bail, ensure};
use nix::sys::signal::Signal;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Open connections of wrk.
const CONNECTIONS: usize = 32;
/// nginx answers within milliseconds of its start; a machine that is busy gets this long.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Part of the requests that a proxy may fail: its application resets 1 %.
const FAILING: RangeInclusive<f64> = 0.005..=0.02;

/// What nginx does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Site {
    /// Answers from memory, on connections that stay open.
    Plain,
    /// Hands on to an application that resets 1 % of its answers.
    Proxy,
}

/// How wrk asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    /// On connections that stay open.
    Keepalive,
    /// Each on a connection of its own.
    ConnectionEach,
}

/// An nginx of our own, with one worker. Ends when dropped.
#[derive(Debug)]
pub(super) struct Nginx {
    child: Child,
    site: Site,
    port: u16,
}

impl Nginx {
    /// Starts nginx with everything it writes below the bench's directory, and waits until it
    /// accepts.
    pub(super) fn start(site: Site, shop: &Workshop) -> anyhow::Result<Self> {
        Self::start_below(site, shop.scratch.path(), &shop.interrupt)
    }

    fn start_below(site: Site, scratch: &Path, interrupt: &Interrupt) -> anyhow::Result<Self> {
        let prefix = scratch.join("nginx");
        fs::create_dir_all(&prefix).context("cannot create the directory of nginx")?;
        // Both held until both are found, then given back for nginx to take.
        let (front, application) = (ClosedPort::take()?, ClosedPort::take()?);
        let (port, application_port) = (front.number, application.number);
        drop((front, application));
        let servers = match site {
            Site::Plain => plain_servers(port),
            Site::Proxy => proxy_servers(port, application_port),
        };
        let config = prefix.join("nginx.conf");
        fs::write(&config, nginx_config(&servers))
            .context("cannot write the configuration of nginx")?;
        let log_path = prefix.join("stderr");
        let log = fs::File::create(&log_path).context("cannot create the log of nginx")?;
        let child = Command::new("nginx")
            .arg("-p")
            .arg(&prefix)
            .arg("-c")
            .arg(&config)
            .args(["-e", "stderr"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start nginx: is it installed?")?;
        let mut nginx = Self { child, site, port };
        nginx.wait_until_it_accepts(&log_path, interrupt)?;
        Ok(nginx)
    }

    fn wait_until_it_accepts(&mut self, log: &Path, interrupt: &Interrupt) -> anyhow::Result<()> {
        let begin = Instant::now();
        loop {
            interrupt.check()?;
            let accepts = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok();
            // Asked afterwards: if it has ended, somebody else accepted.
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(log).unwrap_or_default();
                bail!(
                    "nginx ended with {status} instead of serving: {}",
                    log.trim()
                );
            }
            if accepts {
                return Ok(());
            }
            ensure!(
                begin.elapsed() < START_LIMIT,
                "nginx does not accept connections"
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// What wrk gets answered. `seconds` is whole since wrk takes no fractions.
    pub(super) fn run_wrk(&self, asking: Asking, seconds: u32) -> anyhow::Result<Work> {
        let before = read_out_rsts()?;
        let mut command = Command::new("wrk");
        command.args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s")]);
        if asking == Asking::ConnectionEach {
            command.args(["-H", "Connection: close"]);
        }
        let output = command
            .arg(format!("http://127.0.0.1:{}/", self.port))
            .stdin(Stdio::null())
            .output()
            .context("cannot start wrk: is it installed?")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "wrk ended with {}: {}{text}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        let summary = parse_wrk(&text)?;
        match self.site {
            Site::Plain => summary.all_answered()?,
            Site::Proxy => {
                summary.few_failed(read_out_rsts()?.saturating_sub(before))?;
            }
        }
        Ok(summary.work)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, so that the master ends its worker; a failure means that it is gone already.
        let _ = signal(&self.child, Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// One worker in the foreground; connections stay open however many requests they carry.
fn nginx_config(servers: &str) -> String {
    format!(
        "daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
{servers}}}
"
    )
}

fn plain_servers(port: u16) -> String {
    format!(
        "    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{ return 200 \"a small body\\n\"; }}
    }}
"
    )
}

/// The application closes without an answer (444) where the request is one in a hundred;
/// `reset_timedout_connection` makes that close a reset. The proxy keeps connections to it, as
/// proxies do, and fails the request, as it may since it does not know what was done already.
fn proxy_servers(port: u16, application_port: u16) -> String {
    format!(
        "    split_clients $request_id $fate {{
        1% reset;
        * answer;
    }}
    upstream application {{
        server 127.0.0.1:{application_port};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{application_port} backlog=1024;
        reset_timedout_connection on;
        location / {{
            if ($fate = reset) {{ return 444; }}
            return 200 \"a small body\\n\";
        }}
    }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://application;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_next_upstream off;
        }}
    }}
"
    )
}

/// The summary that wrk prints.
#[derive(Clone, Debug, PartialEq)]
struct WrkSummary {
    work: Work,
    /// Answers of another status than 2xx and 3xx.
    failed: u64,
    /// Its line about connections that failed, if any did.
    socket_errors: Option<String>,
}

impl WrkSummary {
    /// Refuses a run with errors: its rate would compare errors, which are cheap, with answers.
    fn all_answered(&self) -> anyhow::Result<()> {
        self.no_socket_errors()?;
        let failed = self.failed;
        ensure!(
            failed == 0,
            "{failed} answers were errors, so the rate of wrk says nothing"
        );
        Ok(())
    }

    /// Refuses a run in which not about 1 % failed, and one whose failures were no resets.
    fn few_failed(&self, out_rsts: u64) -> anyhow::Result<()> {
        self.no_socket_errors()?;
        let (failed, all) = (self.failed, self.work.count);
        ensure!(
            FAILING.contains(&(as_number(failed) / as_number(all))),
            "of {all} requests to the proxy {failed} failed, which is not about 1 %"
        );
        // A request that was under way when wrk left is none of its answers.
        ensure!(
            out_rsts >= failed,
            "{failed} requests failed but the kernel sent only {out_rsts} resets"
        );
        Ok(())
    }

    fn no_socket_errors(&self) -> anyhow::Result<()> {
        if let Some(line) = &self.socket_errors {
            bail!("wrk met errors, so its rate says nothing: {line}");
        }
        Ok(())
    }
}

fn parse_wrk(text: &str) -> anyhow::Result<WrkSummary> {
    let value_of = |name: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(name))
            .map(str::trim)
    };
    let rate = value_of("Requests/sec:")
        .and_then(|rate| rate.parse::<f64>().ok())
        .with_context(|| format!("wrk printed no rate: {text:?}"))?;
    let count = text
        .lines()
        .find_map(|line| line.split_once(" requests in "))
        .and_then(|(count, _)| count.trim().parse::<u64>().ok())
        .with_context(|| format!("wrk printed no number of requests: {text:?}"))?;
    ensure!(
        rate.is_finite() && rate > 0.0 && count > 0,
        "wrk got no request answered"
    );
    let failed = match value_of("Non-2xx or 3xx responses:") {
        Some(failed) => failed
            .parse()
            .with_context(|| format!("wrk printed no number of failed requests: {failed}"))?,
        None => 0,
    };
    Ok(WrkSummary {
        work: Work { count, rate },
        failed,
        socket_errors: value_of("Socket errors:").map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::{
        Asking, Nginx, Site, Work, WrkSummary, nginx_config, parse_wrk, plain_servers,
        proxy_servers,
    };
    use crate::bench::Interrupt;
    use crate::bench::testing::can_run;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream};

    const WRK: &str = "Running 3s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   400.11us    1.00ms  20.00ms   95.00%
    Req/Sec    90.10k     5.00k  100.00k    70.00%
  270300 requests in 3.00s, 43.00MB read
Requests/sec:  90088.25
Transfer/sec:     14.33MB
";

    fn with_line(line: &str) -> WrkSummary {
        let text = WRK.replace("Requests/sec:", &format!("{line}\nRequests/sec:"));
        parse_wrk(&text).unwrap()
    }

    #[test]
    fn the_summary_of_wrk_is_read() {
        let summary = parse_wrk(WRK).unwrap();
        let work = Work {
            count: 270_300,
            rate: 90088.25,
        };
        assert_eq!(summary.work, work);
        summary.all_answered().unwrap();
    }

    #[test]
    fn a_run_of_wrk_with_errors_is_refused() {
        for line in [
            "  Non-2xx or 3xx responses: 12",
            "  Socket errors: connect 3, read 0, write 0, timeout 0",
            "  Socket errors: connect 0, read 0, write 0, timeout 5",
        ] {
            assert!(with_line(line).all_answered().is_err(), "{line}");
        }
    }

    #[test]
    fn a_run_of_wrk_without_a_rate_is_refused() {
        assert!(parse_wrk("").is_err());
        for rate in ["0.00", "nan", "many"] {
            assert!(parse_wrk(&WRK.replace("90088.25", rate)).is_err(), "{rate}");
        }
        assert!(parse_wrk(&WRK.replace("270300 requests", "no requests")).is_err());
        let failed = WRK.replace("Requests/sec:", "  Non-2xx or 3xx responses: some\nReq");
        assert!(parse_wrk(&failed).is_err());
    }

    #[test]
    fn a_proxy_fails_about_one_in_a_hundred_and_each_by_a_reset() {
        let about = with_line("  Non-2xx or 3xx responses: 2700");
        about.few_failed(2700).unwrap();
        about.few_failed(2720).unwrap();
        assert!(about.few_failed(2699).is_err());
        for failed in [0, 100, 27_000] {
            let summary = with_line(&format!("  Non-2xx or 3xx responses: {failed}"));
            assert!(summary.few_failed(1_000_000).is_err(), "{failed}");
        }
        let errors = with_line("  Socket errors: connect 0, read 9, write 0, timeout 0");
        assert!(errors.few_failed(9).is_err());
    }

    #[test]
    fn each_server_of_nginx_listens_on_its_port() {
        assert!(nginx_config(&plain_servers(8080)).contains("listen 127.0.0.1:8080 "));
        let proxy = nginx_config(&proxy_servers(8080, 8081));
        for listens in ["listen 127.0.0.1:8080 ", "listen 127.0.0.1:8081 "] {
            assert!(proxy.contains(listens), "{listens}");
        }
        assert!(proxy.contains("server 127.0.0.1:8081;"));
    }

    #[test]
    fn a_real_proxy_resets_one_in_a_hundred_and_leaves_nothing_behind() {
        if !can_run(&["nginx", "wrk"]) {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let interrupt = Interrupt::default();
        let proxy = Nginx::start_below(Site::Proxy, folder.path(), &interrupt).unwrap();
        // Refuses by itself a run without resets.
        let work = proxy.run_wrk(Asking::Keepalive, 1).unwrap();
        assert!(work.count > 100, "{work:?}");
        let port = proxy.port;
        drop(proxy);
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap_err();
    }

    #[test]
    fn a_real_nginx_answers_from_memory() {
        if !can_run(&["nginx", "wrk"]) {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let interrupt = Interrupt::default();
        let nginx = Nginx::start_below(Site::Plain, folder.path(), &interrupt).unwrap();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, nginx.port)).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("a small body\n"), "{answer}");
        for asking in [Asking::Keepalive, Asking::ConnectionEach] {
            assert!(nginx.run_wrk(asking, 1).unwrap().count > 100);
        }
    }
}
