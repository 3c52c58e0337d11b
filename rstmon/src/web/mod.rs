//! The web server: everything between a listening address and a [`Site`] that knows the pages.
//!
//! `cmd::agent` binds it before the agent says that it is ready ([`bind`]) and runs it on the serving
//! thread ([`WebServer::serve`]). What always holds: only GET and HEAD reach the site, and only from
//! clients that the web configuration lets in; every client is bounded in bytes, time and number; no
//! hash of a password is computed on the thread that serves.
//!
//! * `listen`: addresses, and what is said when one cannot be had
//! * `server`: accepts and bounds connections; `crowd`: which of them gives way to a new one;
//!   `closing`: ends them without a reset
//! * `respond`: from a request to a response; `body`: its bytes, and the place they hold
//! * `config`: the web configuration's YAML, as the exporters of Prometheus have it
//! * `tls`, `passwords`: what is made of it; `reload`: follows the files' changes
//!
//! HTTP/1.1 only: scrapers need no more, and it is less to attack.

mod body;
mod closing;
mod config;
mod crowd;
mod listen;
mod passwords;
mod reload;
mod respond;
mod server;
mod tls;

pub use listen::bind;
pub use reload::check_config;
pub use server::WebServer;

use hyper::StatusCode;
use hyper::body::Bytes;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Pages. The server asks for nothing but GET and HEAD, of clients that may have them.
pub trait Site: Send + Sync + 'static {
    /// The page at a path; `None` is answered with 404. For HEAD the body is made and left out.
    fn answer(&self, request: &PageRequest<'_>) -> impl Future<Output = Option<Page>> + Send;
}

/// What a page is asked with.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest<'a> {
    /// Path as the client sent it, not decoded.
    pub path: &'a str,
    /// What follows `?`, not decoded.
    pub query: Option<&'a str>,
    /// What the server counted of itself so far.
    pub counts: &'a WebCounts,
}

/// A page. It is compressed and cut into pieces by the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Status of the response.
    pub status: StatusCode,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The whole body.
    pub body: Bytes,
}

/// What the server is told.
#[derive(Clone, Debug)]
pub struct WebSettings {
    /// `host:port`; `:port` is every address of this host.
    pub listen_addresses: Vec<String>,
    /// Whether systemd hands over the listening sockets, and no address is taken.
    pub are_sockets_passed: bool,
    /// The web configuration (TLS, passwords, headers); none: plain HTTP for everybody.
    pub config_file: Option<PathBuf>,
    /// Requests answered at a time; more get 503.
    pub max_requests: usize,
}

/// What the server counted of itself since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebCounts {
    /// Responses by status. What cannot be read as HTTP has no response of the server's.
    pub requests: BTreeMap<u16, u64>,
    /// Connections closed because there were too many, or whose TLS handshake failed or took too long.
    pub refused: u64,
    /// Changes of the web configuration or its certificates that could not be taken over.
    pub reload_failures: u64,
}

/// The counts that all connections share.
#[derive(Debug, Default)]
struct Counters(Mutex<WebCounts>);

impl Counters {
    fn update(&self, change: impl FnOnce(&mut WebCounts)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn snapshot(&self) -> WebCounts {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Why the server cannot be had as it is wished.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// An address that is not one.
    #[error(
        "{address:?} is not an address to listen on: {reason}; write HOST:PORT, [IPV6]:PORT or :PORT \
         in --web.listen-address"
    )]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// An address that cannot be had.
    #[error("cannot listen on {address}: {source}; {advice}")]
    Listen {
        /// As it was given.
        address: String,
        /// What the kernel says.
        source: std::io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// Sockets of systemd that are not there, or are not what they should be.
    #[error(
        "--web.systemd-socket: {reason}; start the agent by a socket unit with ListenStream=HOST:PORT, \
         or leave the flag out"
    )]
    Passed {
        /// What is wrong.
        reason: String,
    },
    /// A web configuration that cannot be used.
    #[error("web configuration {}: {reason}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// What is wrong, where, and what to do.
        reason: String,
    },
    /// A web configuration, or a file that it names, that this user may not read.
    #[error("web configuration {}: {reason}", file.display())]
    Denied {
        /// The file.
        file: PathBuf,
        /// What cannot be read.
        reason: String,
    },
    /// The kernel gives no random bits.
    #[error("the kernel gives no random bits, which keys are made of; see random(7)")]
    Randomness,
}
