//! The project's own commands.

mod bench;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure what rstmon costs beside nothing, tcpdump and bpftrace
    Bench(bench::BenchArgs),
}

fn main() -> anyhow::Result<ExitCode> {
    let Command::Bench(args) = Cli::parse().command;
    Ok(if bench::run_bench(&args)? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
