//! `rstmon explain`: what a cause means, how it is recognised, what to do; and answers to questions.
//!
//! Called by `main`. Needs neither privilege nor kernel. The pages are those of
//! [`crate::diagnose::explain`], which also make docs/causes.md.

use super::exit::Failure;
use crate::diagnose::explain::page::{Direction, Page};
use crate::diagnose::explain::text::{self, PageStyle};
use crate::diagnose::explain::{causes_of, find_page, markdown, nearest_ids, pages, topics};
use crate::event::model::Cause;
use crate::sink::terminal::read_style;
use anstream::ColorChoice;
use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Args, Command, ValueEnum};
use serde::Serialize;
use std::ffi::OsStr;
use std::io::{self, Write};

/// Schema of `-o json`.
pub const EXPLAIN_SCHEMA: &str = "rstmon.explain/1";

/// Arguments of `rstmon explain`.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// A cause or a topic; without one, the list of them
    #[arg(value_name = "ID", value_parser = PageParser, hide_possible_values = true)]
    pub page: Option<Page>,
    /// Every page
    #[arg(long, conflicts_with = "page")]
    pub all: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = ExplainOutput::Text, value_name = "FORMAT")]
    pub output: ExplainOutput,
}

/// How `rstmon explain` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExplainOutput {
    /// For people.
    Text,
    /// One JSON object, schema `rstmon.explain/1`.
    Json,
    /// Markdown; with `--all`, docs/causes.md.
    Markdown,
}

/// Runs the command.
pub fn run_explain(args: &ExplainArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let text = match args.output {
        ExplainOutput::Text => render_text(args, page_style()),
        ExplainOutput::Json => render_json(args)?,
        ExplainOutput::Markdown => render_markdown(args),
    };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // The reader has seen enough (`rstmon explain | head -1`).
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::run_time(format!(
            "cannot write the explanation to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}

/// Columns where there is no terminal, and bounds of those that are used: below, words do not fit;
/// above, lines are hard to read.
const USUAL_WIDTH: usize = 80;
const MIN_WIDTH: usize = 48;
const MAX_WIDTH: usize = 100;

fn page_style() -> PageStyle {
    let style = read_style(ColorChoice::Auto);
    let width = style.width.map_or(USUAL_WIDTH, usize::from);
    PageStyle {
        width: width.clamp(MIN_WIDTH, MAX_WIDTH),
        bold: style.color,
        // What is written to a file is read elsewhere.
        unicode: style.unicode || style.width.is_none(),
    }
}

fn render_text(args: &ExplainArgs, style: PageStyle) -> String {
    match &args.page {
        Some(page) => text::render_page(page, style),
        None if args.all => text::render_all(style),
        None => text::render_list(style),
    }
}

fn render_markdown(args: &ExplainArgs) -> String {
    match &args.page {
        Some(page) => markdown::render_page(page),
        None if args.all => markdown::render_all(),
        None => markdown::render_list(),
    }
}

fn render_json(args: &ExplainArgs) -> Result<String, Failure> {
    let content = match args.page {
        Some(page @ Page::Cause(..)) => Content::Cause(page),
        Some(page @ Page::Topic(_)) => Content::Topic(page),
        None if args.all => {
            let (causes, topics) = pages().partition(|page| matches!(page, Page::Cause(..)));
            Content::All { causes, topics }
        }
        None => Content::List {
            causes: Direction::ALL
                .into_iter()
                .flat_map(causes_of)
                .map(|(id, page)| CauseRow {
                    id,
                    direction: page.direction,
                    title: page.title,
                })
                .collect(),
            topics: topics()
                .iter()
                .map(|topic| TopicRow {
                    id: topic.id,
                    title: topic.title,
                })
                .collect(),
        },
    };
    let document = Document {
        schema: EXPLAIN_SCHEMA,
        content,
    };
    serde_json::to_string(&document)
        .map(|json| json + "\n")
        .map_err(|error| Failure::run_time(format!("cannot write JSON: {error}")))
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    #[serde(flatten)]
    content: Content,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Content {
    Cause(Page),
    Topic(Page),
    #[serde(untagged)]
    All {
        causes: Vec<Page>,
        topics: Vec<Page>,
    },
    #[serde(untagged)]
    List {
        causes: Vec<CauseRow>,
        topics: Vec<TopicRow>,
    },
}

#[derive(Serialize)]
struct CauseRow {
    id: Cause,
    direction: Direction,
    title: &'static str,
}

#[derive(Serialize)]
struct TopicRow {
    id: &'static str,
    title: &'static str,
}

/// Reads an id, offers all of them to the shell's completion, and knows what a slip meant.
#[derive(Clone, Copy, Debug)]
struct PageParser;

impl TypedValueParser for PageParser {
    type Value = Page;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Page, clap::Error> {
        let written = value.to_string_lossy();
        find_page(&written).ok_or_else(|| unknown_id(command, argument, &written))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let values = pages().map(|page| PossibleValue::new(page.id()).help(page.title()));
        Some(Box::new(values))
    }
}

/// A usage error of clap's, so that it looks and exits like the others.
fn unknown_id(command: &Command, argument: Option<&Arg>, written: &str) -> clap::Error {
    let mut error = clap::Error::new(ErrorKind::InvalidValue).with_cmd(command);
    let name = argument.map_or_else(|| "ID".to_owned(), ToString::to_string);
    error.insert(ContextKind::InvalidArg, ContextValue::String(name));
    let written = ContextValue::String(written.to_owned());
    error.insert(ContextKind::InvalidValue, written.clone());
    let near = nearest_ids(&written.to_string());
    let help = if near.is_empty() {
        "`rstmon explain` lists them all".into()
    } else {
        format!(
            "did you mean {}? `rstmon explain` lists them all",
            near.join(" or ")
        )
        .into()
    };
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![help]));
    error
}
