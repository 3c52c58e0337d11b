//! `rstmon top -b`: the same tables as plain text, and `-o json`: the board as a line, at each
//! interval.

use super::columns::{
    CAUSES, CellContext, Column, Habit, INCIDENTS, ROWS, count, cut, fitting, spelled, widths,
};
use super::state::Header;
use super::update::Feed;
use crate::sink::terminal::visible;
use serde::Serialize;
use std::fmt::Write;
use textwrap::{Options, WordSplitter, fill};

/// Rows of a table.
const ROWS_SHOWN: usize = 10;

/// One picture as text. `width`: the terminal's, and no line is longer; none: all of every row.
#[must_use]
pub fn render_text(
    header: &Header,
    feed: &Feed,
    context: &CellContext,
    width: Option<u16>,
) -> String {
    let mut text = head(header, feed, context, width);
    let mut context = context.clone();
    context.now_ns = feed.board.now_ns;
    let board = &feed.board;
    table(&mut text, "Causes", CAUSES, &board.causes, &context, width);
    table(
        &mut text,
        "Incidents",
        INCIDENTS,
        &board.incidents,
        &context,
        width,
    );
    for (title, rows) in [
        ("Processes", &board.processes),
        ("Workloads", &board.workloads),
        ("Ports", &board.ports),
        ("Peers", &board.peers),
    ] {
        table(&mut text, title, ROWS, rows, &context, width);
    }
    text
}

/// What is watched, and how many came.
fn head(header: &Header, feed: &Feed, context: &CellContext, width: Option<u16>) -> String {
    let facts = &header.facts;
    let host = visible(&facts.host, context.unicode);
    let totals = feed.board.kinds.iter();
    let totals: Vec<String> = totals
        .map(|kind| format!("{} {}", count(kind.total), kind.kind))
        .collect();
    let line = format!(
        "rstmon top: {host}, {}, {} mode: {}, lost {}",
        header.source,
        facts.mode,
        totals.join(", "),
        count(feed.lost)
    );
    let Some(width) = width else {
        return line + "\n";
    };
    let options = Options::new(usize::from(width.max(1)))
        .subsequent_indent("  ")
        .word_splitter(WordSplitter::NoHyphenation);
    fill(&line, options) + "\n"
}

fn table<R>(
    text: &mut String,
    title: &str,
    columns: &'static [Column<R>],
    rows: &[R],
    context: &CellContext,
    width: Option<u16>,
) {
    if rows.is_empty() {
        return;
    }
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n{title}");
    let shown = rows.iter().take(ROWS_SHOWN);
    let (columns, widths) = match width {
        None => {
            let columns: Vec<&Column<R>> = columns.iter().collect();
            let widths = columns.iter().map(|column| column.width).collect();
            (columns, widths)
        }
        Some(width) => {
            let columns = fitting(columns, width);
            let longest = |column: &Column<R>| {
                let texts = shown.clone().map(|row| (column.text)(row, context));
                let lengths = texts.map(|text| text.chars().count());
                lengths.max().unwrap_or_default()
            };
            let widths = widths(&columns, width, longest);
            (columns, widths)
        }
    };
    let line = |cell: &dyn Fn(&Column<R>) -> String| {
        let mut line = String::new();
        for (column, width) in columns.iter().zip(&widths) {
            let text = cell(column);
            let width = usize::from(*width);
            let _ = if column.habit == Habit::Right {
                write!(line, "{text:>width$} ")
            } else {
                write!(line, "{text:<width$} ")
            };
        }
        let line = line.trim_end();
        width.map_or_else(
            || line.to_owned(),
            |width| cut(line.to_owned(), width, context.unicode),
        )
    };
    let _ = writeln!(text, "{}", line(&|column| column.title.to_owned()));
    for row in shown {
        let _ = writeln!(text, "{}", line(&|column| (column.text)(row, context)));
    }
    if rows.len() > ROWS_SHOWN {
        let dots = spelled("…", context.unicode);
        let _ = writeln!(text, "{dots} {} more", rows.len() - ROWS_SHOWN);
    }
}

/// A line of `-o json`: that of the control socket, and of which host it is.
#[derive(Serialize)]
struct BoardJson<'a> {
    schema: &'static str,
    host: &'a str,
    board: &'a crate::board::BoardSnapshot,
    unshown: u64,
    lost: u64,
}

/// One picture as a line of JSON.
pub fn render_json(header: &Header, feed: &Feed) -> serde_json::Result<String> {
    let line = BoardJson {
        schema: crate::agent::subscribers::BOARD_SCHEMA,
        host: &header.facts.host,
        board: &feed.board,
        unshown: feed.unshown,
        lost: feed.lost,
    };
    serde_json::to_string(&line).map(|line| line + "\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use crate::event::model::{Cause, Kind};
    use crate::top::testing::{empty, event, feed};

    #[test]
    fn what_is_left_out_is_said_in_signs_of_the_terminal() {
        let mut state = empty();
        let events = (1..=12).map(|number| {
            let comm = format!("process-{number}");
            event(number, Cause::Paws, Kind::Sent, &comm)
        });
        let feed = feed(events.collect());
        for (unicode, more) in [(true, "\n… 2 more\n"), (false, "\n... 2 more\n")] {
            state.context.unicode = unicode;
            let text = render_text(&state.header, &feed, &state.context, None);
            assert!(text.contains(more), "{text}");
        }
    }

    #[test]
    fn a_terminal_gets_no_line_longer_than_it_is_wide() {
        let mut state = empty();
        state.header.source = "recording /a/path/that/is/long/enough/to/need/a/line".to_owned();
        let mut events: Vec<_> = (1..=3)
            .map(|number| event(number, Cause::Paws, Kind::Sent, "漢字漢字漢字漢字"))
            .collect();
        for event in &mut events {
            event.remote_addr = "2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap();
        }
        let feed = feed(events);
        let text = |width| render_text(&state.header, &feed, &state.context, width);
        assert!(text(None).lines().any(|line| line.chars().count() > 120));
        for width in [20, 40, 60, 80, 120] {
            let text = text(Some(width));
            for line in text.lines() {
                let length = ratatui::text::Span::raw(line).width();
                assert!(length <= usize::from(width), "{width}: {line}");
            }
        }
        let text = text(Some(80));
        assert!(text.contains("REACH") && text.contains("lost 0"), "{text}");
    }
}
