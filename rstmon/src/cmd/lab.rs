//! Placeholder until the scenarios are merged.
use crate::cmd::exit::Failure;
use clap::Args;
/// Arguments.
#[derive(Debug, Args)]
pub struct LabArgs {}
/// Runs.
pub fn run_lab(_args: &LabArgs) -> Result<(), Failure> {
    Err(Failure::run_time("not merged"))
}
