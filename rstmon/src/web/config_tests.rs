//! What the web configuration takes, and how it refuses the rest.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use super::*;
use std::fmt::Write;

const HASH: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

fn parse(text: &str) -> Result<WebConfig, String> {
    parse_config(text, Path::new("/etc/rstmon/web.yml"))
}

#[test]
fn every_key_is_taken() {
    let config = parse(&format!(
        "tls_server_config:\n  cert_file: server.crt\n  key_file: /keys/server.key\n  \
         client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n  \
         client_allowed_sans: [prometheus.example]\n  min_version: TLS13\n  max_version: TLS13\n  \
         cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n  \
         prefer_server_cipher_suites: false\n  curve_preferences: [CurveP256]\n\
         http_server_config:\n  http2: true\n  headers:\n    X-Frame-Options: deny\n\
         basic_auth_users:\n  alice: {HASH}\n"
    ))
    .unwrap();
    let tls = config.tls_server_config.unwrap();
    assert_eq!(tls.cert_file, Path::new("/etc/rstmon/server.crt"));
    assert_eq!(tls.key_file, Path::new("/keys/server.key"));
    assert_eq!(tls.client_ca_file.unwrap(), Path::new("/etc/rstmon/ca.crt"));
    assert_eq!(tls.client_auth_type, ClientAuth::Required);
    assert_eq!(tls.min_version, TlsVersion::Tls13);
    assert!(!tls.prefer_server_cipher_suites);
    assert_eq!(config.basic_auth_users["alice"], HASH);
    assert_eq!(config.http_server_config.headers["X-Frame-Options"], "deny");
}

#[test]
fn an_empty_file_asks_for_nothing() {
    for text in ["", "\n# nothing\n", "basic_auth_users:\n", "{}"] {
        let config = parse(text).unwrap();
        assert!(config.tls_server_config.is_none() && config.basic_auth_users.is_empty());
    }
}

/// Each line: a text, and what must be said of it.
#[test]
fn the_rest_is_refused_in_clear_words() {
    let tls = "tls_server_config:\n  cert_file: a\n  key_file: b\n";
    let table = [
        ("basic_auth_user:\n  a: b\n".to_owned(), "line 1"),
        (format!("{tls}  cert_fil: c\n"), "line 4"),
        (format!("{tls}  cert_fil: c\n"), "cert_fil"),
        (format!("{tls}  min_version: TLS10\n"), "RFC 8996"),
        (
            format!("{tls}  min_version: TLS13\n  max_version: TLS12\n"),
            "above",
        ),
        (
            format!("{tls}  client_auth_type: RequestClientCert\n"),
            "protects nothing",
        ),
        (
            format!("{tls}  client_auth_type: RequireAndVerifyClientCert\n"),
            "needs client_ca_file",
        ),
        (
            format!("{tls}  client_ca_file: c\n"),
            "would not be verified",
        ),
        (
            format!("{tls}  client_allowed_sans: [a]\n"),
            "client_allowed_sans",
        ),
        (
            "tls_server_config:\n  cert_file: a\n".to_owned(),
            "key_file",
        ),
        (
            "http_server_config:\n  headers:\n    Set-Cookie: a\n".to_owned(),
            "Set-Cookie",
        ),
        (
            "basic_auth_users:\n  bob: secret\n".to_owned(),
            "not a bcrypt hash",
        ),
        (
            format!(
                "basic_auth_users:\n  bob: {}\n",
                HASH.replace("$10$", "$31$")
            ),
            "cost 31",
        ),
        (format!("basic_auth_users:\n  \"b:b\": {HASH}\n"), "colon"),
        (
            format!("basic_auth_users:\n  bob: {HASH}\n  bob: {HASH}\n"),
            "bob",
        ),
        ("rate_limit:\n  burst: 1\n".to_owned(), "leave it out"),
        ("- a\n".to_owned(), "line 1"),
    ];
    for (text, expected) in table {
        let message = parse(&text).unwrap_err();
        assert!(message.contains(expected), "{text}\n{message}");
        assert!(
            !message.contains("secret") && !message.contains("QOauh"),
            "{message}"
        );
    }
}

/// Aliases that stand for aliases would make a small text a large value.
#[test]
fn a_text_that_grows_is_refused() {
    let mut text = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, of) in ('b'..='k').zip('a'..) {
        let items = vec![format!("*{of}"); 10].join(",");
        writeln!(text, "{name}: &{name} [{items}]").unwrap();
    }
    assert!(parse(&text).is_err());
    assert!(parse(&"[".repeat(100_000)).is_err());
    assert!(parse("\u{0}\u{1}: \u{fffe}").is_err());
}
