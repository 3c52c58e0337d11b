//! TLS, certificates of clients, passwords; and the files changing underneath.

use super::running::{Running, metrics, write_certificates};
use std::fmt::Write;
use std::time::{Duration, Instant};

pub(crate) const TLS: &str =
    "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";
pub(crate) const CLIENTS: &str =
    "  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n";
const CLIENT: [&str; 4] = ["--cert", "client.crt", "--key", "client.key"];

fn users(pairs: &[(&str, &str)]) -> String {
    let mut text = "basic_auth_users:\n".to_owned();
    for (user, password) in pairs {
        let hash = bcrypt::hash(password, 5).unwrap();
        writeln!(text, "  {user}: {hash}").unwrap();
    }
    text
}

#[test]
fn tls_serves_whoever_trusts_the_certificate() {
    let server = Running::configured(TLS);
    let page = server.curl_tls("/metrics", &[]);
    assert_eq!(
        (page.exit, page.status),
        (0, Some(200)),
        "{}",
        page.complaint
    );
    assert_eq!(page.body, metrics());
    // curl's 60: the certificate is not of an authority it knows; 52 and 56: no answer in clear.
    let untrusting = server.curl_tls("/metrics", &["--cacert", "client.crt"]);
    assert_eq!(untrusting.exit, 60);
    let plain = server.curl("/metrics", &[]);
    assert!(plain.status.is_none() && plain.exit != 0, "{plain:?}");
    assert!(server.counts().refused >= 1);
}

#[test]
fn versions_of_tls_are_bounded() {
    let server = Running::configured(&format!("{TLS}  min_version: TLS13\n"));
    assert_eq!(server.curl_tls("/metrics", &["--tls-max", "1.2"]).exit, 35);
    assert_eq!(server.curl_tls("/metrics", &[]).exit, 0);
    let suites = "  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n  \
                  curve_preferences: [CurveP256]\n";
    let server = Running::configured(&format!("{TLS}{suites}"));
    let page = server.curl_tls("/metrics", &["-v"]);
    assert_eq!(page.exit, 0);
    let other = ["--ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384"];
    assert_eq!(server.curl_tls("/metrics", &other).exit, 35);
}

#[test]
fn clients_need_a_certificate_where_it_is_required() {
    let server = Running::configured(&format!("{TLS}{CLIENTS}"));
    let without = server.curl_tls("/metrics", &[]);
    assert!(without.exit != 0 && without.status.is_none(), "{without:?}");
    assert_eq!(server.curl_tls("/metrics", &CLIENT).status, Some(200));
    // Of another authority.
    let own = server.folder.path().join("ca.crt");
    let kept = std::fs::read(&own).unwrap();
    let other = tempfile::tempdir().unwrap();
    write_certificates(other.path(), "other");
    let at = |name: &str| other.path().join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (at("client.crt"), at("client.key"));
    let foreign = server.curl_tls("/metrics", &["--cert", &certificate, "--key", &key]);
    assert!(foreign.exit != 0 && foreign.status.is_none(), "{foreign:?}");
    assert_eq!(std::fs::read(own).unwrap(), kept);
}

#[test]
fn only_clients_of_allowed_names_are_served() {
    let named = |name: &str| format!("{TLS}{CLIENTS}  client_allowed_sans: [\"{name}\"]\n");
    for name in ["prometheus.test", "192.0.2.7"] {
        let server = Running::configured(&named(name));
        let page = server.curl_tls("/metrics", &CLIENT);
        assert_eq!(page.status, Some(200), "{name}: {page:?}");
    }
    for name in [
        "other.test",
        "192.0.2.8",
        "spiffe://test/prometheus",
        "*.test",
    ] {
        let server = Running::configured(&named(name));
        let refused = server.curl_tls("/metrics", &CLIENT);
        assert!(
            refused.exit != 0 && refused.status.is_none(),
            "{name}: {refused:?}"
        );
    }
}

#[test]
fn passwords_are_asked_for() {
    let server = Running::configured(&users(&[("alice", "right")]));
    let table = [
        (&[][..], 401),
        (&["-u", "alice:right"], 200),
        (&["-u", "alice:wrong"], 401),
        (&["-u", "bob:right"], 401),
        (&["-u", "alice:right", "-X", "POST"], 405),
        (&["-X", "POST"], 401),
    ];
    for (args, expected) in table {
        let page = server.curl("/metrics", args);
        assert_eq!(page.status, Some(expected), "{args:?}");
        let asks = page.head.contains("www-authenticate: basic");
        assert_eq!(asks, expected == 401, "{}", page.head);
    }
}

/// With the cost that people use.
#[test]
fn whoever_guesses_does_not_stop_scrapes() {
    let hash = bcrypt::hash("right", 10).unwrap();
    let server = Running::configured(&format!("basic_auth_users:\n  alice: {hash}\n"));
    let known = ["-u", "alice:right"];
    assert_eq!(server.curl("/metrics", &known).status, Some(200));
    let mut guesses: Vec<_> = (0..20)
        .map(|guess| {
            std::process::Command::new("curl")
                .args(["-s", "-o", "/dev/null", "--noproxy", "*", "-u"])
                .arg(format!("alice:{guess}"))
                .arg(format!("http://{}/metrics", server.address))
                .spawn()
                .unwrap()
        })
        .collect();
    for _ in 0..5 {
        let began = Instant::now();
        assert_eq!(server.curl("/metrics", &known).status, Some(200));
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
    }
    for guess in &mut guesses {
        guess.wait().unwrap();
    }
}

#[test]
fn headers_are_added() {
    let text = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n";
    let server = Running::configured(text);
    for path in ["/metrics", "/nowhere"] {
        let head = server.curl(path, &[]).head;
        assert!(head.contains("x-frame-options: deny"), "{head}");
    }
}

#[test]
fn a_changed_file_counts_at_once() {
    let server = Running::configured(&users(&[("alice", "old")]));
    let status = |pair: &str| server.curl("/metrics", &["-u", pair]).status;
    assert_eq!(status("alice:old"), Some(200));
    server.rewrite(&users(&[("alice", "new")]));
    assert_eq!(status("alice:old"), Some(401));
    assert_eq!(status("alice:new"), Some(200));
    assert_eq!(server.counts().reload_failures, 0);
}

#[test]
fn a_renewed_certificate_is_shown() {
    let server = Running::configured(TLS);
    assert_eq!(server.curl_tls("/metrics", &[]).exit, 0);
    // Another authority: who trusts the old one alone would refuse it.
    write_certificates(server.folder.path(), "server");
    assert_eq!(server.curl_tls("/metrics", &[]).exit, 0);
    assert_eq!(server.counts().reload_failures, 0);
}

#[test]
fn a_broken_file_changes_nothing() {
    let text = format!("{TLS}{}", users(&[("alice", "right")]));
    let server = Running::configured(&text);
    let works = || {
        assert_eq!(server.curl_tls("/metrics", &[]).status, Some(401));
        let known = server.curl_tls("/metrics", &["-u", "alice:right"]);
        assert_eq!(known.status, Some(200));
    };
    works();
    server.rewrite("tls_server_config: [");
    works();
    assert_eq!(server.counts().reload_failures, 1, "counted once a change");
    std::fs::write(server.folder.path().join("server.key"), "").unwrap();
    server.rewrite(&text);
    works();
    assert_eq!(server.counts().reload_failures, 2);
    std::fs::remove_file(server.folder.path().join("web.yml")).unwrap();
    works();
    assert_eq!(server.counts().reload_failures, 3);
    write_certificates(server.folder.path(), "server");
    server.rewrite(&text);
    works();
    assert_eq!(server.counts().reload_failures, 3);
}

/// A file that is being written is empty for a moment.
#[test]
fn a_change_takes_no_protection_away() {
    let names = "  client_allowed_sans: [prometheus.test]\n";
    let full = format!("{TLS}{CLIENTS}{names}{}", users(&[("alice", "right")]));
    let server = Running::configured(&full);
    let known = [&CLIENT[..], &["-u", "alice:right"]].concat();
    let weaker = [
        String::new(),
        format!("{TLS}{CLIENTS}{names}"),
        format!("{TLS}{CLIENTS}{}", users(&[("alice", "right")])),
        format!("{TLS}{}", users(&[("alice", "right")])),
        users(&[("alice", "right")]),
    ];
    for (failures, text) in (1..).zip(&weaker) {
        server.rewrite(text);
        assert!(server.curl("/metrics", &[]).status.is_none(), "{text}");
        assert_eq!(
            server.curl_tls("/metrics", &CLIENT).status,
            Some(401),
            "{text}"
        );
        assert_eq!(
            server.curl_tls("/metrics", &known).status,
            Some(200),
            "{text}"
        );
        assert!(
            server.curl_tls("/metrics", &known[4..]).status.is_none(),
            "{text}"
        );
        assert_eq!(server.counts().reload_failures, failures, "{text}");
    }
}
