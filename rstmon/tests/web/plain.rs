//! Without TLS: methods, compression, what is counted, addresses.

use super::running::{Running, metrics};
use rstmon::web::{WebSettings, bind};
use std::net::TcpListener;

#[test]
fn pages_are_served() {
    let server = Running::plain(40);
    let page = server.curl("/metrics", &[]);
    assert_eq!(page.status, Some(200));
    assert!(
        page.head
            .contains("content-type: text/plain; version=0.0.4"),
        "{}",
        page.head
    );
    assert!(page.head.contains("x-content-type-options: nosniff"));
    assert!(!page.head.contains("content-encoding"));
    assert_eq!(page.body, metrics());
    assert_eq!(server.curl("/query?a=b", &[]).body, "Some(\"a=b\")");
    assert_eq!(server.curl("/nowhere", &[]).status, Some(404));
    let counts = server.counts();
    assert_eq!(
        counts.requests.into_iter().collect::<Vec<_>>(),
        [(200, 2), (404, 1)]
    );
}

#[test]
fn a_page_is_compressed_when_asked() {
    let server = Running::plain(40);
    let page = server.curl("/metrics", &["--compressed"]);
    assert!(
        page.head.contains("content-encoding: gzip"),
        "{}",
        page.head
    );
    assert_eq!(page.body, metrics());
    let raw = server.curl("/metrics", &["-H", "Accept-Encoding: gzip", "-o", "raw"]);
    assert_eq!(raw.exit, 0);
    let size = server.folder.path().join("raw").metadata().unwrap().len();
    assert!(size < metrics().len() as u64 / 10, "{size}");
}

#[test]
fn head_has_the_length_and_no_body() {
    let server = Running::plain(40);
    let page = server.curl("/metrics", &["--head"]);
    assert_eq!(page.status, Some(200));
    let length = format!("content-length: {}", metrics().len());
    assert!(page.head.contains(&length), "{}", page.head);
    assert_eq!(page.body, "");
}

#[test]
fn nothing_but_get_and_head() {
    let server = Running::plain(40);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
        let page = server.curl("/metrics", &["-X", method]);
        assert_eq!(page.status, Some(405), "{method}");
        assert!(page.head.contains("allow: get, head"), "{}", page.head);
    }
    let with_body = server.curl("/metrics", &["-X", "GET", "-d", "x"]);
    assert_eq!(with_body.status, Some(413));
    let chunked = ["-X", "GET", "-H", "Transfer-Encoding: chunked", "-d", "x"];
    assert_eq!(server.curl("/metrics", &chunked).status, Some(413));
}

#[test]
fn a_connection_serves_many_requests() {
    let server = Running::plain(40);
    let url = format!("http://{}/metrics", server.address);
    let page = server.curl(
        "/metrics",
        &["-w", "%{num_connects}", &url, "-o", "/dev/null"],
    );
    // The count of the second: it needed no new connection.
    assert_eq!(page.body, metrics() + "0");
}

#[test]
fn a_taken_port_is_said_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let bound = bind(&WebSettings {
        are_sockets_passed: false,
        listen_addresses: vec!["127.0.0.1:0".to_owned(), address.clone()],
        config_file: None,
        max_requests: 40,
    });
    let message = bound.err().expect("it is taken").to_string();
    for part in [address.as_str(), "ss -ltnp", "--web.listen-address"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_missing_configuration_ends_the_start() {
    let bound = bind(&WebSettings {
        are_sockets_passed: false,
        listen_addresses: Vec::new(),
        config_file: Some("/nowhere/web.yml".into()),
        max_requests: 40,
    });
    let message = bound.err().expect("there is none").to_string();
    assert!(
        message.contains("/nowhere/web.yml") && message.contains("No such file"),
        "{message}"
    );
}
