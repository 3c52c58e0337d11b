//! Screens of states that tests make up.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use super::*;
use crate::event::model::{Cause, Kind};
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
