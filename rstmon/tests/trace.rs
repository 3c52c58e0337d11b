//! `rstmon trace` as a user runs it, on this kernel, with real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

mod support;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use support::guard::Guarded;
use support::programs::{wait_for, wait_until};
use support::{
    Family, Trace, abort, bpf_works, closed_port, connected, in_private_netns, is, rstmon,
};

/// Name of this process, its first thread's, as the kernel cuts it.
fn own_comm() -> String {
    std::fs::read_to_string("/proc/self/comm")
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn a_closed_port_is_seen_from_both_ends() {
    if !bpf_works() {
        return;
    }
    for family in Family::BOTH {
        in_private_netns(move |netns| {
            let mut trace = Trace::start(&[&format!("netns {netns}")]);
            let target = closed_port(family);
            TcpStream::connect(target).expect_err("nobody listens");
            let sent = trace.event("sent RST", |event| is(event, "sent", "port-closed"));
            assert_eq!(sent["local_port"], target.port());
            assert_eq!(sent["state"], "none");
            assert_eq!(sent["rst_flags"], "R.");
            assert_eq!(sent["trigger_flags"], "S");
            let isn = sent["trigger_seq"].as_u64().unwrap();
            assert_eq!(sent["rst_ack"].as_u64().unwrap(), (isn + 1) & 0xffff_ffff);
            assert_eq!(sent["netns"].as_u64().unwrap(), netns);
            let received = trace.event("received RST", |event| {
                is(event, "received", "connection-refused")
            });
            assert_eq!(received["remote_port"], target.port());
            assert_eq!(received["local_port"], sent["remote_port"]);
            assert_eq!(received["state"], "syn-sent");
            assert_eq!(received["role"], "client");
            assert_eq!(received["pid"], std::process::id());
            assert_eq!(received["comm"], own_comm());
            assert_eq!(received["community_id"], sent["community_id"]);
        });
    }
}

#[test]
fn a_socket_older_than_the_capture_has_its_owner() {
    if !bpf_works() {
        return;
    }
    in_private_netns(|netns| {
        let pairs: Vec<_> = (0..40).map(|_| connected(Family::V4)).collect();
        let mut trace = Trace::start(&[&format!("netns {netns} and kind received")]);
        // The walk through /proc goes on after the start line; the owner must come with it.
        for (client, server) in pairs {
            let port = client.local_addr().unwrap().port();
            abort(server);
            let event = trace.event("received RST", |event| event["local_port"] == port);
            if event["pid"] == std::process::id() {
                assert_eq!(event["exe"].as_str().unwrap(), own_exe());
                return;
            }
            assert_eq!(
                event["pid"],
                Value::Null,
                "a wrong owner is worse than none"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("no owner was found in 4 s");
    });
}

#[test]
fn in_classic_mode_an_end_that_the_kernel_does_not_tell_is_absent() {
    if !bpf_works() {
        return;
    }
    in_private_netns(|_| {
        for (bound, local) in [
            ("0.0.0.0:0", Value::Null),
            ("[::]:0", Value::Null),
            ("127.0.0.1:0", "127.0.0.1".into()),
        ] {
            let listener = TcpListener::bind(bound).unwrap();
            let port = listener.local_addr().unwrap().port();
            // Classic records name no namespace.
            let filter = format!("kind sent and port {port}");
            let mut trace = Trace::start(&["--mode", "classic", &filter]);
            send_stray_ack(port);
            let event = trace.event("the RST", |event| event["local_port"] == port);
            assert_eq!(event["state"], "listen");
            assert_eq!(event["local_addr"], local, "{event}");
            for absent in ["remote_addr", "remote_port", "community_id"] {
                assert_eq!(event[absent], Value::Null, "{event}");
            }
        }
    });
}

/// Sends an ACK over loopback that belongs to no connection.
fn send_stray_ack(port: u16) {
    const SOURCE_PORT: u16 = 40_000;
    const DATA_OFFSET_AND_ACK: u16 = 0x5010;
    let words = [SOURCE_PORT, port, 0, 1, 0, 2, DATA_OFFSET_AND_ACK, 0, 0, 0];
    // RFC 9293, 3.1: source and destination, protocol, length; the segment.
    let pseudo_header = [0x7f00, 1, 0x7f00, 1, 6, 20];
    let all = pseudo_header.iter().chain(&words);
    let sum: u32 = all.map(|word| u32::from(*word)).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let folded = (sum & 0xffff) + (sum >> 16);
    let mut segment = words;
    segment[8] = !u16::try_from(folded).unwrap();
    let bytes: Vec<u8> = segment.iter().flat_map(|word| word.to_be_bytes()).collect();
    let socket = socket(
        AddressFamily::Inet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::Tcp,
    )
    .unwrap();
    let to = SockaddrIn::new(127, 0, 0, 1, 0);
    let sent = sendto(socket.as_raw_fd(), &bytes, &to, MsgFlags::empty());
    assert_eq!(sent.unwrap(), bytes.len());
}

fn own_exe() -> String {
    std::env::current_exe()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

#[test]
fn the_filter_keeps_out_what_it_excludes_and_counts_it() {
    if !bpf_works() {
        return;
    }
    in_private_netns(|netns| {
        let wanted = closed_port(Family::V4);
        let filter = format!("netns {netns} and kind sent and port {}", wanted.port());
        let mut trace = Trace::start(&[&filter]);
        let other = closed_port(Family::V4);
        TcpStream::connect(other).expect_err("nobody listens");
        TcpStream::connect(wanted).expect_err("nobody listens");
        trace.event("the wanted RST", |event| {
            event["local_port"] == wanted.port()
        });
        let (lines, status) = trace.interrupt();
        assert!(status.success());
        assert_eq!(lines.len(), 1, "nothing but the end record: {lines:#?}");
        // The other sent one and the two received ones were filtered, in the kernel or after it.
        assert!(lines[0]["filtered"].as_u64().unwrap() >= 3, "{}", lines[0]);
        assert_eq!(lines[0]["written"], 1);
    });
}

/// Whether every event that was seen was written or filtered.
fn assert_adds_up(end: &Value) {
    let of = |name: &str| end[name].as_u64().unwrap();
    // Events that the kernel side filtered are not seen.
    assert!(of("seen") <= of("written") + of("filtered"), "{end}");
    assert!(of("seen") >= of("written"), "{end}");
}

#[test]
fn a_count_and_a_duration_end_it() {
    if !bpf_works() {
        return;
    }
    in_private_netns(|netns| {
        let mut counted = Trace::start(&["-c", "2", &format!("netns {netns}")]);
        for _ in 0..3 {
            TcpStream::connect(closed_port(Family::V4)).expect_err("nobody listens");
        }
        let (lines, status) = counted.rest();
        assert!(status.success());
        assert_eq!(lines.len(), 3, "two events and the end record: {lines:#?}");
        assert_eq!(lines[2]["written"], 2);
        assert_adds_up(&lines[2]);
    });
    let begun = Instant::now();
    let mut timed = Trace::start(&["--duration", "1s"]);
    let (lines, status) = timed.rest();
    assert!(status.success());
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(lines.last().unwrap()["schema"], "rstmon.end/1");
}

#[test]
fn a_recording_replays_to_the_same_events_and_damage_is_told() {
    if !bpf_works() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("resets.rstmon");
    let path = file.to_str().unwrap().to_owned();
    let recording = path.clone();
    let (filter, live) = in_private_netns(move |netns| {
        let filter = format!("netns {netns}");
        let mut trace = Trace::start(&["-c", "6", "-w", &recording, &filter]);
        TcpStream::connect(closed_port(Family::V4)).expect_err("nobody listens");
        TcpStream::connect(closed_port(Family::V6)).expect_err("nobody listens");
        let (client, server) = connected(Family::V4);
        abort(client);
        drop(server);
        let (lines, status) = trace.rest();
        assert!(status.success());
        (filter, lines)
    });
    // A recording holds the events of other namespaces, too.
    let replay = |path: &str| {
        let output = rstmon()
            .args(["trace", "-o", "jsonl", "-r", path, &filter])
            .output()
            .unwrap();
        let lines: Vec<Value> = output
            .stdout
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect();
        (
            lines,
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (lines, code, stderr) = replay(&path);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(&lines[1..7], &live[..6]);
    let output = rstmon()
        .args(["trace", "-o", "jsonl", "-c", "1", "-r", &path, &filter])
        .output()
        .unwrap();
    let end = output.stdout.lines().last().unwrap().unwrap();
    let end: Value = serde_json::from_str(&end).unwrap();
    assert_eq!(end["written"], 1);
    assert_adds_up(&end);
    // Cut within the last frames: everything before comes, then the error.
    let whole = std::fs::read(&file).unwrap();
    let cut = directory.path().join("cut.rstmon");
    std::fs::File::create(&cut)
        .unwrap()
        .write_all(&whole[..whole.len() * 3 / 4])
        .unwrap();
    let (lines, code, stderr) = replay(cut.to_str().unwrap());
    assert_eq!(code, Some(1));
    assert!(lines.len() >= 2 && lines.len() < 8, "{lines:#?}");
    // The event of the other end may be in what was cut off.
    let without_story = |event: &Value| {
        let mut event = event.clone();
        event.as_object_mut().unwrap().remove("story");
        event
    };
    assert_eq!(without_story(&lines[1]), without_story(&live[0]));
    // That would say that this is all, and that nothing was lost.
    let has_end = lines.iter().any(|line| line["schema"] == "rstmon.end/1");
    assert!(!has_end, "{lines:#?}");
    assert!(stderr.contains("cut.rstmon"), "{stderr}");
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    if !bpf_works() {
        return;
    }
    let mut child = rstmon()
        .args(["trace", "-o", "jsonl"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    assert!(first.contains("rstmon.start/1"), "{first}");
    // The reader is gone now, and no reset need happen for rstmon to notice.
    let status = wait_for(&mut child, Duration::from_secs(10));
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
}

#[test]
fn sigkill_leaves_nothing_in_the_kernel() {
    if !bpf_works() {
        return;
    }
    let mut trace = Trace::start(&[]);
    let held = bpf_objects_of(trace.child.id());
    assert!(held.iter().any(|(kind, _)| kind == "prog"), "{held:?}");
    assert!(held.iter().any(|(kind, _)| kind == "map"), "{held:?}");
    assert!(held.iter().any(|(kind, _)| kind == "link"), "{held:?}");
    for (kind, id) in &held {
        assert!(exists(kind, *id), "{kind} {id}");
    }
    trace.child.kill().unwrap();
    trace.child.wait().unwrap();
    // The kernel frees them after a grace period.
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut left = held;
    while !left.is_empty() && Instant::now() < deadline {
        left.retain(|(kind, id)| exists(kind, *id));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(left.is_empty(), "left in the kernel: {left:?}");
}

/// Kind and id of every BPF object that the process holds open.
fn bpf_objects_of(pid: u32) -> Vec<(String, u64)> {
    let mut objects = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            if let Some(kind) = key.strip_suffix("_id")
                && matches!(kind, "prog" | "map" | "link")
                && let Ok(id) = value.trim().parse()
            {
                objects.push((kind.to_owned(), id));
            }
        }
    }
    objects
}

fn exists(kind: &str, id: u64) -> bool {
    let output = Command::new("bpftool")
        .args([kind, "show", "id", &id.to_string()])
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() || answer.contains("No such file or directory"),
        "bpftool cannot tell whether {kind} {id} exists: {answer}"
    );
    output.status.success()
}

#[test]
fn two_at_once_both_see_everything() {
    if !bpf_works() {
        return;
    }
    in_private_netns(|netns| {
        let filter = format!("netns {netns}");
        let mut first = Trace::start(&[&filter]);
        let mut second = Trace::start(&[&filter]);
        let target = closed_port(Family::V4);
        TcpStream::connect(target).expect_err("nobody listens");
        let seen_by_first = first.event("sent RST", |event| is(event, "sent", "port-closed"));
        let seen_by_second = second.event("sent RST", |event| is(event, "sent", "port-closed"));
        assert_eq!(seen_by_first["rst_ack"], seen_by_second["rst_ack"]);
    });
}

#[test]
fn without_privilege_it_exits_with_3_and_names_the_capabilities() {
    if !bpf_works() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let binary = directory.path().join("rstmon");
    support::programs::copy_program(env!("CARGO_BIN_EXE_rstmon"), &binary);
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).unwrap();
    for command in ["trace", "check", "agent"] {
        let output = Command::new(&binary)
            .arg(command)
            .uid(65_534)
            .gid(65_534)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(
            told.contains("CAP_BPF") && told.contains("CAP_PERFMON"),
            "{told}"
        );
    }
}

#[test]
fn a_wrong_command_line_exits_with_2_and_points() {
    let output = rstmon()
        .args(["trace", "kind sent and prot 80"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains('^') && stderr.contains("port"), "{stderr}");
    let output = rstmon().args(["trace", "--mode", "fast"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn what_is_no_recording_is_refused() {
    let output = rstmon()
        .args(["trace", "-r", "/etc/passwd"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("/etc/passwd") && stderr.contains("no rstmon recording"),
        "{stderr}"
    );
}

/// What `trace` writes is there within 100 ms of the reset, though nothing more comes and nothing has
/// filled a buffer. Of many, the middle one: another process may have had the processor for once.
/// How long lines take to be written, in order.
fn times_of_lines(form: &str, netns: u64) -> Vec<Duration> {
    let mut trace = Guarded::start(
        rstmon()
            .args(["trace", "-o", form, "--color", "never"])
            .arg(format!("netns {netns} and kind sent"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    );
    let lines = BufReader::new(trace.stdout.take().unwrap()).lines();
    let (sender, come) = channel();
    std::thread::spawn(move || {
        for line in lines {
            // A test that has failed waits for nothing.
            let _ = sender.send((Instant::now(), line.unwrap()));
        }
    });
    // Text has no start line.
    wait_until("the hooks", || {
        abort(connected(Family::V4).1);
        come.recv_timeout(Duration::from_millis(50)).is_ok()
    });
    let mut times = Vec::new();
    while times.len() < 21 {
        let (client, server) = connected(Family::V4);
        let port = server.local_addr().unwrap().port().to_string();
        let began = Instant::now();
        abort(server);
        let patience = Duration::from_secs(20);
        let at = loop {
            match come.recv_timeout(patience).unwrap() {
                (at, line) if line.contains(&port) => break at,
                _ => {}
            }
        };
        times.push(at.saturating_duration_since(began));
        drop(client);
        // Apart from each other, and in no step with anything.
        std::thread::sleep(Duration::from_millis(37));
    }
    times.sort();
    times
}

#[test]
fn a_line_is_written_within_a_tenth_of_a_second() {
    if !bpf_works() {
        return;
    }
    in_private_netns(|netns| {
        for form in ["jsonl", "text"] {
            let is_kept = |times: &Vec<Duration>| times[10] < Duration::from_millis(100);
            // The better of two: tests beside this one may have the processors for a while.
            let mut times = times_of_lines(form, netns);
            if !is_kept(&times) {
                times = times_of_lines(form, netns);
            }
            assert!(is_kept(&times), "{form}: {times:?}");
        }
    });
}
