//! What the tests on the real kernel share: running the binary, private network namespaces, resets.
//!
//! A test that cannot run prints one visible line; where `RSTMON_REQUIRE_BPF=1` is set, as the
//! project's test command does wherever bpf(2) works, it fails instead.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics; each test file uses a part"
)]

pub mod agent;
pub mod guard;
pub mod process;
pub mod programs;
pub mod skip;
pub mod tmux;

use serde_json::Value;
use skip::cannot_run;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long an event may take in the worst case on a busy machine; the tests wait for it and no
/// longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether this process may load BPF programs. If not, says so, or fails where that is demanded.
pub fn bpf_works() -> bool {
    let root = nix::unistd::geteuid().is_root();
    let btf = Path::new("/sys/kernel/btf/vmlinux").exists();
    if root && btf {
        return true;
    }
    cannot_run(&format!(
        "it needs root and a kernel with BTF (root: {root}, kernel BTF: {btf})"
    ));
    false
}

/// Names a release build to be measured in place of what cargo has built beside the tests.
const RELEASE_BINARY: &str = "RSTMON_TEST_RELEASE_BINARY";

/// The binary under test.
pub fn rstmon() -> Command {
    Command::new(binary())
}

/// Its path.
pub fn binary() -> PathBuf {
    let release = std::env::var_os(RELEASE_BINARY);
    release.map_or_else(|| env!("CARGO_BIN_EXE_rstmon").into(), PathBuf::from)
}

/// Whether the binary under test is one that promises are made of, and not a debug build.
pub fn is_release() -> bool {
    !cfg!(debug_assertions) || std::env::var_os(RELEASE_BINARY).is_some()
}

/// A running `rstmon trace -o jsonl`, its hooks attached.
pub struct Trace {
    pub child: Child,
    pub start: Value,
    lines: Receiver<Value>,
    seen: Vec<Value>,
}

impl Trace {
    /// Starts it and waits for its start line.
    pub fn start(args: &[&str]) -> Self {
        let mut child = rstmon()
            .args(["trace", "-o", "jsonl"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("rstmon starts");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let line = line.expect("lines are UTF-8");
                let value = serde_json::from_str(&line)
                    .unwrap_or_else(|error| panic!("not JSON: {error}: {line}"));
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        match lines.recv_timeout(PATIENCE) {
            Ok(start) => Self {
                child,
                start,
                lines,
                seen: Vec::new(),
            },
            Err(error) => {
                let mut stderr = String::new();
                let _ = child.kill();
                let _ = child
                    .stderr
                    .take()
                    .expect("piped")
                    .read_to_string(&mut stderr);
                panic!("no start line ({error}): {stderr}");
            }
        }
    }

    /// The first event not asked for before that `wanted` accepts.
    pub fn event(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(index) = self.seen.iter().position(&wanted) {
            return self.seen.remove(index);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(value) if wanted(&value) => return value,
                Ok(value) => self.seen.push(value),
                Err(error) => panic!("no {what} ({error}); seen: {:#?}", self.seen),
            }
        }
    }

    /// Whether an event that `wanted` accepts comes within `time`.
    pub fn comes_within(&mut self, time: Duration, wanted: impl Fn(&Value) -> bool) -> bool {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(value) if wanted(&value) => return true,
                Ok(value) => self.seen.push(value),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Sends SIGINT and reads to the end: all lines not asked for before, and the exit status.
    pub fn interrupt(mut self) -> (Vec<Value>, ExitStatus) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it runs");
        self.rest()
    }

    /// Waits for its own end.
    pub fn rest(&mut self) -> (Vec<Value>, ExitStatus) {
        let mut lines = std::mem::take(&mut self.seen);
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(value) => lines.push(value),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("rstmon does not end"),
            }
        }
        (lines, self.child.wait().expect("it ended"))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // A test that failed half-way leaves nothing running; one that is over has ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The event is of this kind and cause.
pub fn is(event: &Value, kind: &str, cause: &str) -> bool {
    event["kind"] == kind && event["cause"] == cause
}

/// Runs `body` in a network namespace of its own with loopback up, and hands it its inode number.
/// The namespace ends with the thread.
pub fn in_private_netns<T: Send + 'static>(body: impl FnOnce(u64) -> T + Send + 'static) -> T {
    std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("root may unshare");
        bring_loopback_up();
        body(netns_inode())
    })
    .join()
    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn netns_inode() -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/thread-self/ns/net")
        .expect("proc is mounted")
        .ino()
}

fn bring_loopback_up() {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
    // SAFETY: all members of `ifreq` are plain data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l'.cast_signed();
    request.ifr_name[1] = b'o'.cast_signed();
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: the request is complete and outlives the call.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) };
    assert_eq!(status, 0, "loopback comes up");
}

/// RSTs that the kernel says this thread's network namespace has sent (RFC 1213, tcpOutRsts).
pub fn out_rsts() -> u64 {
    let snmp = std::fs::read_to_string("/proc/thread-self/net/snmp").expect("proc is mounted");
    let mut tcp = snmp.lines().filter(|line| line.starts_with("Tcp:"));
    let names = tcp.next().expect("names").split_whitespace();
    let values = tcp.next().expect("values").split_whitespace();
    names
        .zip(values)
        .find(|(name, _)| *name == "OutRsts")
        .expect("OutRsts")
        .1
        .parse()
        .unwrap()
}

/// A port of loopback that nobody listens on.
pub fn closed_port(family: Family) -> SocketAddr {
    TcpListener::bind(SocketAddr::new(family.loopback(), 0))
        .unwrap()
        .local_addr()
        .unwrap()
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub const fn loopback(self) -> std::net::IpAddr {
        match self {
            Self::V4 => std::net::IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::V6 => std::net::IpAddr::V6(Ipv6Addr::LOCALHOST),
        }
    }
}

/// Both ends of a connection over loopback: client, server.
pub fn connected(family: Family) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(SocketAddr::new(family.loopback(), 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

/// Closes with SO_LINGER zero: a RST.
pub fn abort(stream: TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the option's value is a whole `linger`.
    let status = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    assert_eq!(status, 0, "SO_LINGER is set");
    drop(stream);
}

/// Mount point of the first cgroup hierarchy of this kind that is mounted from its root.
pub fn cgroup_hierarchy(file_system: &str) -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("proc is mounted");
    let usable = |controllers: &str| file_system == "cgroup2" || controllers.contains("pids");
    mounts.lines().find_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let mut source = source.split(' ');
        let is_kind = source.next()? == file_system && usable(source.nth(1)?);
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        (is_kind && root == "/").then(|| Path::new(point).to_owned())
    })
}

/// Names the part of the test binary that a child plays.
const ROLE: &str = "RSTMON_TEST_ROLE";

/// The test binary, to be run as the child of a test: only its test `role`, which asks
/// [`is_role`].
pub fn role(name: &str) -> Command {
    role_of(&std::env::current_exe().unwrap(), name)
}

/// The same of a copy of the test binary.
pub fn role_of(binary: &Path, name: &str) -> Command {
    let mut command = Command::new(binary);
    command.args(["--exact", "role", "--quiet"]).env(ROLE, name);
    command.stdout(Stdio::null());
    command
}

/// Whether this process is the child of a test, and plays this part.
pub fn is_role(name: &str) -> bool {
    std::env::var_os(ROLE).is_some_and(|role| role == name)
}

/// Passes a connection over a unix socket.
pub fn send_descriptor(to: &std::os::unix::net::UnixStream, stream: &TcpStream) {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    let descriptors = [stream.as_raw_fd()];
    let data = [std::io::IoSlice::new(b"x")];
    let control = [ControlMessage::ScmRights(&descriptors)];
    sendmsg::<()>(to.as_raw_fd(), &data, &control, MsgFlags::empty(), None).expect("it is sent");
}

/// Takes a descriptor that was passed over a unix socket.
pub fn receive_descriptor(from: &impl AsRawFd) -> OwnedFd {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let mut byte = [0];
    let mut data = [std::io::IoSliceMut::new(&mut byte)];
    let mut room = nix::cmsg_space!(RawFd);
    let message = recvmsg::<()>(
        from.as_raw_fd(),
        &mut data,
        Some(&mut room),
        MsgFlags::empty(),
    )
    .expect("it comes");
    let Some(ControlMessageOwned::ScmRights(descriptors)) = message.cmsgs().unwrap().next() else {
        panic!("no descriptor came");
    };
    // SAFETY: the kernel has just made it for this process.
    unsafe { OwnedFd::from_raw_fd(descriptors[0]) }
}
