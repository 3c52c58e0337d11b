//! The fields of an event, against what the application and the kernel say of the same connection.
//!
//! Each end of a connection is asked for everything right before the reset; nothing moves between the
//! two, so the numbers must be equal. Every line that comes is held against the schema.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics, one that cannot run says so"
)]

mod support;

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::stat::fstat;
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use support::programs::wait_until;
use support::skip::cannot_run;
use support::{
    Family, Trace, abort, bpf_works, cgroup_hierarchy, closed_port, connected, in_private_netns,
};

/// Bytes that the client sends first, those that the server answers, and those that come too late: no
/// two sums of these are the same.
const REQUEST: usize = 3001;
const ANSWER: usize = 5003;
const LATE: usize = 777;
/// More than a fresh connection may have on its way.
const FLOOD: usize = 200_000;
/// Between request and answer, and from the answer to the reset.
const PAUSE: Duration = Duration::from_millis(200);
const SILENCE: Duration = Duration::from_millis(400);
/// What a time by the kernel's tick may be off by: a tick is up to 10 ms, and a virtual machine's may be
/// late by another.
const TICKS_MS: u64 = 20;

/// A trace whose every line must meet the schema.
struct Watch {
    trace: Trace,
    schema: jsonschema::Validator,
}

impl Watch {
    fn start(filter: &str) -> Self {
        let schema = include_str!("../../docs/event.schema.json");
        let schema = serde_json::from_str(schema).unwrap();
        let watch = Self {
            trace: Trace::start(&[filter]),
            schema: jsonschema::validator_for(&schema).unwrap(),
        };
        watch.check(&watch.trace.start);
        watch
    }

    fn check(&self, line: &Value) {
        let errors = self.schema.iter_errors(line);
        let errors: Vec<String> = errors.map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}: {line:#}");
    }

    /// The event of this kind whose local end this is.
    fn event(&mut self, kind: &str, local: SocketAddr) -> Value {
        let event = self.trace.event(kind, |event| {
            event["kind"] == kind && event["local_port"] == local.port()
        });
        self.check(&event);
        event
    }

    /// Ends it; nothing else may have come but the end record, and nothing may be lost.
    fn end(mut self) {
        let pid = nix::unistd::Pid::from_raw(self.trace.child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it runs");
        let (lines, status) = self.trace.rest();
        assert!(status.success());
        for line in &lines {
            self.check(line);
        }
        assert_eq!(lines.len(), 1, "nothing but the end record: {lines:#?}");
    }
}

/// Something that happened between these two, monotonic nanoseconds.
struct Moment {
    earliest_ns: u64,
    latest_ns: u64,
}

impl Moment {
    /// When `act` ran, and what it gave.
    fn of<T>(act: impl FnOnce() -> T) -> (Self, T) {
        let earliest_ns = monotonic_ns();
        let given = act();
        let moment = Self {
            earliest_ns,
            latest_ns: monotonic_ns(),
        };
        (moment, given)
    }

    /// Whole milliseconds from here to there.
    fn until(&self, later: &Self) -> RangeInclusive<u64> {
        let least = later.earliest_ns.saturating_sub(self.latest_ns);
        let most = later.latest_ns - self.earliest_ns;
        least / 1_000_000..=most / 1_000_000
    }

    fn holds(&self, time_ns: u64) -> bool {
        (self.earliest_ns..=self.latest_ns).contains(&time_ns)
    }
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    Duration::from(now).as_nanos().try_into().unwrap()
}

/// The same, by the kernel's tick.
fn in_ticks(time_ms: &RangeInclusive<u64>) -> RangeInclusive<u64> {
    time_ms.start().saturating_sub(TICKS_MS)..=time_ms.end() + TICKS_MS
}

/// A type of which any bytes are a value.
trait Plain: Copy {}
impl Plain for u32 {}
impl Plain for u64 {}
impl Plain for libc::tcp_info {}

fn get_option<T: Plain>(socket: &TcpStream, level: i32, name: i32) -> T {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the value has room for the length given.
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    assert_eq!(status, 0, "option {level}, {name}");
    // SAFETY: any bytes are a value, and those that the kernel did not write are zero.
    unsafe { value.assume_init() }
}

fn set_option<T>(socket: &TcpStream, level: i32, name: i32, value: &T) {
    // SAFETY: the descriptor is open, and the value a whole one of the length given.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    assert_eq!(status, 0, "option {level}, {name}");
}

/// Bytes in one of the socket's queues.
fn queued(socket: &TcpStream, request: libc::Ioctl) -> u32 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: these requests write an int.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut bytes) };
    assert_eq!(status, 0, "ioctl {request:#x}");
    bytes.cast_unsigned()
}

/// `TCP_SEND_QUEUE` and `TCP_RECV_QUEUE` of linux/tcp.h.
const SEND_QUEUE: i32 = 2;
const RECEIVE_QUEUE: i32 = 1;
/// `TCP_REPAIR_OFF_NO_WP` of linux/tcp.h: no window probe.
const REPAIR_OFF: i32 = -1;

/// The numbers that the next byte will have: of those sent, of those received.
fn sequence_numbers(socket: &TcpStream) -> (u32, u32) {
    let set = |name, value: i32| set_option(socket, libc::IPPROTO_TCP, name, &value);
    let next = |queue| {
        set(libc::TCP_REPAIR_QUEUE, queue);
        get_option(socket, libc::IPPROTO_TCP, libc::TCP_QUEUE_SEQ)
    };
    set(libc::TCP_REPAIR, 1);
    let numbers = (next(SEND_QUEUE), next(RECEIVE_QUEUE));
    set(libc::TCP_REPAIR, REPAIR_OFF);
    numbers
}

fn tcp_info(socket: &TcpStream) -> libc::tcp_info {
    get_option(socket, libc::IPPROTO_TCP, libc::TCP_INFO)
}

/// What the kernel says of one end.
struct Told {
    local: SocketAddr,
    remote: SocketAddr,
    mark: u32,
    cookie: u64,
    inode: u64,
    uid: u32,
    info: libc::tcp_info,
    unread: u32,
    unacked: u32,
    unsent: u32,
}

impl Told {
    fn of(socket: &TcpStream) -> Self {
        let file = fstat(socket).unwrap();
        // Asked for a cookie, the kernel gives the socket one.
        let cookie = get_option(socket, libc::SOL_SOCKET, libc::SO_COOKIE);
        let unsent = queued(socket, libc::SIOCOUTQNSD as libc::Ioctl);
        Self {
            local: socket.local_addr().unwrap(),
            remote: socket.peer_addr().unwrap(),
            mark: get_option(socket, libc::SOL_SOCKET, libc::SO_MARK),
            cookie,
            inode: file.st_ino,
            uid: file.st_uid,
            unread: queued(socket, libc::FIONREAD),
            unacked: queued(socket, libc::TIOCOUTQ) - unsent,
            unsent,
            info: tcp_info(socket),
        }
    }

    /// That the event is of this socket.
    fn assert_identity(&self, event: &Value) {
        let (local, remote) = (self.local, self.remote);
        assert_eq!(event["local_addr"], local.ip().to_string());
        assert_eq!(event["local_port"], local.port());
        assert_eq!(event["remote_addr"], remote.ip().to_string());
        assert_eq!(event["remote_port"], remote.port());
        assert_eq!(number(event, "cookie"), self.cookie);
        assert_eq!(number(event, "inode"), self.inode);
        assert_eq!(event["uid"], self.uid);
        assert_eq!(event["mark"], self.mark);
    }

    /// That its numbers are still the same.
    fn assert_numbers(&self, event: &Value) {
        let info = &self.info;
        assert_eq!(number(event, "bytes_sent"), info.tcpi_bytes_sent);
        assert_eq!(event["unacked_bytes"], self.unacked);
        assert_eq!(event["unsent_bytes"], self.unsent);
        assert_eq!(event["unread_bytes"], self.unread);
        self.assert_what_sending_leaves(event);
    }

    /// That those numbers are still the same that change when the peer answers only.
    fn assert_what_sending_leaves(&self, event: &Value) {
        let info = &self.info;
        assert_eq!(event["srtt_us"], info.tcpi_rtt);
        assert_eq!(event["min_rtt_us"], info.tcpi_min_rtt);
        // Here the kernel counts a SYN that was acknowledged, and there a FIN that arrived, as a byte.
        assert_eq!(number(event, "bytes_acked"), info.tcpi_bytes_acked);
        assert_eq!(number(event, "bytes_received"), info.tcpi_bytes_received);
        assert_eq!(event["retransmits"], info.tcpi_total_retrans);
    }
}

/// An integer, however large.
fn number(event: &Value, field: &str) -> u64 {
    match &event[field] {
        Value::String(digits) => digits.parse().unwrap(),
        value => value
            .as_u64()
            .unwrap_or_else(|| panic!("{field} is {value}: {event:#}")),
    }
}

fn assert_within(event: &Value, field: &str, expected: &RangeInclusive<u64>) {
    let found = number(event, field);
    assert!(
        expected.contains(&found),
        "{field} is {found}, not within {expected:?}"
    );
}

fn file_line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

/// That the event is of this host and process, and that it happened then.
fn assert_place_and_time(event: &Value, netns: u64, happened: &Moment) {
    assert_eq!(
        event["boot_id"],
        file_line("/proc/sys/kernel/random/boot_id")
    );
    assert_eq!(event["host"], file_line("/proc/sys/kernel/hostname"));
    assert_eq!(event["netns"], netns);
    assert_eq!(event["pid"], std::process::id());
    assert_eq!(event["comm"], file_line("/proc/self/comm"));
    let exe = std::env::current_exe().unwrap();
    assert_eq!(event["exe"].as_str(), exe.to_str());
    assert!(happened.holds(number(event, "mono_ns")), "{event:#}");
    let time: jiff::Timestamp = event["time"].as_str().unwrap().parse().unwrap();
    let ago = jiff::Timestamp::now().duration_since(time).as_secs_f64();
    let since = Duration::from_nanos(monotonic_ns() - happened.latest_ns).as_secs_f64();
    assert!((ago - since).abs() < 1.0, "{time}: {ago} s, not {since} s");
}

/// Sends this many bytes, and reads them at the other end; when.
fn carry(from: &mut TcpStream, to: &mut TcpStream, bytes: usize) -> Moment {
    let (moment, ()) = Moment::of(|| {
        from.write_all(&vec![b'x'; bytes]).unwrap();
        to.read_exact(&mut vec![0; bytes]).unwrap();
    });
    moment
}

/// A request and, after a pause, its answer; when that was.
fn converse(client: &mut TcpStream, server: &mut TcpStream) -> Moment {
    carry(client, server, REQUEST);
    std::thread::sleep(PAUSE);
    let answered = carry(server, client, ANSWER);
    std::thread::sleep(SILENCE);
    answered
}

/// Gives a socket what no other has, so that no field agrees by chance.
fn distinguish(socket: &TcpStream, mark: u32, uid: u32) {
    setsockopt(socket, sockopt::Mark, &mark).unwrap();
    setsockopt(socket, sockopt::BindToDevice, &OsString::from("lo")).unwrap();
    fchown(socket, Some(uid), None).unwrap();
    // Late acknowledgments lengthen the smoothed round trip, not the shortest: the two differ.
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_QUICKACK, &0_i32);
}

#[test]
fn both_ends_of_an_aborted_connection_are_as_their_sockets_say() {
    if !bpf_works() {
        return;
    }
    for family in Family::BOTH {
        in_private_netns(move |netns| {
            let mut watch = Watch::start(&format!("netns {netns}"));
            let (begun, (mut client, mut server)) = Moment::of(|| connected(family));
            distinguish(&client, 0x1234_5678, 4321);
            distinguish(&server, 0x9abc_def0, 8765);
            let answered = converse(&mut client, &mut server);
            let (of_client, of_server) = (Told::of(&client), Told::of(&server));
            let (next_sent, next_received) = sequence_numbers(&client);
            let (aborted, ()) = Moment::of(|| {
                abort(client);
                // On a busy machine it arrives after the call.
                server.read(&mut [0]).expect_err("it is reset");
            });
            let sent = watch.event("sent", of_client.local);
            let received = watch.event("received", of_server.local);
            for (event, told) in [(&sent, &of_client), (&received, &of_server)] {
                told.assert_identity(event);
                told.assert_numbers(event);
                assert!(told.info.tcpi_rtt > told.info.tcpi_min_rtt, "a weak test");
                assert_place_and_time(event, netns, &aborted);
                assert_within(event, "age_ms", &begun.until(&aborted));
                assert_within(event, "idle_ms", &in_ticks(&answered.until(&aborted)));
                assert_eq!(event["ifindex"], if_nametoindex("lo").unwrap());
                assert_eq!(event["state"], "established");
            }
            assert_eq!(sent["role"], "client");
            assert_eq!(number(&sent, "bytes_sent"), REQUEST as u64);
            assert_eq!(number(&sent, "bytes_received"), ANSWER as u64);
            assert_eq!(received["role"], "server");
            assert_eq!(number(&received, "bytes_sent"), ANSWER as u64);
            assert_eq!(number(&received, "bytes_acked"), ANSWER as u64);
            assert_eq!(number(&received, "bytes_received"), REQUEST as u64);
            assert_eq!(sent["rst_flags"], "R.");
            assert_eq!(sent["rst_seq"], next_sent);
            assert_eq!(sent["rst_ack"], next_received);
            // Only where the segment itself is seen.
            if received["rst_seq"] != Value::Null {
                assert_eq!(received["rst_seq"], next_sent);
                assert_eq!(received["rst_ack"], next_received);
            }
            watch.end();
        });
    }
}

/// Has the kernel drop whatever arrives for the socket.
fn drop_arriving(socket: &TcpStream) {
    let mut refuse_all = [libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: 0,
    }];
    let program = libc::sock_fprog {
        len: 1,
        filter: refuse_all.as_mut_ptr(),
    };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program);
}

#[test]
fn what_is_on_its_way_and_what_waits_behind_it_are_told_apart() {
    if !bpf_works() {
        return;
    }
    in_private_netns(|netns| {
        let mut watch = Watch::start(&format!("netns {netns} and kind sent"));
        let (mut client, mut server) = connected(Family::V4);
        carry(&mut client, &mut server, REQUEST);
        wait_until("the acknowledgment", || {
            queued(&client, libc::TIOCOUTQ) == 0
        });
        drop_arriving(&server);
        client.set_nonblocking(true).unwrap();
        let taken = client.write(&vec![b'x'; FLOOD]).unwrap();
        wait_until("a retransmission", || {
            tcp_info(&client).tcpi_total_retrans > 0
        });
        // The next one takes longer.
        let told = Told::of(&client);
        abort(client);
        let sent = watch.event("sent", told.local);
        told.assert_numbers(&sent);
        let (unacked, unsent) = (
            number(&sent, "unacked_bytes"),
            number(&sent, "unsent_bytes"),
        );
        assert!(unacked > 0 && unsent > 0, "{unacked}, {unsent}");
        assert_eq!(unacked + unsent, taken as u64);
        // What is sent twice counts twice.
        let again = told.info.tcpi_bytes_retrans;
        let first = REQUEST as u64 + unacked;
        assert_eq!(number(&sent, "bytes_sent"), first + again);
        assert!(again > 0 && number(&sent, "retransmits") > 0);
        // What it has not been given is absent, not zero.
        assert_eq!(sent["mark"], Value::Null);
        assert_eq!(sent["ifindex"], Value::Null);
        watch.end();
    });
}

#[test]
fn the_segment_that_a_reset_answers_is_the_one_that_was_sent() {
    if !bpf_works() {
        return;
    }
    for family in Family::BOTH {
        in_private_netns(move |netns| {
            let mut watch = Watch::start(&format!("netns {netns}"));
            let (begun, (mut client, mut server)) = Moment::of(|| connected(family));
            distinguish(&client, 0x1234_5678, 4321);
            let answered = converse(&mut client, &mut server);
            let of_server = server.local_addr().unwrap();
            drop(server);
            assert_eq!(client.read(&mut [0]).unwrap(), 0, "the end of the data");
            let (next_sent, next_received) = sequence_numbers(&client);
            let told = Told::of(&client);
            let (late, ()) = Moment::of(|| {
                client.write_all(&[b'x'; LATE]).unwrap();
                wait_until("the reset", || client.take_error().unwrap().is_some());
            });
            let sent = watch.event("sent", of_server);
            assert_place_and_time(&sent, netns, &late);
            assert_within(&sent, "age_ms", &begun.until(&late));
            assert_eq!(sent["state"], "fin-wait-2");
            assert_eq!(sent["trigger_flags"], "P.");
            assert_eq!(sent["trigger_seq"], next_sent);
            assert_eq!(sent["trigger_ack"], next_received);
            assert_eq!(sent["trigger_len"], LATE);
            assert_eq!(sent["rst_flags"], "R");
            assert_eq!(sent["rst_seq"], next_received);
            assert_eq!(sent["rst_ack"], Value::Null);
            assert_eq!(sent["ifindex"], if_nametoindex("lo").unwrap());
            let received = watch.event("received", told.local);
            assert_place_and_time(&received, netns, &late);
            told.assert_identity(&received);
            told.assert_what_sending_leaves(&received);
            assert_eq!(received["state"], "close-wait");
            assert_eq!(number(&received, "bytes_sent"), (REQUEST + LATE) as u64);
            assert_eq!(received["unacked_bytes"], LATE);
            assert_eq!(received["unsent_bytes"], 0);
            // The peer's FIN is no byte to read.
            assert_eq!(received["unread_bytes"], 0);
            assert_within(&received, "age_ms", &begun.until(&late));
            // It was quiet until the late data, which are not what was waited for.
            assert_within(&received, "idle_ms", &in_ticks(&answered.until(&late)));
            watch.end();
        });
    }
}

/// A directory, removed at the end.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn the_cgroups_id_is_the_inode_of_its_directory() {
    if !bpf_works() {
        return;
    }
    let Some(root) = cgroup_hierarchy("cgroup2") else {
        cannot_run("no cgroup2 hierarchy with a root of its own is mounted here");
        return;
    };
    let name = format!("rstmon-test-fields-{}", std::process::id());
    let cgroup = Directory(root.join(&name));
    if let Err(error) = std::fs::create_dir(&cgroup.0) {
        cannot_run(&format!("a cgroup cannot be made: {error}"));
        return;
    }
    let procs = cgroup.0.join("cgroup.procs");
    let event = in_private_netns(move |netns| {
        let mut watch = Watch::start(&format!("netns {netns} and kind received"));
        let port = closed_port(Family::V4).port();
        let script = format!("echo $$ > \"$PROCS\" && exec 3<>/dev/tcp/127.0.0.1/{port}");
        let mut shell = Command::new("bash");
        shell.args(["-c", &script]).env("PROCS", procs);
        let output = shell.output().expect("bash starts");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("refused"), "{told}");
        let event = watch.trace.event("received RST", |_| true);
        watch.check(&event);
        watch.end();
        event
    });
    let inode = cgroup.0.metadata().unwrap().ino();
    assert_eq!(number(&event, "cgroup_id"), inode);
    assert_eq!(event["cgroup"], format!("/{name}"));
    assert_eq!(event["comm"], "bash");
}
