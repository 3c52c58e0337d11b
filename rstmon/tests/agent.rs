//! `rstmon agent` as an operator has it: scraped, refused, asked at its socket. Its event log is in
//! `agent_log.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

mod support;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Gid, Group, Pid};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::ptr::null;
use std::time::{Duration, Instant};
use support::agent::{Agent, Metrics, assert_nothing_fell, next_line, refuse, sum};
use support::programs::{copy_program, wait_until};
use support::{Family, abort, bpf_works, connected};

/// uid and gid of nobody, who has no rights at all.
const NOBODY: u32 = 65534;
/// Lines and bytes that the head of a request may have.
const MAX_HEADERS: usize = 100;
const MAX_HEAD: usize = 16 * 1024;
const KINDS: [&str; 4] = ["sent", "received", "rejected", "stray"];
/// Families that count every reset.
const FAMILIES: [&str; 4] = [
    "rstmon_kernel_resets_total",
    "rstmon_process_resets_total",
    "rstmon_port_resets_total",
    "rstmon_workload_resets_total",
];

fn assert_sums_agree(metrics: &Metrics) {
    for kind in KINDS {
        let resets = sum(metrics, "rstmon_resets_total", kind);
        for family in FAMILIES {
            let other = sum(metrics, family, kind);
            assert!(
                (resets - other).abs() < 0.5,
                "{kind}: {resets}, {family}: {other}"
            );
        }
    }
}

#[test]
fn sums_agree_and_never_fall_in_a_storm_with_losses() {
    if !bpf_works() {
        return;
    }
    let mut agent = Agent::start(&["--max-events-per-sec", "500"]);
    let storm = std::thread::spawn(|| refuse(60_000));
    let mut before = agent.scrape();
    while !storm.is_finished() {
        let now = agent.scrape();
        assert_sums_agree(&now);
        assert_nothing_fell(&before, &now);
        before = now;
    }
    storm.join().unwrap();
    let mut last = agent.scrape();
    wait_until("what is in flight", || {
        last = agent.scrape();
        last.sum("rstmon_events_in_flight", &[]) < 0.5
    });
    assert_sums_agree(&last);
    let over_budget = last.sum("rstmon_events_lost_total", &["storm-budget"]);
    assert!(
        over_budget > 10_000.0,
        "the budget was to be spent: {over_budget}"
    );
    let undiagnosed = last.sum("rstmon_resets_total", &["undiagnosed"]);
    assert!(
        undiagnosed >= over_budget,
        "{undiagnosed} undiagnosed, {over_budget} lost"
    );
    assert!(sum(&last, "rstmon_resets_total", "sent") >= 60_000.0);
    assert!(agent.end(Signal::SIGTERM).success());
}

#[test]
fn it_says_where_it_listens_with_the_port_that_it_was_given() {
    if !bpf_works() {
        return;
    }
    let agent = Agent::start(&["--web.listen-address", "127.0.0.1:0"]);
    let said = agent.stderr();
    let addresses: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("rstmon: listening on "))
        .collect();
    assert_eq!(addresses.len(), 2, "{said}");
    assert_eq!(addresses[0], agent.address.to_string());
    let given: std::net::SocketAddr = addresses[1].parse().unwrap();
    assert_ne!(given.port(), 0);
    TcpStream::connect(given).expect("it listens there");
}

#[test]
fn what_is_wrong_at_the_start_is_refused_in_words() {
    if !bpf_works() {
        return;
    }
    let agent = Agent::start(&[]);
    let mut other = Agent::start(&[]);
    other.end(Signal::SIGTERM);
    let refused = |args: &[&str], code: i32, part: &str| {
        let _ = fs::remove_file(other.path("stderr"));
        let mut child = other.command(args).spawn().unwrap();
        let mut status = None;
        wait_until("the refusal", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        let status = status.unwrap();
        let said = other.stderr();
        assert_eq!(status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(part), "{args:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    };
    let taken = agent.address.to_string();
    let socket = agent.path("socket");
    let config = other.path("bad.toml");
    fs::write(&config, "[web]\nlisten = 1\n").unwrap();
    let config = config.to_str().unwrap();
    refused(&["--web.listen-address", &taken], 1, "--web.listen-address");
    refused(
        &["--socket", socket.to_str().unwrap()],
        1,
        "another agent answers",
    );
    refused(
        &["--events-file", "/nonexistent/events"],
        1,
        "--events-file",
    );
    refused(&["--config", config], 2, "bad.toml:2: ");
    refused(
        &["--check-config", "--config", config],
        2,
        "`web.listen-address`",
    );
    refused(&["--socket-group", "no-such-group"], 1, "groupadd");
    refused(&["--events-keep", "none"], 2, "--events-keep: `none`");
    refused(&["--web.config.file", config], 1, "web configuration");
    for (path, said) in [
        ("metrics", "/metrics"),
        ("/", "another page"),
        ("/a?b", "/metrics"),
    ] {
        refused(&["--web.telemetry-path", path], 2, said);
        refused(&["--check-config", "--web.telemetry-path", path], 2, said);
    }
}

#[test]
fn clients_of_the_socket_get_what_they_ask_for() {
    if !bpf_works() {
        return;
    }
    let mut agent = Agent::start(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let port = target.port();
    // A storm of others on this host would fill the client's queue.
    let wish = format!(r#"{{"rstmon":1,"want":"events","filter":"port {port}"}}"#);
    let mut all = agent.client(&wish);
    let mut none = agent.client(r#"{"rstmon":1,"want":"events","filter":"cause paws"}"#);
    let mut wrong = agent.client(r#"{"rstmon":1,"want":"events","filter":"kind sennt"}"#);
    assert_eq!(next_line(&mut all)["schema"], "rstmon.start/1");
    assert_eq!(next_line(&mut none)["schema"], "rstmon.start/1");
    let refusal = next_line(&mut wrong);
    assert_eq!(refusal["schema"], "rstmon.error/1");
    assert!(
        refusal["message"].as_str().unwrap().contains("sennt"),
        "{refusal}"
    );
    // More than one: while others storm, a sample is reported.
    std::thread::spawn(move || {
        for _ in 0..50 {
            let _client = TcpStream::connect(target).unwrap();
            abort(listener.accept().unwrap().0);
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    while next_line(&mut all)["local_port"] != port {
        assert!(Instant::now() < deadline);
    }
    // A client that says no more may go on listening, and is noticed when it leaves.
    let mut half = agent.client(r#"{"rstmon":1,"want":"board","every_ms":100}"#);
    half.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(next_line(&mut half)["schema"], "rstmon.start/1");
    while next_line(&mut half)["schema"] != "rstmon.board/1" {}
    drop(half);
    wait_until("two clients", || {
        agent.scrape().sum("rstmon_socket_clients", &[]) < 2.5
    });
    assert!(agent.end(Signal::SIGTERM).success());
    let end = none.lines().map(Result::unwrap).last().unwrap();
    assert!(end.contains("rstmon.end/1"), "{end}");
}

/// An agent whose socket everybody reaches, for its own mode to decide, and the mode and group that it has.
fn reachable(args: &[&str]) -> (Agent, (u32, u32)) {
    let mut agent = Agent::new();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(agent.folder.path(), open).unwrap();
    agent.run(args);
    let socket = fs::metadata(agent.path("socket")).unwrap();
    let has = (socket.permissions().mode() & 0o7777, socket.gid());
    (agent, has)
}

/// What `rstmon trace` of this agent comes to as nobody, in one group alone: its first line, which it goes
/// on from, or its exit code and what it says.
fn ask_as_nobody(agent: &Agent, group: u32) -> Result<Value, (Option<i32>, String)> {
    // Where it was built may be closed to others.
    let program = agent.path("rstmon");
    if !program.exists() {
        copy_program(env!("CARGO_BIN_EXE_rstmon"), &program);
    }
    // std empties the list of further groups (setgroups(2)) where root gives a uid.
    let mut child = Command::new(program)
        .args(["trace", "-o", "jsonl", "--connect"])
        .arg(agent.path("socket"))
        .uid(NOBODY)
        .gid(group)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    if !line.is_empty() {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    if line.is_empty() {
        let said = String::from_utf8(output.stderr).unwrap();
        return Err((output.status.code(), said));
    }
    Ok(serde_json::from_str(&line).unwrap())
}

fn assert_is_refused(agent: &Agent, group: u32) {
    match ask_as_nobody(agent, group) {
        Err((Some(3), said)) => assert!(said.contains("in its socket's group"), "{said}"),
        other => panic!("group {group}: {other:?}"),
    }
}

#[test]
fn root_alone_may_use_a_socket_without_a_group() {
    if !bpf_works() {
        return;
    }
    let (agent, has) = reachable(&[]);
    for group in [0, NOBODY] {
        assert_is_refused(&agent, group);
    }
    assert_eq!(has, (0o600, 0));
}

#[test]
fn the_sockets_group_may_use_it_and_no_other() {
    if !bpf_works() {
        return;
    }
    // Debian calls it nogroup, others nobody.
    let group = Group::from_gid(Gid::from_raw(NOBODY)).unwrap().unwrap();
    let (agent, has) = reachable(&["--socket-group", &group.name]);
    let line = ask_as_nobody(&agent, NOBODY).unwrap();
    assert_eq!(line["schema"], "rstmon.start/1");
    for other in [0, NOBODY - 1] {
        assert_is_refused(&agent, other);
    }
    assert_eq!(has, (0o660, NOBODY));
}

#[test]
fn a_client_that_does_not_read_is_told_what_it_lost() {
    if !bpf_works() {
        return;
    }
    let agent = Agent::start(&[]);
    let client = agent.client(r#"{"rstmon":1,"want":"events"}"#);
    wait_until("the client", || {
        agent.scrape().sum("rstmon_socket_clients", &[]) > 0.5
    });
    refuse(30_000);
    wait_until("the loss", || {
        agent
            .scrape()
            .sum("rstmon_events_lost_total", &["socket-client"])
            > 0.5
    });
    let counted = agent
        .scrape()
        .sum("rstmon_events_lost_total", &["socket-client"]);
    let mut told = 0.0;
    for line in BufReader::new(client.into_inner()).lines() {
        let line: Value = match line.ok().and_then(|line| serde_json::from_str(&line).ok()) {
            Some(line) => line,
            // Half a line was in the reader that is gone.
            None => continue,
        };
        if line["schema"] == "rstmon.lost/1" {
            told += line["events"].as_f64().unwrap();
        }
        if told + 0.5 > counted {
            return;
        }
    }
    panic!("told of {told} losses, counted {counted}");
}

#[test]
fn pages_are_served_and_others_are_not() {
    if !bpf_works() {
        return;
    }
    let agent = Agent::start(&[]);
    abort(connected(Family::V4).1);
    wait_until("the cause on the landing page", || {
        let (_, body) = agent.get("/").unwrap();
        body.contains("linger-abort")
    });
    let (_, body) = agent.get("/").unwrap();
    assert!(body.contains("<th>1 min</th><th>5 min</th><th>15 min</th><th>total</th>"));
    let row = body
        .lines()
        .find(|line| line.contains("<td>linger-abort</td>"));
    let cells = row.unwrap().split("<td class=\"n\">").skip(1);
    let counts: Vec<u64> = cells
        .map(|cell| cell.split_once('<').unwrap().0.parse().unwrap())
        .collect();
    // The agent is younger than a minute.
    assert!(
        counts.len() == 4 && counts[0] > 0 && counts.iter().all(|count| *count == counts[0]),
        "{counts:?}"
    );
    assert_eq!(agent.get("/-/healthy").unwrap(), (200, "ok\n".to_owned()));
    assert_eq!(agent.get("/healthz").unwrap().0, 200);
    assert_eq!(agent.get("/etc/passwd").unwrap().0, 404);
    let curl = |args: &[&str]| {
        let url = format!("http://{}/metrics", agent.address);
        let output = Command::new("curl")
            .args(["-sS", "-i"])
            .args(args)
            .arg(url)
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let refused = curl(&["-X", "POST", "-d", "x"]);
    assert!(
        refused.starts_with("HTTP/1.1 405") && refused.contains("allow: GET, HEAD"),
        "{refused}"
    );
    let head = curl(&["--head"]);
    assert!(
        head.starts_with("HTTP/1.1 200") && !head.contains("rstmon_resets_total"),
        "{head}"
    );
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    let packed = curl(&["--compressed"]);
    assert!(packed.contains("content-encoding: gzip") && packed.contains("rstmon_resets_total"));
    let plain = curl(&["-H", "Accept-Encoding: gzip;q=0"]);
    assert!(!plain.contains("content-encoding") && plain.contains("rstmon_resets_total"));
}

/// What the agent answers to these bytes until it closes the connection.
fn answer_to(agent: &Agent, bytes: &str) -> String {
    let mut stream = TcpStream::connect(agent.address).unwrap();
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// No head here goes on beyond what is read before it is refused: a reset to the rest would overtake the
/// answer at times.
#[test]
fn heads_up_to_the_limits_are_answered_and_larger_ones_refused() {
    if !bpf_works() {
        return;
    }
    let agent = Agent::start(&[]);
    let begin = "GET /-/healthy HTTP/1.1\r\nConnection: close\r\n";
    for (more_lines, expected) in [(MAX_HEADERS - 1, "200"), (MAX_HEADERS, "431")] {
        let head = format!("{begin}{}\r\n", "A: b\r\n".repeat(more_lines));
        let answer = answer_to(&agent, &head);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {expected}")),
            "{answer}"
        );
    }
    for (end, expected) in [("\r\n\r\n", "200"), ("", "431")] {
        let head = format!("{begin}A: ");
        let value = "b".repeat(MAX_HEAD - head.len() - end.len());
        let answer = answer_to(&agent, &(head + &value + end));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {expected}")),
            "{answer}"
        );
    }
}

/// A thread that is held still, while the others of its process go on (ptrace(2)).
struct Held(Pid);

impl Held {
    /// From this thread, which alone may let it go.
    fn hold(thread: Pid) -> Self {
        ptrace(libc::PTRACE_SEIZE, thread).unwrap();
        let held = Self(thread);
        ptrace(libc::PTRACE_INTERRUPT, thread).unwrap();
        let stopped = waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
        assert!(
            matches!(stopped, WaitStatus::PtraceEvent(..)),
            "{stopped:?}"
        );
        held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // What is still held shows in the test.
        let _ = ptrace(libc::PTRACE_DETACH, self.0);
    }
}

fn ptrace(request: libc::c_uint, thread: Pid) -> Result<libc::c_long, Errno> {
    // SAFETY: none of the requests made here reads or writes memory.
    Errno::result(unsafe { libc::ptrace(request, thread.as_raw(), null::<u8>(), null::<u8>()) })
}

#[test]
fn an_agent_whose_ring_is_not_read_is_unready_soon_and_unhealthy_later() {
    if !bpf_works() {
        return;
    }
    let agent = Agent::start(&[]);
    let silence = |path: &str| {
        let (status, body) = agent.get(path)?;
        let (said, seconds) = body.strip_suffix(" s\n")?.rsplit_once(' ')?;
        let is_silence = said == "the ring has not been read for";
        (status == 503 && is_silence).then(|| seconds.parse::<u64>().unwrap())
    };
    // The first thread is the one that captures.
    let held = Held::hold(agent.pid());
    let mut unready = None;
    wait_until("unreadiness", || {
        unready = silence("/-/ready");
        unready.is_some()
    });
    assert!(
        unready.is_some_and(|seconds| (2..10).contains(&seconds)),
        "{unready:?}"
    );
    assert_eq!(agent.get("/-/healthy").unwrap(), (200, "ok\n".to_owned()));
    let no_answer = "the capture thread does not answer\n".to_owned();
    assert_eq!(agent.get("/metrics").unwrap(), (503, no_answer));
    let mut sick = None;
    wait_until("sickness", || {
        sick = silence("/-/healthy");
        sick.is_some()
    });
    assert!(sick.is_some_and(|seconds| seconds >= 10), "{sick:?}");
    assert!(silence("/healthz") >= sick);
    drop(held);
    for path in ["/-/ready", "/-/healthy"] {
        wait_until("the agent goes on", || {
            agent.get(path).is_some_and(|(status, _)| status == 200)
        });
    }
    agent.scrape();
}

#[test]
fn clients_that_hold_connections_open_do_not_stop_a_scrape() {
    if !bpf_works() {
        return;
    }
    let agent = Agent::start(&[]);
    let held: Vec<TcpStream> = (0..200)
        .map(|_| TcpStream::connect(agent.address).unwrap())
        .collect();
    let began = Instant::now();
    agent.scrape();
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    let more: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(agent.address).unwrap())
        .collect();
    drop(held);
    wait_until("the refused ones in the count", || {
        let page = agent.get("/metrics");
        page.is_some_and(|(_, page)| {
            page.lines().any(|line| {
                line.strip_prefix("rstmon_web_connections_refused_total ")
                    .is_some_and(|count| count.parse::<u64>().unwrap() >= 40)
            })
        })
    });
    drop(more);
}

#[test]
fn the_sockets_of_systemd_are_served() {
    if !bpf_works() {
        return;
    }
    let refused = support::rstmon()
        .args(["agent", "--socket=", "--web.systemd-socket"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("ListenStream="), "{said}");
    // As sd_listen_fds(3) has it: the sockets begin at 3, and the variables name the process.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut agent = Agent::new();
    agent.address = listener.local_addr().unwrap();
    let ours = listener.as_raw_fd();
    let script = format!(
        "exec 3<&{ours}; LISTEN_FDS=1 LISTEN_PID=$$ exec {} agent --socket= --web.systemd-socket",
        env!("CARGO_BIN_EXE_rstmon")
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    let keep_open = move || {
        nix::fcntl::fcntl(
            &listener,
            nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
        )?;
        Ok(())
    };
    // SAFETY: between fork and exec it only makes a system call.
    unsafe { command.pre_exec(keep_open) };
    agent.run_command(command);
    assert!(agent.scrape().sum("rstmon_build_info", &[]) > 0.5);
    assert!(agent.end(Signal::SIGTERM).success());
}
