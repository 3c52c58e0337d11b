//! The command `rstmon`: parses the command line, runs one command of the library, and turns its
//! outcome into an exit code.

use clap::{CommandFactory, Parser, Subcommand};
use rstmon::bpf::support::ask_probe_support;
use rstmon::cmd::agent::{AgentArgs, run_agent};
use rstmon::cmd::check::{CheckArgs, Questions, run_check, run_variants};
use rstmon::cmd::config::{ConfigArgs, run_config};
use rstmon::cmd::exit::Failure;
use rstmon::cmd::explain::{ExplainArgs, run_explain};
use rstmon::cmd::lab::LabArgs;
use rstmon::cmd::man::{ManArgs, run_man};
use rstmon::cmd::start::try_capture;
use rstmon::cmd::top::TopArgs;
use rstmon::cmd::trace::TraceArgs;
use rstmon::kernel::facts::KernelFacts;
use std::io::Write;
use std::process::ExitCode;

/// Who reset this connection, why, and what to do about it.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Shown below the help of the whole command.
const EXIT_CODES: &str = "Exit codes: 0 ok, 1 run-time failure, 2 usage, 3 missing privilege, \
4 kernel cannot support it.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch as a daemon: metrics for Prometheus, an event log, a socket for `top` and `trace`
    Agent(AgentArgs),
    /// Print the agent's settings as they would be, and where each came from
    Config(ConfigArgs),
    /// Print each RST that this host sends, receives or refuses, the moment it happens
    Trace(TraceArgs),
    /// Look at a host's resets and understand them: grouped, explained, live
    Top(TopArgs),
    /// Print what a cause means, how it is recognised, and what to do about it
    Explain(ExplainArgs),
    /// Print what this kernel can give, what it cannot, and what to do about it
    Check(CheckArgs),
    /// Make each cause happen in private network namespaces and compare what is diagnosed
    Lab(LabArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print a page of the manual, or write all of them
    Man(ManArgs),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Agent(args) => run_agent(&args),
        Command::Config(args) => run_config(&args, &mut std::io::stdout().lock()),
        Command::Trace(args) => rstmon::cmd::trace::run_trace(&args),
        Command::Top(args) => rstmon::cmd::top::run_top(&args),
        Command::Explain(args) => run_explain(&args, &mut std::io::stdout().lock()),
        Command::Check(args) => return check(&args),
        Command::Lab(args) => rstmon::cmd::lab::run_lab(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "rstmon", &mut script);
            print_all(&script)
        }
        Command::Man(args) => run_man(&args, Cli::command(), &mut std::io::stdout().lock()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure),
    }
}

/// Runs `check`, which knows its exit code itself.
fn check(args: &CheckArgs) -> ExitCode {
    if args.variants {
        return match run_variants(args, &mut std::io::stdout().lock()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => fail(&failure),
        };
    }
    let ask = Questions {
        probe_support: |_: &KernelFacts| ask_probe_support(),
        trial: try_capture,
    };
    match run_check(args, ask, &mut std::io::stdout().lock()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(&Failure::run_time(format!("{error:#}"))),
    }
}

/// Says what failed.
fn fail(failure: &Failure) -> ExitCode {
    // Without a standard error there is nobody to tell.
    let _ = writeln!(anstream::stderr(), "rstmon: {failure}");
    ExitCode::from(failure.code as u8)
}

/// Prints to standard output; a reader that went away is no failure.
fn print_all(bytes: &[u8]) -> Result<(), Failure> {
    match std::io::stdout().write_all(bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::run_time(
            format!("cannot write to standard output: {error}"),
        )),
        _ => Ok(()),
    }
}
