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
        feed.lost.map_or_else(|| "-".to_owned(), count)
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
    let longest = |column: &Column<R>| {
        let texts = shown.clone().map(|row| (column.text)(row, context));
        texts
            .map(|text| columns_of(&text))
            .max()
            .unwrap_or_default()
    };
    let (columns, widths): (Vec<&Column<R>>, Vec<u16>) = match width {
        // All of every row: what is longer than its column makes it wider, for all rows.
        None => columns
            .iter()
            .map(|column| {
                let longest = u16::try_from(longest(column)).unwrap_or(u16::MAX);
                (column, column.width.max(longest))
            })
            .unzip(),
        Some(width) => {
            let columns = fitting(columns, width);
            let widths = widths(&columns, width, longest);
            (columns, widths)
        }
    };
    let line = |cell: &dyn Fn(&Column<R>) -> String| {
        let mut line = String::new();
        for (column, width) in columns.iter().zip(&widths) {
            // No cell stands in the next one's column.
            let text = cut(cell(column), *width, context.unicode);
            let gap = " ".repeat(usize::from(*width).saturating_sub(columns_of(&text)));
            let _ = if column.habit == Habit::Right {
                write!(line, "{gap}{text} ")
            } else {
                write!(line, "{text}{gap} ")
            };
        }
        let line = line.trim_end();
        width.map_or_else(
            || line.to_owned(),
            |width| cut(line.to_owned(), width, context.unicode),
        )
    };
    let _ = writeln!(text, "{}", line(&|column| column.title.to_owned()));
    for row in shown.clone() {
        let _ = writeln!(text, "{}", line(&|column| (column.text)(row, context)));
    }
    if rows.len() > ROWS_SHOWN {
        let dots = spelled("…", context.unicode);
        let _ = writeln!(text, "{dots} {} more", rows.len() - ROWS_SHOWN);
    }
}

/// Columns of a terminal that a text takes.
fn columns_of(text: &str) -> usize {
    ratatui::text::Span::raw(text).width()
}

/// A line of `-o json`: that of the control socket, and of which host it is.
#[derive(Serialize)]
struct BoardJson<'a> {
    schema: &'static str,
    host: &'a str,
    board: &'a crate::board::BoardSnapshot,
    unshown: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
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

    /// A number that stands right ends where its title does.
    #[test]
    fn a_wide_value_shifts_no_row_of_its_table() {
        let mut state = empty();
        let comms = [
            "x",
            "\\xff\\xfe\\xfd\\xfc\\xfb\\xfa\\xf9\\xf8\\xf7\\xf6",
            "漢字漢字",
        ];
        let events = comms.into_iter().zip(1..);
        let events = events.map(|(comm, number)| event(number, Cause::Paws, Kind::Sent, comm));
        let feed = feed(events.collect());
        state.context.unicode = true;
        for width in [None, Some(60), Some(80), Some(120)] {
            let text = render_text(&state.header, &feed, &state.context, width);
            let (_, table) = text.split_once("\nProcesses\n").unwrap();
            let rows: Vec<&str> = table.lines().take(4).collect();
            let title = rows[0].find("TOTAL").unwrap() + "TOTAL".len();
            for row in &rows[1..] {
                // Columns of the terminal up to where the number ends.
                let mut before = String::new();
                for letter in row.chars() {
                    if columns_of(&before) == title {
                        break;
                    }
                    before.push(letter);
                }
                assert!(
                    before.ends_with(|last: char| last.is_ascii_digit())
                        && row[before.len()..].starts_with(' '),
                    "{width:?}\n{}",
                    rows.join("\n")
                );
            }
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
