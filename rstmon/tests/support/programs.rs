//! Real programs for the tests: a private nginx, tcpdump, and whether they are installed.
//!
//! All run in the network namespace of the thread that starts them, and end with their handle.

use super::Family;
use super::skip::cannot_run;
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Port of the private nginx, in a namespace where nobody else listens.
pub const NGINX_PORT: u16 = 8080;
/// How long a program may take to start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Whether these programs are installed. If not, says so, or fails where that is demanded.
pub fn installed(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there =
        |program: &&str| std::env::split_paths(&path).any(|dir| dir.join(program).exists());
    let missing: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|it| !is_there(it))
        .collect();
    if missing.is_empty() {
        return true;
    }
    cannot_run(&format!("it needs the programs {missing:?}"));
    false
}

/// Exit code of a process that ends by itself within this time.
pub fn wait_for(child: &mut Child, time: Duration) -> Option<i32> {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    panic!("it does not end");
}

/// Waits until `is_done`.
pub fn wait_until(what: &str, mut is_done: impl FnMut() -> bool) {
    let deadline = Instant::now() + START_LIMIT;
    while !is_done() {
        assert!(Instant::now() < deadline, "{what} takes too long");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A master with two workers that listens on loopback, IPv4 and IPv6.
///
/// `/` answers with the pid of the worker; `/big` with 16 MiB, slowly; `/proxy` asks the upstream.
pub struct Nginx {
    master: Child,
    directory: tempfile::TempDir,
}

impl Nginx {
    /// Starts it; `upstream` is who `/proxy` asks.
    pub fn start(upstream: Option<SocketAddr>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::write(path.join("big"), vec![b'x'; 16 << 20]).unwrap();
        std::fs::write(path.join("nginx.conf"), config(path, upstream)).unwrap();
        let master = Command::new("nginx")
            .arg("-p")
            .arg(path)
            .arg("-c")
            .arg(path.join("nginx.conf"))
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx starts");
        let nginx = Self { master, directory };
        // It is written once the sockets listen.
        wait_until("the start of nginx", || path_exists(&nginx.pid_file()));
        wait_until("the start of the workers", || nginx.workers().len() == 2);
        nginx
    }

    fn pid_file(&self) -> std::path::PathBuf {
        self.directory.path().join("pid")
    }

    pub fn master(&self) -> u32 {
        self.master.id()
    }

    /// Pids of the workers.
    pub fn workers(&self) -> HashSet<u32> {
        children_of(self.master())
    }

    /// Where it listens.
    pub fn address(family: Family) -> SocketAddr {
        SocketAddr::new(family.loopback(), NGINX_PORT)
    }

    /// `http://…` of a path.
    pub fn url(family: Family, path: &str) -> String {
        format!("http://{}{path}", Self::address(family))
    }

    /// A connection to it on which a request was answered, and the pid of the worker that serves it.
    pub fn kept_alive(family: Family) -> (TcpStream, u32) {
        let mut stream = TcpStream::connect(Self::address(family)).unwrap();
        stream.write_all(&request("/")).unwrap();
        let mut answer = BufReader::new(stream.try_clone().unwrap());
        let mut length = 0;
        loop {
            let mut line = String::new();
            answer.read_line(&mut line).unwrap();
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        answer.read_exact(&mut body).unwrap();
        let pid = String::from_utf8(body).unwrap().parse().unwrap();
        (stream, pid)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its workers on SIGTERM, not when it is killed.
        let pid = nix::unistd::Pid::from_raw(self.master.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.master.wait();
    }
}

/// A request that leaves the connection open.
pub fn request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").into_bytes()
}

fn path_exists(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.len() > 0)
}

fn config(directory: &Path, upstream: Option<SocketAddr>) -> String {
    let dir = directory.display();
    let proxy = upstream.map_or(String::new(), |upstream| {
        format!("location /proxy {{ proxy_pass http://{upstream}; proxy_buffering off; }}")
    });
    format!(
        "daemon off; user root; worker_processes 2; pid {dir}/pid; error_log {dir}/error.log;
         events {{ worker_connections 512; }}
         http {{
             access_log off; keepalive_requests 1000000; keepalive_timeout 300s; lingering_close off;
             client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
             fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
             server {{
                 listen 127.0.0.1:{NGINX_PORT}; listen [::1]:{NGINX_PORT};
                 location / {{ return 200 \"$pid\"; }}
                 location /big {{ root {dir}; limit_rate 256k; }}
                 {proxy}
             }}
         }}"
    )
}

/// Pids of the processes whose parent is `pid`.
pub fn children_of(pid: u32) -> HashSet<u32> {
    let entries = std::fs::read_dir("/proc").expect("proc is mounted");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|child: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        fields.split_whitespace().nth(1) == Some(&pid.to_string())
    })
    .collect()
}

/// A RST as tcpdump shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WireRst {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub seq: u32,
}

/// A running tcpdump of every RST on loopback.
pub struct Tcpdump {
    child: Child,
    lines: std::thread::JoinHandle<Vec<String>>,
}

impl Tcpdump {
    /// Starts it; whatever leaves from now on is seen.
    pub fn start() -> Self {
        let mut child = Command::new("tcpdump")
            .args([
                "-i",
                "lo",
                "-nn",
                "-S",
                "-l",
                "--immediate-mode",
                "-B",
                "8192",
            ])
            .arg("tcp[tcpflags] & tcp-rst != 0 or (ip6[6] = 6 and ip6[53] & 4 != 0)")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut told = String::new();
        while !told.contains("listening on") {
            let read = stderr.read_line(&mut told).unwrap();
            assert!(read > 0, "tcpdump ends: {told}");
        }
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let lines = std::thread::spawn(move || {
            let lines = stdout.lines().map(|line| line.expect("text")).collect();
            let mut rest = String::new();
            stderr.read_to_string(&mut rest).unwrap();
            assert!(rest.contains("\n0 packets dropped by kernel"), "{rest}");
            lines
        });
        Self { child, lines }
    }

    /// Ends it: all that it saw.
    pub fn stop(mut self) -> Vec<WireRst> {
        // It reads what is in its buffer, but not what is not yet there.
        std::thread::sleep(Duration::from_millis(300));
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it runs");
        let lines = self.lines.join().expect("tcpdump lost nothing");
        self.child.wait().unwrap();
        // It answers the signal with an empty line.
        let told = lines.iter().filter(|line| !line.is_empty());
        told.map(|line| parse_line(line).unwrap_or_else(|| panic!("not understood: {line}")))
            .collect()
    }
}

/// `12:00:00.000000 IP 127.0.0.1.1 > 127.0.0.1.2: Flags [R], seq 5, win 0, length 0`
fn parse_line(line: &str) -> Option<WireRst> {
    let (ends, rest) = line.split_once(": Flags [")?;
    let mut words = ends.split(' ').skip(2);
    let from = parse_end(words.next()?)?;
    let to = parse_end(words.nth(1)?)?;
    let seq = rest.split_once("seq ")?.1;
    let seq = seq.split([',', ':']).next()?.parse().ok()?;
    Some(WireRst { from, to, seq })
}

fn parse_end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.rsplit_once('.')?;
    let address: IpAddr = address.parse().ok()?;
    Some(SocketAddr::new(address, port.parse().ok()?))
}

/// Copies a program, to run it from there. By another process: if this one had the file open to write,
/// a child that another test starts meanwhile would hold it, and it could not be run (ETXTBSY).
pub fn copy_program(from: &str, to: &Path) {
    let status = Command::new("cp").arg(from).arg(to).status();
    assert!(status.expect("cp runs").success(), "{from} is copied");
}
