//! `-o text`: one line an event, for people.
//!
//! Called by `trace`. Time, local end, arrow, remote end, state, cause, who, facts. The arrow says
//! which way the RST went and whether it was obeyed; a cause with `?` is a guess. Made to be read in
//! 100 columns. No value is ever cut: a long one moves what follows it. Where room is short, blanks
//! are given up first; the first fact is always there, others that do not fit are counted (`+2`). Who
//! may be followed by where it runs (`nginx[7]@web-1`: pod, container or unit), on a terminal only if
//! its line still fits. An event that does not fit into one line takes a second, from its cause on;
//! below 100 columns each does, and the header too.

use super::terminal::visible;
use super::totals::Totals;
use crate::event::model::{Cause, Confidence, Event, Kind, Process, SocketState};
use crate::event::workload::{ContainerId, Workload};
use anstyle::{AnsiColor, Color, Style};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::SocketAddr;

/// How lines are drawn.
#[derive(Clone, Debug)]
pub struct TextStyle {
    /// With colours.
    pub color: bool,
    /// Columns of the terminal; none: not a terminal, everything is shown.
    pub width: Option<u16>,
    /// The terminal shows characters beyond ASCII.
    pub unicode: bool,
    /// Zone of the times.
    pub time_zone: TimeZone,
}

/// Columns from which on the kind is spelled out and the columns are wide.
const WIDE: u16 = 140;

/// Columns below which an event takes two lines.
const SINGLE: u16 = 100;
/// Columns from which on the first of two lines has room for any IPv4 end.
const ROOMY: u16 = 70;

const TIME_WIDTH: usize = 12;
/// Where a second line begins: below the local end.
const INDENT: usize = TIME_WIDTH + 1;
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// Least widths of the columns.
struct Columns {
    /// 0: the arrow alone tells the kind.
    kind: usize,
    local: usize,
    remote: usize,
    state: usize,
    cause: usize,
    who: usize,
}

const NARROW_COLUMNS: Columns = Columns {
    kind: 0,
    local: 15,
    remote: 17,
    state: 10,
    cause: 17,
    who: 12,
};
/// Of two lines.
const ROOMY_COLUMNS: Columns = Columns {
    kind: 0,
    local: 21,
    remote: 21,
    state: 11,
    cause: 23,
    who: 16,
};
const WIDE_COLUMNS: Columns = Columns {
    kind: 8,
    local: 21,
    remote: 21,
    state: 11,
    cause: 23,
    who: 20,
};

impl TextStyle {
    fn is_narrow(&self) -> bool {
        self.width.is_some_and(|width| width < WIDE)
    }

    /// Whether each event takes two lines.
    fn is_split(&self) -> bool {
        self.width.is_some_and(|width| width < SINGLE)
    }

    fn columns(&self) -> &'static Columns {
        match self.width {
            None | Some(WIDE..) => &WIDE_COLUMNS,
            Some(ROOMY..SINGLE) => &ROOMY_COLUMNS,
            Some(_) => &NARROW_COLUMNS,
        }
    }

    /// The most common state is also the longest name: where room is short, ss's word for it, which
    /// filters take too.
    fn state(&self, state: Option<SocketState>) -> &'static str {
        match state {
            None => "-",
            Some(SocketState::Established) if self.is_narrow() => "estab",
            Some(state) => state.name(),
        }
    }

    fn arrow(&self, kind: Kind) -> &'static str {
        kind.arrow(self.unicode)
    }
}

/// What the arrows and the question mark stand for: for the help of the commands that print lines.
#[must_use]
pub fn render_legend() -> String {
    let mut legend = "Between the two ends of a line, the local one on the left:\n".to_owned();
    for kind in Kind::ALL {
        let (unicode, ascii) = (kind.arrow(true), kind.arrow(false));
        let _ = writeln!(
            legend,
            "  {unicode} or {ascii}  {:<9} {}",
            kind.name(),
            kind.meaning()
        );
    }
    legend
        + "A cause with ? is a guess, +2 counts facts that found no room; - is not \
              known, * is any address."
}

/// The names of the columns, as a line.
#[must_use]
pub fn render_header(style: &TextStyle) -> String {
    let columns = style.columns();
    let mut line = Line::new(style);
    line.cell("TIME", DIM, TIME_WIDTH);
    if columns.kind > 0 {
        line.cell("KIND", DIM, columns.kind);
    }
    line.cell("LOCAL", DIM, columns.local);
    line.cell("", DIM, style.arrow(Kind::Sent).chars().count());
    line.cell("REMOTE", DIM, columns.remote);
    line.cell("STATE", DIM, columns.state);
    if style.is_split() {
        line.wrap();
    }
    line.cell("CAUSE", DIM, columns.cause);
    line.cell("WHO", DIM, columns.who);
    line.cell("FACTS", DIM, 0);
    line.finish()
}

/// An event as a line. `facts`: what matters most about it, most telling first.
#[must_use]
pub fn render_event(event: &Event, facts: &[String], style: &TextStyle) -> String {
    let who = |with_place| who(event, style.unicode, with_place);
    render_fitting(event, who, facts, style)
}

/// Both ends of one reset as a line: the one that sent it, and who was hit.
#[must_use]
pub fn render_story(sent: &Event, arrived: &Event, facts: &[String], style: &TextStyle) -> String {
    let both = |with_place| {
        format!(
            "{} {} {}",
            who(sent, style.unicode, with_place),
            style.arrow(Kind::Sent),
            who(arrived, style.unicode, with_place)
        )
    };
    render_fitting(sent, both, facts, style)
}

/// As one line with the place, as one without, as two lines with the place, as two without: the first
/// of these that fits.
fn render_fitting(
    event: &Event,
    who: impl Fn(bool) -> String,
    facts: &[String],
    style: &TextStyle,
) -> String {
    let names = [who(true), who(false)];
    let first = if style.is_split() {
        Lines::Two
    } else {
        Lines::One
    };
    for lines in [first, Lines::Two] {
        for who in &names {
            let drawn = draw(event, who, facts, lines, style);
            if drawn.fits() {
                return drawn.finish();
            }
        }
    }
    let [_, shortest] = &names;
    draw(event, shortest, facts, Lines::Two, style).finish()
}

/// How many lines an event takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    One,
    Two,
}

fn draw<'s>(
    event: &Event,
    who: &str,
    facts: &[String],
    lines: Lines,
    style: &'s TextStyle,
) -> Line<'s> {
    let columns = style.columns();
    let mut line = draw_ends(event, columns, style);
    line.loosen_from_here();
    line.cell(style.state(event.state), Style::new(), columns.state);
    if lines == Lines::Two {
        line.wrap();
    }
    line.cell(&cause(event), BOLD, columns.cause);
    line.cell(who, Style::new(), columns.who);
    let facts: Vec<Cow<'_, str>> = facts
        .iter()
        .map(|fact| visible(fact, style.unicode))
        .collect();
    line.facts(&facts);
    line
}

/// Time, kind, and both ends.
fn draw_ends<'s>(event: &Event, columns: &Columns, style: &'s TextStyle) -> Line<'s> {
    let mut line = Line::new(style);
    line.cell(
        &local_time(event.time_ns, &style.time_zone),
        DIM,
        TIME_WIDTH,
    );
    let kind_style = kind_style(event.kind);
    if columns.kind > 0 {
        line.cell(event.kind.name(), kind_style, columns.kind);
    }
    line.cell(&local_end(event), Style::new(), columns.local);
    let arrow = style.arrow(event.kind);
    line.cell(arrow, kind_style, arrow.chars().count());
    line.cell(&remote_end(event), Style::new(), columns.remote);
    line
}

/// What a run saw, as a line: for standard error, at the end.
#[must_use]
pub fn render_summary(totals: &Totals) -> String {
    let mut causes: Vec<(&str, u64)> = totals
        .causes
        .iter()
        // All of a cause may have been lost on their way out.
        .filter(|(_, count)| **count > 0)
        .map(|(cause, count)| (cause.as_ref(), *count))
        .collect();
    causes.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let counts = |counts: &[(&str, u64)]| {
        counts
            .iter()
            .map(|(name, count)| format!("{count} {name}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut text = format!(
        "{} reset{}",
        totals.written,
        if totals.written == 1 { "" } else { "s" }
    );
    if !causes.is_empty() {
        let _ = write!(text, ": {}", counts(&causes));
    }
    if totals.filtered > 0 {
        let _ = write!(text, "; {} filtered out", totals.filtered);
    }
    if !totals.is_lost_known() {
        text.push_str("; what was lost is not known\n");
        return text;
    }
    let _ = write!(text, "; {} lost", totals.lost_in_all());
    let lost: Vec<(&str, u64)> = totals
        .lost
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(stage, count)| (stage.as_ref(), *count))
        .collect();
    if !lost.is_empty() {
        let _ = write!(text, " ({})", counts(&lost));
    }
    text.push('\n');
    text
}

fn local_time(time_ns: i64, zone: &TimeZone) -> String {
    match Timestamp::from_nanosecond(i128::from(time_ns)) {
        Ok(time) => time
            .to_zoned(zone.clone())
            .strftime("%H:%M:%S%.3f")
            .to_string(),
        Err(_) => UNKNOWN.to_owned(),
    }
}

/// What is shown of what is not known.
const UNKNOWN: &str = "-";

/// The other end.
pub(crate) fn remote_end(event: &Event) -> String {
    match event.peer() {
        Some(peer) => peer.to_string(),
        None => UNKNOWN.to_owned(),
    }
}

/// This host's end: of a listener at any address, as ss(8) writes that.
pub(crate) fn local_end(event: &Event) -> String {
    let port = event.local_port;
    match event.known_local_addr() {
        Some(address) => SocketAddr::new(address, port).to_string(),
        None => format!("*:{port}"),
    }
}

fn cause(event: &Event) -> Cow<'static, str> {
    let verdict = &event.verdict;
    // That nothing is known is no guess.
    if verdict.confidence == Confidence::Guess && verdict.cause != Cause::Undiagnosed {
        Cow::Owned(format!("{}?", verdict.cause))
    } else {
        Cow::Borrowed(verdict.cause.name())
    }
}

fn who(event: &Event, unicode: bool, with_place: bool) -> String {
    let name = |process: &Process| format!("{}[{}]", visible(&process.comm, unicode), process.pid);
    let mut text = event.owner.as_ref().map(name).unwrap_or_default();
    if with_place && let Some(place) = place(event) {
        let _ = write!(text, "@{}", visible(place, unicode));
    }
    if let Some(actor) = &event.actor {
        let joint = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{joint}by {}", name(actor));
    }
    if text.is_empty() {
        text.push('-');
    }
    text
}

/// Where the owner runs, in a word: its pod, else its container, else its unit if that has not the
/// process's own name.
fn place(event: &Event) -> Option<&str> {
    let workload = event.workload.as_deref()?;
    let contained = pod_name(workload).or_else(|| container_name(workload));
    let unit = || {
        let unit = workload.unit.as_deref()?;
        let stem = unit.strip_suffix(".service").unwrap_or(unit);
        let is_new = event.owner.as_ref().is_none_or(|owner| owner.comm != stem);
        is_new.then_some(stem)
    };
    contained.or_else(unit)
}

fn pod_name(workload: &Workload) -> Option<&str> {
    workload.pod_names().map(|names| &*names.name)
}

fn container_name(workload: &Workload) -> Option<&str> {
    let container = workload.container.as_ref()?;
    container
        .name()
        .or_else(|| container.id().map(ContainerId::short))
}

fn kind_style(kind: Kind) -> Style {
    let color = match kind {
        Kind::Sent => AnsiColor::Cyan,
        Kind::Received => AnsiColor::Red,
        Kind::Rejected => AnsiColor::Yellow,
        Kind::Stray => AnsiColor::Magenta,
    };
    Style::new().fg_color(Some(Color::Ansi(color)))
}

/// A line being drawn, cell by cell; it may go on in a second one.
struct Line<'s> {
    style: &'s TextStyle,
    text: String,
    /// Columns taken.
    taken: usize,
    /// Columns that the line before took.
    taken_before: usize,
    /// Column where the next cell belongs; a cell that was too long is made up for by blanks of
    /// the cells after it.
    next: usize,
    /// Whether blanks may be given up for facts from here on.
    is_loose: bool,
    /// Runs of blanks that may be made one: first byte, length.
    loose_blanks: Vec<(usize, usize)>,
}

impl<'s> Line<'s> {
    fn new(style: &'s TextStyle) -> Self {
        Self {
            style,
            text: String::with_capacity(160),
            taken: 0,
            taken_before: 0,
            next: 0,
            is_loose: false,
            loose_blanks: Vec::new(),
        }
    }

    fn cell(&mut self, value: &str, style: Style, width: usize) {
        if self.next > 0 {
            let blanks = self.next.saturating_sub(self.taken).max(1);
            if self.is_loose && self.next > INDENT {
                self.loose_blanks.push((self.text.len(), blanks));
            }
            self.text.extend(std::iter::repeat_n(' ', blanks));
            self.taken += blanks;
        }
        self.paint(value, style);
        self.next += width + 1;
    }

    fn paint(&mut self, value: &str, style: Style) {
        if self.style.color && !value.is_empty() {
            let _ = write!(self.text, "{style}{value}{style:#}");
        } else {
            self.text += value;
        }
        self.taken += value.chars().count();
    }

    /// Goes on in the next line.
    fn wrap(&mut self) {
        self.text.push('\n');
        // The next cell sets a blank before itself.
        self.text.extend(std::iter::repeat_n(' ', INDENT - 1));
        (self.taken_before, self.taken, self.next) = (self.taken, INDENT - 1, INDENT);
        // What is given up there makes no room here.
        self.loose_blanks.clear();
        self.is_loose = true;
    }

    /// Blanks between here and the facts can be given up.
    fn loosen_from_here(&mut self) {
        self.is_loose = true;
    }

    /// As many facts as fit, at least the first, and the number of the others.
    fn facts(&mut self, facts: &[Cow<'_, str>]) {
        if facts.is_empty() {
            return;
        }
        self.make_room(facts.join(", ").chars().count());
        let start = self.next.max(self.taken + 1);
        let room = self
            .style
            .width
            .map_or(usize::MAX, usize::from)
            .saturating_sub(start);
        let shown = (1..=facts.len())
            .rev()
            .map(|count| some_of(facts, count))
            .find(|shown| shown.chars().count() <= room)
            .unwrap_or_else(|| some_of(facts, 1));
        self.cell(&shown, DIM, 0);
    }

    /// Gives up blanks, the last first, until `length` columns fit or no blanks are left.
    fn make_room(&mut self, length: usize) {
        let Some(width) = self.style.width.map(usize::from) else {
            return;
        };
        let start = self.next.max(self.taken + 1);
        let mut missing = (start + length).saturating_sub(width);
        let before_facts = missing.min(start - (self.taken + 1));
        missing -= before_facts;
        self.next = start - before_facts;
        while let Some((byte, blanks)) = self.loose_blanks.pop() {
            let surplus = missing.min(blanks.saturating_sub(1));
            self.text.drain(byte..byte + surplus);
            self.taken -= surplus;
            self.next -= surplus;
            missing -= surplus;
        }
    }

    /// Whether no line takes more columns than there are.
    fn fits(&self) -> bool {
        let taken = self.taken.max(self.taken_before);
        self.style
            .width
            .is_none_or(|width| taken <= usize::from(width))
    }

    fn finish(mut self) -> String {
        self.text.push('\n');
        self.text
    }
}

/// The first facts, and how many there are besides.
fn some_of(facts: &[Cow<'_, str>], count: usize) -> String {
    let shown = facts.get(..count).unwrap_or(facts).join(", ");
    match facts.len().saturating_sub(count) {
        0 => shown,
        left => format!("{shown} +{left}"),
    }
}

#[cfg(test)]
mod tests;
