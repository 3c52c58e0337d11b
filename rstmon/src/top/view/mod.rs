//! Draws the state. Free functions, a file for each part of the screen; nothing here changes anything.

mod detail;
mod header;
mod help;
mod table;

use super::state::{Room, State, View};
use super::theme::Theme;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;

/// Below this there is room for a line or two.
const SMALLEST: (u16, u16) = (40, 8);

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, state: &State, theme: Theme) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        frame.render_widget(Line::from(header::summary(state)), first_line(area));
        return;
    }
    let [head, body, foot] = parts(area, state);
    header::draw(frame, head, area, state, theme);
    if state.help {
        help::draw(frame, body, state, theme);
    } else if state.detail.is_some() {
        detail::draw(frame, body, state, theme);
    } else {
        table::draw(frame, body, state, theme);
    }
    header::draw_foot(frame, foot, state, theme);
}

/// Head, body and foot.
fn parts(area: Rect, state: &State) -> [Rect; 3] {
    Layout::vertical([
        Constraint::Length(header::height(area, state)),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(area)
}

/// What there is room for on a screen of this size.
#[must_use]
pub fn room(area: Rect, state: &State) -> Room {
    let [_, body, _] = parts(area, state);
    let lines = detail::lines(state, Theme::new(false), area.width).len();
    let unseen = lines.saturating_sub(usize::from(body.height));
    Room {
        rows: page_rows(area, state),
        width: area.width,
        last_scroll: u16::try_from(unseen).unwrap_or(u16::MAX),
    }
}

/// Rows of a table on a screen of this size.
fn page_rows(area: Rect, state: &State) -> usize {
    let used = header::height(area, state) + 2;
    usize::from(area.height.saturating_sub(used))
}

/// The row of the table at a line of the screen, if a table is shown.
#[must_use]
pub fn row_at(state: &State, area: Rect, line: u16) -> Option<usize> {
    if state.help || state.detail.is_some() {
        return None;
    }
    let first = header::height(area, state) + 1;
    let on_screen = usize::from(line.checked_sub(first)?);
    if on_screen >= page_rows(area, state) {
        return None;
    }
    Some(table::first_row(state, page_rows(area, state)) + on_screen)
}

const fn first_line(area: Rect) -> Rect {
    Rect {
        height: if area.height == 0 { 0 } else { 1 },
        ..area
    }
}

/// What an empty view says.
const fn nothing(view: View) -> &'static str {
    match view {
        View::Workloads => "No reset yet. Workloads are containers, pods and systemd units.",
        View::Incidents => {
            "No reset yet. Resets of one cause, process and network are one row here."
        }
        View::Causes | View::Live | View::Processes | View::Ports | View::Peers => {
            "No reset yet. `rstmon lab` in another terminal makes some."
        }
    }
}

#[cfg(test)]
mod tests;
