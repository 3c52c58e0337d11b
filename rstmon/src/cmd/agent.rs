//! `rstmon agent`: the root daemon.
//!
//! Everything that can be wrong is found before systemd is told that the agent is ready: settings,
//! files, addresses, the socket, then the hooks. What goes wrong later is said, counted, and does not
//! end the agent.

use crate::agent::audit::{Audit, NetworkNamespaces};
use crate::agent::capture_loop::{CaptureLoop, ReloadState, now_seconds};
use crate::agent::event_log::{EventLog, OpenedLog};
use crate::agent::flags::SettingFlags;
use crate::agent::health::Health;
use crate::agent::notice::{say, warn};
use crate::agent::privilege::drop_privileges;
use crate::agent::server::{Server, Services};
use crate::agent::settings::Settings;
use crate::agent::settings::layers::load;
use crate::agent::site::Site;
use crate::agent::socket::{ControlSocket, SocketService};
use crate::bpf::counters::Counters;
use crate::cmd::exit::Failure;
use crate::cmd::session::Session;
use crate::cmd::start::{CaptureArgs, check_privilege, start_capture};
use crate::filter::Filter;
use crate::metrics::page::AuditFigures;
use crate::web::{self, WebSettings};
use clap::Args;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// Records of one turn: about 8 ms, so that a scrape does not wait long for its copy.
const TURN_RECORDS: usize = 4_096;
/// Requests that may wait for the capture thread.
const WAITING_REQUESTS: usize = 64;

/// Arguments of `rstmon agent`.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// Only say whether the configuration is right
    #[arg(long)]
    pub check_config: bool,
    /// Settings
    #[command(flatten)]
    pub flags: SettingFlags,
}

/// Runs the command.
pub fn run_agent(args: &AgentArgs) -> Result<(), Failure> {
    let layers = args.flags.layers();
    let (settings, _) = load(&layers).map_err(|error| Failure::usage(error.to_string()))?;
    if args.check_config {
        if let Some(file) = &settings.web_config_file.0 {
            web::check_config(file).map_err(|error| Failure::usage(error.to_string()))?;
        }
        say("the configuration is right");
        return Ok(());
    }
    // First, or the lack of it shows as a folder that cannot be made.
    check_privilege()?;
    let log = OpenedLog::open(&settings)?;
    // What is wrong with it may be mended without rstmon: an address, a certificate that comes later.
    let web = web::bind(&web_settings(&settings))
        .map_err(|error| Failure::run_time(error.to_string()))?;
    let socket = bind_socket(&settings)?;
    let started = start_capture(&capture_args(&settings), &Filter::all().pushdown())?;
    drop_privileges();
    let log = log.map(EventLog::start).transpose()?;
    let session = Session::new(started, Filter::all()).with_turns_of(TURN_RECORDS);
    let (requests, for_capture) = mpsc::channel(WAITING_REQUESTS);
    let health = Arc::new(Health::new());
    let reload = Arc::new(Mutex::new(ReloadState {
        ok: true,
        succeeded_seconds: now_seconds(),
    }));
    let site = Arc::new(Site {
        requests: requests.clone(),
        counters: session.counters(),
        health: Arc::clone(&health),
        audit: start_audit(&settings, session.counters())?,
        reload: Arc::clone(&reload),
        socket_clients: Arc::new(AtomicU64::new(0)),
        telemetry_path: settings.web_telemetry_path.0.clone(),
    });
    let socket = socket.map(|socket| (socket, socket_service(&settings, &site)));
    // Before anybody is answered: who asks and is served may look for the line next.
    for address in web.addresses() {
        say(&format!("listening on {address}"));
    }
    let server = Server::start(Services { site, web, socket })?;
    let capture = CaptureLoop::new(
        session,
        log,
        for_capture,
        health,
        (layers, settings),
        reload,
    );
    let outcome = capture.run();
    server.stop();
    outcome
}

/// What a capture is told.
fn capture_args(settings: &Settings) -> CaptureArgs {
    CaptureArgs {
        mode: settings.capture_mode,
        btf: settings.capture_btf.0.clone(),
        max_events_per_sec: settings.capture_max_events_per_sec,
        ..CaptureArgs::default()
    }
}

fn web_settings(settings: &Settings) -> WebSettings {
    WebSettings {
        listen_addresses: settings.web_listen_address.0.clone(),
        are_sockets_passed: settings.web_systemd_socket,
        config_file: settings.web_config_file.0.clone(),
        max_requests: settings.web_max_requests as usize,
    }
}

fn bind_socket(settings: &Settings) -> Result<Option<ControlSocket>, Failure> {
    let group = settings.socket_group.0.as_deref();
    let path = settings.socket_path.0.as_ref();
    path.map(|path| ControlSocket::bind(path, group))
        .transpose()
}

fn socket_service(settings: &Settings, site: &Site) -> SocketService {
    SocketService {
        requests: site.requests.clone(),
        clients: Arc::clone(&site.socket_clients),
        max_clients: u64::from(settings.socket_max_clients),
        came: Arc::default(),
        counters: Arc::clone(&site.counters),
    }
}

/// Starts the audit's thread, which ends with the process: it holds nothing that must be put back.
fn start_audit(
    settings: &Settings,
    counters: Arc<Counters>,
) -> Result<Arc<Mutex<Option<AuditFigures>>>, Failure> {
    let figures = Arc::new(Mutex::new(None));
    let interval = settings.audit_interval.0;
    if interval.is_zero() {
        return Ok(figures);
    }
    let shared = Arc::clone(&figures);
    std::thread::Builder::new()
        .name("audit".to_owned())
        .spawn(move || audit(&counters, interval, &shared))
        .map_err(|error| Failure::run_time(format!("cannot start a thread: {error}")))?;
    Ok(figures)
}

fn audit(counters: &Counters, interval: Duration, figures: &Mutex<Option<AuditFigures>>) {
    let outcome = counters.read_counts().and_then(|counts| {
        let mut audit = Audit::begin(NetworkNamespaces::of_host(), &counts.counted);
        loop {
            std::thread::sleep(interval);
            let found = audit.look(|| counters.read_counts().map(|counts| counts.counted))?;
            if let Ok(mut figures) = figures.lock() {
                *figures = Some(found);
            }
        }
    });
    let outcome: Result<(), _> = outcome;
    if let Err(error) = outcome {
        warn(&format!("the self-audit has ended: {error}"));
    }
}
