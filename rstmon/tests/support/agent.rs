//! A running `rstmon agent` of a test, with an address, a socket and files of its own.

use super::programs::wait_until;
use super::{Family, closed_port, in_private_netns, rstmon};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// One agent.
pub struct Agent {
    child: Option<Child>,
    pub folder: tempfile::TempDir,
    pub address: SocketAddr,
}

/// A page of metrics.
pub struct Metrics(pub BTreeMap<String, f64>);

impl Agent {
    /// One that does not run yet.
    pub fn new() -> Self {
        Self {
            child: None,
            folder: tempfile::tempdir().unwrap(),
            address: free_address(),
        }
    }

    /// Starts one and waits until it is ready.
    pub fn start(args: &[&str]) -> Self {
        let mut agent = Self::new();
        agent.run(args);
        agent
    }

    /// Starts it again, after it has ended.
    pub fn run(&mut self, args: &[&str]) {
        self.run_command(self.command(args));
    }

    /// Starts it by a command and waits until it is ready.
    pub fn run_command(&mut self, mut command: Command) {
        let child = command.spawn().expect("rstmon starts");
        self.child = Some(child);
        wait_until("the agent", || {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the agent has ended: {ended:?}");
            self.get("/-/ready")
                .is_some_and(|(status, _)| status == 200)
        });
    }

    /// The command that starts it. Standard error goes into the file `stderr`.
    pub fn command(&self, args: &[&str]) -> Command {
        let stderr = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("stderr"))
            .unwrap();
        let mut command = rstmon();
        command
            .arg("agent")
            .arg("--socket")
            .arg(self.path("socket"))
            .arg("--web.listen-address")
            .arg(self.address.to_string())
            .args(args)
            .stdout(Stdio::null())
            .stderr(stderr);
        command
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What it has said.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.path("stderr")).unwrap_or_default()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.as_ref().unwrap().id().cast_signed())
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it runs");
    }

    /// Ends it with a signal and waits.
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.child.take().unwrap().wait().unwrap()
    }

    /// Status and body of a page, as curl gets it.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let url = format!("http://{}{path}", self.address);
        let output = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--max-time",
                "10",
                "--write-out",
                "\n%{http_code}",
            ])
            .arg(url)
            .output()
            .expect("curl runs");
        if !output.status.success() {
            return None;
        }
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        Some((status.parse().unwrap(), body.to_owned()))
    }

    /// A scrape.
    pub fn scrape(&self) -> Metrics {
        let (status, body) = self.get("/metrics").expect("it answers");
        assert_eq!(status, 200, "{body}");
        let series = body.lines().filter(|line| !line.starts_with('#'));
        Metrics(
            series
                .map(|line| {
                    let (name, value) = line.rsplit_once(' ').unwrap();
                    (name.to_owned(), value.parse().unwrap())
                })
                .collect(),
        )
    }

    /// A client of its control socket that has asked this.
    pub fn client(&self, request: &str) -> BufReader<UnixStream> {
        let mut stream = UnixStream::connect(self.path("socket")).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        writeln!(stream, "{request}").unwrap();
        BufReader::new(stream)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A test that failed half-way leaves nothing running.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Metrics {
    /// Sum over the series of a family whose text holds all of these.
    pub fn sum(&self, family: &str, parts: &[&str]) -> f64 {
        let series = self.0.iter().filter(|(name, _)| {
            let of_family = name.split('{').next() == Some(family);
            of_family && parts.iter().all(|part| name.contains(part))
        });
        series.map(|(_, value)| value).sum()
    }
}

/// The next line of a client, as JSON.
pub fn next_line(client: &mut BufReader<impl Read>) -> serde_json::Value {
    let mut line = String::new();
    client.read_line(&mut line).expect("a line comes");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// Ports that the kernel gives to nobody who does not name them (`ip_local_port_range`).
const UNGIVEN_PORTS: std::ops::Range<u16> = 20_000..30_000;

/// An address that nobody listens on. Each call has another port, as tests run beside each other.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let from_process = std::process::id() as u16;
    let ports = UNGIVEN_PORTS.len() as u16;
    (0..ports)
        .map(|_| from_process.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % ports)
        .map(|place| SocketAddr::from(([127, 0, 0, 1], UNGIVEN_PORTS.start + place)))
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("a free port")
}

/// Refused connections in a namespace of their own.
pub fn refuse(connections: usize) {
    in_private_netns(move |_| {
        let target = closed_port(Family::V4);
        for _ in 0..connections {
            TcpStream::connect(target).expect_err("nobody listens");
        }
    });
}

/// Resets of one kind in a family.
pub fn sum(metrics: &Metrics, family: &str, kind: &str) -> f64 {
    metrics.sum(family, &[&format!("kind=\"{kind}\"")])
}

/// The series of families that count must not fall.
pub fn assert_nothing_fell(before: &Metrics, after: &Metrics) {
    for (series, value) in &before.0 {
        let counts = series.split('{').next().unwrap().ends_with("_total");
        if counts {
            let now = after.0.get(series);
            assert!(
                now.is_some_and(|now| now >= value),
                "{series}: {value}, then {now:?}"
            );
        }
    }
}
