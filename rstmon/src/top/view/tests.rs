//! Screens of states that tests make up.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use super::*;
use crate::event::model::{Cause, Kind};
use crate::sink::samples;
use crate::top::state::Ended;
use crate::top::testing::{busy, degraded, empty, event, feed};
use crate::top::update::{Action, update};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

fn screen(state: &State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| draw(frame, state, Theme::new(true)))
        .unwrap();
    let buffer = terminal.backend().buffer().clone();
    let rows = buffer.content().chunks(usize::from(width.max(1)));
    let lines = rows.map(|row| {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn press(state: &mut State, code: KeyCode) {
    update(state, Action::Key(KeyEvent::new(code, KeyModifiers::NONE)));
}

#[test]
fn every_view_at_three_sizes() {
    for (width, height) in [(80, 24), (120, 40), (200, 50)] {
        for (number, view) in ('1'..='7').zip(View::ALL) {
            let mut state = busy();
            press(&mut state, KeyCode::Char(number));
            let name = format!("{}_{width}x{height}", view.title().to_lowercase());
            insta::assert_snapshot!(name, screen(&state, width, height));
        }
    }
}

#[test]
fn empty_degraded_help_and_details() {
    insta::assert_snapshot!("empty_80x24", screen(&empty(), 80, 24));
    insta::assert_snapshot!("degraded_80x24", screen(&degraded(), 80, 24));
    insta::assert_snapshot!("degraded_60x15", screen(&degraded(), 60, 15));
    let mut state = degraded();
    press(&mut state, KeyCode::Char('?'));
    insta::assert_snapshot!("help_80x24", screen(&state, 80, 24));
    for (number, name) in [
        ('1', "cause"),
        ('2', "event"),
        ('3', "process"),
        ('7', "incident"),
    ] {
        let mut state = busy();
        press(&mut state, KeyCode::Char(number));
        press(&mut state, KeyCode::Enter);
        insta::assert_snapshot!(format!("detail_{name}_100x40"), screen(&state, 100, 40));
    }
    let mut state = busy();
    for letter in "/kind sennt".chars() {
        press(&mut state, KeyCode::Char(letter));
    }
    insta::assert_snapshot!("typing_80x24", screen(&state, 80, 24));
}

#[test]
fn any_size_is_drawn() {
    for state in [empty(), busy(), degraded()] {
        for width in [0, 1, 2, 5, 39, 40, 41, 60, 100, 300] {
            for height in [0, 1, 2, 3, 7, 8, 9, 15, 60] {
                for key in "1234567?".chars() {
                    let mut state = state.clone();
                    press(&mut state, KeyCode::Char(key));
                    screen(&state, width, height);
                    press(&mut state, KeyCode::Enter);
                    screen(&state, width, height);
                }
            }
        }
    }
}

#[test]
fn hostile_names_do_not_get_out_of_their_cell() {
    let hostile = "\x1b[2J\n\r\t\u{202e}漢字\u{301}\u{0}";
    let mut state = empty();
    state.header.facts.host = hostile.to_owned();
    state.header.source = hostile.to_owned();
    let mut worst = event(1, Cause::LingerAbort, Kind::Sent, hostile);
    worst.exe = Some(hostile.into());
    worst.cgroup = Some(hostile.into());
    update(&mut state, Action::Feed(Box::new(feed(vec![worst]))));
    for key in "1234567".chars() {
        press(&mut state, KeyCode::Char(key));
        for _ in 0..2 {
            let text = screen(&state, 120, 40);
            assert!(
                text.chars().all(|it| !it.is_control() || it == '\n'),
                "{text:?}"
            );
            assert!(!text.contains('\u{202e}'), "{text:?}");
            press(&mut state, KeyCode::Enter);
        }
        press(&mut state, KeyCode::Esc);
    }
}

#[test]
fn a_click_finds_the_row_that_is_drawn() {
    let mut state = busy();
    press(&mut state, KeyCode::Char('2'));
    press(&mut state, KeyCode::Char('G'));
    let area = Rect::new(0, 0, 120, 24);
    let text = screen(&state, 120, 24);
    let lines: Vec<&str> = text.lines().collect();
    let first = header::height(area, &state) + 1;
    let row = row_at(&state, area, first).unwrap();
    update(&mut state, Action::Click(row));
    let Some(crate::top::state::Detail::Event(event, _)) = state.selected() else {
        panic!("an event is chosen");
    };
    let time = (crate::top::columns::LIVE[0].text)(&event, &state.context);
    assert!(
        lines[usize::from(first)].starts_with(&time),
        "{time}: {text}"
    );
    assert_eq!(row_at(&state, area, 0), None);
    assert_eq!(row_at(&state, area, 23), None);
}

#[test]
fn the_help_shows_all_keys_and_then_what_cannot_be_seen() {
    let mut state = degraded();
    let mut blind = state.header.facts.degradations.remove(0);
    blind.effect = "long ".repeat(30);
    state.header.facts.degradations = vec![blind; 3];
    press(&mut state, KeyCode::Char('?'));
    insta::assert_snapshot!("help_blind_80x24", screen(&state, 80, 24));
    let lines = |height| {
        let text = screen(&state, 80, height);
        assert!(text.contains("q, Ctrl-C"), "{text}");
        let more = text.contains("blind to 2 more things; `rstmon check` says more");
        (text.matches(" ! long").count(), more)
    };
    assert_eq!(lines(26), (1, true));
    assert_eq!(lines(29), (3, false));
}

#[test]
fn a_dead_source_is_seen_at_80_columns() {
    let mut state = degraded();
    state.ended = Some(Ended {
        why: "the agent: it has gone".to_owned(),
        failed: true,
    });
    insta::assert_snapshot!("ended_80x24", screen(&state, 80, 24));
}

#[test]
fn an_ascii_terminal_gets_no_sign_that_it_cannot_show() {
    let causes = Cause::ALL.iter().zip(1..);
    let events = causes.map(|(cause, number)| {
        let mut event = event(number, *cause, Kind::Received, "nginx");
        event.connection.srtt_us = Some(250);
        event
    });
    let mut state = empty();
    state.context.unicode = false;
    update(&mut state, Action::Feed(Box::new(feed(events.collect()))));
    let is_ascii = |state: &State| {
        let text = screen(state, 200, 100);
        assert!(text.is_ascii() && !text.contains("\\u{"), "{text}");
        text
    };
    for key in "1234567?".chars() {
        press(&mut state, KeyCode::Char(key));
        is_ascii(&state);
    }
    press(&mut state, KeyCode::Char('?'));
    for _ in Cause::ALL {
        press(&mut state, KeyCode::Char('2'));
        press(&mut state, KeyCode::Enter);
        assert!(is_ascii(&state).contains("250 us"));
        press(&mut state, KeyCode::Esc);
        press(&mut state, KeyCode::Down);
    }
}

#[test]
fn long_names_and_addresses_are_whole_on_a_wide_screen() {
    let mut worst = event(1, Cause::Paws, Kind::Sent, "nginx");
    worst.local_addr = "2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap();
    worst.remote_addr = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:1".parse().unwrap();
    let mut state = empty();
    update(&mut state, Action::Feed(Box::new(feed(vec![worst]))));
    let pod = "a-long-namespace/deployment-7d9c8b6f5d-abcde/container";
    state.board.workloads = state.board.processes.clone();
    pod.clone_into(&mut state.board.workloads[0].name);
    press(&mut state, KeyCode::Char('2'));
    let live = screen(&state, 200, 24);
    assert!(
        live.contains("[2001:db8:1111:2222:3333:4444:5555:6666]:"),
        "{live}"
    );
    assert!(
        live.contains("[2001:db8:aaaa:bbbb:cccc:dddd:eeee:1]:"),
        "{live}"
    );
    press(&mut state, KeyCode::Char('4'));
    let workloads = screen(&state, 120, 24);
    assert!(workloads.contains(pod), "{workloads}");
}

#[test]
fn ends_that_are_not_known_are_no_zeros() {
    let mut state = empty();
    let feed = feed(vec![samples::listener()]);
    update(&mut state, Action::Feed(Box::new(feed)));
    for (key, shown) in [('2', "*:443"), ('6', "(unknown)"), ('7', "(unknown)")] {
        press(&mut state, KeyCode::Char(key));
        let list = screen(&state, 200, 24);
        assert!(list.contains(shown), "{list}");
        press(&mut state, KeyCode::Enter);
        let detail = screen(&state, 200, 40);
        press(&mut state, KeyCode::Esc);
        for page in [list, detail] {
            assert!(!page.contains("::") && !page.contains("0 peers"), "{page}");
        }
    }
}

#[test]
fn the_arrows_are_those_of_trace() {
    let mut state = busy();
    press(&mut state, KeyCode::Char('2'));
    for unicode in [true, false] {
        state.context.unicode = unicode;
        let live = screen(&state, 120, 24);
        for kind in Kind::ALL {
            let sign = kind.arrow(unicode);
            assert!(live.contains(&format!(" {sign} ")), "{sign}: {live}");
        }
    }
}

#[test]
fn at_80_columns_there_is_what_one_needs() {
    let mut state = busy();
    for (key, wanted) in [
        (
            '2',
            &["LOCAL", "REMOTE", "CAUSE", "WHO", ":443 ", "nginx[1234]"][..],
        ),
        ('7', &["COUNT", "CAUSE", "WHO", "REACH", "1 peer, 1 port"]),
    ] {
        press(&mut state, KeyCode::Char(key));
        let text = screen(&state, 80, 24);
        for wanted in wanted {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
    }
    // Of a stopped and filtered picture, too.
    let mut state = degraded();
    state.ended = None;
    let text = screen(&state, 80, 24);
    for wanted in [
        "PAUSED, 42 unseen",
        "filter: kind sent and comm nginx",
        "0 stray",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
}

/// Presses a key as the loop does, which tells of the room before.
fn press_in(state: &mut State, area: Rect, code: KeyCode) {
    update(state, Action::Room(room(area, state)));
    press(state, code);
}

#[test]
fn scrolling_stops_with_the_last_line_at_the_bottom() {
    for (width, height) in [(80, 24), (120, 40), (40, 8), (200, 50)] {
        let area = Rect::new(0, 0, width, height);
        for number in "1237".chars() {
            let mut state = busy();
            press(&mut state, KeyCode::Char(number));
            press(&mut state, KeyCode::Enter);
            let top = screen(&state, width, height);
            press_in(&mut state, area, KeyCode::Char('G'));
            let end = screen(&state, width, height);
            let last = end.lines().nth(usize::from(height) - 2).unwrap();
            let fits = state.scroll == 0;
            assert!(fits || last.contains("rstmon explain"), "{end}");
            for _ in 0..9 {
                press_in(&mut state, area, KeyCode::PageDown);
            }
            assert_eq!(screen(&state, width, height), end);
            if !fits {
                press_in(&mut state, area, KeyCode::Char('k'));
                assert_ne!(screen(&state, width, height), end);
            }
            press_in(&mut state, area, KeyCode::Char('g'));
            assert_eq!(screen(&state, width, height), top);
        }
    }
    // A screen that has grown since the last key.
    let mut state = busy();
    press(&mut state, KeyCode::Enter);
    press_in(&mut state, Rect::new(0, 0, 80, 12), KeyCode::Char('G'));
    assert!(screen(&state, 120, 100).contains("close-unread-data  the"));
}

#[test]
fn why_a_source_failed_is_told_whole_where_there_is_room() {
    let mut state = degraded();
    state.ended = Some(Ended {
        why: "cannot read the recording /tmp/a.rst: the recording is cut off: it ends at byte 91021 in \
              the middle of a frame; the 166 records before it were read. Was the disk full?"
            .to_owned(),
        failed: true,
    });
    for (width, height) in [(80, 24), (120, 40)] {
        let text = screen(&state, width, height);
        assert!(text.contains("166 records"), "{text}");
        assert!(text.contains("filter: kind sent"), "{text}");
    }
    assert!(screen(&state, 60, 10).contains("ENDED: cannot read"));
}
