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
        handshake_ttl: None,
        handshake_ip_id: None,
        handshake_ts_value: None,
        connection: Connection::default(),
        socket: Some(SocketFacts::default()),
        recent_close: None,
        owner: None,
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
