//! The help: the keys, drawn from their declaration, and the signs.

use crate::event::model::Kind;
use crate::sink::terminal::visible;
use crate::top::columns::arrow;
use crate::top::keys::BINDINGS;
use crate::top::state::State;
use crate::top::theme::Theme;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

/// Draws the help.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, theme: Theme) {
    let mut lines: Vec<Line<'_>> = BINDINGS
        .iter()
        .map(|binding| {
            Line::from(vec![
                Span::styled(format!(" {:<25}", binding.keys), theme.head()),
                Span::raw(binding.does),
            ])
        })
        .collect();
    let signs = Kind::ALL
        .iter()
        .map(|kind| format!("{} ({}) {kind}", arrow(*kind, true), arrow(*kind, false)));
    let signs = signs.collect::<Vec<_>>().join("   ");
    lines.push(Line::styled(format!(" Signs: {signs}"), theme.faint()));
    lines.push(Line::styled(
        " Red causes usually do harm, green ones usually none; `rstmon check` tells what cannot be seen.",
        theme.faint(),
    ));
    for blind in &state.header.facts.degradations {
        let text = format!(" ! {}: {}", blind.effect, blind.reason);
        let text = visible(&text, state.context.unicode).into_owned();
        lines.push(Line::styled(text, theme.notice()));
    }
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), area);
}
