//! How connections end: a monitor of resets whose own pages cause none.

use super::running::Running;
use super::secured::{CLIENTS, TLS};
use super::support::skip::cannot_run;
use super::support::{in_private_netns, out_rsts};
use std::process::Command;
use std::time::Duration;

/// Requests of each client; a reset needs a client that is quick, so not each of them would make one.
const REQUESTS: usize = 10;

/// Asks as scripts do: a connection of its own for each request, which the server is asked to close.
const URLLIB: &str = "
import ssl, sys, urllib.request
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
for _ in range(int(sys.argv[2])):
    with urllib.request.urlopen(sys.argv[1], context=context) as page:
        page.read()
";

/// Asks twice on one connection, and leaves it to the server to end it.
const KEPT: &str = "
import http.client, ssl, sys, time
context = ssl._create_unverified_context()
connection = http.client.HTTPSConnection(sys.argv[1], context=context)
for _ in range(2):
    connection.request('GET', '/metrics')
    connection.getresponse().read()
try:
    # Until the server has enough of waiting.
    assert connection.sock.recv(1) == b''
    connection.sock.unwrap()
except OSError:
    pass
connection.close()
";

/// What a client that is run by `ask` makes this host's own namespace send.
fn resets_of(config: impl Into<String>, ask: impl FnOnce(&Running) + Send + 'static) -> u64 {
    let config = config.into();
    in_private_netns(move |_| {
        let server = Running::configured(&config);
        let before = out_rsts();
        ask(&server);
        // The server gives a last connection a second, and its last segments some time.
        std::thread::sleep(Duration::from_millis(1_500));
        out_rsts() - before
    })
}

fn may_unshare() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        cannot_run("it needs root for a network namespace");
    }
    root
}

fn python(script: &str, args: &[&str]) {
    let output = Command::new("python3")
        .args(["-c", script])
        .args(args)
        .env("no_proxy", "*")
        .output()
        .expect("python3 runs");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_client_that_closes_first_is_told_nothing_more() {
    if !may_unshare() {
        return;
    }
    for args in [&[][..], &["--tls-max", "1.2"]] {
        let resets = resets_of(TLS, move |server| {
            for _ in 0..REQUESTS {
                assert_eq!(server.curl_tls("/metrics", args).status, Some(200));
            }
        });
        assert_eq!(resets, 0, "{args:?}");
    }
}

#[test]
fn a_client_that_asks_for_the_end_makes_it_without_a_reset() {
    if !may_unshare() {
        return;
    }
    let resets = resets_of(TLS, |server| {
        let url = format!("https://{}/metrics", server.address);
        python(URLLIB, &[&url, &REQUESTS.to_string()]);
    });
    assert_eq!(resets, 0, "python");
    for args in [
        &["-H", "Connection: close"][..],
        &["--http1.0", "--no-alpn"],
        &["-X", "POST", "-d", "x=y", "-H", "Connection: close"],
    ] {
        let resets = resets_of(TLS, move |server| {
            for _ in 0..REQUESTS {
                let page = server.curl_tls("/metrics", args);
                assert!(page.status.is_some(), "{page:?}");
            }
        });
        assert_eq!(resets, 0, "{args:?}");
    }
}

/// Its request is under way when the server finds that it has no certificate.
#[test]
fn a_client_that_is_refused_is_told_so_without_a_reset() {
    if !may_unshare() {
        return;
    }
    let config = format!("{TLS}{CLIENTS}");
    let resets = resets_of(config, |server| {
        for _ in 0..REQUESTS {
            let refused = server.curl_tls("/metrics", &[]);
            assert!(refused.exit != 0 && refused.status.is_none(), "{refused:?}");
        }
    });
    assert_eq!(resets, 0);
}

#[test]
fn a_connection_that_is_idle_for_too_long_is_ended_without_a_reset() {
    if !may_unshare() {
        return;
    }
    let resets = resets_of(TLS, |server| python(KEPT, &[&server.address.to_string()]));
    assert_eq!(resets, 0);
}
