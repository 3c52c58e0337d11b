//! Which columns a screen has room for, how wide they are, and what does not fit into one.

use super::{Column, Habit};
use ratatui::text::Span;

/// Which columns fit into a width, in their order: the most needed first, then each that still fits.
#[must_use]
pub fn on_screen<R>(columns: &[Column<R>], width: u16) -> Vec<usize> {
    let mut by_need: Vec<(usize, &Column<R>)> = columns.iter().enumerate().collect();
    by_need.sort_by_key(|(_, column)| column.spare);
    let mut kept: Vec<usize> = Vec::new();
    let mut used = 0;
    for (index, column) in by_need {
        let is_stood_in_for = column.habit == Habit::StandsIn
            && index
                .checked_sub(1)
                .is_some_and(|before| kept.contains(&before));
        let needed = used + column.least() + 1;
        if !is_stood_in_for && (column.spare == 0 || needed <= width + 1) {
            kept.push(index);
            used = needed;
        }
    }
    kept.sort_unstable();
    kept
}

/// The same, as columns.
#[must_use]
pub fn fitting<R>(columns: &'static [Column<R>], width: u16) -> Vec<&'static Column<R>> {
    let kept = on_screen(columns, width).into_iter();
    kept.filter_map(|index| columns.get(index)).collect()
}

/// The widths of columns on a screen: their own, and for those that grow what is left over, up to the
/// longest text that `longest` says of one. Where their own are too much, some give what their longest
/// text does not need, names take it, and what nobody takes goes back. The last has all that is left.
#[must_use]
pub fn widths<R>(
    columns: &[&Column<R>],
    screen: u16,
    longest: impl Fn(&Column<R>) -> usize,
) -> Vec<u16> {
    let longest = |column: &Column<R>| {
        let longest = longest(column).max(column.title.len());
        u16::try_from(longest).unwrap_or(u16::MAX)
    };
    let own: u16 = columns.iter().map(|column| column.width + 1).sum();
    let is_short = own > screen + 1;
    let least = |column: &&Column<R>| {
        if is_short && matches!(column.habit, Habit::Gives | Habit::Grows) {
            column.least().min(longest(column))
        } else {
            column.least()
        }
    };
    let mut widths: Vec<u16> = columns.iter().map(least).collect();
    let used: u16 = widths.iter().map(|width| width + 1).sum();
    let mut left = (screen + 1).saturating_sub(used);
    let mut widen = |width: &mut u16, wanted: u16| {
        let more = wanted.saturating_sub(*width).min(left);
        *width += more;
        left -= more;
    };
    for (column, width) in columns.iter().zip(&mut widths) {
        if column.habit == Habit::Shrinks {
            let wanted = if is_short { longest(column) } else { 0 };
            widen(width, wanted.max(column.width));
        }
    }
    for (column, width) in columns.iter().zip(&mut widths) {
        if is_short {
            // What nobody needed goes back.
            widen(width, column.width);
        } else if matches!(column.habit, Habit::Grows | Habit::Shrinks) {
            widen(width, longest(column));
        }
    }
    if let Some(last) = widths.last_mut() {
        widen(last, u16::MAX);
    }
    widths
}

/// A text that fits into a width: one that does not ends in a sign that says so.
#[must_use]
pub fn cut(text: String, width: u16, unicode: bool) -> String {
    let width = usize::from(width);
    if Span::raw(text.as_str()).width() <= width {
        return text;
    }
    let sign = if unicode { '…' } else { '>' };
    let mut cut = String::new();
    for letter in text.chars() {
        let length = cut.len();
        cut.push(letter);
        if Span::raw(cut.as_str()).width() >= width {
            cut.truncate(length);
            break;
        }
    }
    if width > 0 {
        cut.push(sign);
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::columns::{CAUSES, INCIDENTS, LIVE, ROWS};

    fn titles<R>(columns: &'static [Column<R>], width: u16) -> Vec<&'static str> {
        let fitting = fitting(columns, width);
        fitting.iter().map(|column| column.title).collect()
    }

    #[test]
    fn columns_give_way_by_their_spareness() {
        assert_eq!(titles(CAUSES, 200).len(), CAUSES.len());
        let narrow = titles(CAUSES, 80);
        assert!(
            narrow.contains(&"TOTAL") && !narrow.contains(&"MEANING"),
            "{narrow:?}"
        );
        assert_eq!(titles(CAUSES, 1), ["CAUSE", "NOW/s", "1m", "TOTAL"]);
    }

    #[test]
    fn what_fits_is_shown_though_something_wider_does_not() {
        assert_eq!(
            titles(INCIDENTS, 80),
            ["LAST", "COUNT", "CAUSE", "WHO", "REACH"]
        );
        assert_eq!(
            titles(LIVE, 80),
            ["TIME", "LOCAL", "", "REMOTE", "CAUSE", "WHO"]
        );
        // The port stands in for the whole end, and only for it.
        for (width, index) in [(80, 3), (100, 2), (200, 2)] {
            let ends = on_screen(LIVE, width);
            let ends: Vec<_> = ends.iter().filter(|it| [2, 3].contains(*it)).collect();
            assert_eq!(ends, [&index], "{width}");
        }
    }

    #[test]
    fn what_grows_takes_what_is_left_over() {
        let of = |screen, longest| widths(&fitting(ROWS, screen), screen, |_| longest);
        assert_eq!(of(89, 60), [32, 8, 9, 6, 30]);
        assert_eq!(of(99, 60), [42, 8, 9, 6, 30]);
        assert_eq!(of(200, 60), [60, 8, 9, 6, 113]);
        assert_eq!(of(200, 5), [32, 8, 9, 6, 141]);
        assert_eq!(of(0, 60), [32, 8, 9, 30]);
        let live = widths(&fitting(LIVE, 200), 200, |_| 47);
        assert_eq!((live[2], live[4]), (47, 21 + 22));
        // A name with its pid, too.
        let live = widths(&fitting(LIVE, 200), 200, |_| 24);
        assert_eq!(live[7], 24);
    }

    #[test]
    fn where_room_is_short_what_is_not_needed_is_given() {
        let of = |longest| widths(&fitting(LIVE, 80), 80, |_| longest);
        assert_eq!(of(40), [12, 6, 2, 21, 23, 11]);
        assert_eq!(of(18), [12, 6, 2, 19, 18, 18]);
    }

    #[test]
    fn what_is_cut_ends_in_a_sign() {
        let cut = |text: &str, width, unicode| cut(text.to_owned(), width, unicode);
        assert_eq!(cut("nginx[1234]", 11, true), "nginx[1234]");
        assert_eq!(cut("haproxy[1234]", 11, true), "haproxy[12…");
        assert_eq!(cut("haproxy[1234]", 11, false), "haproxy[12>");
        assert_eq!(cut("漢字漢字", 4, true), "漢…");
        assert_eq!(cut("x", 0, true), "");
    }
}
