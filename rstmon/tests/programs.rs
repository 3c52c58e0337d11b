//! Who did it and why, with real programs: curl, ss, and an nginx of a master and two workers.

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
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use support::programs::{NGINX_PORT, Nginx, installed, request, wait_until};
use support::{Family, Trace, abort, bpf_works, closed_port, connected, in_private_netns, is};

fn port_of(stream: &TcpStream) -> u16 {
    stream.local_addr().unwrap().port()
}

/// The event of nginx's end of the connection from `port`.
fn at_nginx(event: &Value, kind: &str, port: u16) -> bool {
    event["kind"] == kind && event["local_port"] == NGINX_PORT && event["remote_port"] == port
}

/// The listener's end of this is a test's own: it takes one connection and a request, answers with
/// the head and a part of the body, and resets the connection once it is told to.
fn resetting_upstream() -> (SocketAddr, Sender<()>) {
    let listener = TcpListener::bind((Family::V4.loopback(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let read = stream.read(&mut request).unwrap();
        assert!(read > 0);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegin")
            .unwrap();
        // A test that has failed tells nothing.
        if told.recv().is_ok() {
            abort(stream);
        }
    });
    (address, tell)
}

/// Waits until the other host has all that was written to a connection: the kernel keeps nothing of it
/// to send again (SIOCOUTQ).
fn wait_until_arrived(stream: &TcpStream) {
    wait_until("what was sent to arrive", || {
        let mut waiting: libc::c_int = 0;
        // SAFETY: the call writes an int, and the place is one.
        let status = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut waiting) };
        assert_eq!(status, 0, "it is a socket");
        waiting == 0
    });
}

/// Waits until something came on the connection.
fn read_some(stream: &mut TcpStream) {
    let mut part = [0; 1024];
    let read = stream.read(&mut part).unwrap();
    assert!(read > 0, "closed");
}

#[test]
fn curl_against_a_closed_port_is_named_though_it_is_gone() {
    if !bpf_works() || !installed(&["curl"]) {
        return;
    }
    for family in Family::BOTH {
        in_private_netns(move |netns| {
            let mut trace = Trace::start(&[&format!("netns {netns}")]);
            let url = format!("http://{}/", closed_port(family));
            let mut curl = Command::new("curl")
                .args(["-sS", &url])
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            assert_eq!(curl.wait().unwrap().code(), Some(7), "cannot connect");
            let received = trace.event("received RST", |event| {
                is(event, "received", "connection-refused")
            });
            assert_eq!(received["pid"], curl.id());
            assert_eq!(received["comm"], "curl");
            assert_eq!(received["role"], "client");
            let sent = trace.event("sent RST", |event| is(event, "sent", "port-closed"));
            assert_eq!(sent["pid"], Value::Null, "nobody owns a closed port");
        });
    }
}

#[test]
fn a_client_that_leaves_in_a_download_has_left_data_unread() {
    if !bpf_works() || !installed(&["nginx"]) {
        return;
    }
    in_private_netns(|netns| {
        let mut trace = Trace::start(&[&format!("netns {netns}")]);
        let nginx = Nginx::start(None);
        let mut client = TcpStream::connect(Nginx::address(Family::V4)).unwrap();
        let port = port_of(&client);
        client.write_all(&request("/big")).unwrap();
        read_some(&mut client);
        drop(client);
        let sent = trace.event("the client's RST", |event| {
            event["kind"] == "sent" && event["local_port"] == port
        });
        assert_eq!(sent["cause"], "close-unread-data");
        assert_eq!(sent["pid"], std::process::id());
        assert!(sent["unread_bytes"].as_u64().unwrap() > 0);
        let received = trace.event("nginx's end", |event| at_nginx(event, "received", port));
        assert_eq!(received["comm"], "nginx");
        assert_eq!(received["role"], "server");
        drop(nginx);
    });
}

#[test]
fn a_worker_that_is_killed_in_a_download_is_named_and_who_killed_it() {
    if !bpf_works() || !installed(&["nginx"]) {
        return;
    }
    for family in Family::BOTH {
        in_private_netns(move |netns| {
            let nginx = Nginx::start(None);
            let mut trace = Trace::start(&[&format!("netns {netns}")]);
            let (mut client, worker) = Nginx::kept_alive(family);
            let port = port_of(&client);
            client.write_all(&request("/big")).unwrap();
            read_some(&mut client);
            // While it sends, it reads no further request: unread when it dies.
            client.write_all(&request("/")).unwrap();
            kill(Pid::from_raw(worker.cast_signed()), Signal::SIGKILL).unwrap();
            let sent = trace.event("nginx's RST", |event| at_nginx(event, "sent", port));
            assert_eq!(sent["cause"], "process-killed");
            assert_eq!(sent["pid"], worker);
            assert_eq!(sent["comm"], "nginx");
            assert_eq!(sent["actor_pid"], std::process::id());
            let evidence = sent["evidence"].as_array().unwrap();
            assert!(evidence.contains(&"signal=SIGKILL".into()), "{sent:#}");
            drop(nginx);
        });
    }
}

#[test]
fn ss_that_destroys_a_socket_is_the_actor_not_the_owner() {
    if !bpf_works() || !installed(&["ss"]) {
        return;
    }
    for family in Family::BOTH {
        in_private_netns(move |netns| {
            let mut trace = Trace::start(&[&format!("netns {netns}")]);
            let (client, _server) = connected(family);
            let filter = format!("sport = :{}", port_of(&client));
            let output = Command::new("ss")
                .args(["-K", "-tnH", &filter])
                .output()
                .unwrap();
            let destroyed = String::from_utf8(output.stdout).unwrap();
            assert!(
                !destroyed.is_empty(),
                "ss destroys nothing here: {:?}",
                output.stderr
            );
            let sent = trace.event("sent RST", |event| event["kind"] == "sent");
            assert_eq!(sent["cause"], "socket-destroyed");
            assert_eq!(sent["local_port"], port_of(&client));
            assert_eq!(sent["pid"], std::process::id());
            assert_eq!(sent["actor_comm"], "ss");
            assert_ne!(sent["actor_pid"], sent["pid"]);
        });
    }
}

#[test]
fn a_proxy_whose_upstream_resets_is_the_same_worker_at_both_ends() {
    if !bpf_works() || !installed(&["nginx"]) {
        return;
    }
    in_private_netns(|netns| {
        let (upstream, tell_upstream) = resetting_upstream();
        let nginx = Nginx::start(Some(upstream));
        let mut trace = Trace::start(&[&format!("netns {netns}")]);
        let mut client = TcpStream::connect(Nginx::address(Family::V4)).unwrap();
        let port = port_of(&client);
        client.write_all(&request("/proxy")).unwrap();
        read_some(&mut client);
        // Not read while nginx waits for the upstream: its close becomes a RST.
        client.write_all(&request("/")).unwrap();
        wait_until_arrived(&client);
        tell_upstream.send(()).unwrap();
        let received = trace.event("RST of the upstream", |event| {
            event["kind"] == "received" && event["remote_port"] == upstream.port()
        });
        assert_eq!(received["role"], "client");
        assert_eq!(received["comm"], "nginx");
        let worker = received["pid"].as_u64().unwrap();
        assert!(nginx.workers().contains(&u32::try_from(worker).unwrap()));
        let sent = trace.event("RST to the client", |event| at_nginx(event, "sent", port));
        assert_eq!(sent["pid"], worker);
        assert_eq!(sent["role"], "server");
        assert_eq!(sent["cause"], "close-unread-data");
    });
}

#[test]
fn a_connection_of_a_server_is_its_workers_not_its_masters() {
    if !bpf_works() || !installed(&["nginx"]) {
        return;
    }
    for family in Family::BOTH {
        in_private_netns(move |netns| {
            let mut trace = Trace::start(&[&format!("netns {netns} and kind received")]);
            // It listens after the start: the kernel side knows the master.
            let nginx = Nginx::start(None);
            let mut clients: Vec<_> = (0..8).map(|_| Nginx::kept_alive(family)).collect();
            // The worker closes its end at once; the first reset makes rstmon look at the others.
            let (first, _) = clients.remove(0);
            let port = port_of(&first);
            abort(first);
            let event = trace.event("first RST", |event| at_nginx(event, "received", port));
            assert_eq!(event["comm"], "nginx");
            for (client, worker) in clients {
                assert!(nginx.workers().contains(&worker));
                let port = port_of(&client);
                abort(client);
                let event = trace.event("RST", |event| at_nginx(event, "received", port));
                assert_eq!(event["pid"], worker, "master {}: {event:#}", nginx.master());
                assert!(event["exe"].as_str().unwrap().ends_with("nginx"));
            }
        });
    }
}

#[test]
fn a_connection_to_a_server_older_than_the_capture_is_its_workers() {
    if !bpf_works() || !installed(&["nginx"]) {
        return;
    }
    in_private_netns(|netns| {
        let nginx = Nginx::start(None);
        let old: Vec<_> = (0..40).map(|_| Nginx::kept_alive(Family::V4)).collect();
        let mut trace = Trace::start(&[&format!("netns {netns} and kind received")]);
        let mut found = 0;
        // The walk through /proc goes on after the start line.
        for (client, worker) in old {
            let port = port_of(&client);
            abort(client);
            let event = trace.event("RST", |event| at_nginx(event, "received", port));
            if found > 0 || !event["pid"].is_null() {
                assert_eq!(event["pid"], worker, "{event:#}");
                found += 1;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(found > 0, "no owner was found");
        // Accepted since, from a listener that the kernel side does not know.
        let since: Vec<_> = (0..4).map(|_| Nginx::kept_alive(Family::V4)).collect();
        for (index, (client, worker)) in since.into_iter().enumerate() {
            let port = port_of(&client);
            abort(client);
            let event = trace.event("RST", |event| at_nginx(event, "received", port));
            assert_eq!(event["comm"], "nginx", "{event:#}");
            if index > 0 {
                assert_eq!(event["pid"], worker, "{event:#}");
            }
        }
        drop(nginx);
    });
}

#[test]
fn an_inherited_descriptor_is_of_the_child_that_closes_it() {
    if !bpf_works() {
        return;
    }
    in_private_netns(|netns| {
        let mut trace = Trace::start(&[&format!("netns {netns} and kind sent")]);
        let (client, mut server) = connected(Family::V4);
        let port = port_of(&client);
        server.write_all(b"never read").unwrap();
        let mut child = Command::new("sleep")
            .arg("0.2")
            .stdin(OwnedFd::from(client))
            .spawn()
            .unwrap();
        child.wait().unwrap();
        let sent = trace.event("sent RST", |event| event["local_port"] == port);
        assert_eq!(sent["cause"], "close-unread-data");
        assert_eq!(sent["pid"], child.id());
        assert_eq!(sent["comm"], "sleep");
    });
}

#[test]
fn a_passed_descriptor_is_of_who_closes_it_last() {
    if !bpf_works() {
        return;
    }
    in_private_netns(|netns| {
        let mut trace = Trace::start(&[&format!("netns {netns} and kind sent")]);
        let (client, mut server) = connected(Family::V4);
        let port = port_of(&client);
        server.write_all(b"never read").unwrap();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut child = support::role("receive-descriptor")
            .stdin(OwnedFd::from(theirs))
            .spawn()
            .unwrap();
        support::send_descriptor(&ours, &client);
        drop(client);
        assert!(child.wait().unwrap().success());
        let sent = trace.event("sent RST", |event| event["local_port"] == port);
        assert_eq!(sent["cause"], "close-unread-data");
        assert_eq!(sent["pid"], child.id());
    });
}

/// What this binary does as the child of a test; nothing as a test.
#[test]
fn role() {
    if support::is_role("receive-descriptor") {
        let stdin = std::io::stdin();
        drop(support::receive_descriptor(&stdin));
    }
}
