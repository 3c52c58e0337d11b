//! The capture thread: reads the ring, and hands every event to the tally, the log and the clients.
//!
//! It never waits for anybody: others ask it by [`Request`] and take what it gives.

use super::event_log::{EventLog, LOST_EVENT_LOG};
use super::health::Health;
use super::lines::Lines;
use super::notice::{say, warn};
use super::settings::Settings;
use super::settings::layers::{Layers, load};
use super::subscribers::{ClientId, LOST_SOCKET_CLIENT, Line, Subscriber, Subscribers};
use super::systemd;
use crate::cmd::exit::Failure;
use crate::cmd::session::Session;
use crate::cmd::start::{clock_ns, monotonic_ns};
use crate::event::annotation::Annotation;
use crate::event::capture::CaptureFacts;
use crate::event::cells::CellCounts;
use crate::event::model::{Event, Kind};
use crate::kernel::port_range::read_port_range;
use crate::memory::return_freed_memory;
use crate::metrics::tally::{Tally, TallySettings};
use crate::pipeline::EventSink;
use crate::sink::jsonl;
use crate::sink::totals::{Counts, Totals};
use nix::time::ClockId;
use rstmon_common::wire::RawEvent;
use std::borrow::Cow;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

/// How often idle series are looked for, and freed memory is given back.
const EXPIRY_INTERVAL: Duration = Duration::from_mins(1);

/// What others may ask of the capture thread.
#[derive(Debug)]
pub enum Request {
    /// A copy of the figures.
    Figures(oneshot::Sender<Figures>),
    /// Events from now on. With it comes what the kernel side has counted and lost, which takes too long
    /// to read here.
    Subscribe(Box<Subscriber>, CellCounts),
    /// No more for this client; its end line. The same comes with it.
    End(ClientId, CellCounts, oneshot::Sender<Line>),
}

/// What was counted, at one moment.
#[derive(Clone, Debug)]
pub struct Figures {
    /// What was diagnosed.
    pub tally: Tally,
    /// Events lost, by stage.
    pub lost: Counts,
    /// The capture.
    pub facts: CaptureFacts,
    /// Clients of the control socket that have been taken: each gets every event from now on.
    pub clients: u64,
}

/// How the last reading of the configuration went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReloadState {
    /// Whether it succeeded.
    pub ok: bool,
    /// When it last did, seconds since the epoch.
    pub succeeded_seconds: f64,
}

/// What the capture thread is made of.
pub struct CaptureLoop {
    session: Session,
    sink: AgentSink,
    requests: mpsc::Receiver<Request>,
    health: Arc<Health>,
    layers: Layers,
    settings: Settings,
    reload: Arc<Mutex<ReloadState>>,
}

/// Takes each event.
struct AgentSink {
    tally: Tally,
    lines: Lines,
    log: Option<EventLog>,
    subscribers: Subscribers,
}

impl EventSink for AgentSink {
    fn accept(
        &mut self,
        event: &Event,
        raw: &RawEvent,
        _annotation: &Annotation,
        facts: &CaptureFacts,
    ) -> io::Result<()> {
        self.tally.record(event, raw);
        let mut line = self.lines.of(event, facts);
        if let Some(log) = &mut self.log {
            log.accept(&mut line)?;
        }
        self.subscribers.accept(&mut line)
    }
}

/// Settings of the tally, and the host's range of ephemeral ports.
#[must_use]
pub fn tally_settings(settings: &Settings) -> TallySettings {
    TallySettings {
        max_series: settings.metrics_max_series.0.clone(),
        series_ttl_ns: u64::try_from(settings.metrics_series_ttl.0.as_nanos()).unwrap_or(u64::MAX),
        peers: settings.metrics_peers,
        closed_ports: settings.metrics_closed_ports,
        ..TallySettings::default()
    }
    .with_ephemeral_ports(read_port_range())
}

impl CaptureLoop {
    /// A loop over a session that has just begun.
    #[must_use]
    pub fn new(
        session: Session,
        log: Option<EventLog>,
        requests: mpsc::Receiver<Request>,
        health: Arc<Health>,
        (layers, settings): (Layers, Settings),
        reload: Arc<Mutex<ReloadState>>,
    ) -> Self {
        Self {
            session,
            sink: AgentSink {
                tally: Tally::new(tally_settings(&settings)),
                lines: Lines::default(),
                log,
                subscribers: Subscribers::default(),
            },
            requests,
            health,
            layers,
            settings,
            reload,
        }
    }

    /// Runs until SIGTERM or SIGINT, then ends the capture and writes what is left.
    pub fn run(mut self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::run_time(format!("cannot start the event loop: {error}")))?;
        if let Some(log) = &mut self.sink.log {
            let started = Some(self.session.started_ns());
            let line = jsonl::render_start(self.session.facts(), started);
            log.write_line(&line.map_err(|error| broken(&error))?);
        }
        let outcome = runtime.block_on(self.watch());
        systemd::stopping();
        let ended = self.session.end(&mut self.sink);
        let mut totals = self.session.totals()?;
        self.count_own_losses(&mut totals);
        let now = clock_ns(ClockId::CLOCK_REALTIME)?;
        let render = |totals: &Totals| jsonl::render_end(totals, Some(now));
        let line = render(&totals).map_err(|error| broken(&error))?;
        let told = self.sink.subscribers.end(&totals, render);
        if let Some(log) = self.sink.log.take() {
            log.end(&line);
        }
        outcome.and(ended).and(told).map_err(|error| broken(&error))
    }

    async fn watch(&mut self) -> io::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let ring = self.session.ring_fd()?;
        // SAFETY: an `OwnedFd` names the same open file for as long as the watch owns it.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }
            .map_err(io::Error::from)?;
        let mut expiry = tokio::time::interval(EXPIRY_INTERVAL);
        let mut watchdog = systemd::Watchdog::new();
        self.see_hooks();
        self.health.beat();
        systemd::ready();
        loop {
            let pause = self.pause();
            tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                _ = hangup.recv() => self.reload(),
                _ = expiry.tick() => {
                    self.sink.tally.expire(monotonic_ns().unwrap_or_default());
                    return_freed_memory();
                }
                Some(request) = self.requests.recv() => self.answer(request),
                ready = ring.readable(), if !self.session.is_polling() => ready?.clear_ready(),
                () = tokio::time::sleep(pause) => {}
            }
            if self.session.turn(&mut self.sink)? {
                self.see_hooks();
            }
            if let Some(log) = &mut self.sink.log {
                log.flush();
            }
            let now = monotonic_ns().unwrap_or_default();
            let session = &self.session;
            let lost = || session.stages().map_or(0, |totals| totals.lost_in_all());
            self.sink.subscribers.turn(now, lost)?;
            self.health.beat();
            watchdog.feed();
        }
    }

    /// How long to wait at most until the next turn.
    fn pause(&self) -> Duration {
        let board = self.sink.subscribers.until_board();
        self.session.pause().min(board.unwrap_or(Duration::MAX))
    }

    fn see_hooks(&self) {
        self.health.see_hooks(self.session.facts());
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::Subscribe(subscriber, lost) => self.subscribe(*subscriber, &lost),
            Request::End(client, lost, reply) => self.end_client(client, &lost, reply),
            Request::Figures(reply) => {
                let lost = match self.session.stages() {
                    Ok(mut totals) => {
                        self.count_own_losses(&mut totals);
                        totals.lost
                    }
                    Err(failure) => {
                        warn(&failure.to_string());
                        return;
                    }
                };
                // Whoever asked may have given up.
                let _ = reply.send(Figures {
                    tally: self.sink.tally.clone(),
                    lost,
                    facts: self.session.facts().clone(),
                    clients: self.sink.subscribers.count(),
                });
            }
        }
    }

    /// Takes a client. One that cannot be is dropped, and sees the end of its stream.
    fn subscribe(&mut self, subscriber: Subscriber, lost: &CellCounts) {
        let settings = tally_settings(&self.settings);
        let line = self.start_line();
        match line.and_then(|line| Ok((line, self.settled_totals(lost)?))) {
            Ok((line, totals)) => {
                self.sink
                    .subscribers
                    .add(subscriber, settings, line, totals);
            }
            Err(failure) => warn(&failure.to_string()),
        }
    }

    /// The first line of a client that comes now.
    fn start_line(&self) -> Result<Vec<u8>, Failure> {
        let now = clock_ns(ClockId::CLOCK_REALTIME)?;
        let line = jsonl::render_start(self.session.facts(), Some(now));
        line.map_err(|error| broken(&error))
    }

    /// Lets a client go that wants no more.
    fn end_client(&mut self, client: ClientId, lost: &CellCounts, reply: oneshot::Sender<Line>) {
        match self.end_line_of(client, lost) {
            // Whoever asked may have given up.
            Ok(line) => drop(line.map(|line| reply.send(Line::from(line)))),
            Err(failure) => warn(&failure.to_string()),
        }
    }

    /// The end line of a client, which is let go; nothing if it is not there.
    fn end_line_of(
        &mut self,
        client: ClientId,
        lost: &CellCounts,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let Some(subscriber) = self.sink.subscribers.remove(client) else {
            return Ok(None);
        };
        let totals = subscriber.totals(&self.settled_totals(lost)?);
        let now = clock_ns(ClockId::CLOCK_REALTIME)?;
        let line = jsonl::render_end(&totals, Some(now));
        line.map(Some).map_err(|error| broken(&error))
    }

    /// What was lost by now, and what the kernel side has counted of the resets whose events were
    /// lost (`lost`) or have come: what a client sees is part of the growth of that.
    fn settled_totals(&self, lost: &CellCounts) -> Result<Totals, Failure> {
        let mut totals = self.session.stages()?;
        self.count_own_losses(&mut totals);
        for &kind in Kind::ALL {
            let count = self.sink.tally.cells.of_kind(kind) + lost.of_kind(kind);
            totals
                .kernel_counts
                .insert(Cow::Borrowed(kind.name()), count);
        }
        Ok(totals)
    }

    /// Adds what was lost after the pipeline.
    fn count_own_losses(&self, totals: &mut Totals) {
        let log = self.sink.log.as_ref().map_or(0, EventLog::lost);
        let clients = self.sink.subscribers.lost();
        for (stage, lost) in [(LOST_EVENT_LOG, log), (LOST_SOCKET_CLIENT, clients)] {
            totals.lost.insert(Cow::Borrowed(stage), lost);
        }
    }

    /// Reads the configuration again. What is wrong with it leaves everything as it was.
    fn reload(&mut self) {
        systemd::reloading();
        let loaded = load(&self.layers);
        let ok = loaded.is_ok();
        match loaded {
            Ok((settings, _)) => self.take(&settings),
            Err(error) => warn(&format!("the configuration stays as it was: {error}")),
        }
        if let Ok(mut reload) = self.reload.lock() {
            reload.ok = ok;
            if ok {
                reload.succeeded_seconds = now_seconds();
            }
        }
        systemd::ready();
    }

    fn take(&mut self, settings: &Settings) {
        self.sink.tally.set(tally_settings(settings));
        if let Some(log) = &mut self.sink.log {
            log.reload(settings);
        }
        let waiting = self.settings.differences_that_need_a_restart(settings);
        if waiting.is_empty() {
            say("the configuration was read again");
        } else {
            warn(&format!(
                "the configuration was read again; a restart is needed for {}",
                waiting.join(", ")
            ));
        }
        self.settings = self.settings.with_reloaded(settings);
    }
}

/// Wall clock, seconds since the epoch.
#[must_use]
pub fn now_seconds() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

fn broken(error: &io::Error) -> Failure {
    Failure::run_time(format!("the capture ended: {error}"))
}
