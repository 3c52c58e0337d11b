//! The table of a view, from its columns.

use super::nothing;
use crate::event::model::{Cause, Event};
use crate::top::columns::{CAUSES, Column, Habit, INCIDENTS, LIVE, ROWS, cut, fitting, widths};
use crate::top::state::{State, View};
use crate::top::theme::Theme;
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::{Span, Text};
use ratatui::widgets::{Cell, Row, Table};

/// The row of the table on the screen's first line: the chosen one is always on the screen.
pub(super) fn first_row(state: &State, page: usize) -> usize {
    let row = state.place().row;
    let last_start = state.rows().saturating_sub(page);
    row.saturating_sub(page.saturating_sub(1) / 2)
        .min(last_start)
}

/// Draws the table of the view.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, theme: Theme) {
    if state.rows() == 0 {
        frame.render_widget(
            Text::styled(format!("\n {}", nothing(state.view)), theme.faint()),
            area,
        );
        return;
    }
    match state.view {
        View::Causes => {
            let rows = state.sorted(CAUSES, &state.board.causes);
            rows_of(frame, area, state, theme, CAUSES, &rows, |row| row.cause);
        }
        View::Live => {
            let rows: Vec<&Event> = state.sorted(LIVE, &state.recent);
            rows_of(frame, area, state, theme, LIVE, &rows, |event| {
                event.verdict.cause
            });
        }
        View::Incidents => {
            let rows = state.sorted(INCIDENTS, &state.board.incidents);
            rows_of(frame, area, state, theme, INCIDENTS, &rows, |row| row.cause);
        }
        view => {
            let rows = state.sorted(ROWS, state.table(view));
            rows_of(frame, area, state, theme, ROWS, &rows, |row| row.cause);
        }
    }
}

fn rows_of<R>(
    frame: &mut Frame<'_>,
    area: Rect,
    state: &State,
    theme: Theme,
    columns: &'static [Column<R>],
    rows: &[&R],
    cause_of: fn(&R) -> Cause,
) {
    let kept = fitting(columns, area.width);
    // Of all rows: the columns stand still while one moves through them.
    let longest = |column: &Column<R>| {
        let texts = rows.iter().map(|row| (column.text)(row, &state.context));
        texts.map(|text| Span::raw(text).width()).max().unwrap_or(0)
    };
    let widths = widths(&kept, area.width, longest);
    let page = usize::from(area.height.saturating_sub(1));
    let first = first_row(state, page);
    let chosen = state.place().row;
    let head = kept
        .iter()
        .map(|column| cell(column.title.to_owned(), column));
    let head = Row::new(head).style(theme.head());
    let lines = (first..)
        .zip(rows.iter().skip(first).take(page))
        .map(|(number, row)| {
            let cells = kept.iter().zip(&widths).map(|(column, width)| {
                let text = (column.text)(row, &state.context);
                let style = if column.title == "CAUSE" {
                    theme.cause(cause_of(row))
                } else {
                    Style::new()
                };
                let text = cut(text, *width, state.context.unicode);
                cell(text, column).style(style)
            });
            let line = Row::new(cells);
            if number == chosen {
                line.style(theme.chosen())
            } else {
                line
            }
        });
    let widths = widths.iter().copied().map(Constraint::Length);
    let table = Table::new(lines, widths).header(head).column_spacing(1);
    frame.render_widget(table, area);
}

fn cell<R>(text: String, column: &Column<R>) -> Cell<'static> {
    let text = Text::raw(text);
    Cell::new(if column.habit == Habit::Right {
        text.right_aligned()
    } else {
        text
    })
}
