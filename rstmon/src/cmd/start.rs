//! Starting a live capture: privilege, facts, plan, programs. Shared by every command that captures.

use crate::agent::settings::values::{EventsPerSec, SettingValue};
use crate::bpf::capture::{Capture, CaptureError, CaptureRequest};
use crate::bpf::programs::{FrozenFacts, ProgramsError};
use crate::bpf::support::ask_probe_support;
use crate::cmd::exit::{ExitCode, Failure};
use crate::cmd::offered::Offered;
use crate::event::capture::{CaptureFacts, HookReport};
use crate::filter::{Filter, Pushdown};
use crate::kernel::capabilities::require_privilege;
use crate::kernel::degradation::Degradation;
use crate::kernel::facts::{KernelFacts, read_kernel_facts, read_privilege};
use crate::kernel::hook::{Hook, Variant};
use crate::kernel::mode::{Mode, ModeRequest};
use crate::kernel::probe_plan::{PlanError, PlanRequest, ProbePlan, plan};
use crate::kernel::windows::place_windows;
use crate::memory::return_freed_memory;
use clap::Args;
use clap::builder::TypedValueParser;
use nix::time::{ClockId, clock_gettime};
use rstmon_common::config::{NO_REASON, ProbeConfig};
use rstmon_common::layout::KernelLayout;
use rstmon_common::wire;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

/// Arguments of every command that captures.
#[derive(Clone, Debug, Default, Args)]
pub struct CaptureArgs {
    /// How to capture: auto, probe, tracepoint or classic
    #[arg(long, value_name = "MODE", default_value = "auto", hide_possible_values = true,
          value_parser = parse_mode())]
    pub mode: ModeRequest,
    /// How functions are entered in probe mode: fentry or kprobe; to test each on every kernel
    #[arg(long, value_name = "VARIANT", hide = true)]
    pub probe: Option<Variant>,
    /// BTF of this kernel, where it brings none of its own
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
    /// Events a second that may be reported, for each CPU (what one leaves, others use); more are
    /// counted, not reported, and while such a flood goes on, a sixteenth is reported. A reset within
    /// this host is two events: sent, and received. auto: 76000, and no more than 608000 for all CPUs;
    /// a number is taken as it is
    #[arg(long, value_name = EventsPerSec::FORM, default_value = "auto",
          value_parser = EventsPerSec::parse_setting)]
    pub max_events_per_sec: EventsPerSec,
    /// Let the eBPF programs log to standard error: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", hide_possible_values = true, value_parser = parse_level())]
    pub ebpf_log: Option<log::Level>,
}

impl CaptureArgs {
    /// Whether nothing was asked for.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.first_given().is_none()
    }

    /// The first flag that asks for something.
    #[must_use]
    pub fn first_given(&self) -> Option<&'static str> {
        let flags = [
            ("--mode", self.mode != ModeRequest::Auto),
            ("--probe", self.probe.is_some()),
            ("--btf", self.btf.is_some()),
            ("--max-events-per-sec", self.max_events_per_sec.0.is_some()),
            ("--ebpf-log", self.ebpf_log.is_some()),
        ];
        let given = flags.into_iter().find(|(_, is_given)| *is_given);
        given.map(|(flag, _)| flag)
    }
}

/// Reads `--mode`.
pub(super) fn parse_mode() -> impl TypedValueParser<Value = ModeRequest> {
    Offered(mode_names).try_map(|text| text.parse::<ModeRequest>())
}

/// What `--mode` may be.
pub(super) fn mode_names() -> Vec<&'static str> {
    let modes = Mode::ALL.iter().map(|mode| mode.name());
    std::iter::once("auto").chain(modes).collect()
}

fn parse_level() -> impl TypedValueParser<Value = log::Level> {
    Offered(|| vec!["error", "warn", "info", "debug", "trace"])
        .try_map(|text| text.parse::<log::Level>())
}

/// Whether `--connect` asks for no agent.
#[must_use]
pub fn asks_no_agent(socket: &Path) -> bool {
    socket == Path::new("none")
}

/// Refuses to ask an agent and to capture: `own` is a flag that only a capture of one's own takes.
pub fn refuse_own_flag(connect: Option<&Path>, own: Option<&'static str>) -> Result<(), Failure> {
    match (connect, own) {
        (Some(socket), Some(flag)) if !asks_no_agent(socket) => Err(Failure::usage(format!(
            "--connect {} shows what an agent captures, and {flag} is of a capture of one's own: \
             leave one of them out, or say `--connect none`",
            socket.display()
        ))),
        _ => Ok(()),
    }
}

/// Two CPUs report 152,000 events a second, which is 76,000 connections that are refused within the
/// host, at two events each. A flood can make more: 340,000 refusals, or 680,000 events, a second were
/// measured. Beyond the budget the host's time is its own, and resets are counted only.
pub const DEFAULT_MAX_EVENTS_PER_SEC: u32 = 76_000;

/// Events that the ring holds at least: what two CPUs with their whole budget report in 50 ms, while
/// the reader comes every 10 ms.
const RING_EVENTS: u32 = 2 * DEFAULT_MAX_EVENTS_PER_SEC / 20;
/// The kernel's head of each record (`BPF_RINGBUF_HDR_SZ`, include/uapi/linux/bpf.h).
const RING_HEAD_BYTES: u32 = 8;
/// A power of two, as the kernel wants it. It is mapped twice in a row, so its pages count double in
/// the resident size.
const RING_BYTES: u32 =
    (RING_EVENTS * (wire::RAW_EVENT_SIZE as u32 + RING_HEAD_BYTES)).next_power_of_two();
// A record that grows past this costs every host twice the memory: decide that on purpose.
const _: () = assert!(RING_BYTES == 4 << 20);
/// A reader that finds this much has been away too long.
const WAKE_BYTES: u32 = RING_BYTES / 8;

/// A capture whose hooks are attached, and what is to be known about it.
pub struct Started {
    /// The capture.
    pub capture: Capture,
    /// Facts for the pipeline, the start record and recordings.
    pub facts: CaptureFacts,
    /// What was planned.
    pub plan: ProbePlan,
}

/// What one reader keeps up with, at 1.5 µs an event (docs/performance.md, `rstmon trace`): eight CPUs' worth.
/// More would fill the ring, and be lost without a sample being taken.
const READ_EVENTS_PER_SEC: u64 = 8 * DEFAULT_MAX_EVENTS_PER_SEC as u64;

/// Events a second that all CPUs together may report. A number that was asked for is taken as it is.
fn storm_budget(asked_for: Option<u32>, cpus: u64) -> u64 {
    let of_a_cpu = u64::from(asked_for.unwrap_or(DEFAULT_MAX_EVENTS_PER_SEC));
    let budget = of_a_cpu * cpus;
    if asked_for.is_some() {
        budget
    } else {
        budget.min(READ_EVENTS_PER_SEC)
    }
}

/// CPUs that are running; one if the system does not tell.
fn online_cpus() -> u64 {
    let online = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN);
    online
        .ok()
        .flatten()
        .and_then(|cpus| u64::try_from(cpus).ok())
        .map_or(1, |cpus| cpus.max(1))
}

/// Whether this process may capture.
pub fn check_privilege() -> Result<(), Failure> {
    require_privilege(&read_privilege()).map_err(|error| Failure::privilege(error.to_string()))
}

/// Starts a capture of what `pushdown` lets through.
pub fn start_capture(args: &CaptureArgs, pushdown: &Pushdown) -> Result<Started, Failure> {
    check_privilege()?;
    let kernel = learn_kernel(args);
    let (capture, plan) = attach_plan(&kernel, args, pushdown)?;
    return_freed_memory();
    Ok(Started {
        facts: capture_facts(&kernel, &plan, &capture)?,
        capture,
        plan,
    })
}

/// Reads the facts, and meanwhile asks the kernel whether it takes probes: either is much of a start.
fn learn_kernel(args: &CaptureArgs) -> KernelFacts {
    let btf = args.btf.as_deref();
    if !may_probe(args.mode) {
        return read_kernel_facts(btf);
    }
    std::thread::scope(|scope| {
        let asking = std::thread::Builder::new().spawn_scoped(scope, ask_probe_support);
        let kernel = read_kernel_facts(btf);
        let answer = asking.ok().and_then(|asking| asking.join().ok());
        // No thread to be had, or it panicked: here, where a panic is seen.
        kernel.with_probe_support(answer.unwrap_or_else(ask_probe_support))
    })
}

/// What became of a plan on this kernel.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The plan that could be attached: what the kernel refused is planned around.
    pub plan: ProbePlan,
    /// How each hook was attached, or that it was not.
    pub hooks: Vec<HookReport>,
    /// What it cannot give, the plan's and what attaching brought up.
    pub degradations: Vec<Degradation>,
}

/// Loads and attaches what a capture with this request would, and takes it out again: what a plan
/// cannot know, as the verifier has the last word. `kernel` holds the answers of bpf(2).
pub fn try_capture(kernel: &KernelFacts, request: &PlanRequest) -> Result<Trial, Failure> {
    let args = CaptureArgs {
        mode: request.mode,
        probe: request.probe,
        ..CaptureArgs::default()
    };
    let (capture, plan) = attach_plan(kernel, &args, &Filter::all().pushdown())?;
    Ok(Trial {
        plan,
        hooks: capture.hook_reports(),
        degradations: capture.degradations().to_vec(),
    })
}

/// Plans and attaches, until the kernel takes what was planned.
fn attach_plan(
    kernel: &KernelFacts,
    args: &CaptureArgs,
    pushdown: &Pushdown,
) -> Result<(Capture, ProbePlan), Failure> {
    let mut request = PlanRequest {
        mode: args.mode,
        probe: args.probe,
        refused: BTreeMap::new(),
    };
    loop {
        let plan = plan(kernel, &request).map_err(|error| plan_failure(&error))?;
        let facts = freeze(kernel, &plan, args, pushdown);
        match Capture::start(&CaptureRequest {
            plan: &plan,
            facts,
            ring_bytes: RING_BYTES,
        }) {
            Ok(capture) => return Ok((capture, plan)),
            // What the kernel refuses in spite of the facts is a fact too: plan without it.
            Err(CaptureError::Required { hook, reason })
                if !request.refused.contains_key(&hook) =>
            {
                request.refused.insert(hook, reason);
            }
            Err(error) => return Err(start_failure(&error)),
        }
    }
}

fn plan_failure(error: &PlanError) -> Failure {
    let message = error.to_string();
    match error.exit_code() {
        code if code == ExitCode::Kernel as u8 => Failure::kernel(message),
        code if code == ExitCode::Privilege as u8 => Failure::privilege(message),
        _ => Failure::run_time(message),
    }
}

/// Whether the plan will want to know about probes.
const fn may_probe(mode: ModeRequest) -> bool {
    matches!(mode, ModeRequest::Auto | ModeRequest::Force(Mode::Probe))
}

fn start_failure(error: &CaptureError) -> Failure {
    match error {
        CaptureError::Programs(ProgramsError::NotPermitted(_)) => Failure::privilege(format!(
            "{error}; rstmon needs root, or CAP_BPF and CAP_PERFMON, in the initial user namespace; \
             where it has them, a seccomp filter or a security module forbids bpf(2), or before \
             Linux 5.11 the limit of locked memory is too low (`ulimit -l unlimited`)"
        )),
        CaptureError::Required { .. } => Failure::kernel(error.to_string()),
        CaptureError::Programs(_) => Failure::run_time(error.to_string()),
    }
}

/// What the programs are told.
pub(super) fn freeze(
    kernel: &KernelFacts,
    plan: &ProbePlan,
    args: &CaptureArgs,
    pushdown: &Pushdown,
) -> FrozenFacts {
    let mut config = ProbeConfig {
        // Any number will do that an observer of the events cannot know.
        socket_key: RandomState::new().hash_one(std::process::id()),
        max_events_per_sec: storm_budget(args.max_events_per_sec.0, online_cpus()),
        wake_bytes: WAKE_BYTES,
        ..ProbeConfig::NONE
    };
    plan.switches.write_to(&mut config);
    let mut layout = KernelLayout::NONE;
    if let Some(btf) = kernel.btf_facts()
        && plan.mode != Mode::Classic
    {
        layout = btf.layout;
        place_windows(&layout, &mut config);
        config.drop_reasons = btf.reasons.drop_reason_bitmap();
        config.drop_no_socket = btf.reasons.drop_number("NO_SOCKET").unwrap_or(NO_REASON);
        config.drop_not_specified = btf
            .reasons
            .drop_number("NOT_SPECIFIED")
            .unwrap_or(NO_REASON);
        config.tcp_reset_has_skb = u8::from(
            btf.parameters
                .get(&Hook::TcpReset)
                .is_some_and(|&count| count >= 2),
        );
    }
    pushdown.apply(&mut config);
    FrozenFacts {
        layout,
        config,
        classic: kernel.tracefs.classic_layout(),
        log_level: args.ebpf_log.map_or(0, |level| level as u8),
        tracepoint_ids: kernel
            .btf_facts()
            .map(|btf| btf.tracepoint_ids.clone())
            .unwrap_or_default(),
    }
}

fn capture_facts(
    kernel: &KernelFacts,
    plan: &ProbePlan,
    capture: &Capture,
) -> Result<CaptureFacts, Failure> {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let host = nix::unistd::gethostname()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    Ok(CaptureFacts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        abi: wire::ABI,
        boot_id: boot_id.trim().to_owned(),
        host,
        kernel: kernel.release.clone(),
        mode: plan.mode.name().to_owned(),
        hooks: capture.hook_reports(),
        degradations: capture
            .degradations()
            .iter()
            .map(Degradation::report)
            .collect(),
        reasons: kernel
            .btf_facts()
            .map(|btf| btf.reasons.clone())
            .unwrap_or_default(),
        realtime_offset_ns: realtime_offset_ns()?,
        hz: None,
    })
}

/// A clock of the kernel, nanoseconds.
pub fn clock_ns(clock: ClockId) -> Result<i64, Failure> {
    let now = clock_gettime(clock)
        .map_err(|error| Failure::run_time(format!("cannot read the clock: {error}")))?;
    Ok(now.tv_sec() * 1_000_000_000 + now.tv_nsec())
}

/// Wall clock minus monotonic clock, nanoseconds.
pub fn realtime_offset_ns() -> Result<i64, Failure> {
    Ok(clock_ns(ClockId::CLOCK_REALTIME)? - clock_ns(ClockId::CLOCK_MONOTONIC)?)
}

/// Monotonic nanoseconds, the clock of the programs.
pub fn monotonic_ns() -> Result<u64, Failure> {
    clock_ns(ClockId::CLOCK_MONOTONIC).map(i64::unsigned_abs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Digits in groups, as people write them.
    fn grouped(number: u64) -> String {
        format!("{},{:03}", number / 1000, number % 1000)
    }

    #[test]
    fn the_texts_name_the_budget_as_it_is() {
        let help = CaptureArgs::augment_args(clap::Command::new("any"))
            .render_long_help()
            .to_string();
        let settings = include_str!("../agent/settings/table.rs");
        let template = include_str!("../../../packaging/rstmon.toml");
        let readme = include_str!("../../../README.md");
        let budget = [u64::from(DEFAULT_MAX_EVENTS_PER_SEC), READ_EVENTS_PER_SEC];
        for number in budget {
            for text in [&help, settings, template] {
                assert!(text.contains(&format!(" {number}")), "{number}: {text}");
            }
            assert!(readme.contains(&grouped(number)), "{number}");
        }
    }

    #[test]
    fn the_budget_grows_with_the_cpus_up_to_what_one_reader_reads() {
        assert_eq!(storm_budget(None, 2), 152_000);
        assert_eq!(storm_budget(None, 8), 608_000);
        assert_eq!(storm_budget(None, 64), 608_000);
        // What somebody asks for is no default, whatever it is.
        for asked_for in [DEFAULT_MAX_EVENTS_PER_SEC, DEFAULT_MAX_EVENTS_PER_SEC + 1] {
            let budget = storm_budget(Some(asked_for), 64);
            assert_eq!(budget, u64::from(asked_for) * 64);
        }
    }
}
