//! `rstmon top -b`: the same tables as plain text, and `-o json`: the board as a line, at each
//! interval.

use super::columns::{CAUSES, CellContext, Column, INCIDENTS, ROWS, count, spelled};
use super::state::Header;
use super::update::Feed;
use crate::sink::terminal::visible;
use serde::Serialize;
use std::fmt::Write;

/// Rows of a table.
const ROWS_SHOWN: usize = 10;

/// One picture as text.
#[must_use]
pub fn render_text(header: &Header, feed: &Feed, context: &CellContext) -> String {
    let mut context = context.clone();
    context.now_ns = feed.board.now_ns;
    let mut text = String::new();
    let facts = &header.facts;
    let host = visible(&facts.host, context.unicode);
    let totals = feed.board.kinds.iter();
    let totals: Vec<String> = totals
        .map(|kind| format!("{} {}", count(kind.total), kind.kind))
        .collect();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "rstmon top: {host}, {}, {} mode: {}, lost {}",
        header.source,
        facts.mode,
        totals.join(", "),
        count(feed.lost)
    );
    table(&mut text, "Causes", CAUSES, &feed.board.causes, &context);
    table(
        &mut text,
        "Incidents",
        INCIDENTS,
        &feed.board.incidents,
        &context,
    );
    table(
        &mut text,
        "Processes",
        ROWS,
        &feed.board.processes,
        &context,
    );
    table(
        &mut text,
        "Workloads",
        ROWS,
        &feed.board.workloads,
        &context,
    );
    table(&mut text, "Ports", ROWS, &feed.board.ports, &context);
    table(&mut text, "Peers", ROWS, &feed.board.peers, &context);
    text
}

fn table<R>(
    text: &mut String,
    title: &str,
    columns: &[Column<R>],
    rows: &[R],
    context: &CellContext,
) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{title}");
    let line = |text: &mut String, cells: Vec<String>| {
        let mut line = String::new();
        for (column, cell) in columns.iter().zip(cells) {
            let width = usize::from(column.width);
            let _ = if column.right {
                write!(line, "{cell:>width$} ")
            } else {
                write!(line, "{cell:<width$} ")
            };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    };
    line(
        text,
        columns
            .iter()
            .map(|column| column.title.to_owned())
            .collect(),
    );
    for row in rows.iter().take(ROWS_SHOWN) {
        line(
            text,
            columns
                .iter()
                .map(|column| (column.text)(row, context))
                .collect(),
        );
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
            let text = render_text(&state.header, &feed, &state.context);
            assert!(text.contains(more), "{text}");
        }
    }
}
