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
    let mut lines = Vec::new();
    for blind in &state.header.facts.degradations {
        let text = format!(" ! {}", blind.effect);
        let text = visible(&text, state.context.unicode).into_owned();
        lines.push(Line::styled(text, theme.notice()));
    }
    lines.extend(BINDINGS.iter().map(|binding| {
        Line::from(vec![
            Span::styled(format!(" {:<25}", binding.keys), theme.head()),
            Span::raw(binding.does),
        ])
    }));
    let signs = Kind::ALL
        .iter()
        .map(|kind| format!("{} {kind}", arrow(*kind, state.context.unicode)));
    let signs = signs.collect::<Vec<_>>().join("   ");
    lines.push(Line::styled(
        format!(" {signs}   red: mostly harmful, green: benign"),
        theme.faint(),
    ));
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), area);
}
