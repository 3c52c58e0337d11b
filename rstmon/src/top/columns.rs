//! The columns of every table, once: title, width, text, order. Screen and batch output derive from
//! them.

mod fit;

pub use fit::{cut, fitting, on_screen, widths};

use crate::board::{CauseRow, IncidentRow, TableRow};
use crate::diagnose::explain::page_of;
use crate::diagnose::key_facts::key_facts;
use crate::event::model::Event;
use crate::sink::terminal::visible;
use crate::sink::text::{local_end, remote_end};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::borrow::Cow;
use std::cmp::Ordering;

/// What a cell needs besides its row.
#[derive(Clone, Debug)]
pub struct CellContext {
    /// When the board was taken, monotonic nanoseconds.
    pub now_ns: u64,
    /// Whether the terminal can show more than ASCII.
    pub unicode: bool,
    /// Zone of the times.
    pub time_zone: TimeZone,
}

/// How a column stands, and what it does where there is too much room or too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// To the left, as wide as it is declared.
    Left,
    /// To the right: a number.
    Right,
    /// Gives what its longest text does not need, where room is short.
    Gives,
    /// The same, and takes of what is left over as much as its longest text needs.
    Grows,
    /// A name with its pid: grows, and is rather narrower than left out.
    Shrinks,
    /// Shown only where the column before it is not.
    StandsIn,
}

/// One column of a table of `R`.
pub struct Column<R> {
    /// Its head.
    pub title: &'static str,
    /// Its width; the last column takes what is left.
    pub width: u16,
    /// How it stands, and what it does where there is too much room or too little.
    pub habit: Habit,
    /// Left out first where the highest; 0: never.
    pub spare: u8,
    /// The text of a cell.
    pub text: fn(&R, &CellContext) -> String,
    /// Order of rows by this column, the natural first one first: the most, the newest, A.
    pub order: fn(&R, &R) -> Ordering,
}

/// Width down to which a name with its pid shrinks: `nginx[1234]`.
const LEAST_NAME: u16 = 11;

impl<R> Column<R> {
    /// The least width it is shown with.
    const fn least(&self) -> u16 {
        match self.habit {
            Habit::Shrinks if self.width > LEAST_NAME => LEAST_NAME,
            _ => self.width,
        }
    }
}

/// A column, spelled on one line.
macro_rules! column {
    ($title:literal, $width:literal, $habit:ident, $spare:literal, $text:expr, $order:expr) => {
        Column {
            title: $title,
            width: $width,
            habit: Habit::$habit,
            spare: $spare,
            text: $text,
            order: $order,
        }
    };
}

/// Columns of the causes.
pub const CAUSES: &[Column<CauseRow>] = &[
    column!(
        "CAUSE",
        24,
        Left,
        0,
        |row, _| row.cause.name().to_owned(),
        |a, b| a.cause.name().cmp(b.cause.name())
    ),
    column!(
        "NOW/s",
        7,
        Right,
        0,
        |row, _| count(row.per_second),
        |a, b| b.per_second.cmp(&a.per_second)
    ),
    column!("1m", 8, Right, 0, |row, _| count(row.last_1m), |a, b| b
        .last_1m
        .cmp(&a.last_1m)),
    column!("5m", 8, Right, 4, |row, _| count(row.last_5m), |a, b| b
        .last_5m
        .cmp(&a.last_5m)),
    column!("15m", 8, Right, 5, |row, _| count(row.last_15m), |a, b| b
        .last_15m
        .cmp(&a.last_15m)),
    column!("TOTAL", 9, Right, 0, |row, _| count(row.total), |a, b| b
        .total
        .cmp(&a.total)),
    column!(
        "LAST MINUTE",
        20,
        Left,
        2,
        |row, it| spark(&row.spark, 20, it.unicode),
        |a, b| b.last_1m.cmp(&a.last_1m)
    ),
    column!(
        "WHO",
        16,
        Left,
        1,
        |row, it| shown(row.owner.as_deref().unwrap_or("-"), it),
        |a, b| a.owner.cmp(&b.owner)
    ),
    column!(
        "MEANING",
        40,
        Left,
        6,
        |row, it| spelled(page_of(row.cause).title, it.unicode).into_owned(),
        |a, b| a.cause.name().cmp(b.cause.name())
    ),
];

/// Columns of processes, workloads, ports and peers.
pub const ROWS: &[Column<TableRow>] = &[
    column!(
        "NAME",
        32,
        Grows,
        0,
        |row, it| shown(&row.name, it),
        |a, b| a.name.cmp(&b.name)
    ),
    column!("1m", 8, Right, 0, |row, _| count(row.last_1m), |a, b| b
        .last_1m
        .cmp(&a.last_1m)),
    column!("TOTAL", 9, Right, 0, |row, _| count(row.total), |a, b| b
        .total
        .cmp(&a.total)),
    column!(
        "LAST",
        6,
        Right,
        2,
        |row, it| ago(row.last_ns, it),
        |a, b| b.last_ns.cmp(&a.last_ns)
    ),
    column!(
        "MOST COMMON CAUSE",
        30,
        Left,
        0,
        |row, _| share(row),
        |a, b| a.cause.name().cmp(b.cause.name())
    ),
];

/// Columns of the incidents.
pub const INCIDENTS: &[Column<IncidentRow>] = &[
    column!(
        "LAST",
        6,
        Right,
        0,
        |row, it| ago(row.last_ns, it),
        |a, b| b.last_ns.cmp(&a.last_ns)
    ),
    column!("COUNT", 9, Right, 0, |row, _| count(row.total), |a, b| b
        .total
        .cmp(&a.total)),
    column!(
        "CAUSE",
        24,
        Left,
        0,
        |row, _| row.cause.name().to_owned(),
        |a, b| a.cause.name().cmp(b.cause.name())
    ),
    column!(
        "WHO",
        16,
        Left,
        0,
        |row, it| shown(dash(&row.comm), it),
        |a, b| a.comm.cmp(&b.comm)
    ),
    column!(
        "LASTED",
        7,
        Right,
        3,
        |row, _| duration(row.last_ns.saturating_sub(row.first_ns)),
        |a, b| lasted(b).cmp(&lasted(a))
    ),
    column!("REACH", 20, Left, 1, |row, _| reach(row), |a, b| b
        .distinct_peers
        .cmp(&a.distinct_peers)),
    column!("PEERS", 22, Left, 2, |row, _| row.peers.clone(), |a, b| a
        .peers
        .cmp(&b.peers)),
];

/// Columns of the live events.
pub const LIVE: &[Column<Event>] = &[
    column!("TIME", 12, Left, 0, clock_time, |a, b| b
        .seq_no
        .cmp(&a.seq_no)),
    column!(
        "KIND",
        8,
        Left,
        3,
        |event, _| event.kind.name().to_owned(),
        |a, b| a.kind.cmp(&b.kind)
    ),
    column!(
        "LOCAL",
        21,
        Grows,
        1,
        |event, _| local_end(event),
        |a, b| a.local_port.cmp(&b.local_port)
    ),
    column!(
        "LOCAL",
        6,
        StandsIn,
        1,
        |event, _| format!(":{}", event.local_port),
        |a, b| a.local_port.cmp(&b.local_port)
    ),
    column!(
        "",
        2,
        Left,
        0,
        |event, it| event.kind.arrow(it.unicode).to_owned(),
        |a, b| a.kind.cmp(&b.kind)
    ),
    column!(
        "REMOTE",
        21,
        Grows,
        0,
        |event, _| remote_end(event),
        |a, b| a
            .peer()
            .map(|peer| peer.ip())
            .cmp(&b.peer().map(|peer| peer.ip()))
    ),
    column!(
        "STATE",
        11,
        Left,
        4,
        |event, _| event.state.map_or("-", |state| state.name()).to_owned(),
        |a, b| a.state.cmp(&b.state)
    ),
    column!(
        "CAUSE",
        23,
        Gives,
        0,
        |event, _| event.verdict.cause.name().to_owned(),
        |a, b| a.verdict.cause.name().cmp(b.verdict.cause.name())
    ),
    column!("WHO", 16, Shrinks, 2, who, |a, b| owner(a).cmp(owner(b))),
    column!(
        "FACTS",
        30,
        Left,
        5,
        |event, it| shown(&spelled(&key_facts(event).join(", "), it.unicode), it),
        |a, b| b.seq_no.cmp(&a.seq_no)
    ),
];

/// A number that fits: 12345, 1.2M.
#[must_use]
pub fn count(number: u64) -> String {
    match number {
        0..1_000_000 => number.to_string(),
        1_000_000..1_000_000_000 => {
            format!("{}.{}M", number / 1_000_000, number % 1_000_000 / 100_000)
        }
        _ => format!(
            "{}.{}G",
            number / 1_000_000_000,
            number % 1_000_000_000 / 100_000_000
        ),
    }
}

/// What a word for so many ends with.
#[must_use]
pub const fn plural(number: u64) -> &'static str {
    if number == 1 { "" } else { "s" }
}

/// A time span in its largest unit.
#[must_use]
pub fn duration(nanos: u64) -> String {
    match nanos / 1_000_000_000 {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

fn ago(then_ns: u64, context: &CellContext) -> String {
    duration(context.now_ns.saturating_sub(then_ns))
}

const fn lasted(row: &IncidentRow) -> u64 {
    row.last_ns.saturating_sub(row.first_ns)
}

fn share(row: &TableRow) -> String {
    let percent = row.of_cause * 100 / row.total.max(1);
    format!("{} {percent}%", row.cause)
}

fn reach(row: &IncidentRow) -> String {
    let at_least = if row.at_least { "+" } else { "" };
    let ports = format!("{} port{}", row.distinct_ports, plural(row.distinct_ports));
    match row.distinct_peers {
        // They are not known.
        0 => ports,
        peers => format!("{peers}{at_least} peer{}, {ports}", plural(peers)),
    }
}

fn dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// Text of rstmon's own, with the signs that the terminal can show.
#[must_use]
pub fn spelled(text: &str, unicode: bool) -> Cow<'_, str> {
    if unicode || text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let text = text.replace('…', "...").replace('→', "->");
    Cow::Owned(text.replace('µ', "u"))
}

/// Text of others, harmless.
fn shown(text: &str, context: &CellContext) -> String {
    visible(text, context.unicode).into_owned()
}

fn owner(event: &Event) -> &str {
    event.owner.as_ref().map_or("", |owner| owner.comm.as_str())
}

fn who(event: &Event, context: &CellContext) -> String {
    event.owner.as_ref().map_or_else(
        || "-".to_owned(),
        |owner| shown(&format!("{}[{}]", owner.comm, owner.pid), context),
    )
}

fn clock_time(event: &Event, context: &CellContext) -> String {
    Timestamp::from_nanosecond(i128::from(event.time_ns))
        .map(|time| time.to_zoned(context.time_zone.clone()))
        .map_or_else(
            |_| "-".to_owned(),
            |time| time.strftime("%H:%M:%S.%3f").to_string(),
        )
}

/// The last counts as a row of blocks, scaled to the largest.
#[must_use]
pub fn spark(counts: &[u64], width: usize, unicode: bool) -> String {
    const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const LETTERS: [char; 9] = [' ', '.', '.', ':', ':', '+', '+', '#', '#'];
    let levels = if unicode { BLOCKS } else { LETTERS };
    let per_cell = counts.len().div_ceil(width.max(1)).max(1);
    let cells: Vec<u64> = counts
        .rchunks(per_cell)
        .rev()
        .map(|cell| cell.iter().sum())
        .collect();
    let most = cells.iter().copied().max().unwrap_or(0).max(1);
    let level = |cell: u64| (cell * 8).div_ceil(most) as usize;
    cells
        .iter()
        .filter_map(|cell| levels.get(level(*cell)).copied())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ascii_terminal_is_shown_ascii() {
        assert_eq!(
            spelled("seq=… ttl 64→63, 5 µs", false),
            "seq=... ttl 64->63, 5 us"
        );
        assert_eq!(spelled("seq=…", true), "seq=…");
    }

    #[test]
    fn numbers_and_times_are_short() {
        assert_eq!(count(999_999), "999999");
        assert_eq!(count(1_250_000), "1.2M");
        assert_eq!(duration(119_999_999_999), "119s");
        assert_eq!(duration(7_200_000_000_000), "2h");
        assert_eq!(spark(&[0, 1, 8], 3, true), " ▁█");
        assert_eq!(spark(&[], 3, true), "");
    }
}
