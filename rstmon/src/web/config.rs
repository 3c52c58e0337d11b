//! The web configuration's YAML: the keys that the exporters of Prometheus share
//! (exporter-toolkit, "web-configuration"). Text to values; files are read by `reload`.
//!
//! What is taken over means the same as there. What cannot be had here, or is unknown, is refused
//! with its place: nobody shall believe in a protection that is not there.

use serde::Deserialize;
use serde_saphyr::options;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Costs of a bcrypt hash that are accepted: beyond, one check takes longer than a scrape may.
const HASH_COSTS: std::ops::RangeInclusive<u32> = 4..=16;
/// The response headers that may be set.
const SETTABLE_HEADERS: [&str; 5] = [
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
];

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WebConfig {
    /// TLS; none: plain HTTP.
    pub(super) tls_server_config: Option<TlsConfig>,
    /// What is sent with each response.
    pub(super) http_server_config: HttpConfig,
    /// The bcrypt hash of each user's password; empty: no password is asked for.
    #[serde(deserialize_with = "read_null_as_empty")]
    pub(super) basic_auth_users: BTreeMap<String, String>,
}

/// TLS of the server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsConfig {
    /// The certificate and those up to its authority, PEM.
    pub(super) cert_file: PathBuf,
    /// Its private key, PEM.
    pub(super) key_file: PathBuf,
    /// Authorities that clients' certificates are verified with, PEM.
    pub(super) client_ca_file: Option<PathBuf>,
    /// Whether clients need a certificate.
    #[serde(default)]
    pub(super) client_auth_type: ClientAuth,
    /// Names of which a client's certificate must have one; empty: any name.
    #[serde(default)]
    pub(super) client_allowed_sans: Vec<String>,
    /// Oldest version.
    #[serde(default = "TlsVersion::oldest")]
    pub(super) min_version: TlsVersion,
    /// Newest version.
    #[serde(default = "TlsVersion::newest")]
    pub(super) max_version: TlsVersion,
    /// Suites of TLS 1.2 by their names; empty: all that are safe. Those of TLS 1.3 are not chosen.
    #[serde(default)]
    pub(super) cipher_suites: Vec<String>,
    /// Whether the server's order of suites counts.
    #[serde(default = "yes")]
    pub(super) prefer_server_cipher_suites: bool,
    /// Groups of the key exchange; empty: all that are safe.
    #[serde(default)]
    pub(super) curve_preferences: Vec<String>,
}

/// Whether clients need a certificate.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ClientAuth {
    /// No.
    #[default]
    #[serde(rename = "NoClientCert", alias = "")]
    None,
    /// If they show one it must be right.
    #[serde(rename = "VerifyClientCertIfGiven")]
    IfGiven,
    /// Yes.
    #[serde(rename = "RequireAndVerifyClientCert")]
    Required,
}

/// Versions of TLS that there are here.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TlsVersion {
    /// RFC 5246.
    #[serde(rename = "TLS12")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "TLS13")]
    Tls13,
}

impl TlsVersion {
    const fn oldest() -> Self {
        Self::Tls12
    }

    const fn newest() -> Self {
        Self::Tls13
    }
}

/// What is sent with each response.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HttpConfig {
    /// Whether HTTP/2 is offered, in files of other exporters: it never is, and no client needs it, so
    /// either is right.
    pub(super) http2: bool,
    /// Response headers.
    #[serde(deserialize_with = "read_null_as_empty")]
    pub(super) headers: BTreeMap<String, String>,
}

const fn yes() -> bool {
    true
}

/// A key without a value, as it is left when all below it is taken out.
fn read_null_as_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Why a configuration, or a file that it names, cannot be used.
#[derive(Debug)]
pub(super) struct Unusable {
    /// What is wrong, and where.
    pub(super) reason: String,
    /// It was not read: this user may not.
    pub(super) is_denied: bool,
}

impl From<String> for Unusable {
    /// Something that no right of a user changes.
    fn from(reason: String) -> Self {
        Self {
            reason,
            is_denied: false,
        }
    }
}

/// Reads the text of the file at `file`, from whose folder relative paths begin.
///
/// The error says what is wrong, with line and column where the text has one, and never shows
/// the text itself, which holds hashes.
pub(super) fn parse_config(text: &str, file: &Path) -> Result<WebConfig, String> {
    let is_empty = text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    let mut config = if is_empty {
        WebConfig::default()
    } else {
        serde_saphyr::from_str_with_options(text, options! { with_snippet: false })
            .map_err(|error| explain(&error.to_string()))?
    };
    check_http(&config.http_server_config)?;
    check_users(&config.basic_auth_users)?;
    if let Some(tls) = &mut config.tls_server_config {
        check_tls(tls)?;
        let folder = file.parent().unwrap_or(Path::new(""));
        tls.cert_file = folder.join(&tls.cert_file);
        tls.key_file = folder.join(&tls.key_file);
        tls.client_ca_file = tls.client_ca_file.take().map(|it| folder.join(it));
    }
    Ok(config)
}

/// Adds to what the reader of YAML says why a value that other exporters know is not there.
fn explain(error: &str) -> String {
    let reasons = [
        (
            "TLS10",
            "TLS 1.0 and 1.1 are not offered (RFC 8996); use TLS12 or TLS13",
        ),
        (
            "TLS11",
            "TLS 1.0 and 1.1 are not offered (RFC 8996); use TLS12 or TLS13",
        ),
        (
            "RequestClientCert",
            "a certificate that is not verified protects nothing; use RequireAndVerifyClientCert",
        ),
        (
            "RequireAnyClientCert",
            "a certificate that is not verified protects nothing; use RequireAndVerifyClientCert",
        ),
        (
            "RequireClientCert",
            "a certificate that is not verified protects nothing; use RequireAndVerifyClientCert",
        ),
        ("rate_limit", "there is no rate limit; leave it out"),
    ];
    let reason = reasons
        .iter()
        .find(|(name, _)| error.contains(&format!("`{name}`")));
    match reason {
        Some((_, reason)) => format!("{error}: {reason}"),
        None => error.to_owned(),
    }
}

fn check_http(http: &HttpConfig) -> Result<(), String> {
    for name in http.headers.keys() {
        let is_settable = |it: &&str| it.eq_ignore_ascii_case(name);
        if !SETTABLE_HEADERS.iter().any(is_settable) {
            return Err(format!(
                "http_server_config.headers: {name:?} cannot be set; those that can are {}",
                SETTABLE_HEADERS.join(", ")
            ));
        }
    }
    Ok(())
}

fn check_users(users: &BTreeMap<String, String>) -> Result<(), String> {
    for (user, hash) in users {
        let wrong = |why: &str| {
            Err(format!(
                "basic_auth_users: the password of {user:?} {why}; make one with `htpasswd -nBC 10 USER`"
            ))
        };
        if user.contains(':') {
            return Err(format!(
                "basic_auth_users: {user:?} has a colon, which no user can send (RFC 7617)"
            ));
        }
        match hash.parse::<bcrypt::HashParts>() {
            Err(error) => return wrong(&format!("is not a bcrypt hash ({error})")),
            Ok(parts) if !HASH_COSTS.contains(&parts.get_cost()) => {
                return wrong(&format!(
                    "has cost {}, outside {} to {}",
                    parts.get_cost(),
                    HASH_COSTS.start(),
                    HASH_COSTS.end()
                ));
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

fn check_tls(tls: &TlsConfig) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("tls_server_config: {why}"));
    if tls.min_version > tls.max_version {
        return wrong("min_version is above max_version");
    }
    match (tls.client_auth_type, &tls.client_ca_file) {
        (ClientAuth::None, Some(_)) => {
            return wrong(
                "client_ca_file is there and client_auth_type is not: clients would not be verified; set it \
                 to RequireAndVerifyClientCert",
            );
        }
        (ClientAuth::IfGiven | ClientAuth::Required, None) => {
            return wrong("client_auth_type verifies clients and needs client_ca_file");
        }
        _ => {}
    }
    if !tls.client_allowed_sans.is_empty() && tls.client_auth_type != ClientAuth::Required {
        return wrong("client_allowed_sans needs client_auth_type: RequireAndVerifyClientCert");
    }
    let is_mail = |name: &&String| name.contains('@') && !name.contains("://");
    if let Some(name) = tls.client_allowed_sans.iter().find(is_mail) {
        return wrong(&format!(
            "client_allowed_sans: {name:?} is a mail address, which is not compared here; use a DNS name, \
             an IP address or a URI"
        ));
    }
    Ok(())
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
