//! From what happened to a new state, and to what must be done outside of it.

use super::columns::LIVE;
use super::keys::{Command, Step, command_of};
use super::state::{Detail, Editing, Ended, Header, RECENT_EVENTS, Room, State, View};
use crate::board::BoardSnapshot;
use crate::event::capture::CaptureFacts;
use crate::event::model::{Event, Kind};
use crate::filter::Filter;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::collections::VecDeque;
use std::net::IpAddr;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Action {
    /// A key.
    Key(KeyEvent),
    /// The mouse's wheel, in rows; down is positive.
    Scroll(i16),
    /// A click on a row of the table, from 0.
    Click(usize),
    /// News of the source.
    Feed(Box<Feed>),
    /// The source has begun, again: where, and what it cannot give.
    Started(Box<Header>),
    /// The source has ended, and why.
    Ended(Ended),
    /// The source has heard a filter, and counts so from now on.
    Counting(Counting),
    /// What was done outside is to be told.
    Told(String),
    /// What the screen has room for now.
    Room(Room),
}

/// What a source tells at each interval.
#[derive(Clone, Debug, Default)]
pub struct Feed {
    /// The board.
    pub board: BoardSnapshot,
    /// Events since the last time, the oldest first; not all, if there were many.
    pub events: Vec<Event>,
    /// Events that were counted and left out of `events`, since the beginning.
    pub unshown: u64,
    /// Events lost on their way, since the beginning; a recording tells at its end.
    pub lost: Option<u64>,
}

/// What a source is to tell of from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// These events.
    pub filter: Filter,
    /// What was counted so far is to be forgotten, that of all events too.
    pub from_zero: bool,
}

/// How a source counts once it has heard a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// From zero, as the user said, or as a recording is read again from its beginning.
    FromStart,
    /// From zero; what was counted before has gone.
    FromNow,
    /// From zero; all events are counted on the side.
    Beside,
    /// All events again, with those that came before the filter and under it.
    Resumed,
}

/// Something to be done outside of the state.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Leave.
    Quit,
    /// Stop the process until the shell lets it go on.
    Suspend,
    /// Want these events from now on.
    Want(Box<Wish>),
    /// Write this to a file.
    Write(String),
    /// Put this into the terminal's clipboard.
    Copy(String),
}

/// Takes what happened.
pub fn update(state: &mut State, action: Action) -> Option<Effect> {
    match action {
        Action::Key(key) => {
            state.message = None;
            return press(state, key);
        }
        Action::Scroll(rows) => scroll(state, rows),
        Action::Click(row) => {
            if state.detail.is_none() && row < state.rows() {
                set_row(state, row);
            }
        }
        Action::Feed(feed) => take(state, *feed),
        // Not with the wish: an agent that is gone may stay so, and a dead source is no quiet one.
        Action::Started(header) => {
            state.header = *header;
            state.ended = None;
        }
        Action::Ended(ended) => state.ended = Some(ended),
        Action::Counting(counting) => count_so(state, counting),
        Action::Told(message) => state.message = Some(message),
        Action::Room(room) => fit(state, room),
    }
    None
}

fn press(state: &mut State, key: KeyEvent) -> Option<Effect> {
    if state.editing.is_some() {
        return edit(state, key);
    }
    let command = command_of(key);
    // Any key, also one that does nothing elsewhere.
    if state.help && command != Some(Command::Quit) {
        state.help = false;
        return None;
    }
    match command? {
        Command::Quit => return Some(Effect::Quit),
        Command::Suspend => return Some(Effect::Suspend),
        Command::Help => state.help = true,
        Command::NextView => turn(state, 1),
        Command::PreviousView => turn(state, View::ALL.len() - 1),
        Command::View(number) => {
            state.view = View::ALL.get(number).copied().unwrap_or(state.view);
            state.detail = None;
        }
        Command::Up(step) => go(state, step, true),
        Command::Down(step) => go(state, step, false),
        Command::Open => {
            if state.detail.is_none() {
                state.detail = state.selected();
                state.scroll = 0;
            }
        }
        Command::Back => return back(state),
        Command::Filter => {
            state.editing = Some(Editing {
                text: state.filter.clone(),
                error: None,
            });
        }
        Command::NextSort => sort(state, 1),
        Command::PreviousSort => sort(state, -1),
        Command::Reverse => {
            if let Some(place) = state.place_mut() {
                place.reversed = !place.reversed;
            }
        }
        Command::Pause => pause(state),
        Command::Reset => return want(state, &state.filter.clone(), true),
        Command::Write => return Some(Effect::Write(board_json(&state.board))),
        Command::CopyJson => return copy(state, json_of),
        Command::CopyFilter => return copy(state, filters_of),
    }
    None
}

fn turn(state: &mut State, by: usize) {
    let number = (state.view as usize + by) % View::ALL.len();
    state.view = View::ALL.get(number).copied().unwrap_or(state.view);
    state.detail = None;
}

/// Sorts by another of the columns that are on the screen.
fn sort(state: &mut State, by: isize) {
    let columns = state.view.columns(state.room.width);
    if let Some(place) = state.place_mut() {
        let at = columns.iter().position(|column| *column == place.sort);
        let next = at.unwrap_or(0).checked_add_signed(by);
        let next = next.unwrap_or(columns.len().saturating_sub(1));
        let next = columns.get(next).or_else(|| columns.first());
        place.sort = next.copied().unwrap_or(place.sort);
        place.row = 0;
    }
}

/// Takes the size of the screen in: what is sorted by is on it, and nothing is scrolled past its end.
fn fit(state: &mut State, room: Room) {
    state.room = Room {
        rows: room.rows.max(1),
        ..room
    };
    state.scroll = state.scroll.min(room.last_scroll);
    for (view, place) in View::ALL.into_iter().zip(&mut state.places) {
        if !view.columns(room.width).contains(&place.sort) {
            place.sort = view.first_sort();
        }
    }
}

fn back(state: &mut State) -> Option<Effect> {
    if state.detail.take().is_some() {
        return None;
    }
    if state.filter.is_empty() {
        return None;
    }
    want(state, "", false)
}

fn pause(state: &mut State) {
    state.paused = !state.paused;
    if !state.paused {
        if let Some(newer) = state.newer.take() {
            show(state, newer);
        }
        state.unseen = 0;
    }
}

fn go(state: &mut State, step: Step, up: bool) {
    let page = u16::try_from(state.room.rows).unwrap_or(u16::MAX);
    if state.detail.is_some() {
        let rows = match step {
            Step::Row => 1,
            Step::Page => page,
            Step::End => u16::MAX,
        };
        state.scroll = if up {
            state.scroll.saturating_sub(rows)
        } else {
            let scroll = state.scroll.saturating_add(rows);
            scroll.min(state.room.last_scroll)
        };
        return;
    }
    let rows = match step {
        Step::Row => 1,
        Step::Page => state.room.rows,
        Step::End => usize::MAX,
    };
    let row = state.place().row;
    let row = if up {
        row.saturating_sub(rows)
    } else {
        row.saturating_add(rows)
    };
    set_row(state, row);
}

fn scroll(state: &mut State, rows: i16) {
    for _ in 0..rows.unsigned_abs() {
        go(state, Step::Row, rows < 0);
    }
}

fn set_row(state: &mut State, row: usize) {
    let last = state.rows().saturating_sub(1);
    if let Some(place) = state.place_mut() {
        place.row = row.min(last);
    }
}

/// Keys while a filter is being typed.
fn edit(state: &mut State, key: KeyEvent) -> Option<Effect> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let editing = state.editing.as_mut()?;
    match key.code {
        KeyCode::Esc => state.editing = None,
        KeyCode::Char('c') if control => state.editing = None,
        KeyCode::Char('u') if control => editing.text.clear(),
        KeyCode::Backspace => {
            editing.text.pop();
        }
        KeyCode::Char(letter) if !control && editing.text.len() < 1_000 => {
            editing.text.push(letter);
        }
        KeyCode::Enter => {
            let text = editing.text.clone();
            if text.trim() == state.filter {
                state.editing = None;
                return None;
            }
            return want(state, &text, false);
        }
        _ => {}
    }
    if let Some(editing) = &mut state.editing {
        editing.error = Filter::parse(&editing.text)
            .err()
            .map(|error| error.to_string());
    }
    None
}

/// Wants other events, if the filter is one; the last good one stays otherwise.
fn want(state: &mut State, text: &str, from_zero: bool) -> Option<Effect> {
    match Filter::parse(text) {
        Ok(filter) => {
            if from_zero {
                state.set_aside.clear();
            } else if state.filter.is_empty() {
                // There may be some already: of a filter whose end the source has not heard yet.
                let recent = std::mem::take(&mut state.recent);
                state.set_aside.extend(recent);
            }
            state.unheard.push_back(filter.is_all());
            text.trim().clone_into(&mut state.filter);
            state.editing = None;
            clear(state);
            state.places.iter_mut().for_each(|place| place.row = 0);
            Some(Effect::Want(Box::new(Wish { filter, from_zero })))
        }
        Err(error) => {
            if let Some(editing) = &mut state.editing {
                editing.error = Some(error.to_string());
            }
            None
        }
    }
}

fn clear(state: &mut State) {
    // Nothing is no picture to stand still.
    state.paused = false;
    state.board = BoardSnapshot::default();
    state.newer = None;
    state.recent.clear();
    state.unseen = 0;
    state.unshown = 0;
}

/// The source has heard a wish, and counts so from now on.
fn count_so(state: &mut State, counting: Counting) {
    state.hears_all = state.unheard.pop_front().unwrap_or(state.filter.is_empty());
    clear(state);
    let message = match counting {
        Counting::FromStart | Counting::FromNow => {
            state.set_aside.clear();
            (counting == Counting::FromNow)
                .then_some("counting begins again here: the counts before are not kept")
        }
        Counting::Beside => {
            Some("counting what fits from now on; without the filter the counts of all are back")
        }
        Counting::Resumed => {
            if state.unheard.is_empty() {
                state.recent = std::mem::take(&mut state.set_aside);
            }
            Some("all events again, with those that came meanwhile")
        }
    };
    if let Some(message) = message {
        state.message = Some(message.to_owned());
    }
}

/// Takes news in. While paused they wait, but for the counts of what waits.
fn take(state: &mut State, feed: Feed) {
    let Feed {
        board,
        events,
        unshown,
        lost,
    } = feed;
    state.lost = lost;
    if !state.unheard.is_empty() {
        // On its way when the user wished something else: no news of that, but of what was before.
        if state.hears_all {
            keep(&mut state.set_aside, events);
        }
        return;
    }
    state.unshown = unshown;
    let total = |board: &BoardSnapshot| board.kinds.iter().map(|kind| kind.total).sum::<u64>();
    if state.paused {
        state.unseen = total(&board).saturating_sub(total(&state.board));
        state.newer = Some(board);
        return;
    }
    let watched = watched(state);
    keep(&mut state.recent, events);
    if let Some(seq_no) = watched {
        let rows = state.sorted(LIVE, &state.recent);
        // One that is too old to be kept any more leaves its row to another.
        if let Some(row) = rows.iter().position(|event| event.seq_no == seq_no) {
            set_row(state, row);
        }
    }
    show(state, board);
}

/// Adds events to those that are kept, of which the oldest go.
fn keep(kept: &mut VecDeque<Event>, events: Vec<Event>) {
    for event in events {
        if kept.len() == RECENT_EVENTS {
            kept.pop_front();
        }
        kept.push_back(event);
    }
}

/// The event that the chosen row of the live view stays on when others come; none where the row is the
/// newest's, whichever that is.
fn watched(state: &State) -> Option<u64> {
    let place = state.place();
    if state.view != View::Live || (place.row == 0 && state.is_newest_first()) {
        return None;
    }
    let rows = state.sorted(LIVE, &state.recent);
    rows.get(place.row).map(|event| event.seq_no)
}

fn show(state: &mut State, board: BoardSnapshot) {
    state.context.now_ns = board.now_ns;
    state.board = board;
    let row = state.place().row;
    set_row(state, row);
}

fn board_json(board: &BoardSnapshot) -> String {
    // A snapshot has no key that is no text.
    serde_json::to_string_pretty(board).unwrap_or_default()
}

fn copy(
    state: &mut State,
    text_of: fn(&Detail, &CaptureFacts) -> Option<String>,
) -> Option<Effect> {
    let detail = state.detail.clone().or_else(|| state.selected())?;
    let text = text_of(&detail, &state.header.facts);
    if text.is_none() {
        state.message = Some("that is for events: press 2, or open an incident".to_owned());
    }
    text.map(Effect::Copy)
}

fn json_of(detail: &Detail, facts: &CaptureFacts) -> Option<String> {
    match detail {
        Detail::Cause(row) => serde_json::to_string(row).ok(),
        Detail::Row(_, row) => serde_json::to_string(row).ok(),
        Detail::Incident(row, _) => serde_json::to_string(row).ok(),
        Detail::Event(event, _) => {
            let line = crate::sink::jsonl::render_event(event, facts).ok()?;
            let text = String::from_utf8(line).ok()?;
            Some(text.trim_end().to_owned())
        }
    }
}

/// Filters that show the same connection in tcpdump, and what is left of it in ss; those of its port where
/// the peer is not known.
fn filters_of(detail: &Detail, _: &CaptureFacts) -> Option<String> {
    let event = match detail {
        Detail::Event(event, _) | Detail::Incident(_, Some(event)) => event,
        Detail::Cause(_) | Detail::Row(..) | Detail::Incident(_, None) => return None,
    };
    let local_port = event.local_port;
    let bracketed = |addr: IpAddr| match addr {
        IpAddr::V4(addr) => addr.to_string(),
        IpAddr::V6(addr) => format!("[{addr}]"),
    };
    let Some(peer) = event.peer() else {
        // Whoever it was talked to this port.
        let (host, source) = match event.known_local_addr() {
            Some(local) => (
                format!("host {local} and "),
                format!("src {}:{local_port}", bracketed(local)),
            ),
            None => (String::new(), format!("sport = :{local_port}")),
        };
        return Some(format!(
            "tcpdump -ni any '{host}tcp port {local_port}'\nss -tanpie '{source}'"
        ));
    };
    let local = event.local_addr;
    let (remote, remote_port) = (peer.ip(), peer.port());
    let service = match event.kind {
        Kind::Sent if event.state.is_none() => format!("sport = :{local_port}"),
        _ => format!(
            "src {}:{local_port} and dst {}:{remote_port}",
            bracketed(local),
            bracketed(remote)
        ),
    };
    Some(format!(
        "tcpdump -ni any 'host {local} and host {remote} and tcp port {local_port} and tcp port \
         {remote_port}'\nss -tanpie '{service}'"
    ))
}

#[cfg(test)]
mod tests;
