//! `rstmon agent` as an observer, with everything on: all metrics, events to a file in memory, a
//! scrape each second, and one `rstmon top` attached to its socket.

use super::metrics_page::MetricsPage;
use super::running::{Ended, Running};
use super::{Watching, folder_in_memory, rstmon_command};
use crate::bench::Workshop;
use anyhow::{Context, bail, ensure};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a wait for the agent's word lasts until its process is looked at.
const NOTIFY_TIMEOUT: Duration = Duration::from_millis(100);
/// After a load, events must have been diagnosed within this time.
const DIGEST_LIMIT: Duration = Duration::from_secs(10);

/// The daemon alone, watching.
#[derive(Debug)]
pub(in crate::bench) struct Daemon {
    running: Running,
    address: SocketAddr,
    folder: TempDir,
    /// From exec to its word that the hooks are attached.
    pub(in crate::bench) started_in: Duration,
}

/// The daemon with its clients. They end before it does.
#[derive(Debug)]
pub(in crate::bench) struct Agent {
    top: Running,
    scraper: Scraper,
    daemon: Daemon,
}

/// What the agent has counted, from its metrics.
#[derive(Clone, Debug)]
pub(in crate::bench) struct AgentCounts {
    /// Resets counted in the kernel, of all kinds.
    pub(in crate::bench) counted: u64,
    /// Of them those sent.
    pub(in crate::bench) sent: u64,
    /// Events lost by stage.
    pub(in crate::bench) lost: BTreeMap<String, u64>,
}

impl Daemon {
    /// Starts it and waits until it says that its hooks are attached.
    pub(in crate::bench) fn start(shop: &Workshop) -> anyhow::Result<Self> {
        let folder = folder_in_memory().context("cannot create a directory for the agent")?;
        let word = folder.path().join("notify");
        let notified = UnixDatagram::bind(&word).context("cannot listen for the agent's word")?;
        notified.set_read_timeout(Some(NOTIFY_TIMEOUT))?;
        let mut command = rstmon_command(shop);
        command
            // Without the settings of this machine.
            .args(["agent", "--config", "/dev/null"])
            .args(["--metrics.peers", "true", "--metrics.closed-ports", "true"])
            .args(["--events-keep", "1", "--events-file"])
            .arg(folder.path().join("events.jsonl"))
            .arg("--socket")
            .arg(folder.path().join("socket"))
            .args(["--web.listen-address", "127.0.0.1:0"])
            .env("NOTIFY_SOCKET", &word)
            // Below a service of systemd it would put the level before each line.
            .env_remove("JOURNAL_STREAM")
            .stdout(Stdio::null());
        let begin = Instant::now();
        let mut running = Running::spawn("agent", &mut command, shop)?;
        running.wait_until(&shop.interrupt, |_| Ok(says_ready(&notified)))?;
        let started_in = begin.elapsed();
        let address =
            listening_on(&running.messages()).context("the agent does not say where it listens")?;
        Ok(Self {
            running,
            address,
            folder,
            started_in,
        })
    }

    /// Ends it and says what it used.
    pub(in crate::bench) fn end(self) -> anyhow::Result<Ended> {
        self.running.end()
    }
}

/// Where the agent says that it listens: on the port that the kernel gave it, which nobody else can take
/// before it does.
fn listening_on(messages: &str) -> Option<SocketAddr> {
    messages
        .lines()
        .find_map(|line| line.strip_prefix("rstmon: listening on ")?.parse().ok())
}

/// Whether the agent has said that it is ready, within the time-out.
fn says_ready(notified: &UnixDatagram) -> bool {
    let mut message = [0; 1024];
    notified.recv(&mut message).is_ok_and(|length| {
        message[..length]
            .split(|byte| *byte == b'\n')
            .any(|line| line == b"READY=1")
    })
}

impl Agent {
    /// Starts the daemon and its clients, and waits until all watch.
    pub(in crate::bench) fn start(shop: &Workshop) -> anyhow::Result<Self> {
        let daemon = Daemon::start(shop)?;
        let mut command = rstmon_command(shop);
        command
            .args(["top", "--batch", "--connect"])
            .arg(daemon.folder.path().join("socket"))
            .stdout(Stdio::null());
        let mut top = Running::spawn("top", &mut command, shop)?;
        top.wait_until(&shop.interrupt, |_| {
            let page = MetricsPage::scrape(daemon.address)?;
            Ok(page.sum("rstmon_socket_clients", None) == 1)
        })?;
        let scraper = Scraper::start(daemon.address);
        Ok(Self {
            top,
            scraper,
            daemon,
        })
    }

    /// What it has counted, when everything that it saw is diagnosed.
    pub(in crate::bench) fn counts(&self) -> anyhow::Result<AgentCounts> {
        let begin = Instant::now();
        loop {
            let page = MetricsPage::scrape(self.daemon.address)?;
            if page.sum("rstmon_events_in_flight", None) == 0 {
                let resets = "rstmon_kernel_resets_total";
                let (counted, diagnosed) = (
                    page.sum(resets, None),
                    page.sum("rstmon_resets_total", None),
                );
                ensure!(
                    counted == diagnosed,
                    "the agent's sums differ: {counted} in the kernel, {diagnosed} by cause"
                );
                return Ok(AgentCounts {
                    counted,
                    sent: page.sum(resets, Some(("kind", "sent"))),
                    lost: page.by_label("rstmon_events_lost_total"),
                });
            }
            ensure!(
                begin.elapsed() < DIGEST_LIMIT,
                "events are still under way {} s after the load",
                DIGEST_LIMIT.as_secs()
            );
            thread::sleep(NOTIFY_TIMEOUT);
        }
    }

    /// The daemon's process.
    pub(in crate::bench) fn pid(&self) -> u32 {
        self.daemon.running.pid()
    }

    /// Memory of the daemon that is resident now, KiB.
    pub(in crate::bench) fn resident_kib(&self) -> anyhow::Result<u64> {
        self.daemon.running.read_memory("VmRSS")
    }

    /// Ends the clients, then the daemon, and says what each used: the daemon, and `top`.
    pub(in crate::bench) fn end(self) -> anyhow::Result<(Ended, Ended)> {
        let top = self.top.end()?;
        self.scraper.end()?;
        Ok((self.daemon.end()?, top))
    }
}

impl Watching for Agent {
    fn end(self: Box<Self>) -> anyhow::Result<Ended> {
        let (mut daemon, top) = Agent::end(*self)?;
        daemon.cpu = daemon.cpu + top.cpu;
        Ok(daemon)
    }
}

/// Scrapes each second until it is ended or dropped.
#[derive(Debug)]
struct Scraper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Scraper {
    fn start(address: SocketAddr) -> Self {
        let (stop, stopped) = channel();
        let thread = thread::spawn(move || {
            loop {
                MetricsPage::scrape(address)?;
                match stopped.recv_timeout(SCRAPE_INTERVAL) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                }
            }
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Whether every scrape was answered.
    fn end(mut self) -> anyhow::Result<()> {
        self.stop_and_join()
    }

    fn stop_and_join(&mut self) -> anyhow::Result<()> {
        drop(self.stop.take());
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(scraped)) => scraped,
            Some(Err(_)) => bail!("the thread that scrapes panicked"),
            None => Ok(()),
        }
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        // Dropped without an end, whatever went wrong is said already.
        let _ = self.stop_and_join();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::{Agent, listening_on};
    use crate::bench::load::ClosedPort;
    use crate::bench::testing::{can_run, rstmon, workshop};
    use std::net::{Ipv4Addr, TcpStream};

    const REFUSED: u64 = 100;

    #[test]
    fn where_an_agent_listens_is_read() {
        let said = "rstmon: the configuration is right\nrstmon: listening on 127.0.0.1:4711\n";
        assert_eq!(listening_on(said), Some(([127, 0, 0, 1], 4711).into()));
        assert_eq!(listening_on("rstmon: listening\n"), None);
    }

    #[test]
    fn an_agent_with_its_clients_counts_and_ends() {
        let Some(rstmon) = can_run(&[]).then(rstmon).flatten() else {
            return;
        };
        let shop = workshop(rstmon);
        let agent = Agent::start(&shop).unwrap();
        let folder = agent.daemon.folder.path().to_owned();
        let closed = ClosedPort::take().unwrap();
        for _ in 0..REFUSED {
            TcpStream::connect((Ipv4Addr::LOCALHOST, closed.number)).unwrap_err();
        }
        let counts = agent.counts().unwrap();
        assert!(counts.sent >= REFUSED, "{counts:?}");
        assert!(counts.counted >= 2 * REFUSED, "{counts:?}");
        assert!(agent.resident_kib().unwrap() > 0);
        let (daemon, top) = agent.end().unwrap();
        assert!(daemon.peak_kib > 0 && top.peak_kib > 0);
        assert!(!folder.exists());
    }
}
