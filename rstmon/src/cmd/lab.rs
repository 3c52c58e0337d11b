//! `rstmon lab`: makes each cause happen, watches it with the real capture, and compares.
//!
//! The scenarios run on threads of their own, the capture on the calling thread; events travel
//! between them as the JSON that users get.

use crate::cmd::end_signals::end_signals;
use crate::cmd::exit::Failure;
use crate::cmd::offered::Offered;
use crate::cmd::session::Session;
use crate::cmd::start::{CaptureArgs, Started, start_capture};
use crate::event::annotation::Annotation;
use crate::event::capture::CaptureFacts;
use crate::event::model::Event;
use crate::filter::Filter;
use crate::kernel::hook::Hook;
use crate::kernel::mode::Mode;
use crate::pipeline::EventSink;
use crate::sink::jsonl;
use clap::{Args, ValueEnum};
use rstmon_common::wire::RawEvent;
use rstmon_lab::{
    Family, Lab, LabError, Observation, Outcome, PassedOver, Scenario, ScenarioResult, Sights,
    Witness, find_scenario, judge, render_results, render_sums, scenarios,
};
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Write};
use std::num::ParseIntError;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an expected event may take on a slow, emulated machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long an unexpected event has to show itself.
const SETTLE: Duration = Duration::from_millis(150);
/// How often somebody who waits looks again.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How long a capture may take to attach to modules that have come.
const ATTACH_PATIENCE: Duration = Duration::from_secs(10);

/// Form of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// A line a scenario, for people
    Text,
    /// A JSON object a scenario
    Json,
}

/// The seed that is not chosen.
const ANY_SEED: &str = "any";

fn parse_seed(text: &str) -> Result<u64, ParseIntError> {
    match text {
        ANY_SEED => Ok(fastrand::u32(..).into()),
        number => number.parse(),
    }
}

/// Arguments of `rstmon lab`.
#[derive(Debug, Args)]
pub struct LabArgs {
    /// Which scenarios; all of them without any
    #[arg(value_name = "SCENARIO", value_parser = Offered(scenario_ids),
          hide_possible_values = true)]
    pub scenarios: Vec<String>,
    /// Form of the report
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: ReportFormat,
    /// How often each of them runs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// Run them in random order; with the SEED that another run printed, in its order
    #[arg(long, value_name = "SEED", num_args = 0..=1, value_parser = parse_seed,
          default_missing_value = ANY_SEED)]
    pub shuffle: Option<u64>,
    /// Also change, for a moment, settings of the whole machine (net.ipv4.tcp_max_orphans)
    #[arg(long)]
    pub global: bool,
    /// Ask the kernel's event tracing about events that are missing: a hardened kernel may have kept
    /// them from every BPF program. Needs tracefs; an instance of it is there for as long as the lab
    #[arg(long)]
    pub witness: bool,
    /// Live capture
    #[command(flatten)]
    pub capture: CaptureArgs,
}

/// Runs the command. A scenario that differs from what this kernel is able to show is a failure.
pub fn run_lab(args: &LabArgs) -> Result<(), Failure> {
    let wanted = wanted_scenarios(&args.scenarios)?;
    let started = start_capture(&args.capture, &Filter::all().pushdown())?;
    let lab = Lab::prepare().map_err(|error| match error {
        LabError::NotPermitted { .. } => Failure::privilege(error.to_string()),
        error => Failure::run_time(error.to_string()),
    })?;
    let lab = if args.global { lab.with_globals() } else { lab };
    let sights = sights(&started);
    let mut session = Session::new(started, Filter::all());
    let mut events = Events::new()?;
    let mut watch = Watch::new(sights, args.witness)?;
    await_firewall_hooks(&lab, &watch, &mut session, &mut events)?;
    // Before Linux 5.11 the module comes without the function.
    watch.sights.sees_frame_firewall &= is_attached(&session, Hook::NfRejectSkbV4);
    let mut order = Order::new(&wanted, args.shuffle)?;
    let mut results = Vec::new();
    for round in 1..=args.repeat {
        let jobs = order.next_round();
        let ended = run_jobs(lab.clone(), jobs, &watch, &mut session, &mut events)?;
        print_results(&ended, round, args.output)?;
        results.extend(ended);
    }
    session
        .end(&mut events)
        .map_err(|error| Failure::run_time(error.to_string()))?;
    if args.output == ReportFormat::Text {
        print(&render_sums(&results))?;
    }
    let defect = session.ring_balance()?.defect();
    if let (Some(defect), ReportFormat::Json) = (&defect, args.output) {
        print(&format!("{}\n", line_of_defect(defect)))?;
    }
    let differing = render_differing(&results, &watch, &session)?;
    let failures: Vec<String> = differing.into_iter().chain(defect).collect();
    if failures.is_empty() {
        return Ok(());
    }
    Err(Failure::run_time(failures.join("; ")))
}

/// How many runs failed, and where the events may have gone that they missed.
fn render_differing(
    results: &[ScenarioResult],
    watch: &Watch,
    session: &Session,
) -> Result<Option<String>, Failure> {
    let failed = results
        .iter()
        .filter(|result| result.outcome.is_failure())
        .count();
    if failed == 0 {
        return Ok(None);
    }
    let witness = match &watch.witness {
        Ok(_) => String::new(),
        Err(reason) => format!("; there was no second witness: {reason}"),
    };
    Ok(Some(format!(
        "{failed} of {} runs differ from what this kernel is able to show{}{witness}",
        results.len(),
        render_losses(session)?
    )))
}

/// Where the capture lost events, of the whole machine: a missing one may be among them.
fn render_losses(session: &Session) -> Result<String, Failure> {
    let lost = session.totals()?.lost;
    let losses: Vec<String> = lost
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(stage, count)| format!("{count} {stage}"))
        .collect();
    if losses.is_empty() {
        return Ok("; the capture lost no event".to_owned());
    }
    Ok(format!("; the capture lost events: {}", losses.join(", ")))
}

/// The order of the rounds.
#[derive(Debug)]
struct Order {
    jobs: Vec<Job>,
    random: Option<fastrand::Rng>,
}

impl Order {
    /// The seed goes to standard error, so that an order in which something fails can be had again.
    fn new(wanted: &[&'static Scenario], seed: Option<u64>) -> Result<Self, Failure> {
        if let Some(seed) = seed {
            writeln!(anstream::stderr(), "order: --shuffle {seed}").map_err(|error| {
                Failure::run_time(format!("cannot write to standard error: {error}"))
            })?;
        }
        let of_both = |&scenario| [Family::Ipv4, Family::Ipv6].map(|family| (scenario, family));
        Ok(Self {
            jobs: wanted.iter().flat_map(of_both).collect(),
            random: seed.map(fastrand::Rng::with_seed),
        })
    }

    fn next_round(&mut self) -> Vec<Job> {
        if let Some(random) = &mut self.random {
            random.shuffle(&mut self.jobs);
            self.jobs
                .sort_by_key(|(scenario, _)| !scenario.resets_orphans_of_others());
        }
        self.jobs.clone()
    }
}

fn scenario_ids() -> Vec<&'static str> {
    scenarios().map(|scenario| scenario.id).collect()
}

fn wanted_scenarios(names: &[String]) -> Result<Vec<&'static Scenario>, Failure> {
    if names.is_empty() {
        return Ok(scenarios().collect());
    }
    let find = |name: &String| {
        find_scenario(name).ok_or_else(|| {
            Failure::usage(format!(
                "unknown scenario `{name}`; known are {}",
                scenario_ids().join(", ")
            ))
        })
    };
    names.iter().map(find).collect()
}

/// What this capture can see, from what was planned. What waits for a module is believed to come.
fn sights(started: &Started) -> Sights {
    let switches = started.plan.switches;
    let planned = |hook: Hook| {
        started
            .plan
            .hooks
            .iter()
            .any(|planned| planned.hook == hook)
    };
    let drops_are_whole = !started
        .facts
        .degradations
        .iter()
        .any(|degradation| degradation.id == "rejected-resets-partly");
    Sights {
        mode: match started.plan.mode {
            Mode::Probe => rstmon_lab::Mode::Probe,
            Mode::Tracepoint => rstmon_lab::Mode::Tracepoint,
            Mode::Classic => rstmon_lab::Mode::Classic,
        },
        sees_socketless_sent: switches.send_reset_sees_all
            || switches.passive_by_probe
            || switches.deduce_socketless,
        sees_segment_of_received: switches.receive_by_probe,
        sees_firewall: planned(Hook::NfSendReset),
        sees_frame_firewall: planned(Hook::NfRejectSkbV4),
        sees_dropped: planned(Hook::KfreeSkb) && drops_are_whole,
        has_drop_reason: switches.kfree_has_reason,
        names_receiver_of_dropped: switches.kfree_has_socket,
        tells_ended_handshakes: switches.killed_request_by_probe
            || (switches.kfree_has_socket && switches.embryonic_kill_is_told),
        sees_refusals: switches.refused_by_probe,
        has_kernel_reason: switches.send_reset_has_reason,
        sees_owner: true,
    }
}

/// The events so far, shared with the scenarios that wait for theirs. Those of this process's own
/// network namespace are let go: the lab plays in namespaces of its own, and the host may be busy.
#[derive(Clone, Debug)]
struct Events {
    seen: Arc<Mutex<Vec<Value>>>,
    /// As in `Event::netns`.
    own_netns: Option<u32>,
}

impl Events {
    /// None yet.
    fn new() -> Result<Self, Failure> {
        let path = "/proc/self/ns/net";
        let namespace = fs::metadata(path)
            .map_err(|error| Failure::run_time(format!("cannot look at {path}: {error}")))?;
        Ok(Self {
            seen: Arc::default(),
            // The kernel's numbers of namespaces have 32 bits.
            own_netns: u32::try_from(namespace.ino()).ok(),
        })
    }

    /// A copy of those of one run.
    fn of(&self, observation: &Observation) -> Vec<Value> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter()
            .filter(|event| observation.concerns(event))
            .cloned()
            .collect()
    }

    /// Lets go of all: whoever they concern has been judged.
    fn forget(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clear();
    }
}

impl EventSink for Events {
    fn accept(
        &mut self,
        event: &Event,
        _raw: &RawEvent,
        _annotation: &Annotation,
        facts: &CaptureFacts,
    ) -> io::Result<()> {
        if event.netns.is_some() && event.netns == self.own_netns {
            return Ok(());
        }
        let value = serde_json::from_slice(&jsonl::render_event(event, facts)?)?;
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(value);
        Ok(())
    }
}

/// Loads the firewall's modules where a hook waits for them, and lets the capture attach. That the
/// modules come after the start is part of what the lab tests.
fn await_firewall_hooks(
    lab: &Lab,
    watch: &Watch,
    session: &mut Session,
    events: &mut Events,
) -> Result<(), Failure> {
    if !session.awaits_modules() || lab.load_firewall_modules().is_err() {
        // Without the rule the scenario itself says what it lacks.
        return Ok(());
    }
    let deadline = Instant::now() + ATTACH_PATIENCE;
    while session.awaits_modules() && Instant::now() < deadline {
        turn(watch, session, events)?;
    }
    Ok(())
}

fn is_attached(session: &Session, hook: Hook) -> bool {
    let mut reports = session.facts().hooks.iter();
    reports.any(|report| report.hook == hook.name() && report.attached)
}

fn turn(watch: &Watch, session: &mut Session, events: &mut Events) -> Result<(), Failure> {
    if watch.is_interrupted.load(Ordering::Relaxed) {
        return Err(Failure::run_time("interrupted"));
    }
    session
        .turn(events)
        .map_err(|error| Failure::run_time(error.to_string()))?;
    std::thread::sleep(LOOK_INTERVAL);
    Ok(())
}

/// What a round is watched and judged with.
struct Watch {
    /// What the capture can see.
    sights: Sights,
    /// Who sees what this kernel shows no program, or why there is nobody.
    witness: Result<Witness, String>,
    /// Whether a signal asked for the end: then everything is taken down first.
    is_interrupted: Arc<AtomicBool>,
}

impl Watch {
    fn new(sights: Sights, has_witness: bool) -> Result<Self, Failure> {
        let is_interrupted = Arc::new(AtomicBool::new(false));
        let cannot = |error| Failure::run_time(format!("cannot handle signals: {error}"));
        for signal in end_signals().map_err(cannot)? {
            signal_hook::flag::register(signal, Arc::clone(&is_interrupted)).map_err(cannot)?;
        }
        Ok(Self {
            sights,
            witness: if has_witness {
                Witness::open()
            } else {
                Err("--witness asks for one".to_owned())
            },
            is_interrupted,
        })
    }

    /// What the kernel may have kept from the capture since the last look.
    fn passed_over(&self, events: &Events) -> Result<Vec<PassedOver>, Failure> {
        let Ok(witness) = &self.witness else {
            return Ok(Vec::new());
        };
        let seen = events.seen.lock().unwrap_or_else(PoisonError::into_inner);
        witness.passed_over(&seen).map_err(|error| {
            Failure::run_time(format!("cannot read the kernel's event tracing: {error}"))
        })
    }
}

/// One scenario in one family.
type Job = (&'static Scenario, Family);

/// A run that has ended, not yet judged.
type Ran = (Job, Result<Observation, LabError>);

/// Runs the jobs of a round one after another on a thread of its own while this one reads the
/// capture, then judges them and lets their namespaces go. Not at once: since the kernel leaves a program
/// out where it would interrupt itself, runs beside each other on a slow machine could hide each other's
/// events.
fn run_jobs(
    lab: Lab,
    jobs: Vec<Job>,
    watch: &Watch,
    session: &mut Session,
    events: &mut Events,
) -> Result<Vec<ScenarioResult>, Failure> {
    let worker = std::thread::spawn(move || -> Vec<Ran> {
        let run =
            |(scenario, family): Job| ((scenario, family), run_scenario(&lab, scenario, family));
        jobs.into_iter().map(run).collect()
    });
    while !worker.is_finished() {
        turn(watch, session, events)?;
    }
    let runs = worker.join().map_err(|_| {
        Failure::run_time("the thread of the lab died; please report what it printed")
    })?;
    let is_awaited = |(_, run): &Ran| {
        run.as_ref()
            .is_ok_and(|one| !one.is_complete(&events.of(one), &watch.sights))
    };
    let deadline = Instant::now() + PATIENCE;
    while runs.iter().any(is_awaited) && Instant::now() < deadline {
        turn(watch, session, &mut events.clone())?;
    }
    let settled = Instant::now() + SETTLE;
    while Instant::now() < settled {
        turn(watch, session, events)?;
    }
    let passed_over = watch.passed_over(events)?;
    let judged = |((scenario, family), run): Ran| match run {
        Ok(observation) => {
            let seen = events.of(&observation);
            let judgement = judge(&observation, &seen, &watch.sights, &passed_over);
            ScenarioResult::judged(scenario, family, observation.answers(&seen), judgement)
        }
        Err(error) => ScenarioResult::not_run(scenario, family, error),
    };
    let results = runs.into_iter().map(judged).collect();
    events.forget();
    Ok(results)
}

/// Runs one scenario. Where the lab itself waited in vain for its fake peer, as an emulated machine
/// that stalls can make it, it tries once more in another namespace: nothing was judged yet.
fn run_scenario(lab: &Lab, scenario: &Scenario, family: Family) -> Result<Observation, LabError> {
    match lab.run(scenario, family) {
        Err(LabError::NotSeen { .. }) => lab.run(scenario, family),
        outcome => outcome,
    }
}

fn print_results(
    results: &[ScenarioResult],
    round: u32,
    format: ReportFormat,
) -> Result<(), Failure> {
    match format {
        ReportFormat::Text => print(&render_results(results)),
        ReportFormat::Json => {
            let line = |result| format!("{}\n", line_of(result, round));
            print(&results.iter().map(line).collect::<String>())
        }
    }
}

fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::run_time(format!(
            "cannot write the report: {error}"
        ))),
        _ => Ok(()),
    }
}

/// The result as one JSON object.
fn line_of(result: &ScenarioResult, round: u32) -> Value {
    json!({
        "schema": "rstmon.lab/1",
        "round": round,
        "scenario": result.scenario,
        "title": result.title,
        "family": result.family,
        "verdict": verdict(&result.outcome),
        "resets": result.answers.iter().map(|answer| json!({
            "expected": answer.expected,
            "diagnosed": answer.diagnosed,
        })).collect::<Vec<_>>(),
        "detail": result.outcome.details(),
    })
}

/// The result of a run in which events got lost between the programs and here.
fn line_of_defect(defect: &str) -> Value {
    json!({
        "schema": "rstmon.lab/1",
        "scenario": "ring-balance",
        "title": "every event that the programs report arrives",
        "verdict": "failed",
        "detail": [defect],
    })
}

/// One word for machines.
const fn verdict(outcome: &Outcome) -> &'static str {
    use rstmon_lab::Judgement;
    match outcome {
        Outcome::Judged(Judgement::Matched) => "matched",
        Outcome::Judged(Judgement::NotVisible(_)) => "not-visible",
        Outcome::Judged(Judgement::PassedOver(_)) => "passed-over",
        Outcome::Judged(Judgement::Differs(_)) => "differs",
        Outcome::Skipped { .. } => "skipped",
        Outcome::NotRun { .. } => "not-run",
        Outcome::Failed { .. } => "failed",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;

    fn names(jobs: &[Job]) -> Vec<String> {
        jobs.iter()
            .map(|(scenario, family)| format!("{}/{}", scenario.id, family.name()))
            .collect()
    }

    fn order(seed: Option<u64>) -> Order {
        Order::new(&wanted_scenarios(&[]).unwrap(), seed).unwrap()
    }

    #[test]
    fn a_seed_gives_the_same_orders_again() {
        let plain = names(&order(None).next_round());
        assert_eq!(plain, names(&order(None).next_round()));
        let (mut one, mut other) = (order(Some(7)), order(Some(7)));
        let first = names(&one.next_round());
        assert_eq!(first, names(&other.next_round()));
        let second = names(&one.next_round());
        assert_eq!(second, names(&other.next_round()));
        assert_ne!(first, second);
        assert_ne!(first, plain);
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        assert_eq!(sorted(first), sorted(plain));
    }

    /// Else the orphans of those before it would be reset, and be told of where silence is expected.
    #[test]
    fn what_resets_the_orphans_of_others_goes_first() {
        for seed in 0..20 {
            let first = names(&order(Some(seed)).next_round()).remove(0);
            assert!(first.starts_with("out-of-memory/"), "{first}");
        }
    }

    #[test]
    fn a_seed_is_a_number_or_any() {
        assert_eq!(parse_seed("18446744073709551615"), Ok(u64::MAX));
        assert!(parse_seed(ANY_SEED).is_ok());
        assert!(parse_seed("port-closed").is_err());
    }

    #[test]
    fn an_unknown_scenario_is_a_wrong_command_line() {
        let failure = wanted_scenarios(&["port-close".to_owned()]).unwrap_err();
        assert_eq!(failure.code, crate::cmd::exit::ExitCode::Usage);
        assert!(failure.message.contains("port-closed"));
    }
}
