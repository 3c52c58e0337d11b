//! The annotator against this machine's own sockets and processes.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use super::sockets::read_socket_owners;
use super::*;
use crate::event::facts::Facts;
use crate::event::model::{
    Cause, Confidence, Connection, Family, HookId, Initiator, SocketFacts, Verdict,
};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;

fn event(local: SocketAddr, remote: SocketAddr) -> Event {
    let netns = std::fs::metadata("/proc/self/ns/net").unwrap().ino();
    Event {
        seq_no: 1,
        time_ns: 0,
        mono_ns: u64::MAX / 4,
        kind: Kind::Received,
        hook: HookId(2),
        deduced: false,
        active: false,
        verdict: Verdict {
            cause: Cause::Undiagnosed,
            initiator: Initiator::Unknown,
            confidence: Confidence::Guess,
            evidence: Facts::new(),
        },
        kernel_reason: None,
        drop_reason: None,
        state: Some(SocketState::Established),
        family: Family::Ipv4,
        local_addr: local.ip(),
        local_port: local.port(),
        remote_addr: remote.ip(),
        remote_port: remote.port(),
        role: None,
        rst: None,
        trigger: None,
        payload: None,
        mptcp_reset_reason: None,
        asks_for_subflow: false,
        handshake_ttl: None,
        handshake_ip_id: None,
        handshake_ts_value: None,
        connection: Connection::default(),
        socket: Some(SocketFacts::default()),
        recent_close: None,
        owner: None,
        owner_is_listener: false,
        owner_end: None,
        killer: None,
        exe: None,
        uid: None,
        actor: None,
        current: None,
        cgroup_id: None,
        cgroup: None,
        workload: None,
        netns: Some(u32::try_from(netns).unwrap()),
        ifindex: None,
        mark: None,
        cookie: None,
        inode: None,
        story: None,
    }
}

/// A listener, a connection to it not yet accepted, and an annotator that has seen both.
fn seeded() -> (TcpListener, TcpStream, Annotator) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut annotator = Annotator::new(Path::new("/proc"), Path::new("/"));
    let (owners, _) = read_socket_owners(Path::new("/proc")).unwrap();
    annotator.seed(owners);
    (listener, client, annotator)
}

fn owner_pid(filled: &Annotation) -> Option<u32> {
    filled.owner.as_ref().map(|owner| owner.pid)
}

#[test]
fn an_old_socket_gets_its_owner_and_executable() {
    let (_listener, client, mut annotator) = seeded();
    let mut event = event(client.local_addr().unwrap(), client.peer_addr().unwrap());
    let by_tuple = annotator.annotate(&mut event.clone());
    assert_eq!(owner_pid(&by_tuple), Some(std::process::id()));
    let link = format!("/proc/self/fd/{}", client.as_raw_fd());
    event.inode = Some(std::fs::metadata(link).unwrap().ino());
    let by_inode = annotator.annotate(&mut event);
    assert_eq!(by_inode, by_tuple);
    assert_eq!(event.owner, by_inode.owner);
    assert_eq!(
        event.exe.as_deref(),
        std::env::current_exe().unwrap().to_str()
    );
    // A second time there is nothing left to fill.
    assert_eq!(annotator.annotate(&mut event), Annotation::default());
}

#[test]
fn a_connection_not_accepted_belongs_to_the_listener() {
    let (listener, client, mut annotator) = seeded();
    let mut server = event(listener.local_addr().unwrap(), client.local_addr().unwrap());
    assert_eq!(owner_pid(&annotator.annotate(&mut server.clone())), None);
    server.role = Some(Role::Server);
    assert_eq!(
        owner_pid(&annotator.annotate(&mut server)),
        Some(std::process::id())
    );
}

#[test]
fn nobody_owns_what_is_no_socket_or_another() {
    let (_listener, client, mut annotator) = seeded();
    let seen = event(client.local_addr().unwrap(), client.peer_addr().unwrap());
    let younger = Event {
        connection: Connection {
            age_ms: Some(3),
            ..Connection::default()
        },
        ..seen.clone()
    };
    for mut other in [
        younger,
        Event {
            socket: None,
            ..seen.clone()
        },
        Event {
            state: Some(SocketState::None),
            ..seen.clone()
        },
        Event {
            kind: Kind::Stray,
            ..seen.clone()
        },
        Event {
            netns: Some(1),
            ..seen.clone()
        },
        Event {
            netns: None,
            ..seen.clone()
        },
        Event {
            inode: Some(u64::MAX),
            ..seen.clone()
        },
        Event {
            local_addr: IpAddr::V4(Ipv4Addr::new(127, 9, 9, 9)),
            ..seen.clone()
        },
    ] {
        assert_eq!(
            annotator.annotate(&mut other),
            Annotation::default(),
            "{other:?}"
        );
    }
}

#[test]
fn what_the_kernel_said_stays() {
    let (_listener, client, mut annotator) = seeded();
    let mut event = event(client.local_addr().unwrap(), client.peer_addr().unwrap());
    let said = Process {
        pid: 0x7fff_fff0,
        comm: "gone".into(),
    };
    event.owner = Some(said.clone());
    event.cgroup = Some("/said".into());
    assert_eq!(annotator.annotate(&mut event), Annotation::default());
    assert_eq!(event.owner, Some(said));
}

#[test]
fn a_storm_of_unknown_processes_stays_within_the_budget() {
    let root = tempfile::tempdir().unwrap();
    let mut annotator = Annotator::new(root.path(), root.path());
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
    let base = event(any, any);
    for pid in 0..READS_PER_SECOND + 500 {
        let owner = Some(Process {
            pid,
            comm: "".into(),
        });
        annotator.annotate(&mut Event {
            owner,
            ..base.clone()
        });
    }
    assert_eq!(
        annotator.skipped(),
        Skipped {
            exe: 500,
            ..Skipped::default()
        }
    );
    let owner = Some(Process {
        pid: 999_999,
        comm: "".into(),
    });
    let later = base.mono_ns + 1_000_000_000;
    annotator.annotate(&mut Event {
        owner,
        mono_ns: later,
        ..base
    });
    assert_eq!(
        annotator.skipped(),
        Skipped {
            exe: 500,
            ..Skipped::default()
        }
    );
}

const CONTAINER: &str = "8c3f0e6b5d4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a0";

/// A host whose process 7 is in these cgroups; `mounts` are types of cgroup hierarchies.
fn host(mounts: &[&str], cgroups: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let proc_root = root.path().join("proc");
    std::fs::create_dir_all(proc_root.join("self")).unwrap();
    std::fs::create_dir_all(proc_root.join("7")).unwrap();
    let mountinfo: Vec<String> = mounts
        .iter()
        .map(|mount| format!("1 2 0:3 / /nonexistent rw - {mount} {mount} rw"))
        .collect();
    std::fs::write(proc_root.join("self/mountinfo"), mountinfo.join("\n")).unwrap();
    let stat = "7 (x) S 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 1000 9 9\n";
    std::fs::write(proc_root.join("7/stat"), stat).unwrap();
    let cgroups = cgroups.replace("{id}", CONTAINER);
    std::fs::write(proc_root.join("7/cgroup"), cgroups).unwrap();
    root
}

/// Container and unit of an event of process 7 with a socket in the cgroup.
fn workload_on(root: &Path, cgroup: &str, mono_ns: u64) -> (Option<String>, Option<String>) {
    let mut annotator = Annotator::new(&root.join("proc"), root);
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
    let mut seen = event(any, any);
    seen.owner = Some(Process {
        pid: 7,
        comm: "x".into(),
    });
    seen.cgroup = Some(cgroup.replace("{id}", CONTAINER).into());
    seen.mono_ns = mono_ns;
    let filled = annotator.annotate(&mut seen);
    assert_eq!(filled.workload, seen.workload);
    let workload = seen.workload.as_deref();
    let container = workload.and_then(|workload| workload.container.as_ref()?.id().cloned());
    let unit = workload.and_then(|workload| workload.unit.as_deref());
    (
        container.map(|id| id.as_str().to_owned()),
        unit.map(str::to_owned),
    )
}

#[test]
fn the_owner_tells_what_the_sockets_cgroup_cannot() {
    const LATE: u64 = u64::MAX / 4;
    let container = || Some(CONTAINER.to_owned());
    let unit = |name: &str| Some(name.to_owned());
    let hybrid = host(&["cgroup", "cgroup2"], "4:pids:/docker/{id}\n0::/\n");
    assert_eq!(workload_on(hybrid.path(), "/", LATE), (container(), None));
    // The container is worth more than the unit of the socket's cgroup.
    let of_socket = "/system.slice/docker.service";
    let found = workload_on(hybrid.path(), of_socket, LATE);
    assert_eq!(found, (container(), None));
    // What the socket's cgroup tells is believed first.
    let other = host(&["cgroup", "cgroup2"], "1:name=systemd:/a.service\n");
    let of_socket = "/system.slice/docker-{id}.scope";
    let found = workload_on(other.path(), of_socket, LATE);
    assert_eq!(found, (container(), None));
    let found = workload_on(other.path(), "/b.service", LATE);
    assert_eq!(found, (None, unit("b.service")));
    let found = workload_on(other.path(), "/", LATE);
    assert_eq!(found, (None, unit("a.service")));
}

#[test]
fn the_owner_is_not_asked_in_vain_nor_taken_for_another() {
    let cgroups = "4:pids:/docker/{id}\n0::/\n";
    let unified = host(&["cgroup2"], cgroups);
    let found = workload_on(unified.path(), "/", u64::MAX / 4);
    assert_eq!(found, (None, None));
    // Process 7 started ten seconds after boot, after this event.
    let hybrid = host(&["cgroup", "cgroup2"], cgroups);
    let stat = hybrid.path().join("proc/7/stat");
    let text = std::fs::read_to_string(&stat).unwrap();
    std::fs::write(stat, text.replace("1000", "5000000000000")).unwrap();
    assert_eq!(workload_on(hybrid.path(), "/", 1), (None, None));
}

#[test]
fn a_storm_of_containers_stays_within_the_budget() {
    let root = host(&["cgroup2"], "");
    let mut annotator = Annotator::new(&root.path().join("proc"), root.path());
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
    let containers = READS_PER_SECOND / READS_OF_NAMES + 5;
    for number in 0..containers {
        let mut seen = event(any, any);
        seen.cgroup = Some(format!("/docker/{number:064x}").into());
        annotator.annotate(&mut seen);
        let workload = seen.workload.unwrap();
        assert!(workload.container.is_some(), "the id needs no reading");
    }
    let expected = Skipped {
        names: 5,
        ..Skipped::default()
    };
    assert_eq!(annotator.skipped(), expected);
}

/// Ends of a connection that somebody accepted, and its inode at the server.
struct Accepted {
    _server: TcpStream,
    client: TcpStream,
    inode: u64,
}

fn accepted(listener: &TcpListener) -> Accepted {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    let link = format!("/proc/self/fd/{}", server.as_raw_fd());
    let inode = std::fs::metadata(link).unwrap().ino();
    Accepted {
        _server: server,
        client,
        inode,
    }
}

#[test]
fn a_connection_accepted_since_the_start_is_its_holders_not_the_listeners() {
    // A child that listens, as far as the kernel side knows; this process accepted.
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let accepted = accepted(&listener);
    let mut server = event(
        listener.local_addr().unwrap(),
        accepted.client.local_addr().unwrap(),
    );
    server.inode = Some(accepted.inode);
    server.role = Some(Role::Server);
    server.owner = Some(Process {
        pid: child.id(),
        comm: "sleep".into(),
    });
    let mut annotator = Annotator::new(Path::new("/proc"), Path::new("/"));
    let mut known = server.clone();
    assert_eq!(owner_pid(&annotator.annotate(&mut known)), None);
    server.owner_is_listener = true;
    let mut of_listener = Event {
        state: Some(SocketState::Listen),
        ..server.clone()
    };
    assert_eq!(owner_pid(&annotator.annotate(&mut of_listener)), None);
    let filled = annotator.annotate(&mut server);
    child.kill().unwrap();
    child.wait().unwrap();
    // The child is of this process's group.
    assert_eq!(owner_pid(&filled), Some(std::process::id()));
    assert_eq!(server.owner, filled.owner);
    assert_eq!(
        server.exe.as_deref(),
        Some(&*std::env::current_exe().unwrap().to_string_lossy())
    );
}

#[test]
fn a_connection_accepted_since_the_start_from_an_older_listener_has_an_owner() {
    let (listener, _client, mut annotator) = seeded();
    listener.accept().unwrap();
    let accepted = accepted(&listener);
    let mut server = event(
        listener.local_addr().unwrap(),
        accepted.client.local_addr().unwrap(),
    );
    server.inode = Some(accepted.inode);
    server.role = Some(Role::Server);
    let filled = annotator.annotate(&mut server);
    assert_eq!(owner_pid(&filled), Some(std::process::id()));
}
