//! The web configuration as it is now: read again when it or a file that it names has changed.
//!
//! Asked for by each connection and each request. What cannot be read leaves what was there in
//! force, is said and counted once a change. Nor does a change take protection away while the server
//! runs: TLS, passwords and verified clients stay until a restart, since a file that is being written
//! may for a moment be empty.

use super::config::{ClientAuth, Unusable, WebConfig, parse_config};
use super::passwords::Users;
use super::tls::read_acceptor;
use super::{Counters, WebError};
use crate::agent::notice::{say, warn};
use hyper::header::{HeaderName, HeaderValue};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio_rustls::TlsAcceptor;

/// A file that is longer is no web configuration, bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// What is in force.
#[derive(Default)]
pub(super) struct ActiveConfig {
    /// None: plain HTTP.
    pub(super) tls: Option<TlsAcceptor>,
    /// Who may ask.
    pub(super) users: Users,
    /// Sent with each response.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    client_auth: ClientAuth,
    /// Whether a client's certificate must have one of some names.
    restricts_names: bool,
}

/// The configuration. Clones are the same one.
#[derive(Clone)]
pub(super) enum LiveConfig {
    /// There is no file: plain HTTP for everybody.
    Absent(Arc<ActiveConfig>),
    /// That of a file, followed.
    Followed(Arc<Followed>),
}

/// A file's configuration, and what it was when it was last looked at.
pub(super) struct Followed {
    file: PathBuf,
    state: Mutex<State>,
    counters: Arc<Counters>,
}

struct State {
    active: Arc<ActiveConfig>,
    /// The files as they were when they were last read, with or without success.
    seen: Seen,
}

/// Files as they were; none where there was no file.
type Seen = Vec<(PathBuf, Option<Fingerprint>)>;

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    fn of(file: &Path) -> Option<Self> {
        let metadata = fs::metadata(file).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Whether a web configuration and its certificates can be used.
pub fn check_config(file: &Path) -> Result<(), WebError> {
    let (_, read) = read_config(file);
    let file = file.to_owned();
    match read {
        Ok(_) => Ok(()),
        Err(Unusable {
            reason,
            is_denied: true,
        }) => Err(WebError::Denied { file, reason }),
        Err(Unusable { reason, .. }) => Err(WebError::Config { file, reason }),
    }
}

impl LiveConfig {
    /// Reads it for the first time, when it must be right.
    pub(super) fn read(file: Option<&Path>, counters: Arc<Counters>) -> Result<Self, WebError> {
        let Some(file) = file else {
            return Ok(Self::Absent(Arc::default()));
        };
        let (seen, active) = read_config(file);
        let active = active.map_err(|error| WebError::Config {
            file: file.to_owned(),
            reason: error.reason,
        })?;
        Ok(Self::Followed(Arc::new(Followed {
            file: file.to_owned(),
            state: Mutex::new(State {
                active: Arc::new(active),
                seen,
            }),
            counters,
        })))
    }

    /// What is in force now.
    pub(super) fn current(&self) -> Arc<ActiveConfig> {
        match self {
            Self::Absent(active) => Arc::clone(active),
            Self::Followed(followed) => followed.current(),
        }
    }
}

impl Followed {
    fn current(&self) -> Arc<ActiveConfig> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_as_seen = |(file, seen): &(PathBuf, _)| Fingerprint::of(file) == *seen;
        if state.seen.iter().all(is_as_seen) {
            return Arc::clone(&state.active);
        }
        let (seen, read) = read_config(&self.file);
        state.seen = seen;
        let checked = read.and_then(|new| state.active.keeps_protection(new));
        match checked {
            Ok(new) => {
                state.active = Arc::new(new);
                say(&format!("read {} again", self.file.display()));
            }
            Err(Unusable { reason, .. }) => {
                self.counters.update(|counts| counts.reload_failures += 1);
                warn(&format!(
                    "web configuration {}: {reason}; what was there before stays in force",
                    self.file.display()
                ));
            }
        }
        Arc::clone(&state.active)
    }
}

impl ActiveConfig {
    /// The new one, if it takes away no protection that this one gives.
    fn keeps_protection(&self, new: Self) -> Result<Self, Unusable> {
        let lost = if self.tls.is_some() && new.tls.is_none() {
            "tls_server_config"
        } else if !self.users.is_empty() && new.users.is_empty() {
            "basic_auth_users"
        } else if self.client_auth > new.client_auth {
            "verified clients (client_auth_type)"
        } else if self.restricts_names && !new.restricts_names {
            "client_allowed_sans"
        } else {
            return Ok(new);
        };
        Err(format!("it no longer has {lost}, which is taken away by a restart only").into())
    }
}

/// Reads the configuration with its files, and tells which files that were, as they were before.
fn read_config(file: &Path) -> (Seen, Result<ActiveConfig, Unusable>) {
    let mut seen = vec![(file.to_owned(), Fingerprint::of(file))];
    let config = read_text(file).and_then(|text| Ok(parse_config(&text, file)?));
    if let Ok(WebConfig {
        tls_server_config: Some(tls),
        ..
    }) = &config
    {
        let files = [&tls.cert_file, &tls.key_file].into_iter();
        let files = files.chain(&tls.client_ca_file);
        seen.extend(files.map(|file| (file.clone(), Fingerprint::of(file))));
    }
    (seen, config.and_then(activate))
}

fn read_text(file: &Path) -> Result<String, Unusable> {
    let unread = |error: io::Error| Unusable {
        reason: format!("cannot be read: {error}"),
        is_denied: error.kind() == io::ErrorKind::PermissionDenied,
    };
    let metadata = fs::metadata(file).map_err(unread)?;
    if !metadata.is_file() || metadata.len() > MAX_FILE {
        return Err(format!("is not a file of at most {MAX_FILE} bytes").into());
    }
    fs::read_to_string(file).map_err(unread)
}

fn activate(config: WebConfig) -> Result<ActiveConfig, Unusable> {
    let tls = config.tls_server_config;
    let headers = config.http_server_config.headers.into_iter();
    let headers = headers.map(|(name, value)| {
        let wrong = |error: &dyn std::fmt::Display| {
            format!("http_server_config.headers: {name:?} cannot be sent: {error}")
        };
        let parsed = HeaderName::try_from(&name).map_err(|error| wrong(&error))?;
        let value = HeaderValue::try_from(value).map_err(|error| wrong(&error))?;
        Ok((parsed, value))
    });
    Ok(ActiveConfig {
        client_auth: tls
            .as_ref()
            .map(|tls| tls.client_auth_type)
            .unwrap_or_default(),
        restricts_names: tls
            .as_ref()
            .is_some_and(|tls| !tls.client_allowed_sans.is_empty()),
        tls: tls.as_ref().map(read_acceptor).transpose()?,
        users: Users::new(config.basic_auth_users),
        headers: headers.collect::<Result<_, String>>()?,
    })
}
