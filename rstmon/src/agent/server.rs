//! The serving thread: the web server, the control socket, on one event loop away from the ring.

use super::notice::warn;
use super::site::{Site, WebFigures};
use super::socket::{ControlSocket, SocketService};
use crate::cmd::exit::Failure;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io::Write;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// How long a client may take to send its request's head.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// How long a connection may stay: clients that keep theirs open open it again.
const CONNECTION_TIME: Duration = Duration::from_mins(10);
/// Bytes of a request's head.
const MAX_HEAD: usize = 16 * 1024;
/// Connections of the web server at a time; more are closed at once.
const MAX_CONNECTIONS: usize = 256;
/// How long clients may take to read what they have been sent, when the agent ends.
const FAREWELL: Duration = Duration::from_millis(500);

/// What is served, where.
pub struct Services {
    /// The pages.
    pub site: Arc<Site>,
    /// Where they are served.
    pub web: Vec<TcpListener>,
    /// Requests that are answered at a time.
    pub max_requests: usize,
    /// The control socket, and what its clients get.
    pub socket: Option<(ControlSocket, SocketService)>,
}

/// The running thread.
pub struct Server {
    thread: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Server {
    /// Starts to serve.
    pub fn start(services: Services) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::run_time(format!("cannot start the server: {error}")))?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("server".to_owned())
            .spawn(move || {
                let clients = Arc::clone(&services.site.socket_clients);
                runtime.block_on(async {
                    tokio::select! {
                        () = serve(services) => {}
                        // The sender dropped is a stop, too.
                        _ = stopped => {}
                    }
                    // Clients that read get their last lines.
                    let _ = tokio::time::timeout(FAREWELL, all_left(&clients)).await;
                });
                runtime.shutdown_timeout(Duration::from_millis(500));
            })
            .map_err(|error| Failure::run_time(format!("cannot start a thread: {error}")))?;
        Ok(Self { thread, stop })
    }

    /// Stops to serve.
    pub fn stop(self) {
        // A thread that has ended needs no stop; one that panicked has said so.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

/// Returns when no client is there any more.
async fn all_left(clients: &AtomicU64) {
    while clients.load(Ordering::Relaxed) != 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn serve(services: Services) {
    let web = Web {
        site: services.site,
        figures: Arc::default(),
        connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        requests: Arc::new(Semaphore::new(services.max_requests)),
    };
    for listener in services.web {
        tokio::spawn(serve_web(listener, web.clone()));
    }
    match services.socket {
        Some((socket, service)) => {
            if let Err(error) = socket.serve(service).await {
                warn(&format!("the control socket is closed: {error}"));
            }
        }
        None => std::future::pending().await,
    }
    std::future::pending::<()>().await;
}

/// What connections of the web server share.
#[derive(Clone)]
struct Web {
    site: Arc<Site>,
    figures: Arc<Mutex<WebFigures>>,
    /// Connections at a time.
    connections: Arc<Semaphore>,
    /// Requests that are answered at a time.
    requests: Arc<Semaphore>,
}

async fn serve_web(listener: TcpListener, web: Web) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return warn(&format!("the web server is closed: {error}")),
    };
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn(&format!("the web server refused a client: {error}"));
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&web.connections).try_acquire_owned() else {
            web.count_refused();
            continue;
        };
        let web = web.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let web = web.clone();
                async move { Ok::<_, Infallible>(web.respond(&request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIME)
                .max_buf_size(MAX_HEAD)
                .serve_connection(TokioIo::new(stream), service);
            // A client that breaks off, or takes too long, is its own affair.
            let _ = tokio::time::timeout(CONNECTION_TIME, connection).await;
            drop(place);
        });
    }
}

impl Web {
    fn count_refused(&self) {
        if let Ok(mut figures) = self.figures.lock() {
            figures.refused += 1;
        }
    }

    async fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let mut response = self.answer(request).await;
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Ok(mut figures) = self.figures.lock() {
            let code = response.status().as_u16();
            *figures.requests.entry(code).or_default() += 1;
        }
        response
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, allowed);
            return response;
        }
        let Ok(_place) = self.requests.try_acquire() else {
            return empty(StatusCode::SERVICE_UNAVAILABLE);
        };
        let counted = self.figures.lock();
        let counted = counted.map(|figures| figures.clone()).unwrap_or_default();
        let Some(answer) = self.site.answer(request.uri().path(), &counted).await else {
            return empty(StatusCode::NOT_FOUND);
        };
        let packed = takes_gzip(request).then(|| gzip(&answer.body)).flatten();
        let is_packed = packed.is_some();
        let body = packed.unwrap_or(answer.body);
        let mut response = Response::new(Full::new(Bytes::from(body)));
        let vary = HeaderValue::from_static("accept-encoding");
        response.headers_mut().insert(VARY, vary);
        if is_packed {
            let encoding = HeaderValue::from_static("gzip");
            response.headers_mut().insert(CONTENT_ENCODING, encoding);
        }
        *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or_default();
        let kind = HeaderValue::from_static(answer.content_type);
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}

/// Whether the client takes a packed answer (RFC 9110, 12.5.3): `gzip` or `*`, not refused by `q=0`.
fn takes_gzip(request: &Request<Incoming>) -> bool {
    let accepted = request.headers().get_all(ACCEPT_ENCODING).iter();
    let codings = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|it| it.split(','));
    codings.map(str::trim).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").map(str::parse::<f32>);
        let is_refused = matches!(weight, Some(Ok(weight)) if weight <= 0.0);
        matches!(name.trim(), "gzip" | "*") && !is_refused
    })
}

/// The packed bytes; none if that brings nothing.
fn gzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail.
    encoder.write_all(bytes).ok()?;
    let packed = encoder.finish().ok()?;
    (packed.len() < bytes.len()).then_some(packed)
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status;
    response
}
