//! `rstmon check --variants`: every variant of every hook, a JSON object each.

use crate::bpf::support::ask_probe_support;
use crate::bpf::variants::try_variants;
use crate::cmd::check::CheckArgs;
use crate::cmd::exit::Failure;
use crate::cmd::start::{CaptureArgs, freeze};
use crate::filter::Pushdown;
use crate::kernel::capabilities::require_privilege;
use crate::kernel::facts::read_kernel_facts;
use crate::kernel::hook::Variant;
use crate::kernel::mode::{Mode, ModeRequest};
use crate::kernel::probe_plan::{PlanRequest, ProbePlan, plan};
use rstmon_common::config::FILTER_PORTS;
use rstmon_common::wire::KIND_SENT;
use serde_json::json;
use std::io::Write;

/// Schema of the lines.
const VARIANT_SCHEMA: &str = "rstmon.variant/1";

/// Runs it. That the kernel refuses a variant is a result, no failure.
pub fn run_variants(args: &CheckArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let kernel = read_kernel_facts(args.btf.as_deref());
    require_privilege(&kernel.privilege).map_err(|error| Failure::privilege(error.to_string()))?;
    let kernel = kernel.with_probe_support(ask_probe_support());
    let plan_in = |mode| {
        let request = PlanRequest {
            mode,
            ..PlanRequest::default()
        };
        plan(&kernel, &request).ok()
    };
    let raw = plan_in(ModeRequest::Auto).filter(|plan| plan.mode != Mode::Classic);
    let classic = plan_in(ModeRequest::Force(Mode::Classic));
    let ways_of = |plan: &ProbePlan| {
        ways_to_run().map(|(way, args, pushdown)| (way, freeze(&kernel, plan, &args, &pushdown)))
    };
    let outcomes = try_variants(|variant| {
        let plan = match variant {
            Variant::ClassicTracepoint => classic.clone(),
            _ => raw.clone().map(with_all_code),
        };
        plan.iter().flat_map(ways_of).collect()
    })
    .map_err(|error| Failure::run_time(error.to_string()))?;
    for outcome in outcomes {
        let line = json!({
            "schema": VARIANT_SCHEMA,
            "hook": outcome.hook.name(),
            "variant": outcome.variant.name(),
            "attached": outcome.refusal.is_none(),
            "refusal": outcome.refusal,
        });
        writeln!(out, "{line}")
            .map_err(|error| Failure::run_time(format!("cannot write the results: {error}")))?;
    }
    Ok(())
}

/// What a user may ask of the programs. Each leaves in code that the verifier would else leave out.
fn ways_to_run() -> [(&'static str, CaptureArgs, Pushdown); 3] {
    let every_condition = || Pushdown {
        kinds: Some(1 << KIND_SENT),
        ports: (1..=FILTER_PORTS as u16).collect(),
        pid: Some(1),
        netns: Some(1),
    };
    let with_log = CaptureArgs {
        ebpf_log: Some(log::Level::Trace),
        ..CaptureArgs::default()
    };
    [
        (
            "without a filter",
            CaptureArgs::default(),
            Pushdown::default(),
        ),
        ("with a filter", CaptureArgs::default(), every_condition()),
        ("with --ebpf-log and a filter", with_log, every_condition()),
    ]
}

/// The plan with all those switches on without which the verifier leaves code out.
fn with_all_code(mut plan: ProbePlan) -> ProbePlan {
    plan.switches.passive_by_probe = true;
    plan.switches.receive_by_probe = true;
    plan.switches.refused_by_probe = true;
    plan.switches.deduce_socketless = true;
    plan
}
