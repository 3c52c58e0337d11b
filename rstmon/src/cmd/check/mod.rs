//! `rstmon check`: what this kernel can give, what is degraded and why, what to do about it.
//!
//! Called by `main`, which hands in the questions that need bpf(2): whether probes work, and whether
//! the plan can be attached. Works without privilege and without BTF: what cannot be found out then
//! is said to be unknown.

mod audit;
mod host;
mod render;
mod report;
mod variants;

pub use render::render_check;
pub use report::{
    Answer, CHECK_SCHEMA, CapabilityLine, CheckReport, FactLine, FieldLine, HookLine, Problem,
    ReasonCounts, SwitchLine,
};
pub use variants::run_variants;

use crate::cmd::exit::Failure;
use crate::cmd::start::{Trial, parse_mode};
use crate::kernel::capabilities::require_privilege;
use crate::kernel::facts::{KernelFacts, ProbeSupport, read_kernel_facts};
use crate::kernel::hook::Variant;
use crate::kernel::mode::ModeRequest;
use crate::kernel::probe_plan::{PlanRequest, plan};
use crate::sink::terminal::read_style;
use anstream::ColorChoice;
use anyhow::Context;
use clap::{Args, ValueEnum};
use std::io::{self, Write};
use std::path::PathBuf;

/// Arguments of `rstmon check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t = CheckOutput::Text, value_name = "FORMAT")]
    pub output: CheckOutput,
    /// Plan for this mode: auto, probe, tracepoint or classic
    #[arg(long, default_value_t = ModeRequest::Auto, value_name = "MODE", value_parser = parse_mode(),
          hide_possible_values = true)]
    pub mode: ModeRequest,
    /// Plan for functions to be entered this way: fentry or kprobe
    #[arg(long, value_name = "VARIANT", hide = true)]
    pub probe: Option<Variant>,
    /// Instead, load and attach every variant of every hook for a moment, and print a JSON object
    /// for each: the test that the programs pass this kernel's verifier
    #[arg(long, hide = true)]
    pub variants: bool,
    /// Read BTF from this file (raw BTF, or an ELF file with a section .BTF) instead of the kernel's
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
    /// Only plan: do not load and attach what was planned, which is taken out again at once
    #[arg(long)]
    pub no_load: bool,
}

/// What is asked of bpf(2), only where privilege lets it answer.
pub struct Questions<P, T> {
    /// Whether probes work at all.
    pub probe_support: P,
    /// Whether what is planned can be attached.
    pub trial: T,
}

/// How `rstmon check` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckOutput {
    /// For people.
    Text,
    /// One JSON object, schema `rstmon.check/1`.
    Json,
}

/// Runs the command and returns its exit code: 0, 1 (`--btf` of no use), 3 or 4.
pub fn run_check(
    args: &CheckArgs,
    ask: Questions<
        impl FnOnce(&KernelFacts) -> ProbeSupport,
        impl FnOnce(&KernelFacts, &PlanRequest) -> Result<Trial, Failure>,
    >,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let facts = read_kernel_facts(args.btf.as_deref());
    let trial = (!args.no_load).then_some(ask.trial);
    let request = PlanRequest {
        mode: args.mode,
        probe: args.probe,
        ..PlanRequest::default()
    };
    let report = check_facts(facts, &request, ask.probe_support, trial);
    let text = match args.output {
        CheckOutput::Text => render_check(&report, text_width()),
        CheckOutput::Json => {
            let mut json = serde_json::to_string(&report).context("cannot write JSON")?;
            json.push('\n');
            json
        }
    };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(report.exit_code),
        // The reader has seen enough (`rstmon check | head -1`).
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        Err(error) => Err(error).context("cannot write the report to standard output"),
    }
}

/// Columns where there is no terminal, and the fewest and most that are used of one: below, the text
/// would be a word a line; above, lines are hard to read.
const USUAL_WIDTH: usize = 100;
const MIN_WIDTH: usize = 48;
const MAX_WIDTH: usize = 100;

fn text_width() -> usize {
    let width = read_style(ColorChoice::Auto).width;
    let width = width.map_or(USUAL_WIDTH, usize::from);
    width.clamp(MIN_WIDTH, MAX_WIDTH)
}

/// Judges what was read, after asking bpf(2) where privilege lets it answer. No `trial`: only plans.
fn check_facts(
    mut facts: KernelFacts,
    request: &PlanRequest,
    probe_support: impl FnOnce(&KernelFacts) -> ProbeSupport,
    trial: Option<impl FnOnce(&KernelFacts, &PlanRequest) -> Result<Trial, Failure>>,
) -> CheckReport {
    let privilege = require_privilege(&facts.privilege);
    if privilege.is_ok() {
        let answers = probe_support(&facts);
        facts = facts.with_probe_support(answers);
    }
    let planned = plan(&facts, request);
    let tried = match trial {
        Some(trial) if privilege.is_ok() && planned.is_ok() => Some(trial(&facts, request)),
        _ => None,
    };
    CheckReport::new(&facts, request.mode, &privilege, &planned, tried.as_ref())
}

#[cfg(test)]
mod tests;
