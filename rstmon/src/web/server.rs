//! Accepts connections and bounds them: in number, in the time for handshake and head, in the time for
//! an answer, in whole. Made by [`super::bind`], run by the agent on its serving thread.

use super::closing::{Closing, Transport};
use super::crowd::{Crowd, Place, Stage, note_stage};
use super::passwords::PasswordGate;
use super::reload::LiveConfig;
use super::respond::Responder;
use super::{Counters, Site, WebCounts};
use crate::agent::notice::warn;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How long a client may take to send a whole head, from when it could begin: the limit for slow
/// clients and, between two requests, for idle ones.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long a connection may stay: clients that keep theirs open open it again.
const CONNECTION_TIME: Duration = Duration::from_mins(10);
/// Bytes of a request's head.
const MAX_HEAD: usize = 16 * 1024;
/// Lines of a request's head.
const MAX_HEADERS: usize = 100;
/// Connections at a time.
const MAX_CONNECTIONS: usize = 256;
/// Pause after an error of accept(2): mostly there is no free descriptor, which passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// A server that has its addresses, and serves once [`WebServer::serve`] runs.
pub struct WebServer {
    pub(super) listeners: Vec<std::net::TcpListener>,
    pub(super) config: LiveConfig,
    pub(super) gate: PasswordGate,
    pub(super) counters: Arc<Counters>,
    pub(super) max_requests: usize,
}

impl WebServer {
    /// Addresses it listens on, with the ports that the kernel chose for port 0.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.listeners.iter().map(std::net::TcpListener::local_addr);
        addresses.filter_map(Result::ok).collect()
    }

    /// What it counts, readable while it serves.
    pub fn counts(&self) -> impl Fn() -> WebCounts + Send + Sync + 'static {
        let counters = Arc::clone(&self.counters);
        move || counters.snapshot()
    }

    /// Serves until `shutdown` is ready; connections that are there end with it.
    ///
    /// Needs a tokio runtime with I/O and time. An address that is lost is said, and the others are
    /// served on.
    pub async fn serve<S: Site>(self, site: Arc<S>, shutdown: impl Future<Output = ()>) {
        // More than the semaphore can count is no limit.
        let max_requests = self.max_requests.min(Semaphore::MAX_PERMITS);
        let responder = Responder {
            site,
            config: self.config.clone(),
            counters: Arc::clone(&self.counters),
            gate: self.gate,
            requests: Arc::new(Semaphore::new(max_requests)),
        };
        let shared = Shared {
            responder: Arc::new(responder),
            config: self.config,
            counters: self.counters,
            crowd: Crowd::new(MAX_CONNECTIONS),
        };
        let mut accepting = JoinSet::new();
        for listener in self.listeners {
            match TcpListener::from_std(listener) {
                Ok(listener) => _ = accepting.spawn(accept(listener, shared.clone())),
                Err(error) => warn(&format!("the web server lost an address: {error}")),
            }
        }
        // Dropped, the set ends the tasks that accept, and each of those its connections.
        shutdown.await;
    }
}

/// What connections share.
struct Shared<S> {
    responder: Arc<Responder<S>>,
    config: LiveConfig,
    counters: Arc<Counters>,
    crowd: Crowd,
}

// Derived, it would ask for a site that can be cloned.
impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self {
            responder: Arc::clone(&self.responder),
            config: self.config.clone(),
            counters: Arc::clone(&self.counters),
            crowd: self.crowd.clone(),
        }
    }
}

async fn accept<S: Site>(listener: TcpListener, shared: Shared<S>) {
    let mut connections = JoinSet::new();
    let mut is_failing = false;
    loop {
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Said once a series: it may fail as often as it is tried.
                if !std::mem::replace(&mut is_failing, true) {
                    warn(&format!("the web server cannot accept clients: {error}"));
                }
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        is_failing = false;
        let Some((place, is_another_refused)) = shared.crowd.admit() else {
            shared.counters.update(|counts| counts.refused += 1);
            continue;
        };
        if is_another_refused {
            shared.counters.update(|counts| counts.refused += 1);
        }
        connections.spawn(converse(
            stream,
            peer.ip().to_canonical(),
            place,
            shared.clone(),
        ));
    }
}

/// A connection from accept to close.
async fn converse<S: Site>(stream: TcpStream, peer: IpAddr, place: Place, shared: Shared<S>) {
    let until = Instant::now() + CONNECTION_TIME;
    let stage = Arc::clone(&place.stage);
    let handling = async {
        // Pages are written whole: waiting for more only delays their end.
        let _ = stream.set_nodelay(true);
        let Some(acceptor) = shared.config.current().tls.clone() else {
            return serve_http(stream, peer, &place, &shared.responder).await;
        };
        let accepting = acceptor.accept(stream).into_fallible();
        match timeout(HANDSHAKE_TIME, accepting).await {
            Ok(Ok(stream)) => serve_http(stream, peer, &place, &shared.responder).await,
            failed => {
                // One that gave way has been counted.
                if note_stage(&stage, Stage::Ending(Instant::now())) {
                    shared.counters.update(|counts| counts.refused += 1);
                }
                if let Ok(Err((_, stream))) = failed {
                    Closing::new(stream).end(true).await;
                }
            }
        }
    };
    tokio::select! {
        () = handling => {}
        () = overdue(&stage, until) => {}
    }
}

/// Ready when a connection must end: it gave way, its answer took too long, or it is too old.
async fn overdue(stage: &watch::Sender<Stage>, until: Instant) {
    let mut stages = stage.subscribe();
    loop {
        let stage = *stages.borrow_and_update();
        let deadline = match stage {
            Stage::Evicted => return,
            Stage::Answering(deadline) => deadline.min(until),
            Stage::Waiting(_) | Stage::Ending(_) => until,
        };
        tokio::select! {
            () = sleep_until(deadline) => return,
            // The sender outlives this.
            _ = stages.changed() => {}
        }
    }
}

async fn serve_http<S: Site>(
    stream: impl Transport,
    peer: IpAddr,
    place: &Place,
    responder: &Responder<S>,
) {
    let service = service_fn(|request| async {
        let response = responder.respond(request, peer, &place.stage).await;
        Ok::<_, Infallible>(response)
    });
    let mut connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(Closing::new(stream)), service);
    // A client that breaks off is its own affair.
    let ended = (&mut connection).await;
    let was_idle = ended.is_err_and(|error| error.is_timeout());
    let closing = connection.into_parts().io.into_inner();
    note_stage(&place.stage, Stage::Ending(Instant::now()));
    closing.end(!was_idle).await;
}
