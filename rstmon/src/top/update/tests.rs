//! Keys and feeds in, states and effects out.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use super::*;
use crate::event::model::Cause;
use crate::sink::samples;
use crate::top::testing::{busy, degraded, empty, event, feed};

/// Presses keys as they are written; `<Enter>` and the like are keys, too.
fn press_all(state: &mut State, keys: &str) -> Vec<Effect> {
    let mut effects = Vec::new();
    let mut rest = keys;
    while let Some(letter) = rest.chars().next() {
        let named = [
            ("<Enter>", KeyCode::Enter),
            ("<Esc>", KeyCode::Esc),
            ("<Tab>", KeyCode::Tab),
            ("<Up>", KeyCode::Up),
            ("<PgDn>", KeyCode::PageDown),
            ("<Bs>", KeyCode::Backspace),
        ];
        let found = named.into_iter().find(|(name, _)| rest.starts_with(name));
        let (length, code) = match found {
            Some((name, code)) => (name.len(), code),
            None => (letter.len_utf8(), KeyCode::Char(letter)),
        };
        rest = &rest[length..];
        let key = KeyEvent::new(code, KeyModifiers::NONE);
        effects.extend(update(state, Action::Key(key)));
    }
    effects
}

#[test]
fn views_are_reached_by_digit_and_tab() {
    for (keys, view) in [
        ("", View::Causes),
        ("2", View::Live),
        ("7", View::Incidents),
        ("<Tab>", View::Live),
        ("7<Tab>", View::Causes),
        ("9", View::Causes),
        ("?2", View::Causes),
        ("?22", View::Live),
    ] {
        let mut state = busy();
        press_all(&mut state, keys);
        assert_eq!(state.view, view, "{keys}");
    }
}

#[test]
fn the_row_stays_within_the_table() {
    for (keys, row) in [
        ("jj", 2),
        ("jjk", 1),
        ("k", 0),
        ("G", 3),
        ("Gj", 3),
        ("G<PgDn>g", 0),
        ("2G", 59),
        ("2<PgDn>", 10),
    ] {
        let mut state = busy();
        press_all(&mut state, keys);
        assert_eq!(state.place().row, row, "{keys}");
    }
    let mut state = empty();
    press_all(&mut state, "jGk");
    assert_eq!(state.place().row, 0);
}

#[test]
fn enter_opens_what_is_chosen_and_escape_goes_back() {
    let mut state = busy();
    press_all(&mut state, "<Enter>");
    assert!(
        matches!(&state.detail, Some(Detail::Cause(row)) if row.cause == Cause::CloseUnreadData)
    );
    press_all(&mut state, "jj<Esc>");
    assert_eq!(state.detail, None);
    press_all(&mut state, "7<Enter>");
    assert!(matches!(&state.detail, Some(Detail::Incident(_, Some(_)))));
    press_all(&mut state, "<Esc>2jj<Enter>");
    assert!(matches!(&state.detail, Some(Detail::Event(event, None)) if event.seq_no == 58));
    let mut state = empty();
    press_all(&mut state, "<Enter>");
    assert_eq!(state.detail, None);
}

#[test]
fn sorting_goes_around_and_turns() {
    let mut state = busy();
    press_all(&mut state, "2S");
    assert!(matches!(state.selected(), Some(Detail::Event(event, _)) if event.seq_no == 1));
    press_all(&mut state, "S");
    let columns = View::Live.columns(state.room.width).len();
    press_all(&mut state, &">".repeat(columns));
    assert_eq!(state.place().sort, 0);
    press_all(&mut state, "<");
    assert_eq!(state.place().sort, LIVE.len() - 1);
}

#[test]
fn a_bad_filter_is_shown_while_typing_and_the_good_one_stays() {
    let mut state = busy();
    let effects = press_all(&mut state, "/kind sennt");
    assert!(effects.is_empty());
    assert!(
        state
            .editing
            .as_ref()
            .unwrap()
            .error
            .as_ref()
            .unwrap()
            .contains("sennt")
    );
    assert!(press_all(&mut state, "<Enter>").is_empty());
    assert_eq!(state.filter, "");
    assert_eq!(state.rows(), 4);
    let effects = press_all(&mut state, "<Bs><Bs><Bs>nt<Enter>");
    assert!(matches!(effects.as_slice(), [Effect::Want(_)]));
    assert_eq!((state.filter.as_str(), state.rows()), ("kind sent", 0));
    let effects = press_all(&mut state, "<Esc>");
    assert!(matches!(effects.as_slice(), [Effect::Want(wish)] if wish.filter.is_all()));
    press_all(&mut state, "/x<Esc>");
    assert_eq!(state.editing, None);
}

#[test]
fn a_stopped_picture_counts_what_it_does_not_show() {
    let mut state = busy();
    press_all(&mut state, " ");
    let shown = state.board.clone();
    let mut events: Vec<_> = state.recent.iter().cloned().collect();
    events.push(event(61, Cause::Paws, Kind::Sent, "x"));
    update(&mut state, Action::Feed(Box::new(feed(events))));
    assert_eq!((&state.board, state.unseen), (&shown, 1));
    press_all(&mut state, "p");
    assert_eq!((state.unseen, state.board.causes.len()), (0, 5));
}

#[test]
fn the_live_view_is_bounded_and_keeps_the_row_one_looks_at() {
    let mut state = empty();
    press_all(&mut state, "2");
    let mut number = 0;
    for _ in 0..30 {
        let events = (0..500).map(|_| {
            number += 1;
            event(number, Cause::Paws, Kind::Sent, "x")
        });
        let events = events.collect();
        update(&mut state, Action::Feed(Box::new(feed(events))));
    }
    assert_eq!(state.recent.len(), RECENT_EVENTS);
    assert_eq!(state.place().row, 0);
    press_all(&mut state, "jj");
    let before = state.selected();
    let next = feed(vec![event(number + 1, Cause::Paws, Kind::Sent, "x")]);
    update(&mut state, Action::Feed(Box::new(next)));
    assert_eq!(state.selected(), before);
}

#[test]
fn effects_are_asked_for_and_not_done() {
    let mut state = degraded();
    assert_eq!(press_all(&mut state, "q"), [Effect::Quit]);
    assert!(
        matches!(press_all(&mut state, "w").as_slice(), [Effect::Write(text)] if text.contains("close-unread-data"))
    );
    assert!(
        matches!(press_all(&mut state, "r").as_slice(), [Effect::Want(wish)] if wish.from_zero && wish.filter.to_string() == "kind sent and comm nginx")
    );
    let mut state = busy();
    assert!(press_all(&mut state, "f").is_empty());
    assert!(state.message.is_some());
    let copied = press_all(&mut state, "2f");
    assert!(
        matches!(copied.as_slice(), [Effect::Copy(text)] if text.contains("tcpdump -ni any 'host 192.0.2.1"))
    );
    for (local, filters) in [
        (
            "192.0.2.1",
            "tcpdump -ni any 'host 192.0.2.1 and tcp port 443'\nss -tanpie 'src 192.0.2.1:443'",
        ),
        (
            "::",
            "tcpdump -ni any 'tcp port 443'\nss -tanpie 'sport = :443'",
        ),
    ] {
        let event = Event {
            local_addr: local.parse().unwrap(),
            ..samples::listener()
        };
        let detail = Detail::Event(Box::new(event), None);
        let shown = filters_of(&detail, &samples::facts());
        assert_eq!(shown.as_deref(), Some(filters));
    }
    let copied = press_all(&mut state, "c");
    assert!(
        matches!(copied.as_slice(), [Effect::Copy(text)] if text.starts_with("{\"schema\":\"rstmon.event/1\""))
    );
}

#[test]
fn any_key_closes_the_help() {
    for key in ["x", "9", "?", "2", "/"] {
        let mut state = busy();
        press_all(&mut state, "?");
        assert!(state.help);
        assert!(press_all(&mut state, key).is_empty());
        assert!(!state.help, "{key}");
        assert_eq!((state.view, state.editing), (View::Causes, None), "{key}");
    }
    let mut state = busy();
    assert_eq!(press_all(&mut state, "?q"), [Effect::Quit]);
}

#[test]
fn a_source_has_ended_until_it_starts_again() {
    let mut state = busy();
    update(
        &mut state,
        Action::Ended(Ended {
            why: "the agent: it has gone".to_owned(),
            failed: true,
        }),
    );
    // The wish alone brings no agent back.
    assert!(matches!(
        press_all(&mut state, "r").as_slice(),
        [Effect::Want(_)]
    ));
    assert!(state.ended.is_some());
    let mut header = state.header.clone();
    "classic".clone_into(&mut header.facts.mode);
    update(&mut state, Action::Started(Box::new(header)));
    assert_eq!(
        (state.ended, state.header.facts.mode.as_str()),
        (None, "classic")
    );
}

#[test]
fn the_chosen_event_stays_chosen_in_any_order() {
    // By time and turned around, by cause, by process; the first row and others.
    for keys in ["2S", "2Sjjj", "2>>>>>>", "2>>>>>>G", "2>>>>>>>Sjjjj", "2jj"] {
        let mut state = busy();
        press_all(&mut state, keys);
        let before = state.selected();
        assert!(before.is_some());
        let came = [Cause::BlindReset, Cause::Paws, Cause::CloseUnreadData];
        let came = came.into_iter().zip(61..);
        let came = came.map(|(cause, number)| event(number, cause, Kind::Sent, "aaa"));
        update(&mut state, Action::Feed(Box::new(feed(came.collect()))));
        assert_eq!(state.selected(), before, "{keys}");
    }
    let mut state = busy();
    press_all(&mut state, "2");
    let came = vec![event(61, Cause::Paws, Kind::Sent, "x")];
    update(&mut state, Action::Feed(Box::new(feed(came))));
    assert!(matches!(state.selected(), Some(Detail::Event(event, _)) if event.seq_no == 61));
}

#[test]
fn only_columns_on_the_screen_are_sorted_by() {
    for width in [60, 80, 100, 120, 200] {
        for view in "1234567".chars() {
            let mut state = busy();
            let room = Room {
                width,
                ..state.room
            };
            update(&mut state, Action::Room(room));
            press_all(&mut state, &view.to_string());
            let columns = state.view.columns(width);
            for key in [">", "<"] {
                for _ in 0..columns.len() * 2 {
                    press_all(&mut state, key);
                    assert!(columns.contains(&state.place().sort), "{width} {view}");
                }
            }
        }
    }
    // What has gone with the width is not sorted by any more.
    let mut state = busy();
    press_all(&mut state, ">>>");
    let room = Room {
        width: 60,
        ..state.room
    };
    update(&mut state, Action::Room(room));
    assert_eq!(state.place().sort, View::Causes.first_sort());
}

#[test]
fn what_was_seen_before_a_filter_is_back_without_it() {
    let mut state = busy();
    assert!(matches!(
        press_all(&mut state, "/kind stray<Enter>").as_slice(),
        [Effect::Want(wish)] if !wish.from_zero
    ));
    // On its way when the source heard the filter.
    let late = feed(vec![event(61, Cause::Paws, Kind::Sent, "x")]);
    update(&mut state, Action::Feed(Box::new(late)));
    update(&mut state, Action::Counting(Counting::Beside));
    assert!(state.recent.is_empty() && state.board.causes.is_empty());
    assert!(
        state
            .message
            .as_ref()
            .is_some_and(|it| it.contains("from now on"))
    );
    press_all(&mut state, "<Esc>");
    update(&mut state, Action::Counting(Counting::Resumed));
    // What was under way when the filter came is no less there than what came before.
    assert_eq!((state.recent.len(), state.set_aside.len()), (61, 0));
    assert_eq!(state.recent.back().unwrap().seq_no, 61);
    // An agent's come back no more, and are told to.
    press_all(&mut state, "/kind stray<Enter>");
    update(&mut state, Action::Counting(Counting::FromNow));
    assert!(
        state
            .message
            .as_ref()
            .is_some_and(|it| it.contains("not kept"))
    );
    assert!(state.set_aside.is_empty());
}

#[test]
fn news_from_before_a_wish_are_not_shown_as_news_of_it() {
    let came = |number| {
        let events = vec![event(number, Cause::Paws, Kind::Sent, "x")];
        Action::Feed(Box::new(feed(events)))
    };
    let mut state = busy();
    press_all(&mut state, "r");
    update(&mut state, came(61));
    assert!(state.board.causes.is_empty() && state.recent.is_empty());
    update(&mut state, Action::Counting(Counting::FromStart));
    assert_eq!(state.message, None, "it was asked for");
    assert!(state.recent.is_empty() && state.set_aside.is_empty());
    update(&mut state, came(62));
    assert_eq!((state.board.causes.len(), state.recent.len()), (1, 1));
    // Wishes faster than the source hears them: each is waited for, and nothing of before is lost.
    let mut state = busy();
    press_all(&mut state, "/kind stray<Enter><Esc>/kind sent<Enter>");
    update(&mut state, came(61));
    update(&mut state, Action::Counting(Counting::Beside));
    update(&mut state, came(62));
    update(&mut state, Action::Counting(Counting::Resumed));
    update(&mut state, came(63));
    assert!(state.board.causes.is_empty() && state.recent.is_empty());
    update(&mut state, Action::Counting(Counting::Beside));
    update(&mut state, came(64));
    assert_eq!(state.recent.len(), 1);
    press_all(&mut state, "<Esc>");
    update(&mut state, Action::Counting(Counting::Resumed));
    let newest: Vec<u64> = state
        .recent
        .iter()
        .rev()
        .map(|it| it.seq_no)
        .take(3)
        .collect();
    assert_eq!(newest, [63, 61, 60]);
}

#[test]
fn other_events_end_the_pause() {
    for keys in ["/ or kind stray<Enter>", "r", "<Esc>"] {
        let mut state = degraded();
        press_all(&mut state, keys);
        assert!(!state.paused, "{keys}");
    }
}

#[test]
fn the_filter_that_is_in_force_is_no_new_one() {
    let mut state = degraded();
    let before = state.board.clone();
    assert!(press_all(&mut state, "/<Enter>").is_empty());
    assert_eq!((state.board, state.editing), (before, None));
}
