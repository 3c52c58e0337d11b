//! `rstmon man`: the manual, a page a command and one on the filter language.
//!
//! Called by `main`, which hands in the command line's definition: options are described once.
//! Packages write all pages with `--out`.

use super::exit::{EXIT_CODES, Failure};
use super::offered::Offered;
use crate::filter::guide::CHAPTERS;
use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Name of the page on filters.
const FILTER: &str = "filter";

/// Arguments of `rstmon man`.
#[derive(Clone, Debug, Args)]
pub struct ManArgs {
    /// Which page: a command, or 'filter' for the filter language [default: rstmon itself]
    #[arg(value_name = "PAGE", value_parser = Offered(page_names), hide_possible_values = true)]
    pub page: Option<String>,
    /// Write all pages into this directory instead, e.g. /usr/local/share/man/man1
    #[arg(long, value_name = "DIR", conflicts_with = "page")]
    pub out: Option<PathBuf>,
}

/// The pages besides that of rstmon itself. Commands are declared by `main`, which this cannot see: a
/// test holds the two together.
fn page_names() -> Vec<&'static str> {
    vec![
        "agent",
        "config",
        "trace",
        "top",
        "explain",
        "check",
        "lab",
        "completions",
        "man",
        FILTER,
    ]
}

/// A page in roff.
struct Page {
    /// What it is asked for by: a command's name, empty for rstmon itself.
    name: String,
    file_name: String,
    text: Vec<u8>,
}

/// Runs the command. `program` is the command line of rstmon.
pub fn run_man(args: &ManArgs, program: Command, out: &mut dyn Write) -> Result<(), Failure> {
    let pages = render_pages(program)
        .map_err(|error| Failure::run_time(format!("cannot render the manual: {error}")))?;
    if let Some(folder) = &args.out {
        return write_pages(&pages, folder);
    }
    let wanted = args.page.as_deref().unwrap_or_default();
    let page = pages.iter().find(|page| page.name == wanted);
    let Some(page) = page else {
        let names: Vec<&str> = pages.iter().map(|page| &*page.name).collect();
        return Err(Failure::usage(format!(
            "there is no page `{wanted}` in the manual; pages:{}",
            names.join(" ")
        )));
    };
    match out.write_all(&page.text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::run_time(format!(
            "cannot write the manual to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}

fn write_pages(pages: &[Page], folder: &Path) -> Result<(), Failure> {
    let fail = |path: &Path, error: &io::Error| {
        Failure::run_time(format!(
            "cannot write the manual to {}: {error}",
            path.display()
        ))
    };
    std::fs::create_dir_all(folder).map_err(|error| fail(folder, &error))?;
    for page in pages {
        let path = folder.join(&page.file_name);
        std::fs::write(&path, &page.text).map_err(|error| fail(&path, &error))?;
    }
    Ok(())
}

/// All pages, rstmon itself first.
fn render_pages(program: Command) -> io::Result<Vec<Page>> {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let commands: Vec<Command> = program.get_subcommands().cloned().collect();
    let mut pages = vec![render_command(program, String::new())?];
    for command in commands {
        let name = command.get_name().to_owned();
        pages.push(render_command(command, name)?);
    }
    pages.push(Page {
        name: FILTER.to_owned(),
        file_name: format!("rstmon-{FILTER}.7"),
        text: render_filter_page().into_bytes(),
    });
    Ok(pages)
}

fn render_command(command: Command, name: String) -> io::Result<Page> {
    let man = Man::new(command);
    let mut text = Vec::new();
    man.render(&mut text)?;
    let mut end = Roff::new();
    end.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_CODES {
        end.control("TP", []).text([bold(code.to_string())]);
        end.text([roman(meaning)]);
    }
    end.control("SH", ["SEE ALSO"]);
    let others = if name.is_empty() {
        "rstmon-trace(1), rstmon-explain(1), rstmon-check(1), rstmon-filter(7)"
    } else {
        "rstmon(1), rstmon-filter(7), tcp(7), bpf(2)"
    };
    end.text([roman(others)]);
    text.extend(end.to_roff().into_bytes());
    Ok(Page {
        name,
        file_name: man.get_filename(),
        text,
    })
}

fn render_filter_page() -> String {
    let version = concat!("rstmon ", env!("CARGO_PKG_VERSION"));
    let mut page = Roff::new();
    page.control("TH", ["rstmon-filter", "7", "", version]);
    page.control("SH", ["NAME"]);
    page.text([roman("rstmon-filter - which resets are wanted")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "A filter is tests joined with and, or, not. rstmon trace takes it as its arguments. What \
         an event does not know matches no test: `pid 1` is false for an event without owner, and \
         `not pid 1` is true for it.",
    )]);
    for chapter in CHAPTERS {
        page.control("SS", [chapter.title]);
        for (example, meaning) in chapter.examples {
            page.control("TP", []).text([bold(*example)]);
            page.text([roman(*meaning)]);
        }
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([roman("rstmon-trace(1), rstmon-explain(1)")]);
    page.render()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

    use super::{ManArgs, run_man};
    use crate::cmd::exit::ExitCode;
    use clap::Command;

    fn program() -> Command {
        Command::new("rstmon").subcommand(Command::new("trace").about("Print each RST"))
    }

    fn page(name: Option<&str>) -> Result<String, ExitCode> {
        let args = ManArgs {
            page: name.map(ToOwned::to_owned),
            out: None,
        };
        let mut out = Vec::new();
        run_man(&args, program(), &mut out).map_err(|failure| failure.code)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn each_command_has_a_page_with_its_exit_codes() {
        for (name, title) in [(None, "rstmon "), (Some("trace"), "rstmon\\-trace ")] {
            let page = page(name).unwrap();
            assert!(page.contains(title.trim_end()), "{page}");
            assert!(
                page.contains("EXIT STATUS") && page.contains("a privilege is missing"),
                "{page}"
            );
        }
        assert!(page(Some("filter")).unwrap().contains("kind sent"));
        assert_eq!(page(Some("weather")), Err(ExitCode::Usage));
    }
}
