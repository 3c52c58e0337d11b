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
use crate::agent::settings::layers::load;
use crate::agent::settings::values::{EventsOutput, SettingValue};
use crate::agent::settings::{Settings, SettingsError};
use crate::agent::site::Site;
use crate::agent::socket::{ControlSocket, SocketService, cannot_open, find_group};
use crate::bpf::counters::Counters;
use crate::cmd::exit::Failure;
use crate::cmd::offered::Offered;
use crate::cmd::session::Session;
use crate::cmd::start::{CaptureArgs, check_privilege, mode_names, start_capture};
use crate::filter::Filter;
use crate::kernel::facts::read_kernel_facts;
use crate::kernel::mode::ModeRequest;
use crate::kernel::probe_plan::{PlanError, PlanRequest, plan};
use crate::metrics::page::AuditFigures;
use crate::web::{self, WebError, WebSettings};
use clap::{ArgMatches, Args, Command, FromArgMatches};
use nix::unistd::{AccessFlags, access, geteuid};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
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
    pub flags: OfferedFlags,
}

/// The flags of the settings, whose fixed values the shell's completion offers.
#[derive(Clone, Debug, Default)]
pub struct OfferedFlags(pub SettingFlags);

impl Args for OfferedFlags {
    fn augment_args(command: Command) -> Command {
        SettingFlags::augment_args(command).mut_args(|arg| {
            let declared = Settings::DECLARED.iter().find(|it| arg.get_id() == it.flag);
            let values: fn() -> Vec<&'static str> = match declared.map(|it| it.form) {
                Some(<ModeRequest as SettingValue>::FORM) => mode_names,
                Some(<EventsOutput as SettingValue>::FORM) => || split(EventsOutput::FORM),
                Some(<bool as SettingValue>::FORM) => || split(bool::FORM),
                _ => return arg,
            };
            arg.value_parser(Offered(values)).hide_possible_values(true)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The values of a form that lists them.
fn split(form: &'static str) -> Vec<&'static str> {
    form.split('|').collect()
}

impl FromArgMatches for OfferedFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        SettingFlags::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

/// Runs the command.
pub fn run_agent(args: &AgentArgs) -> Result<(), Failure> {
    let layers = args.flags.0.layers();
    let (settings, _) = load(&layers).map_err(|error| settings_failure(&error))?;
    if args.check_config {
        return check_config(&settings);
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

/// A file that this user may not read is no wrong one.
pub(super) fn settings_failure(error: &SettingsError) -> Failure {
    let message = error.to_string();
    match error {
        SettingsError::Unreadable {
            is_denied: true, ..
        } if !geteuid().is_root() => Failure::privilege(format!("{message}; run it as root")),
        _ => Failure::usage(message),
    }
}

/// Says what is wrong with the settings, as far as it can be found without doing anything, in the words
/// of a start. Root starts the agent: what another user may not read or write is not wrong for that, and
/// not known to be right.
fn check_config(settings: &Settings) -> Result<(), Failure> {
    let is_root = geteuid().is_root();
    let mut unseen = Vec::new();
    for check in [check_web, check_events, check_group, check_btf] {
        match check(settings) {
            Ok(()) => {}
            Err(wrong) if wrong.is_denied && !is_root => unseen.push(wrong.message),
            Err(wrong) => return Err(Failure::usage(wrong.message + wrong.advice)),
        }
    }
    if unseen.is_empty() {
        say("the configuration is right");
        return Ok(());
    }
    Err(Failure::privilege(format!(
        "nothing wrong was found, but this user could not look at everything: {}; run it as root",
        unseen.join("; ")
    )))
}

/// What a check found.
struct Wrong {
    message: String,
    /// What to do, unless it is to be another user.
    advice: &'static str,
    /// It is the rights of this user that are missing.
    is_denied: bool,
}

impl Wrong {
    /// Something that no right of a user changes.
    const fn for_everybody(message: String) -> Self {
        Self {
            message,
            advice: "",
            is_denied: false,
        }
    }
}

fn check_web(settings: &Settings) -> Result<(), Wrong> {
    let Some(file) = &settings.web_config_file.0 else {
        return Ok(());
    };
    web::check_config(file).map_err(|error| Wrong {
        is_denied: matches!(error, WebError::Denied { .. }),
        message: error.to_string(),
        advice: "",
    })
}

fn check_events(settings: &Settings) -> Result<(), Wrong> {
    let Some(path) = &settings.events_file.0 else {
        return Ok(());
    };
    check_events_file(path).map_err(|error| Wrong {
        is_denied: error.kind() == io::ErrorKind::PermissionDenied,
        message: format!("cannot write the event log {}: {error}", path.display()),
        advice: "; give a file that can be written with --events-file, or none",
    })
}

fn check_group(settings: &Settings) -> Result<(), Wrong> {
    if let (Some(path), Some(group)) = (&settings.socket_path.0, &settings.socket_group.0) {
        find_group(group).map_err(|reason| Wrong::for_everybody(cannot_open(path, &reason)))?;
    }
    Ok(())
}

fn check_btf(settings: &Settings) -> Result<(), Wrong> {
    let Some(btf) = &settings.capture_btf.0 else {
        return Ok(());
    };
    let facts = read_kernel_facts(Some(btf));
    match plan(&facts, &PlanRequest::default()) {
        Err(error @ PlanError::BtfFile { .. }) => {
            let opened = File::open(btf);
            Err(Wrong {
                is_denied: opened.is_err_and(|it| it.kind() == io::ErrorKind::PermissionDenied),
                message: error.to_string(),
                advice: "",
            })
        }
        // What else a plan may lack is the host's, and not of the settings.
        _ => Ok(()),
    }
}

/// Whether the event log can be written to a file, which is made by a start alone.
fn check_events_file(path: &Path) -> io::Result<()> {
    let opened = OpenOptions::new().read(true).append(true).open(path);
    match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = match path.parent() {
                Some(folder) if folder != Path::new("") => folder,
                _ => Path::new("."),
            };
            let metadata = fs::metadata(folder)?;
            if metadata.is_dir() {
                access(folder, AccessFlags::W_OK | AccessFlags::X_OK).map_err(io::Error::from)
            } else {
                Err(io::ErrorKind::NotADirectory.into())
            }
        }
        opened => opened.map(drop),
    }
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
