//! The scan against this machine's sockets, and against `/proc` trees that no kernel would show.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use super::*;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::process::{Child, Command, Stdio};

const PROC: &str = "/proc";

fn inode_of(socket: &impl std::os::fd::AsRawFd) -> u64 {
    fs::metadata(format!("/proc/self/fd/{}", socket.as_raw_fd()))
        .unwrap()
        .ino()
}

fn own_netns() -> u32 {
    u32::try_from(fs::metadata("/proc/self/ns/net").unwrap().ino()).unwrap()
}

/// A child that holds `socket` as its standard input.
fn child_holding(socket: std::os::fd::OwnedFd) -> Child {
    Command::new("sleep")
        .arg("60")
        .stdin(Stdio::from(socket))
        .spawn()
        .unwrap()
}

/// Processes that start in the same clock tick are told apart by pid only.
fn next_clock_tick() {
    std::thread::sleep(std::time::Duration::from_millis(30));
}

#[test]
fn a_child_holding_a_listener_is_found_by_inode_and_by_address() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let inode = inode_of(&listener);
    let mut child = child_holding(listener.into());
    let (owners, report) = read_socket_owners(Path::new(PROC)).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let owner = owners.owner(inode).unwrap();
    assert_eq!((owner.pid, owner.comm.as_str()), (child.id(), "sleep"));
    assert_eq!(owner.uid, Some(nix::unistd::geteuid().as_raw()));
    assert_eq!(owners.listener_owner(own_netns(), address), Some(owner));
    assert!(report.processes >= 2 && report.sockets >= 1 && report.namespaces >= 1);
    assert_eq!(report.broken_rows, 0);
}

#[test]
fn a_listener_is_its_oldest_holders_a_connection_its_newest() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    next_clock_tick();
    let mut holders = [
        child_holding(listener.try_clone().unwrap().into()),
        child_holding(server.try_clone().unwrap().into()),
    ];
    let (owners, _) = read_socket_owners(Path::new(PROC)).unwrap();
    for child in &mut holders {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let pid = |inode| owners.owner(inode).map(|owner| owner.pid);
    assert_eq!(pid(inode_of(&listener)), Some(std::process::id()));
    assert_eq!(pid(inode_of(&server)), Some(holders[1].id()));
    let (local, remote) = (server.local_addr().unwrap(), server.peer_addr().unwrap());
    assert_eq!(
        owners.by_tuple(own_netns(), local, remote),
        Some(inode_of(&server))
    );
    assert_eq!(
        owners.by_tuple(own_netns(), remote, local),
        Some(inode_of(&client))
    );
    assert_eq!(owners.by_tuple(own_netns() ^ 1, local, remote), None);
}

#[test]
fn a_dual_stack_listener_serves_ipv4() {
    let Ok(listener) = TcpListener::bind("[::]:0") else {
        return;
    };
    let port = listener.local_addr().unwrap().port();
    let (owners, _) = read_socket_owners(Path::new(PROC)).unwrap();
    for address in ["127.0.0.1", "::1"] {
        let local = SocketAddr::new(address.parse().unwrap(), port);
        let owner = owners.listener_owner(own_netns(), local);
        assert_eq!(owner.map(|owner| owner.pid), Some(std::process::id()));
    }
}

/// A process of a made-up `/proc`.
struct FakeProcess {
    pid: u32,
    start: u64,
    comm: &'static str,
    sockets: &'static [&'static str],
    table: &'static str,
}

const HEADER: &str = "  sl  local_address\n";

fn fake_proc(processes: &[FakeProcess]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for process in processes {
        let dir = root.path().join(process.pid.to_string());
        for sub in ["fd", "ns", "net"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        let FakeProcess {
            pid, start, comm, ..
        } = process;
        let stat = format!("{pid} ({comm}) S 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 {start} 9\n");
        fs::write(dir.join("stat"), stat).unwrap();
        fs::write(dir.join("status"), "Name:\tx\nUid:\t1\t2\t3\t4\n").unwrap();
        fs::write(dir.join("net/tcp"), format!("{HEADER}{}", process.table)).unwrap();
        symlink("net:[42]", dir.join("ns/net")).unwrap();
        for (fd, target) in process.sockets.iter().enumerate() {
            symlink(target, dir.join("fd").join(fd.to_string())).unwrap();
        }
    }
    root
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}

#[test]
fn a_hostile_proc_is_read_without_guessing() {
    let root = fake_proc(&[FakeProcess {
        pid: 7,
        start: 5,
        comm: "e) vil\u{1b}[2J\n(",
        sockets: &[
            "socket:[10]",
            "socket:[]",
            "socket:[-1]",
            "/tmp/socket:[11]",
            "pipe:[12]",
        ],
        table: "nonsense\n\u{0}\n",
    }]);
    fs::create_dir_all(root.path().join("8")).unwrap();
    fs::write(root.path().join("9"), "a file").unwrap();
    fs::create_dir_all(root.path().join("99999999999")).unwrap();
    fs::create_dir_all(root.path().join("-1")).unwrap();
    let (owners, report) = read_socket_owners(root.path()).unwrap();
    let owner = owners.owner(10).unwrap();
    assert_eq!(owner.comm, r"e) vil\x1b[2J\x0a(");
    assert_eq!((owner.pid, owner.uid, owner.start_ticks), (7, Some(2), 5));
    assert_eq!(owners.owner(11).or(owners.owner(12)), None);
    let expected = ScanReport {
        processes: 2,
        sockets: 1,
        namespaces: 1,
        unreadable: 1,
        broken_rows: 2,
        left_out: 0,
    };
    assert_eq!(report, expected);
}

#[test]
fn listeners_of_several_processes_on_one_address_have_no_single_owner() {
    // 127.0.0.1:8080 twice (SO_REUSEPORT), *:9090 and 127.0.0.1:9090, in one namespace.
    let root = fake_proc(&[
        FakeProcess {
            pid: 7,
            start: 5,
            comm: "a",
            sockets: &["socket:[1]", "socket:[3]"],
            table: "0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 1\n\
                    1: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 2\n\
                    2: 00000000:2382 00000000:0000 0A 0:0 0:0 0 0 0 3\n\
                    3: 0100007F:2382 00000000:0000 0A 0:0 0:0 0 0 0 4\n\
                    4: 0100007F:2382 0100007F:0001 06 0:0 0:0 0 0 0 9\n",
        },
        FakeProcess {
            pid: 8,
            start: 6,
            comm: "b",
            sockets: &["socket:[2]", "socket:[4]"],
            table: "",
        },
    ]);
    // Which process's table is read first is the directory's order; both tell of one namespace.
    fs::copy(root.path().join("7/net/tcp"), root.path().join("8/net/tcp")).unwrap();
    let (owners, report) = read_socket_owners(root.path()).unwrap();
    assert_eq!(report.namespaces, 1);
    assert_eq!(owners.listener_owner(42, local(8080)), None);
    assert_eq!(
        owners
            .listener_owner(42, local(9090))
            .map(|owner| owner.pid),
        Some(8)
    );
    let elsewhere = SocketAddr::new(Ipv4Addr::new(10, 0, 0, 1).into(), 9090);
    assert_eq!(
        owners.listener_owner(42, elsewhere).map(|owner| owner.pid),
        Some(7)
    );
    assert_eq!(owners.listener_owner(42, local(1)), None);
    assert_eq!(
        owners.by_tuple(42, local(9090), local(1)),
        None,
        "TIME-WAIT has no owner"
    );
}

#[test]
fn memory_is_bounded_and_says_so() {
    let mut owners = SocketOwners::default();
    owners.processes.push(Owner {
        pid: 1,
        comm: String::new(),
        uid: None,
        start_ticks: 0,
    });
    let kept = (1..=SOCKETS as u64 + 7)
        .filter(|inode| owners.hold(*inode, 0))
        .count();
    assert_eq!(kept, SOCKETS);
    assert!(owners.hold(1, 0), "a socket that is known needs no room");
}

#[test]
fn a_missing_proc_is_an_error() {
    assert!(read_socket_owners(Path::new("/nonexistent-proc")).is_err());
}
