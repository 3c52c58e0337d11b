//! The columns of every table, once: title, width, text, order. Screen and batch output derive from
//! them.

use crate::board::{CauseRow, IncidentRow, TableRow};
use crate::diagnose::explain::page_of;
use crate::diagnose::key_facts::key_facts;
use crate::event::model::{Event, Kind};
use crate::sink::terminal::visible;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::net::{IpAddr, SocketAddr};

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

/// One column of a table of `R`.
pub struct Column<R> {
    /// Its head.
    pub title: &'static str,
    /// Its width; the last column takes what is left.
    pub width: u16,
    /// Numbers stand to the right.
    pub right: bool,
    /// Takes of what a wide screen has left over as much as its longest text needs.
    pub grows: bool,
    /// Left out first where the highest; 0: never.
    pub spare: u8,
    /// The text of a cell.
    pub text: fn(&R, &CellContext) -> String,
    /// Order of rows by this column, the natural first one first: the most, the newest, A.
    pub order: fn(&R, &R) -> Ordering,
}

/// A column, spelled on one line.
macro_rules! column {
    ($title:literal, $width:literal, $side:ident, $spare:literal, $text:expr, $order:expr) => {
        Column {
            title: $title,
            width: $width,
            right: column!(@ right $side),
            grows: column!(@ grows $side),
            spare: $spare,
            text: $text,
            order: $order,
        }
    };
    (@ right right) => { true };
    (@ grows growing) => { true };
    (@ $what:ident $side:ident) => { false };
}

/// Columns of the causes.
pub const CAUSES: &[Column<CauseRow>] = &[
    column!(
        "CAUSE",
        24,
        left,
        0,
        |row, _| row.cause.name().to_owned(),
        |a, b| a.cause.name().cmp(b.cause.name())
    ),
    column!(
        "NOW/s",
        7,
        right,
        0,
        |row, _| count(row.per_second),
        |a, b| b.per_second.cmp(&a.per_second)
    ),
    column!("1m", 8, right, 0, |row, _| count(row.last_1m), |a, b| b
        .last_1m
        .cmp(&a.last_1m)),
    column!("5m", 8, right, 4, |row, _| count(row.last_5m), |a, b| b
        .last_5m
        .cmp(&a.last_5m)),
    column!("15m", 8, right, 5, |row, _| count(row.last_15m), |a, b| b
        .last_15m
        .cmp(&a.last_15m)),
    column!("TOTAL", 9, right, 0, |row, _| count(row.total), |a, b| b
        .total
        .cmp(&a.total)),
    column!(
        "LAST MINUTE",
        20,
        left,
        2,
        |row, it| spark(&row.spark, 20, it.unicode),
        |a, b| b.last_1m.cmp(&a.last_1m)
    ),
    column!(
        "WHO",
        16,
        left,
        1,
        |row, it| shown(row.owner.as_deref().unwrap_or("-"), it),
        |a, b| a.owner.cmp(&b.owner)
    ),
    column!(
        "MEANING",
        40,
        left,
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
        growing,
        0,
        |row, it| shown(&row.name, it),
        |a, b| a.name.cmp(&b.name)
    ),
    column!("1m", 8, right, 0, |row, _| count(row.last_1m), |a, b| b
        .last_1m
        .cmp(&a.last_1m)),
    column!("TOTAL", 9, right, 0, |row, _| count(row.total), |a, b| b
        .total
        .cmp(&a.total)),
    column!(
        "LAST",
        6,
        right,
        2,
        |row, it| ago(row.last_ns, it),
        |a, b| b.last_ns.cmp(&a.last_ns)
    ),
    column!(
        "MOST COMMON CAUSE",
        30,
        left,
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
        right,
        0,
        |row, it| ago(row.last_ns, it),
        |a, b| b.last_ns.cmp(&a.last_ns)
    ),
    column!("COUNT", 9, right, 0, |row, _| count(row.total), |a, b| b
        .total
        .cmp(&a.total)),
    column!(
        "CAUSE",
        24,
        left,
        0,
        |row, _| row.cause.name().to_owned(),
        |a, b| a.cause.name().cmp(b.cause.name())
    ),
    column!(
        "WHO",
        16,
        left,
        0,
        |row, it| shown(dash(&row.comm), it),
        |a, b| a.comm.cmp(&b.comm)
    ),
    column!(
        "LASTED",
        7,
        right,
        3,
        |row, _| duration(row.last_ns.saturating_sub(row.first_ns)),
        |a, b| lasted(b).cmp(&lasted(a))
    ),
    column!("REACH", 20, left, 2, |row, _| reach(row), |a, b| b
        .distinct_peers
        .cmp(&a.distinct_peers)),
    column!("PEERS", 22, left, 1, |row, _| row.peers.clone(), |a, b| a
        .peers
        .cmp(&b.peers)),
];

/// Columns of the live events.
pub const LIVE: &[Column<Event>] = &[
    column!("TIME", 12, left, 0, clock_time, |a, b| b
        .seq_no
        .cmp(&a.seq_no)),
    column!(
        "KIND",
        8,
        left,
        3,
        |event, _| event.kind.name().to_owned(),
        |a, b| a.kind.cmp(&b.kind)
    ),
    column!(
        "LOCAL",
        21,
        growing,
        1,
        |event, _| end(event.local_addr, event.local_port),
        |a, b| a.local_port.cmp(&b.local_port)
    ),
    column!(
        "",
        1,
        left,
        0,
        |event, it| arrow(event.kind, it.unicode).to_owned(),
        |a, b| a.kind.cmp(&b.kind)
    ),
    column!(
        "REMOTE",
        21,
        growing,
        0,
        |event, _| end(event.remote_addr, event.remote_port),
        |a, b| a.remote_addr.cmp(&b.remote_addr)
    ),
    column!(
        "STATE",
        11,
        left,
        4,
        |event, _| event.state.map_or("-", |state| state.name()).to_owned(),
        |a, b| a.state.cmp(&b.state)
    ),
    column!(
        "CAUSE",
        23,
        left,
        0,
        |event, _| event.verdict.cause.name().to_owned(),
        |a, b| a.verdict.cause.name().cmp(b.verdict.cause.name())
    ),
    column!("WHO", 16, left, 2, who, |a, b| owner(a).cmp(owner(b))),
    column!(
        "FACTS",
        30,
        left,
        5,
        |event, it| shown(&spelled(&key_facts(event).join(", "), it.unicode), it),
        |a, b| b.seq_no.cmp(&a.seq_no)
    ),
];

/// Which columns fit into a width, in their order.
#[must_use]
pub fn fitting<R>(columns: &'static [Column<R>], width: u16) -> Vec<&'static Column<R>> {
    let mut kept: Vec<&Column<R>> = columns.iter().collect();
    loop {
        let needed: u16 = kept.iter().map(|column| column.width + 1).sum();
        let sparest = kept.iter().map(|column| column.spare).max().unwrap_or(0);
        if needed <= width + 1 || sparest == 0 {
            return kept;
        }
        kept.retain(|column| column.spare != sparest);
    }
}

/// The widths of columns on a screen: their own, and for those that grow what is left over, up to the
/// longest text that `longest` says of one.
#[must_use]
pub fn widths<R>(
    columns: &[&Column<R>],
    screen: u16,
    longest: impl Fn(&Column<R>) -> usize,
) -> Vec<u16> {
    let used: u16 = columns.iter().map(|column| column.width + 1).sum();
    let mut left = (screen + 1).saturating_sub(used);
    let mut width = |column: &&Column<R>| {
        if !column.grows || left == 0 {
            return column.width;
        }
        let wanted = u16::try_from(longest(column)).unwrap_or(u16::MAX);
        let more = wanted.saturating_sub(column.width).min(left);
        left -= more;
        column.width + more
    };
    columns.iter().map(&mut width).collect()
}

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
    format!(
        "{}{at_least} peer{}, {} port{}",
        row.distinct_peers,
        plural(row.distinct_peers),
        row.distinct_ports,
        plural(row.distinct_ports)
    )
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

fn end(addr: IpAddr, port: u16) -> String {
    SocketAddr::new(addr, port).to_string()
}

/// Which way the RST went.
#[must_use]
pub const fn arrow(kind: Kind, unicode: bool) -> &'static str {
    match (kind, unicode) {
        (Kind::Sent, true) => "→",
        (Kind::Sent, false) => ">",
        (Kind::Received, true) => "←",
        (Kind::Received, false) => "<",
        (Kind::Rejected, true) => "⇠",
        (Kind::Rejected, false) => "!",
        (Kind::Stray, true) => "·",
        (Kind::Stray, false) => "?",
    }
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
    fn columns_give_way_by_their_spareness() {
        let titles = |width| -> Vec<&str> {
            fitting(CAUSES, width)
                .iter()
                .map(|column| column.title)
                .collect()
        };
        assert_eq!(titles(200).len(), CAUSES.len());
        let narrow = titles(80);
        assert!(
            narrow.contains(&"TOTAL") && !narrow.contains(&"MEANING"),
            "{narrow:?}"
        );
        assert_eq!(titles(1), ["CAUSE", "NOW/s", "1m", "TOTAL"]);
    }

    #[test]
    fn what_grows_takes_what_is_left_over() {
        let of = |screen, longest| widths(&fitting(ROWS, screen), screen, |_| longest);
        assert_eq!(of(89, 60), [32, 8, 9, 6, 30]);
        assert_eq!(of(99, 60), [42, 8, 9, 6, 30]);
        assert_eq!(of(200, 60), [60, 8, 9, 6, 30]);
        assert_eq!(of(200, 5), [32, 8, 9, 6, 30]);
        assert_eq!(of(0, 60), [32, 8, 9, 30]);
        let live = widths(&fitting(LIVE, 200), 200, |_| 47);
        assert_eq!((live[2], live[4]), (47, 21 + 23));
    }

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
