//! Both ends of a reset within this machine: as one line of `rstmon trace --join`, live, of a recording
//! and through an agent, and as the `story` of JSON lines.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

mod support;

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use support::agent::Agent;
use support::{
    Family, Trace, abort, bpf_works, closed_port, in_private_netns, is, is_role, rstmon,
};

/// How long a line may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The way of a RST that was sent, and of one that arrived, as they are drawn without Unicode.
const SENT: &str = "->";
const ARRIVED: &str = "<-";

/// `rstmon trace --join` with lines as every machine draws them: without colours, in ASCII.
fn trace_joined(args: &[&str]) -> Command {
    let mut command = rstmon();
    command
        .args(["trace", "--join", "--color", "never"])
        .args(args);
    command.env("LC_ALL", "C");
    command
}

/// One that runs.
struct Joined {
    child: Child,
    lines: Receiver<String>,
}

impl Joined {
    /// Starts one that shows resets of this thread's namespace, and waits until it sees them.
    fn start(args: &[&str]) -> Self {
        let mut child = trace_joined(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("rstmon starts");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                if sender.send(line.expect("lines are UTF-8")).is_err() {
                    return;
                }
            }
        });
        let joined = Self { child, lines };
        joined.wait_until_attached();
        joined
    }

    /// Text in a pipe has no start line: that the hooks are attached shows by a reset. What was late of
    /// those before it is passed over.
    fn wait_until_attached(&self) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let target = refuse(Family::V4).to_string();
            while let Ok(line) = self.lines.recv_timeout(Duration::from_millis(500)) {
                if line.split_whitespace().any(|word| word == target) {
                    return;
                }
            }
        }
        panic!("no reset is shown");
    }

    /// The next line.
    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line comes")
    }

    /// What comes within this time.
    fn lines_within(&self, time: Duration) -> Vec<String> {
        let deadline = Instant::now() + time;
        let left = || deadline.saturating_duration_since(Instant::now());
        std::iter::from_fn(|| self.lines.recv_timeout(left()).ok()).collect()
    }

    /// Ends it. Everything must have been shown, and nothing lost.
    fn end(mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it runs");
        let rest: Vec<String> = self.lines.iter().collect();
        let mut stderr = String::new();
        let mut pipe = self.child.stderr.take().expect("it is piped");
        pipe.read_to_string(&mut stderr).unwrap();
        assert!(self.child.wait().unwrap().success(), "{stderr}");
        assert_eq!(rest, Vec::<String>::new(), "no more lines: {stderr}");
        assert!(stderr.contains("; 0 lost"), "{stderr}");
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        // A test that failed half-way leaves nothing running; one that is over has ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection to a closed port; returns the port's address.
fn refuse(family: Family) -> SocketAddr {
    let target = closed_port(family);
    TcpStream::connect(target).expect_err("nobody listens");
    target
}

/// Names the port to the child of a test.
const PORT: &str = "RSTMON_TEST_PORT";

/// A connection that its client, a process of its own, has reset.
struct Aborted {
    /// The client's process, and its end.
    pid: u32,
    client: SocketAddr,
    /// This process's end, which lives on.
    server: TcpStream,
}

impl Aborted {
    fn server(&self) -> SocketAddr {
        self.server.local_addr().unwrap()
    }
}

/// Has a child of this process connect to it and close with SO_LINGER zero.
fn abort_by_child() -> Aborted {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut child = support::role("aborter")
        .env(PORT, port.to_string())
        .spawn()
        .unwrap();
    let (mut server, client) = listener.accept().unwrap();
    // The child waits for this, so that the connection has its owner here when it ends.
    server.write_all(b"x").unwrap();
    assert!(child.wait().unwrap().success());
    // On a busy machine the reset comes after the child's end.
    server.read(&mut [0]).expect_err("it is reset");
    let pid = child.id();
    Aborted {
        pid,
        client,
        server,
    }
}

/// What this binary does as the child of a test; nothing as a test.
#[test]
fn role() {
    if is_role("aborter") {
        let port = std::env::var(PORT).unwrap().parse().unwrap();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        abort(stream);
    }
}

/// A process of this binary as the lines name it. Where it runs may follow.
fn who(pid: u32) -> String {
    let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
    format!("{}[{pid}]*", comm.trim())
}

fn own_name() -> String {
    who(std::process::id())
}

/// That a line shows one end, or both, in these words after the time: facts may follow. A word that
/// ends with `*` stands for all that begin so.
fn assert_shows(line: &str, expected: &[&str]) {
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let agrees = |(word, expected): (&&str, &&str)| match expected.strip_suffix('*') {
        Some(begin) => word.starts_with(begin),
        None => word == expected,
    };
    let are_there = words.len() >= expected.len();
    assert!(
        are_there && words.iter().zip(expected).all(agrees),
        "{line}\nis not {expected:?}"
    );
    let arrows = |words: &[&str]| {
        let arrow = |word: &&&str| [SENT, ARRIVED].contains(*word);
        words.iter().filter(arrow).count()
    };
    assert_eq!(arrows(&words), arrows(expected), "of other ends: {line}");
}

/// Both ends of a refused connection.
fn assert_shows_refusal(line: &str, target: SocketAddr) {
    let (target, own) = (target.to_string(), own_name());
    // Nobody owns a closed port.
    let both = ["-", SENT, &own];
    assert_shows(line, &[&refusal_sent(&target) as &[&str], &both].concat());
}

/// What a line begins with that shows how a connection to this address was refused.
fn refusal_sent(target: &str) -> [&str; 6] {
    ["sent", target, SENT, "*", "none", "port-closed"]
}

/// Both ends of a connection that a child aborted.
fn assert_shows_abort(line: &str, aborted: &Aborted) {
    let (client, server) = (aborted.client.to_string(), aborted.server().to_string());
    let (sender, hit) = (who(aborted.pid), own_name());
    assert_shows(
        line,
        &[
            "sent",
            &client,
            SENT,
            &server,
            "established",
            "linger-abort",
            &sender,
            SENT,
            &hit,
        ],
    );
}

#[test]
fn both_ends_of_a_refused_connection_are_one_line() {
    if !bpf_works() {
        return;
    }
    for family in Family::BOTH {
        in_private_netns(move |netns| {
            let joined = Joined::start(&["--connect", "none", &format!("netns {netns}")]);
            let target = refuse(family);
            assert_shows_refusal(&joined.line(), target);
            joined.end();
        });
    }
}

#[test]
fn both_ends_of_an_abort_are_one_line_the_sender_first() {
    if !bpf_works() {
        return;
    }
    in_private_netns(|netns| {
        let joined = Joined::start(&["--connect", "none", &format!("netns {netns}")]);
        let aborted = abort_by_child();
        assert_shows_abort(&joined.line(), &aborted);
        joined.end();
    });
}

#[test]
fn json_lines_name_the_other_ends_event() {
    if !bpf_works() {
        return;
    }
    in_private_netns(|netns| {
        let mut trace = Trace::start(&[&format!("netns {netns}")]);
        refuse(Family::V4);
        let aborted = abort_by_child();
        for (sent, received) in [
            ("port-closed", "connection-refused"),
            ("linger-abort", "peer-aborted"),
        ] {
            let sent = trace.event("sent RST", |event| is(event, "sent", sent));
            let received = trace.event("received RST", |event| is(event, "received", received));
            assert_ne!(sent["seq_no"], received["seq_no"]);
            assert_eq!(sent["story"], received["seq_no"]);
            assert_eq!(received["story"], sent["seq_no"]);
            assert_eq!(sent["local_port"], received["remote_port"]);
        }
        drop(aborted);
        let (lines, status) = trace.interrupt();
        assert!(status.success());
        assert_eq!(lines.len(), 1, "nothing but the end record: {lines:#?}");
    });
}

/// How often something is tried that a storm of others can spoil, and how many events of others are no
/// storm yet.
const ATTEMPTS: usize = 5;
const STORM: u64 = 200;

/// A recording of both resets.
struct Recorded {
    folder: tempfile::TempDir,
    /// Those of the test: a recording holds the events of other namespaces, too.
    filter: String,
    refused: SocketAddr,
    aborted: Aborted,
}

impl Recorded {
    /// Makes one while nobody else on this host causes a storm: all events go into a recording, and
    /// of a storm's some are lost, and ends are not joined.
    fn make() -> Self {
        for _ in 0..ATTEMPTS {
            let (recorded, lines) = Self::attempt();
            let end = lines.last().expect("the end record");
            let lost = end["lost"].as_object().unwrap().values();
            if end["seen"].as_u64().unwrap() < STORM && lost.into_iter().all(|it| it == 0) {
                assert_eq!(lines.len(), 5, "four events and the end record: {lines:#?}");
                return recorded;
            }
        }
        panic!("others reset connections all the time");
    }

    /// The recording, and the lines that were shown meanwhile.
    fn attempt() -> (Self, Vec<Value>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("both.rstmon");
        in_private_netns(move |netns| {
            let filter = format!("netns {netns}");
            let trace = Trace::start(&["-w", path.to_str().unwrap(), &filter]);
            let refused = refuse(Family::V4);
            let aborted = abort_by_child();
            let (lines, status) = trace.interrupt();
            assert!(status.success());
            let recorded = Self {
                folder,
                filter,
                refused,
                aborted,
            };
            (recorded, lines)
        })
    }

    /// What is printed of it with these arguments, line by line, and what is said at the end.
    fn replay(&self, mut command: Command, filter: &str) -> (Vec<String>, String) {
        let path: &Path = &self.folder.path().join("both.rstmon");
        let filter = format!("{}{filter}", self.filter);
        let output = command.arg("-r").arg(path).arg(filter).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        assert!(stderr.contains("; 0 lost"), "{stderr}");
        let lines = output.stdout.lines().map(|line| line.unwrap());
        (lines.collect(), stderr)
    }

    fn replay_joined(&self, args: &[&str], filter: &str) -> (Vec<String>, String) {
        self.replay(trace_joined(args), filter)
    }
}

#[test]
fn a_recording_shows_both_ends_as_one_line_and_unjoined_as_two() {
    if !bpf_works() {
        return;
    }
    let recorded = Recorded::make();
    let (lines, stderr) = recorded.replay_joined(&[], "");
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert_shows_refusal(&lines[0], recorded.refused);
    assert_shows_abort(&lines[1], &recorded.aborted);
    // Each end is a reset that was seen.
    assert!(stderr.contains("4 resets: "), "{stderr}");
    let mut unjoined = rstmon();
    unjoined.args(["trace", "-o", "text", "--color", "never"]);
    let (lines, _) = recorded.replay(unjoined, "");
    assert_eq!(lines.len(), 4, "{lines:#?}");
}

#[test]
fn an_end_whose_other_the_filter_does_not_want_stands_alone_in_its_order() {
    if !bpf_works() {
        return;
    }
    let recorded = Recorded::make();
    let target = recorded.refused.to_string();
    let (client, server) = (
        recorded.aborted.client.to_string(),
        recorded.aborted.server().to_string(),
    );
    let (sender, own) = (who(recorded.aborted.pid), own_name());
    let (sent, stderr) = recorded.replay_joined(&[], " and kind sent");
    assert_eq!(sent.len(), 2, "{sent:#?}");
    assert_shows(
        &sent[0],
        &[&refusal_sent(&target) as &[&str], &["-"]].concat(),
    );
    let abort = [
        "sent",
        &client,
        SENT,
        &server,
        "established",
        "linger-abort",
        &sender,
    ];
    assert_shows(&sent[1], &abort);
    assert!(stderr.contains("2 resets: "), "{stderr}");
    let (arrived, stderr) = recorded.replay_joined(&[], " and kind received");
    assert_eq!(arrived.len(), 2, "{arrived:#?}");
    let refusal = [
        "received",
        "127.0.0.1:*",
        ARRIVED,
        &target,
        "syn-sent",
        "connection-refused",
        &own,
    ];
    assert_shows(&arrived[0], &refusal);
    let abort = [
        "received",
        &server,
        ARRIVED,
        &client,
        "established",
        "peer-aborted",
        &own,
    ];
    assert_shows(&arrived[1], &abort);
    assert!(stderr.contains("2 resets: "), "{stderr}");
}

#[test]
fn an_end_whose_other_is_beyond_the_count_stands_alone() {
    if !bpf_works() {
        return;
    }
    let recorded = Recorded::make();
    let target = recorded.refused.to_string();
    let (one, stderr) = recorded.replay_joined(&["-c", "1"], "");
    assert_eq!(one.len(), 1, "{one:#?}");
    assert_shows(
        &one[0],
        &[&refusal_sent(&target) as &[&str], &["-"]].concat(),
    );
    assert!(stderr.contains("1 reset: "), "{stderr}");
    let (three, stderr) = recorded.replay_joined(&["-c", "3"], "");
    assert_eq!(three.len(), 2, "{three:#?}");
    assert_shows_refusal(&three[0], recorded.refused);
    assert!(stderr.contains("3 resets: "), "{stderr}");
}

/// That ends of one kind are shown at once, each alone: no line waits for one that never comes.
fn assert_shown_alone(args: &[&str], kind: &str, arrow: &str, causes: [&str; 2]) {
    let joined = Joined::start(args);
    let began = Instant::now();
    refuse(Family::V4);
    let line = joined.line();
    // Far above what it waits for the other end, far below what a test waits for a line.
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_shows(
        &line,
        &[
            kind,
            "127.0.0.1:*",
            arrow,
            "127.0.0.1:*",
            "*",
            causes[0],
            "*",
        ],
    );
    let aborted = abort_by_child();
    let (client, server) = (aborted.client.to_string(), aborted.server().to_string());
    let (local, remote, owner) = match kind {
        "sent" => (client, server, who(aborted.pid)),
        _ => (server, client, own_name()),
    };
    assert_shows(
        &joined.line(),
        &[
            kind,
            &local,
            arrow,
            &remote,
            "established",
            causes[1],
            &owner,
        ],
    );
    joined.end();
}

const SENT_CAUSES: [&str; 2] = ["port-closed", "linger-abort"];
const RECEIVED_CAUSES: [&str; 2] = ["connection-refused", "peer-aborted"];

#[test]
fn an_end_whose_other_the_kernel_side_leaves_out_is_shown_at_once() {
    if !bpf_works() {
        return;
    }
    in_private_netns(|netns| {
        let filter = |kind| format!("netns {netns} and kind {kind}");
        let (sent, received) = (filter("sent"), filter("received"));
        assert_shown_alone(&["--connect", "none", &sent], "sent", SENT, SENT_CAUSES);
        let args = ["--connect", "none", &received];
        assert_shown_alone(&args, "received", ARRIVED, RECEIVED_CAUSES);
    });
}

#[test]
fn an_end_whose_other_comes_up_to_the_filter_is_shown_at_once() {
    if !bpf_works() {
        return;
    }
    // Of causes the kernel side knows nothing.
    in_private_netns(move |netns| {
        let filter = |causes: [&str; 2]| format!("netns {netns} and cause {}", causes.join(","));
        let (sent, received) = (filter(SENT_CAUSES), filter(RECEIVED_CAUSES));
        assert_shown_alone(&["--connect", "none", &sent], "sent", SENT, SENT_CAUSES);
        let args = ["--connect", "none", &received];
        assert_shown_alone(&args, "received", ARRIVED, RECEIVED_CAUSES);
    });
}

#[test]
fn through_an_agent_both_ends_are_one_line() {
    if !bpf_works() {
        return;
    }
    let agent = Agent::start(&[]);
    let socket = agent.path("socket").to_str().unwrap().to_owned();
    in_private_netns(move |netns| {
        let joined = Joined::start(&["--connect", &socket, &format!("netns {netns}")]);
        // An agent sees the storms of others, in which ends are not joined.
        for _ in 0..ATTEMPTS {
            let target = refuse(Family::V4);
            let aborted = abort_by_child();
            let lines = joined.lines_within(Duration::from_secs(1));
            if let [refusal, abort] = lines.as_slice() {
                assert_shows_refusal(refusal, target);
                assert_shows_abort(abort, &aborted);
                return;
            }
        }
        panic!("two resets are never two lines");
    });
}

#[test]
fn through_an_agent_an_end_whose_other_the_filter_does_not_want_is_shown_at_once() {
    if !bpf_works() {
        return;
    }
    let agent = Agent::start(&[]);
    let socket = agent.path("socket").to_str().unwrap().to_owned();
    in_private_netns(move |netns| {
        let filter = |kind| format!("netns {netns} and kind {kind}");
        let (sent, received) = (filter("sent"), filter("received"));
        assert_shown_alone(&["--connect", &socket, &sent], "sent", SENT, SENT_CAUSES);
        let args = ["--connect", &socket, &received];
        assert_shown_alone(&args, "received", ARRIVED, RECEIVED_CAUSES);
    });
}
