//! The serving thread: the web server, the control socket, on one event loop away from the ring.

use super::notice::warn;
use super::site::{Site, WebFigures};
use super::socket::{ControlSocket, SocketService};
use crate::cmd::exit::Failure;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a client may take to send its request's head.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// How long clients may take to read what they have been sent, when the agent ends.
const FAREWELL: Duration = Duration::from_millis(500);

/// What is served, where.
pub struct Services {
    /// The pages.
    pub site: Arc<Site>,
    /// Where they are served.
    pub web: Vec<TcpListener>,
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
    let web_figures = Arc::new(Mutex::new(WebFigures::default()));
    for listener in services.web {
        let site = Arc::clone(&services.site);
        tokio::spawn(serve_web(listener, site, Arc::clone(&web_figures)));
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

async fn serve_web(listener: TcpListener, site: Arc<Site>, figures: Arc<Mutex<WebFigures>>) {
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
        let (site, figures) = (Arc::clone(&site), Arc::clone(&figures));
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let (site, figures) = (Arc::clone(&site), Arc::clone(&figures));
                async move { Ok::<_, Infallible>(respond(&request, &site, &figures).await) }
            });
            // A client that breaks off is its own affair.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIME)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn respond(
    request: &Request<Incoming>,
    site: &Site,
    figures: &Mutex<WebFigures>,
) -> Response<Full<Bytes>> {
    let counted = figures
        .lock()
        .map(|figures| figures.clone())
        .unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::new()));
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        let allowed = hyper::header::HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
    } else if let Some(answer) = site.answer(request.uri().path(), &counted).await {
        *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or_default();
        let kind = hyper::header::HeaderValue::from_static(answer.content_type);
        response.headers_mut().insert(CONTENT_TYPE, kind);
        *response.body_mut() = Full::new(Bytes::from(answer.body));
    } else {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    if let Ok(mut figures) = figures.lock() {
        *figures
            .requests
            .entry(response.status().as_u16())
            .or_default() += 1;
    }
    response
}
