//! `rstmon trace` through a running agent, and what any client of its socket may say.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use support::agent::{Agent, next_line, refuse};
use support::programs::{copy_program, wait_for, wait_until};
use support::{Family, abort, bpf_works, connected, rstmon};

/// Stages at which an event is lost whose reset the kernel side has not counted, or has counted for an
/// event that came.
const OTHER_STAGES: [&str; 4] = ["socket-client", "unreadable", "too-deep", "program-missed"];

/// Taken by tests that cause resets: an agent sees those of all others, too.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    // A test that failed has caused its resets all the same.
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `rstmon trace` of this agent, with its standard output in a pipe.
fn trace(agent: &Agent, args: &[&str]) -> Child {
    let mut command = rstmon();
    command.arg("trace").arg("--connect");
    command.arg(agent.path("socket")).args(args);
    command.stdout(Stdio::piped()).spawn().unwrap()
}

fn wait_for_clients(agent: &Agent, count: f64) {
    wait_until("the clients", || {
        agent.scrape().sum("rstmon_socket_clients", &[]) > count - 0.5
    });
}

/// What a command that has ended wrote, which are lines of JSON.
fn lines_of(child: Child) -> Vec<Value> {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn counts(of: &Value) -> BTreeMap<String, u64> {
    serde_json::from_value(of.clone()).unwrap()
}

/// What an agent lost of what the kernel side had counted.
fn lost_in_kernel(end: &Value) -> u64 {
    let lost = counts(&end["lost"]);
    let of_kernel = lost
        .iter()
        .filter(|(stage, _)| !OTHER_STAGES.contains(&stage.as_str()));
    of_kernel.map(|(_, count)| count).sum()
}

/// A server's connection and its client's, and the server's port.
fn about_to_reset() -> ((TcpStream, TcpStream), u16) {
    let (client, server) = connected(Family::V4);
    let port = server.local_addr().unwrap().port();
    ((server, client), port)
}

/// That a trace showed one event between its start and its end.
fn assert_is_one_event(lines: &[Value]) {
    let schemas: Vec<&Value> = lines.iter().map(|line| &line["schema"]).collect();
    assert_eq!(
        schemas,
        ["rstmon.start/1", "rstmon.event/1", "rstmon.end/1"]
    );
}

fn kernel_count(end: &Value) -> u64 {
    counts(&end["kernel_counts"]).values().sum()
}

#[test]
fn it_shows_the_agents_events_and_ends_with_its_totals() {
    if !bpf_works() {
        return;
    }
    let _alone = alone();
    let agent = Agent::start(&[]);
    let ((server, client), port) = about_to_reset();
    let filter = format!("lport {port} and cause linger-abort");
    let text = trace(&agent, &["-o", "text", "-c", "1", &filter]);
    let json = trace(&agent, &["-o", "jsonl", "-c", "1", &filter]);
    wait_for_clients(&agent, 2.0);
    abort(server);
    drop(client);
    let text = text.wait_with_output().unwrap();
    let line = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.status.success() && line.contains("linger-abort"),
        "{line}"
    );
    let lines = lines_of(json);
    assert_is_one_event(&lines);
    assert_eq!(lines[1]["local_port"], port);
    let end = &lines[2];
    assert_eq!(end["written"], 1);
    // At least the one that was shown.
    assert!(counts(&end["kernel_counts"])["sent"] >= 1, "{end}");
    assert_eq!(end["lost"]["socket-client"], 0);
    assert!(end["lost"]["storm-budget"].is_u64(), "{end}");
}

#[test]
fn what_the_agent_loses_is_in_the_totals_and_what_it_lost_before_is_not() {
    if !bpf_works() {
        return;
    }
    let _alone = alone();
    let agent = Agent::start(&["--max-events-per-sec", "64"]);
    let lost = |agent: &Agent| {
        let page = agent.scrape();
        page.sum("rstmon_events_lost_total", &["storm-budget"])
    };
    refuse(2_000);
    wait_until("losses", || lost(&agent) > 1_000.5);
    let mut raw = agent.client(r#"{"rstmon":1,"want":"events","filter":"kind sent"}"#);
    assert_eq!(next_line(&mut raw)["schema"], "rstmon.start/1");
    writeln!(raw.get_mut(), r#"{{"rstmon":1,"want":"end"}}"#).unwrap();
    let mut end = next_line(&mut raw);
    while end["schema"] != "rstmon.end/1" {
        end = next_line(&mut raw);
    }
    // Tests beside this one cause a few.
    assert!(lost_in_kernel(&end) < 1_000, "{end}");
    assert_eq!(raw.fill_buf().unwrap(), b"", "the end line is the last");

    // The budget of a second that follows no flood is there again.
    std::thread::sleep(Duration::from_millis(2_100));
    let mut raw = agent.client(r#"{"rstmon":1,"want":"events","filter":"kind sent"}"#);
    let shown = trace(&agent, &["-o", "jsonl", "kind sent"]);
    wait_for_clients(&agent, 2.0);
    let before = lost(&agent);
    refuse(2_000);
    wait_until("losses", || lost(&agent) > before + 3_000.5);
    wait_until("what is in flight", || {
        agent.scrape().sum("rstmon_events_in_flight", &[]) < 0.5
    });
    writeln!(raw.get_mut(), r#"{{"rstmon":1,"want":"end"}}"#).unwrap();
    let mut events = 0;
    let mut end = next_line(&mut raw);
    while end["schema"] != "rstmon.end/1" {
        events += u64::from(end["schema"] == "rstmon.event/1");
        end = next_line(&mut raw);
    }
    let of = |name: &str| end[name].as_u64().unwrap();
    assert_eq!(of("written"), events);
    assert_eq!(of("seen"), of("written") + of("filtered"));
    assert!(lost_in_kernel(&end) > 3_000, "{end}");
    // Exact, as nothing is lost while the totals are taken.
    assert_eq!(kernel_count(&end), of("seen") + lost_in_kernel(&end));

    let pid = Pid::from_raw(shown.id().cast_signed());
    kill(pid, Signal::SIGINT).unwrap();
    let lines = lines_of(shown);
    let end = lines.last().unwrap();
    assert_eq!(end["schema"], "rstmon.end/1");
    assert!(lost_in_kernel(end) > 1_000, "{end}");
    assert!(kernel_count(end) > 3_999, "{end}");
    let events = lines.iter().filter(|it| it["schema"] == "rstmon.event/1");
    assert_eq!(end["written"], events.count());
}

#[test]
fn an_agent_that_ends_tells_its_clients_their_totals() {
    if !bpf_works() {
        return;
    }
    let _alone = alone();
    let mut agent = Agent::start(&[]);
    refuse(100);
    wait_until("the resets", || {
        agent.scrape().sum("rstmon_resets_total", &[]) > 199.5
    });
    let shown = trace(&agent, &["-o", "jsonl", "port 1"]);
    wait_for_clients(&agent, 1.0);
    assert!(agent.end(Signal::SIGTERM).success());
    let lines = lines_of(shown);
    let end = lines.last().unwrap();
    assert_eq!(end["schema"], "rstmon.end/1");
    assert_eq!(end["written"], 0);
    // Nothing of what was counted before.
    let seen = end["seen"].as_u64().unwrap();
    assert_eq!(kernel_count(end), seen + lost_in_kernel(end));
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    if !bpf_works() {
        return;
    }
    let agent = Agent::start(&[]);
    // Nothing is shown after the start.
    let mut child = trace(&agent, &["-o", "jsonl", "port 1"]);
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    assert!(first.contains("rstmon.start/1"), "{first}");
    assert_eq!(wait_for(&mut child, Duration::from_secs(10)), Some(0));
}

#[test]
fn what_was_under_way_is_shown_when_a_signal_ends_it() {
    if !bpf_works() {
        return;
    }
    let _alone = alone();
    let agent = Agent::start(&[]);
    let ((server, client), port) = about_to_reset();
    let shown = trace(&agent, &["-o", "jsonl", &format!("lport {port}")]);
    let request = format!(r#"{{"rstmon":1,"want":"events","filter":"lport {port}"}}"#);
    let mut beside = agent.client(&request);
    wait_for_clients(&agent, 2.0);
    assert_eq!(next_line(&mut beside)["schema"], "rstmon.start/1");
    // It cannot read while it is stopped; what comes waits at the agent.
    let pid = Pid::from_raw(shown.id().cast_signed());
    kill(pid, Signal::SIGSTOP).unwrap();
    abort(server);
    drop(client);
    // Whoever came later has it: so has the one that was stopped, in its queue.
    assert_eq!(next_line(&mut beside)["schema"], "rstmon.event/1");
    kill(pid, Signal::SIGINT).unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    let lines = lines_of(shown);
    assert_is_one_event(&lines);
    assert_eq!(lines[2]["written"], 1);
}

#[test]
fn a_request_to_end_may_come_in_pieces_and_ends_a_board_too() {
    if !bpf_works() {
        return;
    }
    let _alone = alone();
    let agent = Agent::start(&[]);
    for want in ["events", "board"] {
        let request = format!(r#"{{"rstmon":1,"want":"{want}","every_ms":100}}"#);
        let mut client = agent.client(&request);
        assert_eq!(next_line(&mut client)["schema"], "rstmon.start/1");
        for piece in [r#"{"rstmon":1,"#, r#""want":"#, r#""end"}"#] {
            client.get_mut().write_all(piece.as_bytes()).unwrap();
            // Events and boards come between the pieces.
            refuse(1);
            std::thread::sleep(Duration::from_millis(150));
        }
        wait_until("what is in flight", || {
            agent.scrape().sum("rstmon_events_in_flight", &[]) < 0.5
        });
        // The end of the stream ends the line as well.
        client
            .get_ref()
            .shutdown(std::net::Shutdown::Write)
            .unwrap();
        let mut last = next_line(&mut client);
        while client.fill_buf().is_ok_and(|more| !more.is_empty()) {
            last = next_line(&mut client);
        }
        assert_eq!(last["schema"], "rstmon.end/1", "{want}");
        assert!(last["seen"].as_u64() >= Some(6), "{last}");
    }
    let mut other = agent.client(r#"{"rstmon":1,"want":"events","filter":"port 1"}"#);
    assert_eq!(next_line(&mut other)["schema"], "rstmon.start/1");
    writeln!(other.get_mut(), r#"{{"rstmon":2,"want":"end"}}"#).unwrap();
    assert_eq!(next_line(&mut other)["schema"], "rstmon.error/1");
}

#[test]
fn what_a_client_must_not_say_is_refused() {
    if !bpf_works() {
        return;
    }
    let agent = Agent::start(&[]);
    let mut early = agent.client(r#"{"rstmon":1,"want":"end"}"#);
    let refusal = next_line(&mut early);
    assert_eq!(refusal["schema"], "rstmon.error/1");
    let mut talker = agent.client(r#"{"rstmon":1,"want":"events","filter":"port 1"}"#);
    assert_eq!(next_line(&mut talker)["schema"], "rstmon.start/1");
    writeln!(talker.get_mut(), "hello").unwrap();
    let refusal = next_line(&mut talker);
    assert_eq!(refusal["schema"], "rstmon.error/1");
    assert!(refusal["message"].as_str().unwrap().contains("`end`"));
    // A line that never ends is refused, too.
    let mut endless = agent.client(r#"{"rstmon":1,"want":"events","filter":"port 1"}"#);
    assert_eq!(next_line(&mut endless)["schema"], "rstmon.start/1");
    let _ = endless.get_mut().write_all(&vec![b'x'; 64 * 1024]);
    assert_eq!(next_line(&mut endless)["schema"], "rstmon.error/1");
}

#[test]
fn who_cannot_be_served_is_told_why() {
    if !bpf_works() {
        return;
    }
    let agent = Agent::start(&["--socket-max-clients", "1"]);
    let _only = agent.client(r#"{"rstmon":1,"want":"events"}"#);
    wait_for_clients(&agent, 1.0);
    let failed = |mut command: Command| {
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        // No totals of what never began.
        assert_eq!(output.stdout, b"", "{said}");
        (output.status.code(), said)
    };
    let connect = |program: &Path, command: &str, socket: &Path| {
        let mut command_line = Command::new(program);
        command_line.args([command, "--connect"]).arg(socket);
        command_line
    };
    let own = Path::new(env!("CARGO_BIN_EXE_rstmon"));
    let (code, said) = failed(connect(own, "trace", &agent.path("socket")));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("socket.max-clients"), "{said}");
    let (code, said) = failed(connect(own, "trace", Path::new("/nonexistent/socket")));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is `rstmon agent` running"), "{said}");
    // A socket that is root's alone.
    let folder = agent.folder.path();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder, open).unwrap();
    let binary = agent.path("rstmon");
    copy_program(env!("CARGO_BIN_EXE_rstmon"), &binary);
    for name in ["trace", "top"] {
        let mut command = connect(&binary, name, &agent.path("socket"));
        command.uid(65_534).gid(65_534);
        let (code, said) = failed(command);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("socket's group"), "{said}");
    }
}
