//! The help: the keys, drawn from their declaration, the signs, and what cannot be seen.

use crate::event::model::Kind;
use crate::sink::terminal::visible;
use crate::top::columns::{plural, spelled};
use crate::top::keys::BINDINGS;
use crate::top::state::State;
use crate::top::theme::Theme;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};
use textwrap::{Options, wrap};

/// Draws the help.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, theme: Theme) {
    let keys = keys(state, theme);
    let width = usize::from(area.width.max(1));
    let needed: usize = keys
        .iter()
        .map(|line| line.width().div_ceil(width).max(1))
        .sum();
    // What cannot be seen has a line of its own even where the keys need them all.
    let room = usize::from(area.height).saturating_sub(needed).max(1);
    let blind = blind(state, width, room);
    let [above, below] = Layout::vertical([
        Constraint::Max(u16::try_from(needed).unwrap_or(u16::MAX)),
        Constraint::Min(u16::try_from(blind.len()).unwrap_or(u16::MAX)),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(keys).wrap(Wrap { trim: false }), above);
    let blind = blind.into_iter().map(Line::raw).collect::<Vec<_>>();
    frame.render_widget(Paragraph::new(blind).style(theme.notice()), below);
}

/// The keys and the signs.
fn keys(state: &State, theme: Theme) -> Vec<Line<'static>> {
    let unicode = state.context.unicode;
    let keys = BINDINGS.iter().map(|binding| {
        let keys = spelled(binding.keys, unicode);
        Line::from(vec![
            Span::styled(format!(" {keys:<25}"), theme.head()),
            Span::raw(binding.does),
        ])
    });
    let signs = Kind::ALL
        .iter()
        .map(|kind| format!("{} {kind}", kind.arrow(unicode)));
    let signs = signs.collect::<Vec<_>>().join("   ");
    let signs = Line::styled(
        format!(" {signs}   red: mostly harmful, green: benign"),
        theme.faint(),
    );
    keys.chain([signs]).collect()
}

/// What cannot be seen, in so many lines; the last says of how much there was no room to tell.
fn blind(state: &State, width: usize, room: usize) -> Vec<String> {
    let told = state.header.facts.degradations.iter().map(|blind| {
        let options = Options::new(width)
            .initial_indent(" ! ")
            .subsequent_indent("   ");
        let text = visible(&blind.effect, state.context.unicode);
        let lines = wrap(&text, options).into_iter();
        lines.map(std::borrow::Cow::into_owned).collect()
    });
    let told: Vec<Vec<String>> = told.collect();
    if told.iter().map(Vec::len).sum::<usize>() <= room {
        return told.concat();
    }
    let mut untold = told.len();
    let mut lines = Vec::new();
    for one in told {
        if lines.len() + one.len() >= room {
            break;
        }
        lines.extend(one);
        untold -= 1;
    }
    let more = if lines.is_empty() { "" } else { " more" };
    let things = plural(untold as u64);
    lines.push(format!(
        " ! blind to {untold}{more} thing{things}; `rstmon check` says more"
    ));
    lines
}
