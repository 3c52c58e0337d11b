//! The project's own commands: `cargo xtask setup | build | run | test | lab | vm | bench | dist | ci`.
//!
//! Each module does one command; `process` runs other programs for all of them.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command of the project talks to whoever runs it"
)]

mod bench;
mod build;
mod dist;
mod process;
mod setup;
mod soak;
mod test;
mod vm;

use clap::{Parser, Subcommand};
use setup::Purpose;
use std::process::ExitCode;

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what is missing for building and testing; does nothing the second time
    Setup,
    /// Build target/release/rstmon, without the network
    Build,
    /// Set up, build, and run rstmon as root
    Run {
        /// Arguments of rstmon
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Set up, and pass all tests
    Test(test::TestArgs),
    /// Build, and run the lab as root
    Lab {
        /// Arguments of `rstmon lab`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run `check` and the lab in QEMU, on Debian's kernels, in every way to capture
    Vm(vm::VmArgs),
    /// Measure what rstmon costs, beside nothing and beside other tools
    Bench(bench::BenchArgs),
    /// Make the static binary, the .deb and the .rpm in target/dist
    Dist(dist::DistArgs),
    /// Hold an agent under storms, scrapes, clients and the lab for a long time
    Soak(soak::SoakArgs),
    /// What continuous integration runs: the same as `test`
    Ci,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one command; whether all that it checked holds.
fn run(command: Command) -> anyhow::Result<bool> {
    Ok(match command {
        Command::Setup => setup::set_up(Purpose::ALL).map(|()| true)?,
        Command::Build => build::build_release().map(|()| true)?,
        Command::Run { args } => {
            setup::set_up(&[])?;
            build::build_release()?;
            match build::exec_as_root(&args)? {}
        }
        Command::Lab { args } => {
            setup::set_up(&[Purpose::Tests])?;
            build::build_release()?;
            let args: Vec<String> = std::iter::once("lab".to_owned()).chain(args).collect();
            match build::exec_as_root(&args)? {}
        }
        Command::Dist(args) => dist::run_dist(&args)?,
        Command::Soak(args) => {
            setup::set_up(&[])?;
            build::build_release()?;
            soak::run_soak(&args)?
        }
        Command::Test(args) => test::run_tests(&args)?,
        Command::Ci => test::run_tests(&test::TestArgs::default())?,
        Command::Vm(args) => {
            if vm::run_without_machines(&args)? {
                return Ok(true);
            }
            setup::set_up(&args.purposes()?)?;
            let outcome = vm::run_vm(&args)?;
            print!("{} passed, {} failed", outcome.passed, outcome.failed);
            match outcome.not_run {
                0 => println!(),
                1 => println!(", 1 kernel not run"),
                kernels => println!(", {kernels} kernels not run"),
            }
            outcome.failed == 0
        }
        Command::Bench(args) => {
            setup::set_up(&[Purpose::Bench])?;
            if !bench::is_about_another_binary() {
                build::build_release()?;
            }
            bench::run_bench(&args)?
        }
    })
}
