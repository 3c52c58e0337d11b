//! `rstmon top` in a real terminal, with the real capture, an agent, a recording.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

mod support;

use bytemuck::Zeroable;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use rstmon::event::annotation::Annotation;
use rstmon::event::capture::CaptureFacts;
use rstmon::sink::recording::Writer;
use rstmon_common::wire::{self, RawEvent};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use support::agent::{Agent, free_address};
use support::guard::{Guarded, lines_of};
use support::programs::{installed, wait_for, wait_until};
use support::tmux::Tmux;
use support::{Family, abort, bpf_works, connected, rstmon};

/// Ends each frame.
const HIDE_CURSOR: &str = "\x1b[?25l";
const TOP: &str = concat!(env!("CARGO_BIN_EXE_rstmon"), " top --connect none");

fn can_run() -> bool {
    bpf_works() && installed(&["tmux"])
}

/// Starts `top` in a terminal and waits for its first screen. The line after it is `LEFT` and its
/// exit code.
fn top_in(tmux: &Tmux, args: &str) {
    tmux.line(&format!("{TOP} {args}; echo LEFT $?"));
    tmux.wait_for("the first screen", |screen| screen.contains("1 Causes"));
}

/// Whether the terminal is a shell's again: the last screen gone, what is typed is shown.
fn assert_given_back(tmux: &Tmux, exit_code: &str) {
    let left = format!("LEFT {exit_code}");
    let screen = tmux.wait_for("the shell", |screen| screen.contains(&left));
    assert!(!screen.contains("1 Causes"), "{screen}");
    tmux.line("stty -a | tr ' ' '\\n' | grep -x -e echo -e icanon | tr '\\n' +; echo");
    tmux.wait_for("sane settings", |screen| screen.contains("icanon+echo+"));
}

fn reset() {
    let (client, server) = connected(Family::V4);
    abort(server);
    drop(client);
}

/// What this binary does when a terminal of a test runs it.
#[test]
fn role() {
    if support::is_role("panicking-screen") {
        let _screen = rstmon::top::terminal::Screen::take(true).unwrap();
        panic!("on purpose");
    }
    if support::is_role("resetting-process") {
        let port = std::env::var("RSTMON_TEST_RESETS_PORT").unwrap();
        reset_in_two_ways(port.parse().unwrap());
    }
}

/// The `top` that runs with these arguments.
fn pid_of_top(args: &str) -> Pid {
    let output = Command::new("pgrep")
        .args(["-n", "-f", &format!("{TOP} {args}")])
        .output()
        .unwrap();
    let pid = String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    Pid::from_raw(pid)
}

/// A `top` on a terminal of its own, its first screen shown, and the other end of that terminal.
fn top_on_pty() -> (Guarded, File) {
    let size = Winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pty = openpty(Some(&size), None).unwrap();
    // What `top` inherits would keep the terminal alive.
    fcntl(&pty.master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
    let terminal = || Stdio::from(pty.slave.try_clone().unwrap());
    let top = Guarded::start(
        rstmon()
            .args(["top", "--connect", "none"])
            .env("TERM", "xterm-256color")
            .stdin(terminal())
            .stdout(terminal())
            .stderr(terminal()),
    );
    let mut screen = File::from(pty.master);
    let mut seen = String::new();
    let mut bytes = [0; 4096];
    // The cursor is hidden at the end of a frame; what hid it would be undone.
    while !seen
        .split_once("Causes")
        .is_some_and(|(_, rest)| rest.contains(HIDE_CURSOR))
    {
        let count = screen.read(&mut bytes).unwrap();
        seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    (top, screen)
}

/// How a process ends, within seconds.
fn status_of(top: &mut Child) -> ExitStatus {
    let mut status = None;
    wait_until("the end", || {
        status = top.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

#[test]
fn a_dead_terminal_ends_it_without_a_panic() {
    if !can_run() {
        return;
    }
    let (mut top, screen) = top_on_pty();
    drop(screen);
    assert_eq!(status_of(&mut top).code(), Some(1));
}

#[test]
fn a_terminal_that_takes_no_bytes_does_not_keep_it() {
    if !can_run() {
        return;
    }
    let (mut top, mut screen) = top_on_pty();
    // Each is answered by a screen, and nobody reads: the terminal is soon full.
    for key in b"1234567".iter().cycle().take(700) {
        screen.write_all(&[*key]).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    signal::kill(Pid::from_raw(top.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(status_of(&mut top).signal(), Some(Signal::SIGTERM as i32));
}

#[test]
fn causes_appear_within_a_second_and_every_key_is_answered() {
    if !can_run() {
        return;
    }
    let tmux = Tmux::start(120, 40);
    top_in(&tmux, "");
    // The best of three: this machine may be busy with something else for a moment.
    let times = [(); 3].map(|()| {
        tmux.keys(&["r"]);
        tmux.wait_for("an empty table", |screen| screen.contains("No reset yet"));
        reset();
        let began = Instant::now();
        tmux.wait_for("the cause", |screen| screen.contains("linger-abort"));
        began.elapsed()
    });
    let best = times.into_iter().min().unwrap();
    assert!(best < Duration::from_secs(1), "{times:?}");
    tmux.keys(&["2"]);
    tmux.wait_for("live events", |screen| screen.contains("REMOTE"));
    tmux.keys(&["Enter"]);
    tmux.wait_for("the explanation", |screen| screen.contains("What happened"));
    tmux.keys(&["Escape"]);
    tmux.wait_for("the table", |screen| screen.contains("REMOTE"));
    tmux.keys(&["-l", "/kind sennt"]);
    tmux.wait_for("the complaint", |screen| {
        screen.contains("unknown kind `sennt`")
    });
    tmux.keys(&["C-u"]);
    tmux.line("cause paws");
    tmux.wait_for("the filter", |screen| screen.contains("filter: cause paws"));
    for (width, height) in [(80, 24), (200, 50), (20, 4), (60, 15)] {
        tmux.resize(width, height);
    }
    tmux.wait_for("the small screen", |screen| {
        screen.contains("1 Causes") || screen.contains("2 Live")
    });
    tmux.keys(&["?"]);
    tmux.wait_for("the help", |screen| screen.contains("Shift-Tab"));
    tmux.keys(&["q"]);
    assert_given_back(&tmux, "0");
}

#[test]
fn the_terminal_is_given_back_on_signals_and_in_a_panic() {
    if !can_run() {
        return;
    }
    let tmux = Tmux::start(80, 24);
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        top_in(&tmux, "-d 0.7");
        signal::kill(pid_of_top("-d 0.7"), signal).unwrap();
        assert_given_back(&tmux, "0");
        tmux.line("clear");
        tmux.wait_for("a clear screen", |screen| !screen.contains("LEFT"));
    }
    top_in(&tmux, "");
    tmux.keys(&["C-z"]);
    let screen = tmux.wait_for("the shell", |screen| screen.contains("Stopped"));
    assert!(!screen.contains("1 Causes"), "{screen}");
    tmux.line("fg");
    tmux.wait_for("top again", |screen| screen.contains("1 Causes"));
    tmux.keys(&["C-c"]);
    // The shell went on with the rest of the line when `top` stopped.
    tmux.line("echo LEFT $?");
    assert_given_back(&tmux, "0");
    tmux.line("clear");
    let this = std::env::current_exe().unwrap();
    let this = this.display();
    tmux.line(&format!(
        "RSTMON_TEST_ROLE=panicking-screen {this} --exact role --nocapture; echo LEFT $?"
    ));
    tmux.wait_for("the panic's message", |screen| {
        screen.contains("on purpose")
    });
    assert_given_back(&tmux, "101");
}

#[test]
fn a_signal_ends_what_prints_as_it_ends_trace() {
    if !can_run() {
        return;
    }
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut top = Guarded::start(
            rstmon()
                .args(["top", "-o", "json", "-d", "0.2", "--connect", "none"])
                .stdout(Stdio::piped()),
        );
        let mut lines = BufReader::new(top.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        signal::kill(Pid::from_raw(top.id().cast_signed()), signal).unwrap();
        let code = wait_for(&mut top, Duration::from_secs(10));
        assert_eq!(code, Some(0), "{signal}");
        // Whole lines only.
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        for line in line.lines().chain(rest.lines()) {
            let line: Value = serde_json::from_str(line).unwrap();
            assert!(line["unshown"].is_u64(), "{line}");
        }
    }
}

#[test]
fn a_reader_that_takes_nothing_does_not_hold_up_the_end_of_what_prints() {
    if !can_run() {
        return;
    }
    let (reader, writer) = std::io::pipe().unwrap();
    let mut filler = writer.try_clone().unwrap();
    fcntl(&filler, FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
    while filler.write(&[b'x'; 4096]).is_ok() {}
    fcntl(&filler, FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).unwrap();
    let mut top = Guarded::start(
        rstmon()
            .args(["top", "-o", "json", "-d", "0.1", "--connect", "none"])
            .stdout(writer),
    );
    // It hears signals, and waits for its reader (`poll`), rather than for its source (`futex`).
    let calls = [libc::SYS_poll, libc::SYS_ppoll].map(|call| call.to_string());
    wait_until("it to be stuck", || {
        let text = std::fs::read_to_string(format!("/proc/{}/syscall", top.id()));
        text.is_ok_and(|text| {
            calls
                .iter()
                .any(|call| text.split(' ').next() == Some(call))
        })
    });
    signal::kill(Pid::from_raw(top.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(wait_for(&mut top, Duration::from_secs(10)), Some(0));
    drop(reader);
}

/// Resets of the child of the next test, of each of its two causes.
const OF_EACH: u32 = 5;

/// Both ends of connections to a port of loopback, half of them ended by an abort and half by a close
/// with something unread.
fn reset_in_two_ways(port: u16) {
    let listener = TcpListener::bind((Family::V4.loopback(), port)).unwrap();
    for _ in 0..OF_EACH {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        abort(listener.accept().unwrap().0);
        await_reset(client);
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.write_all(b"never read").unwrap();
        server.peek(&mut [0]).unwrap();
        drop(server);
        await_reset(client);
    }
}

/// Closes an end whose reset has come: before, it would be that of a connection that is being closed.
fn await_reset(mut client: TcpStream) {
    let error = client.read(&mut [0]).expect_err("it is reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// Totals by name of a table of a board, without zeros.
fn totals(board: &Value, table: &str, name: &str) -> BTreeMap<String, u32> {
    let rows = board[table].as_array().unwrap().iter();
    let named = rows.map(|row| {
        let total = row["total"].as_u64().unwrap() as u32;
        (row[name].as_str().unwrap().to_owned(), total)
    });
    named.filter(|(_, total)| *total > 0).collect()
}

#[test]
fn an_agents_numbers_are_tops_numbers() {
    if !can_run() {
        return;
    }
    let agent = Agent::start(&[]);
    let socket = agent.path("socket");
    let port = free_address().port();
    let mut top = Guarded::start(
        rstmon()
            .args(["top", "-o", "json", "-d", "0.2", "--connect"])
            .arg(&socket)
            .arg(format!("port {port}"))
            .stdout(Stdio::piped()),
    );
    let lines = lines_of(top.stdout.take().unwrap());
    wait_until("the client", || {
        agent.scrape().sum("rstmon_socket_clients", &[]) > 0.5
    });
    // A process of a name that no other has: the agent counts all of this host, whatever top's filter.
    let comm = format!("rst{}", std::process::id());
    let binary = agent.path(&comm);
    support::programs::copy_program(std::env::current_exe().unwrap().to_str().unwrap(), &binary);
    let child = support::role_of(&binary, "resetting-process")
        .env("RSTMON_TEST_RESETS_PORT", port.to_string())
        .status();
    assert!(child.unwrap().success());
    let mut board = Value::Null;
    let kinds = |board: &Value| totals(board, "kinds", "kind");
    wait_until("all resets", || {
        let line = lines.recv_timeout(Duration::from_secs(10)).expect("a line");
        let mut line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["schema"], "rstmon.board/1");
        board = line["board"].take();
        kinds(&board).values().sum::<u32>() >= 4 * OF_EACH
    });
    drop(top);
    let all = [
        ("sent", "linger-abort", OF_EACH),
        ("sent", "close-unread-data", OF_EACH),
        ("received", "peer-aborted", 2 * OF_EACH),
    ];
    let expected = [
        ("sent".to_owned(), 2 * OF_EACH),
        ("received".to_owned(), 2 * OF_EACH),
    ];
    assert_eq!(kinds(&board), BTreeMap::from(expected));
    let causes = all.map(|(_, cause, total)| (cause.to_owned(), total));
    assert_eq!(totals(&board, "causes", "cause"), BTreeMap::from(causes));
    for (table, name) in [("processes", &comm), ("ports", &port.to_string())] {
        let rows = totals(&board, table, "name");
        assert_eq!(rows.len(), 1, "{table}: {rows:?}");
        let (row, total) = rows.first_key_value().unwrap();
        assert!(row.contains(name.as_str()), "{table}: {row}");
        assert_eq!(*total, 4 * OF_EACH, "{table}");
    }
    let page = agent.scrape();
    for (family, label) in [
        ("rstmon_port_resets_total", format!("port=\"{port}\"")),
        ("rstmon_process_resets_total", format!("comm=\"{comm}\"")),
    ] {
        for (kind, cause, total) in all {
            let [kind, cause] =
                [("kind", kind), ("cause", cause)].map(|(key, value)| format!("{key}=\"{value}\""));
            let counted = page.sum(family, &[&label, &kind, &cause]);
            assert!(
                (counted - f64::from(total)).abs() < 0.5,
                "{family} {cause}: {counted}"
            );
        }
        let counted = page.sum(family, &[&label]);
        assert!(
            (counted - f64::from(4 * OF_EACH)).abs() < 0.5,
            "{family}: {counted}"
        );
    }
}

#[test]
fn it_prints_where_there_is_no_terminal_and_replays_recordings() {
    if !bpf_works() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("r.rstrec");
    let mut trace = support::Trace::start(&["-w", recording.to_str().unwrap()]);
    reset();
    trace.event("the reset", |event| event["cause"] == "linger-abort");
    trace.interrupt();
    let top = |args: &[&str]| {
        let output = rstmon()
            .arg("top")
            .arg("-r")
            .arg(&recording)
            .args(args)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (code, text) = top(&["--speed", "0"]);
    assert_eq!(code, Some(0));
    assert!(
        text.contains("Causes") && text.contains("linger-abort"),
        "{text}"
    );
    let (code, json) = top(&["--speed", "0", "-o", "json", "-n", "1"]);
    assert_eq!((code, json.lines().count()), (Some(0), 1));
    let (code, _) = top(&["--speed", "-1"]);
    assert_eq!(code, Some(2));
    // Damaged: all that is whole, and the error.
    let mut damaged = std::fs::read(&recording).unwrap();
    damaged.extend(b"garbage");
    std::fs::write(&recording, damaged).unwrap();
    for args in [
        &["--speed", "0"][..],
        &["--speed", "0", "-n", "1"],
        &["--speed", "100"],
    ] {
        let (code, shown) = top(args);
        assert_eq!(code, Some(1), "{args:?}");
        assert!(shown.ends_with(&text), "{args:?} {shown}");
    }
    std::fs::write(&recording, "no recording").unwrap();
    assert_eq!(top(&[]).0, Some(1));
}

#[test]
fn a_damaged_recording_is_shown_and_what_is_wrong_is_said_on_leaving() {
    if !can_run() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("r.rstrec");
    let path = recording.to_str().unwrap();
    let mut trace = support::Trace::start(&["-w", path]);
    reset();
    trace.event("the reset", |event| event["cause"] == "linger-abort");
    trace.interrupt();
    let whole = std::fs::read(&recording).unwrap();
    std::fs::write(&recording, &whole[..whole.len() - 3]).unwrap();
    let tmux = Tmux::start(80, 24);
    let binary = env!("CARGO_BIN_EXE_rstmon");
    // The last picture is on the screen, and it is not all.
    tmux.line(&format!(
        "{binary} top -r {path} --speed 0 -n 1; echo LEFT $?"
    ));
    let screen = tmux.wait_for("the shell", |screen| screen.contains("LEFT 1"));
    assert!(
        screen.contains("rstmon: cannot read the recording"),
        "{screen}"
    );
    for speed in ["0", "100"] {
        tmux.line("clear");
        tmux.line(&format!(
            "{binary} top -r {path} --speed {speed}; echo LEFT $?"
        ));
        tmux.wait_for("the event and the error", |screen| {
            screen.contains("linger-abort") && screen.contains("ENDED: cannot read")
        });
        tmux.keys(&["q"]);
        let screen = tmux.wait_for("the shell", |screen| screen.contains("LEFT 1"));
        assert!(
            screen.contains("rstmon: cannot read the recording"),
            "{screen}"
        );
    }
}

#[test]
fn a_pipe_that_stands_still_does_not_keep_it_after_the_last_picture() {
    if !installed(&["tmux", "mkfifo"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let tmux = Tmux::start(80, 24);
    let binary = env!("CARGO_BIN_EXE_rstmon");
    let path = pipe.display();
    tmux.line(&format!(
        "{binary} top -r {path} --speed 0 -n 1 -d 0.1; echo LEFT $?"
    ));
    let facts = CaptureFacts {
        abi: wire::ABI,
        mode: "probe".to_owned(),
        ..CaptureFacts::default()
    };
    let mut writer = Writer::new(File::create(&pipe).unwrap(), &facts).unwrap();
    // Once a picture is due: it is drawn at the record, and there is no other that would end it.
    std::thread::sleep(Duration::from_millis(500));
    let raw = RawEvent {
        abi: wire::ABI,
        have: wire::HAVE_TUPLE,
        kind: wire::KIND_SENT,
        hook: wire::HOOK_TCP_SEND_RESET,
        family: wire::AF_INET,
        ..RawEvent::zeroed()
    };
    writer.write_record(&raw, &Annotation::default()).unwrap();
    writer.flush().unwrap();
    tmux.wait_for("the shell", |screen| screen.contains("LEFT 0"));
    drop(writer);
}

#[test]
fn a_terminal_gets_lines_that_it_has_room_for_and_dropping_a_filter_brings_all_back() {
    if !can_run() {
        return;
    }
    let tmux = Tmux::start(80, 24);
    tmux.line(&format!("{TOP} -b -n 1 | cat; {TOP} -b -n 1; echo LEFT $?"));
    tmux.wait_for("the end", |screen| screen.contains("LEFT 0"));
    tmux.line("clear");
    top_in(&tmux, "");
    reset();
    tmux.wait_for("the cause", |screen| screen.contains("linger-abort"));
    tmux.line("/cause paws");
    tmux.wait_for("what it says of it", |screen| {
        screen.contains("from now on") && !screen.contains("linger-abort")
    });
    tmux.keys(&["Escape"]);
    tmux.wait_for("all again", |screen| {
        screen.contains("linger-abort") && !screen.contains("filter: cause")
    });
    tmux.keys(&["q"]);
    assert_given_back(&tmux, "0");
}

#[test]
fn without_privilege_and_agent_it_exits_with_3_and_names_both_ways() {
    if !bpf_works() {
        return;
    }
    let binary = std::env::temp_dir().join(format!("rstmon-top-test-{}", std::process::id()));
    support::programs::copy_program(env!("CARGO_BIN_EXE_rstmon"), &binary);
    let output = Command::new(&binary)
        .args(["top", "--connect", "none", "-b", "-n", "1"])
        .uid(65534)
        .gid(65534)
        .output();
    std::fs::remove_file(&binary).unwrap();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("CAP_BPF") && said.contains("rstmon agent --socket-group"),
        "{said}"
    );
}
