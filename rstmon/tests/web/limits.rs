//! Slow, many, large: what hostile clients do, and that a scrape still gets its page.

use super::running::{Curled, Running, metrics};
use super::secured::TLS;
use super::support::programs::wait_until;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn connect(server: &Running) -> TcpStream {
    let stream = TcpStream::connect(server.address).unwrap();
    let patience = Some(Duration::from_secs(30));
    stream.set_read_timeout(patience).unwrap();
    stream
}

/// What comes until the server closes.
fn read_all(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_head_that_does_not_end_is_closed() {
    let server = Running::plain(40);
    let mut slow = connect(&server);
    slow.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    let began = Instant::now();
    let mut writer = slow.try_clone().unwrap();
    let trickle = std::thread::spawn(move || {
        while began.elapsed() < Duration::from_secs(25) && writer.write_all(b"X: y\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(500));
        }
    });
    let answer = read_all(slow);
    let took = began.elapsed();
    assert!(
        (8..15).contains(&took.as_secs()),
        "closed after {took:?}: {answer}"
    );
    assert!(!answer.contains("200 OK"), "{answer}");
    trickle.join().unwrap();
}

#[test]
fn heads_that_are_too_large_are_refused() {
    let server = Running::plain(40);
    let head = |headers: String| {
        let mut stream = connect(&server);
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\n");
        let _ = stream.write_all(headers.as_bytes());
        let _ = stream.write_all(b"\r\n");
        read_all(stream)
    };
    let answer = head("A: b\r\n".repeat(101));
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    // A reset may overtake the answer to what is not read any more.
    let answer = head("A: b\r\n".repeat(10_000));
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    let long = format!("A: {}\r\n", "b".repeat(1_000_000));
    let answer = head(long);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
        "{answer}"
    );
    assert_eq!(server.curl("/metrics", &[]).body, metrics());
}

#[test]
fn connections_held_open_do_not_stop_a_scrape() {
    let server = Running::plain(40);
    let held: Vec<TcpStream> = (0..200)
        .map(|number| {
            let mut stream = connect(&server);
            if number % 2 == 0 {
                stream.write_all(b"GET /metr").unwrap();
            }
            stream
        })
        .collect();
    let began = Instant::now();
    assert_eq!(server.curl("/metrics", &[]).body, metrics());
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(server.counts().refused, 0);
    drop(held);
}

#[test]
fn more_connections_than_there_are_places_do_not_stop_a_scrape() {
    let server = Running::plain(40);
    let held: Vec<TcpStream> = (0..400).map(|_| connect(&server)).collect();
    let began = Instant::now();
    assert_eq!(server.curl("/metrics", &[]).body, metrics());
    assert!(began.elapsed() < Duration::from_secs(3));
    assert!(server.counts().refused >= 400 - 256);
    drop(held);
}

/// Each is refused once, though it holds its place for a moment until its end is told.
#[test]
fn connections_whose_handshake_fails_are_counted_once_and_make_room() {
    const CLIENTS: u64 = 400;
    let server = Running::configured(TLS);
    let held: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| {
            let mut stream = connect(&server);
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
            stream
        })
        .collect();
    wait_until("the refusals", || server.counts().refused >= CLIENTS);
    assert_eq!(server.curl_tls("/metrics", &[]).body, metrics());
    assert_eq!(server.counts().refused, CLIENTS);
    drop(held);
}

/// The refusal of a server that is answering as many requests as it may, once it is.
fn until_refused(server: &Running) -> Curled {
    let mut refused = None;
    wait_until("a refusal", || {
        let answer = server.curl("/metrics", &[]);
        let is_refused = answer.status == Some(503);
        refused = is_refused.then_some(answer);
        is_refused
    });
    refused.unwrap()
}

#[test]
fn more_requests_than_allowed_are_told_to_come_back() {
    let server = Running::plain(1);
    let mut slow = connect(&server);
    slow.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let refused = until_refused(&server);
    assert!(refused.head.contains("retry-after"), "{}", refused.head);
    assert!(read_all(slow).ends_with("slow"));
    assert_eq!(server.curl("/metrics", &[]).status, Some(200));
}

/// Whoever does not take its page holds its place no longer than a request may take.
#[test]
fn a_client_that_does_not_read_is_closed() {
    let server = Running::plain(1);
    let mut idle = connect(&server);
    idle.write_all(b"GET /huge HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    until_refused(&server);
    let began = Instant::now();
    while server.curl("/metrics", &[]).status != Some(200) {
        assert!(
            began.elapsed() < Duration::from_secs(45),
            "it is still held"
        );
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(
        read_all(idle).len() < 64 * 1024 * 1024,
        "the rest was not sent"
    );
}

#[test]
fn garbage_ends_a_connection_and_nothing_else() {
    let server = Running::plain(40);
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ] {
        let mut stream = connect(&server);
        stream.write_all(garbage).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let answer = read_all(stream);
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    assert_eq!(server.curl("/metrics", &[]).status, Some(200));
}
