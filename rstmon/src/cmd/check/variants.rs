//! `rstmon check --variants`: every variant of every hook, a JSON object each.

use crate::bpf::support::ask_probe_support;
use crate::bpf::variants::try_variants;
use crate::cmd::check::CheckArgs;
use crate::cmd::exit::Failure;
use crate::cmd::start::{CaptureArgs, freeze};
use crate::filter::Filter;
use crate::kernel::capabilities::require_privilege;
use crate::kernel::facts::read_kernel_facts;
use crate::kernel::hook::Variant;
use crate::kernel::mode::{Mode, ModeRequest};
use crate::kernel::probe_plan::{PlanRequest, ProbePlan, plan};
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
    let freeze = |plan: &ProbePlan| {
        let pushdown = Filter::all().pushdown();
        freeze(&kernel, plan, &CaptureArgs::default(), &pushdown)
    };
    let outcomes = try_variants(|variant| match variant {
        Variant::ClassicTracepoint => classic.as_ref().map(freeze),
        _ => raw.clone().map(with_all_code).as_ref().map(freeze),
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

/// The plan with all those switches on without which the verifier leaves code out.
fn with_all_code(mut plan: ProbePlan) -> ProbePlan {
    plan.switches.passive_by_probe = true;
    plan.switches.receive_by_probe = true;
    plan.switches.refused_by_probe = true;
    plan
}
