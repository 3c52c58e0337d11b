//! The head of the screen: what is watched, how much comes, what is lost, which view; and its foot.

use crate::sink::terminal::visible;
use crate::top::columns::{count, plural, spark};
use crate::top::state::{State, View};
use crate::top::theme::Theme;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use textwrap::{Options, WordSplitter, wrap};

/// From this height on there is a chart of the last minute.
const CHART_FROM: u16 = 18;
/// Causes in the chart.
const CHART_CAUSES: usize = 3;
/// Lines that notes take at most, where there is room for a chart.
const MOST_NOTES: usize = 3;

/// Lines of the head. What is read at length has no chart above it; what the chart had, notes take.
pub(super) fn height(area: Rect, state: &State) -> u16 {
    let notes = notes(state, area).len();
    3 + u16::try_from(notes.max(chart_causes(area, state))).unwrap_or(0)
}

fn chart_causes(area: Rect, state: &State) -> usize {
    if area.height >= CHART_FROM && !state.help && state.detail.is_none() {
        CHART_CAUSES
    } else {
        0
    }
}

/// All in a line, for a screen that has no more.
pub(super) fn summary(state: &State) -> String {
    let most = state.board.causes.first();
    let most = most.map_or("no reset yet", |row| row.cause.name());
    format!("{} resets, {most}", count(total(state)))
}

fn total(state: &State) -> u64 {
    state.board.kinds.iter().map(|kind| kind.total).sum()
}

/// Draws the head; `screen` is all there is.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, screen: Rect, state: &State, theme: Theme) {
    let notes = notes(state, screen);
    let causes = chart_causes(screen, state).saturating_sub(notes.len());
    let mut lines = vec![source_line(state, theme), count_line(state, theme)];
    lines.extend(notes.into_iter().map(|(text, is_bad)| {
        let style = if is_bad {
            theme.alarm()
        } else {
            theme.notice()
        };
        Line::styled(text, style)
    }));
    lines.extend(chart(state, area.width, theme).into_iter().take(causes));
    lines.push(views(state, theme, area.width));
    for (line, y) in lines.into_iter().zip(area.y..) {
        let place = Rect {
            y,
            height: 1,
            ..area
        };
        frame.render_widget(line, place);
    }
}

fn source_line(state: &State, theme: Theme) -> Line<'_> {
    let facts = &state.header.facts;
    let unicode = state.context.unicode;
    let mut spans = vec![
        Span::styled("rstmon ", theme.head()),
        Span::raw(visible(&facts.host, unicode)),
    ];
    if !facts.degradations.is_empty() {
        let number = facts.degradations.len();
        let things = plural(number as u64);
        let text = format!("  ! blind to {number} thing{things} (?)");
        spans.push(Span::styled(text, theme.notice()));
    }
    let source = &state.header.source;
    let rest = format!("  {source}, {} mode, Linux {}", facts.mode, facts.kernel);
    spans.push(Span::styled(
        visible(&rest, unicode).into_owned(),
        theme.faint(),
    ));
    Line::from(spans)
}

fn count_line(state: &State, theme: Theme) -> Line<'_> {
    let per_second: u64 = state.board.causes.iter().map(|row| row.per_second).sum();
    let mut spans = vec![Span::raw(format!("{}/s", count(per_second)))];
    let lost = state.lost.map_or_else(|| "-".to_owned(), count);
    let lost = format!("  lost {lost}");
    let style = if state.lost.unwrap_or_default() == 0 {
        theme.faint()
    } else {
        theme.alarm()
    };
    spans.push(Span::styled(lost, style));
    for kind in &state.board.kinds {
        let sign = kind.kind.arrow(state.context.unicode);
        let text = format!("  {sign} {} {}", count(kind.total), kind.kind);
        let style = if kind.total == 0 {
            theme.faint()
        } else {
            Style::new()
        };
        spans.push(Span::styled(text, style));
    }
    Line::from(spans)
}

/// Why the sums may stand still or be few, in lines of their own as it may be long; whether it is bad.
fn notes(state: &State, area: Rect) -> Vec<(String, bool)> {
    // The help needs the lines.
    if state.help {
        return Vec::new();
    }
    let unicode = state.context.unicode;
    let mut notes = Vec::new();
    if state.paused {
        notes.push(format!("PAUSED, {} unseen", count(state.unseen)));
    }
    if !state.filter.is_empty() {
        notes.push(format!("filter: {}", visible(&state.filter, unicode)));
    }
    let room = if area.height >= CHART_FROM {
        MOST_NOTES
    } else {
        1
    };
    let mut lines = Vec::new();
    if let Some(ended) = &state.ended {
        let why = format!("ENDED: {}", visible(&ended.why, unicode));
        // With one line to spare both are in it, the end first.
        if room == 1 {
            notes.insert(0, why);
        } else {
            let options = Options::new(usize::from(area.width.max(1)))
                .word_splitter(WordSplitter::NoHyphenation);
            let why = wrap(&why, options).into_iter();
            let left = room - usize::from(!notes.is_empty());
            lines.extend(why.take(left).map(|line| (line.into_owned(), ended.failed)));
        }
    }
    if !notes.is_empty() {
        let has_failed = state.ended.as_ref().is_some_and(|ended| ended.failed);
        let is_bad = room == 1 && has_failed;
        lines.push((notes.join("  "), is_bad));
    }
    lines
}

/// The last minute of the causes that have most of it, a line each, on one scale.
fn chart(state: &State, width: u16, theme: Theme) -> Vec<Line<'_>> {
    let mut causes: Vec<_> = state.board.causes.iter().collect();
    causes.sort_by_key(|row| std::cmp::Reverse(row.last_1m));
    let cells = usize::from(width.saturating_sub(36)).clamp(10, 60);
    let blank = || Line::styled(" the last minute, by cause", theme.faint());
    let line = |index: usize| {
        let Some(row) = causes.get(index).filter(|row| row.last_1m != 0) else {
            return if index == 0 { blank() } else { Line::default() };
        };
        Line::from(vec![
            Span::styled(format!(" {:<24}", row.cause.name()), theme.cause(row.cause)),
            Span::raw(spark(&row.spark, cells, state.context.unicode)),
            Span::styled(format!(" {}/min", count(row.last_1m)), theme.faint()),
        ])
    };
    (0..CHART_CAUSES).map(line).collect()
}

/// The bar of views; on narrow screens the others are their digits alone.
fn views(state: &State, theme: Theme, width: u16) -> Line<'static> {
    let all: usize = View::ALL.iter().map(|view| view.title().len() + 4).sum();
    let is_wide = usize::from(width) >= all;
    let spans = View::ALL.iter().zip(1..).flat_map(|(view, number)| {
        let is_chosen = *view == state.view;
        let text = if is_wide || is_chosen {
            format!(" {number} {} ", view.title())
        } else {
            format!(" {number} ")
        };
        let style = if is_chosen {
            theme.chosen()
        } else {
            theme.head()
        };
        [Span::styled(text, style), Span::raw(" ")]
    });
    Line::from(spans.collect::<Vec<_>>())
}

/// Draws the foot: what is typed, what is to be told, or the keys of the moment.
pub(super) fn draw_foot(frame: &mut Frame<'_>, area: Rect, state: &State, theme: Theme) {
    let unicode = state.context.unicode;
    let line = if let Some(editing) = &state.editing {
        let text = visible(&editing.text, unicode);
        let mut spans = vec![
            Span::styled("/", theme.notice()),
            Span::raw(text),
            Span::raw("_"),
        ];
        if let Some(error) = &editing.error {
            // The first line says what; the column is in it.
            let first = error.lines().next().unwrap_or_default().to_owned();
            spans.push(Span::styled(format!("   {first}"), theme.alarm()));
        }
        Line::from(spans)
    } else if let Some(message) = &state.message {
        Line::styled(visible(message, unicode), theme.notice())
    } else if state.help {
        Line::styled(" any key back  q leave", theme.faint())
    } else if state.detail.is_some() {
        Line::styled(
            " Esc back  j k scroll  c copy as JSON  f copy filters  q leave",
            theme.faint(),
        )
    } else {
        let sort = sort_title(state);
        Line::styled(
            format!(" Enter explain  / filter  > < sort ({sort})  Space pause  ? help  q leave"),
            theme.faint(),
        )
    };
    frame.render_widget(line, area);
}

fn sort_title(state: &State) -> &'static str {
    use crate::top::columns::{CAUSES, INCIDENTS, LIVE, ROWS};
    let sort = state.place().sort;
    let title = match state.view {
        View::Causes => CAUSES.get(sort).map(|column| column.title),
        View::Live => LIVE.get(sort).map(|column| column.title),
        View::Incidents => INCIDENTS.get(sort).map(|column| column.title),
        View::Processes | View::Workloads | View::Ports | View::Peers => {
            ROWS.get(sort).map(|column| column.title)
        }
    };
    title
        .filter(|title| !title.is_empty())
        .unwrap_or("direction")
}
