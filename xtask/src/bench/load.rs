//! The loads that the bench puts on the host, each a rate a second: connections refused by a
//! closed port, and HTTP requests answered by nginx. Called once per observer and round by
//! `run_bench`.

use super::{Interrupt, Workshop};
use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Threads that connect, and open connections of wrk.
const STORM_THREADS: usize = 2;
const WRK_CONNECTIONS: usize = 32;
/// Refused connections a second of a paced storm; each is one reset sent and one received.
const PACED_REFUSED: u32 = 75_000;
/// A thread looks at the clock after so many connections, so that the clock costs nothing.
const CONNECTIONS_BETWEEN_CLOCK_READS: usize = 64;
/// nginx answers within milliseconds of its start; a machine that is busy gets this long.
const NGINX_START_LIMIT: Duration = Duration::from_secs(10);

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    /// Connections to a closed port of loopback, as fast as two threads can
    Storm,
    /// HTTP requests on connections that stay open
    Keepalive,
    /// HTTP requests, each on a connection of its own
    Connections,
}

impl Workload {
    /// Every kind, in the order of the report.
    pub(super) const ALL: [Self; 3] = [Self::Storm, Self::Keepalive, Self::Connections];

    /// What is counted.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Storm => "refused/s",
            Self::Keepalive | Self::Connections => "requests/s",
        }
    }

    /// What the table calls it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Storm => "refused connections",
            Self::Keepalive => "HTTP keep-alive",
            Self::Connections => "HTTP connection per request",
        }
    }
}

/// What was done in one measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Work {
    /// Connections that were refused, or requests that were answered.
    pub(super) count: u64,
    /// The same a second.
    pub(super) rate: f64,
}

/// A load, ready to run.
#[derive(Debug)]
pub(super) struct Load {
    /// Its kind.
    pub(super) workload: Workload,
    nginx: Option<Nginx>,
}

impl Load {
    /// Starts what the load needs. It ends when dropped.
    pub(super) fn prepare(workload: Workload, shop: &Workshop) -> anyhow::Result<Self> {
        let nginx = match workload {
            Workload::Storm => None,
            Workload::Keepalive | Workload::Connections => {
                Some(Nginx::start(shop.scratch.path(), &shop.interrupt)?)
            }
        };
        Ok(Self { workload, nginx })
    }

    /// Runs for the time of one measurement.
    pub(super) fn run(&self, shop: &Workshop) -> anyhow::Result<Work> {
        match &self.nginx {
            Some(nginx) => nginx.run_wrk(self.workload, shop.seconds),
            None => run_storm(shop.duration(), None, &shop.interrupt),
        }
    }

    /// Runs a storm at the rate that two cores make beside their other work: the rate at which
    /// nothing may be lost. Other loads run as ever.
    pub(super) fn run_paced(&self, shop: &Workshop) -> anyhow::Result<Work> {
        match self.workload {
            Workload::Storm => run_storm(shop.duration(), Some(PACED_REFUSED), &shop.interrupt),
            Workload::Keepalive | Workload::Connections => self.run(shop),
        }
    }
}

/// A count as a number to calculate with.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts here stay far below 2^53"
)]
pub(super) fn as_number(count: u64) -> f64 {
    count as f64
}

/// A port of loopback that is closed and stays so while this lives: a socket is bound to it and
/// does not listen. Whoever else looks for a port, the test beside this one too, gets another.
#[derive(Debug)]
struct ClosedPort {
    number: u16,
    _holder: OwnedFd,
}

impl ClosedPort {
    /// Takes a port that nobody uses, below the range from which the kernel takes source ports:
    /// within it a connection to a closed port can get that port as its own source and connect to
    /// itself.
    fn take() -> anyhow::Result<Self> {
        let path = "/proc/sys/net/ipv4/ip_local_port_range";
        let range = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        let lowest: u16 = range
            .split_whitespace()
            .next()
            .and_then(|word| word.parse().ok())
            .with_context(|| format!("{path} does not begin with a port: {range:?}"))?;
        let sockets = fs::read_to_string("/proc/net/tcp").context("cannot read /proc/net/tcp")?;
        // Binding succeeds beside sockets in TIME-WAIT, which answer a SYN in other ways than a
        // closed port does; those of an earlier nginx are there by the thousand.
        let used = parse_used_ports(&sockets);
        (1024..lowest)
            .rev()
            .filter(|port| !used.contains(port))
            .find_map(|port| bind_without_listening(port).ok().map(|held| (port, held)))
            .map(|(number, holder)| Self {
                number,
                _holder: holder,
            })
            .with_context(|| format!("no port from 1024 to {lowest} of 127.0.0.1 is free"))
    }
}

/// A socket bound to a port of 127.0.0.1: the port is taken, and a SYN to it is refused.
fn bind_without_listening(port: u16) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket::socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    socket::bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port))?;
    Ok(socket)
}

/// Ports, local and remote, of the sockets in /proc/net/tcp: `ADDRESS:PORT` in hexadecimal in the
/// second and third column.
fn parse_used_ports(sockets: &str) -> BTreeSet<u16> {
    sockets
        .lines()
        .skip(1)
        .flat_map(|line| line.split_whitespace().skip(1).take(2))
        .filter_map(|endpoint| endpoint.split_once(':'))
        .filter_map(|(_, port)| u16::from_str_radix(port, 16).ok())
        .collect()
}

/// Connects to a closed port until the time is over, as fast as it goes or at `rate` a second.
fn run_storm(duration: Duration, rate: Option<u32>, interrupt: &Interrupt) -> anyhow::Result<Work> {
    let closed = ClosedPort::take()?;
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, closed.number));
    let begin = Instant::now();
    let counts: Vec<anyhow::Result<u64>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..STORM_THREADS)
            .map(|_| scope.spawn(|| refuse_until(target, begin + duration, rate, interrupt)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| bail!("a thread of the storm panicked"))
            })
            .collect()
    });
    let elapsed = begin.elapsed();
    interrupt.check()?;
    let refused = counts.into_iter().sum::<anyhow::Result<u64>>()?;
    ensure!(refused > 0, "no connection to {target} was refused");
    let rate = as_number(refused) / elapsed.as_secs_f64();
    Ok(Work {
        count: refused,
        rate,
    })
}

/// One thread of the storm: connections that were refused.
fn refuse_until(
    target: SocketAddr,
    end: Instant,
    rate: Option<u32>,
    interrupt: &Interrupt,
) -> anyhow::Result<u64> {
    let batch = rate.map(|rate| {
        let threads = as_number(STORM_THREADS as u64);
        let connections = as_number(CONNECTIONS_BETWEEN_CLOCK_READS as u64);
        Duration::from_secs_f64(connections * threads / f64::from(rate))
    });
    let mut refused = 0;
    let mut next_batch = Instant::now();
    while Instant::now() < end && !interrupt.is_set() {
        if let Some(batch) = batch {
            thread::sleep(next_batch.saturating_duration_since(Instant::now()));
            next_batch += batch;
        }
        for _ in 0..CONNECTIONS_BETWEEN_CLOCK_READS {
            match TcpStream::connect(target) {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => refused += 1,
                Err(error) => return Err(error).with_context(|| format!("connect to {target}")),
                Ok(_) => bail!("{target} was closed and now accepts connections: run again"),
            }
        }
    }
    Ok(refused)
}

/// An nginx of our own, with one worker, that answers from memory. Ends when dropped.
#[derive(Debug)]
struct Nginx {
    child: Child,
    port: u16,
}

impl Nginx {
    /// Starts nginx with everything it writes below `scratch`, and waits until it accepts.
    fn start(scratch: &Path, interrupt: &Interrupt) -> anyhow::Result<Self> {
        let prefix = scratch.join("nginx");
        fs::create_dir_all(&prefix).context("cannot create the directory of nginx")?;
        // Given back at once, for nginx to take.
        let port = ClosedPort::take()?.number;
        let config = prefix.join("nginx.conf");
        fs::write(&config, nginx_config(port))
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
        let mut nginx = Self { child, port };
        nginx.wait_until_it_accepts(&log_path, interrupt)?;
        Ok(nginx)
    }

    fn wait_until_it_accepts(&mut self, log: &Path, interrupt: &Interrupt) -> anyhow::Result<()> {
        let begin = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            interrupt.check()?;
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(log).unwrap_or_default();
                bail!(
                    "nginx ended with {status} instead of serving: {}",
                    log.trim()
                );
            }
            ensure!(
                begin.elapsed() < NGINX_START_LIMIT,
                "nginx does not accept connections"
            );
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// What wrk gets answered. `seconds` is whole since wrk takes no fractions.
    fn run_wrk(&self, workload: Workload, seconds: u32) -> anyhow::Result<Work> {
        let mut command = Command::new("wrk");
        command.args([
            "-t1",
            &format!("-c{WRK_CONNECTIONS}"),
            &format!("-d{seconds}s"),
        ]);
        if workload == Workload::Connections {
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
        parse_wrk(&text)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, so that the master ends its worker; a failure means that it is gone already.
        let _ = super::observers::signal(&self.child, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// One worker in the foreground; connections stay open however many requests they carry.
fn nginx_config(port: u16) -> String {
    format!(
        "daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{ return 200 \"a small body\\n\"; }}
    }}
}}
"
    )
}

/// The summary that wrk prints. Refuses a run with errors: its rate would compare errors, which
/// are cheap, with answers.
fn parse_wrk(text: &str) -> anyhow::Result<Work> {
    let errors = text.lines().map(str::trim).find(|line| {
        line.starts_with("Non-2xx or 3xx responses:") || line.starts_with("Socket errors:")
    });
    if let Some(line) = errors {
        bail!("wrk met errors, so its rate says nothing: {line}");
    }
    let rate = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Requests/sec:"))
        .and_then(|rate| rate.trim().parse::<f64>().ok())
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
    Ok(Work { count, rate })
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a failed test panics"
    )]

    use super::{
        ClosedPort, Interrupt, Work, as_number, nginx_config, parse_used_ports, parse_wrk,
        run_storm,
    };
    use std::io::ErrorKind;
    use std::net::{Ipv4Addr, TcpStream};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    const WRK: &str = "Running 3s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   400.11us    1.00ms  20.00ms   95.00%
    Req/Sec    90.10k     5.00k  100.00k    70.00%
  270300 requests in 3.00s, 43.00MB read
Requests/sec:  90088.25
Transfer/sec:     14.33MB
";

    #[test]
    fn the_summary_of_wrk_is_read() {
        assert_eq!(
            parse_wrk(WRK).unwrap(),
            Work {
                count: 270_300,
                rate: 90088.25
            }
        );
    }

    #[test]
    fn a_run_of_wrk_with_errors_is_refused() {
        for line in [
            "  Non-2xx or 3xx responses: 12",
            "  Socket errors: connect 3, read 0, write 0, timeout 0",
            "  Socket errors: connect 0, read 0, write 0, timeout 5",
        ] {
            let text = WRK.replace("Requests/sec:", &format!("{line}\nRequests/sec:"));
            assert!(parse_wrk(&text).is_err(), "{line}");
        }
    }

    #[test]
    fn a_run_of_wrk_without_a_rate_is_refused() {
        assert!(parse_wrk("").is_err());
        for rate in ["0.00", "nan", "many"] {
            assert!(parse_wrk(&WRK.replace("90088.25", rate)).is_err(), "{rate}");
        }
        assert!(parse_wrk(&WRK.replace("270300 requests", "no requests")).is_err());
    }

    #[test]
    fn a_storm_is_refused_and_its_rate_is_per_second() {
        let begin = Instant::now();
        let storm = run_storm(Duration::from_millis(50), None, &Interrupt::default()).unwrap();
        let elapsed = begin.elapsed();
        assert!(elapsed >= Duration::from_millis(50));
        assert!(storm.count >= 2);
        let seconds = as_number(storm.count) / storm.rate;
        assert!(
            (0.05..=elapsed.as_secs_f64()).contains(&seconds),
            "{seconds}"
        );
    }

    #[test]
    fn ports_of_sockets_in_time_wait_are_used() {
        let sockets = "  sl  local_address rem_address   st tx_queue rx_queue tr\n   \
                       0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000\n   \
                       1: 0100007F:7FFF 0100007F:A000 06 00000000:00000000 03:00001000\n";
        let used = parse_used_ports(sockets);
        assert_eq!(
            used.into_iter().collect::<Vec<_>>(),
            [0, 0x1F90, 0x7FFF, 0xA000]
        );
    }

    #[test]
    fn a_closed_port_is_taken_once_and_refuses() {
        let (one, other) = (ClosedPort::take().unwrap(), ClosedPort::take().unwrap());
        assert!(one.number >= 1024);
        assert_ne!(one.number, other.number);
        let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, one.number)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn nginx_listens_on_its_port() {
        assert!(nginx_config(8080).contains("listen 127.0.0.1:8080 "));
    }

    /// Whoever looks for a port during a storm used to listen on the storm's for a moment.
    #[test]
    fn a_storm_is_not_disturbed_by_others_that_look_for_a_port() {
        let seeking = AtomicBool::new(true);
        thread::scope(|scope| {
            scope.spawn(|| {
                while seeking.load(Ordering::Relaxed) {
                    ClosedPort::take().unwrap();
                }
            });
            let storm = run_storm(Duration::from_millis(200), None, &Interrupt::default());
            seeking.store(false, Ordering::Relaxed);
            storm.unwrap();
        });
    }
}
