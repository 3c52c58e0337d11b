//! The serving thread: the web server, the control socket, on one event loop away from the ring.

use super::notice::warn;
use super::site::Site;
use super::socket::{ControlSocket, SocketService};
use crate::cmd::exit::Failure;
use crate::web::WebServer;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long clients may take to read what they have been sent, when the agent ends.
const FAREWELL: Duration = Duration::from_millis(500);

/// What is served, where.
pub struct Services {
    /// The pages.
    pub site: Arc<Site>,
    /// Who serves them.
    pub web: WebServer,
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
    let web = services.web.serve(services.site, std::future::pending());
    let socket = async {
        if let Some((socket, service)) = services.socket
            && let Err(error) = socket.serve(service).await
        {
            warn(&format!("the control socket is closed: {error}"));
        }
    };
    tokio::join!(web, socket);
}
