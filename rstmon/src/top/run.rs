//! The loop of `top`: what happened goes to the state, what the state wants done is done, and the
//! screen is drawn when something has changed.

use super::source::SourceEvent;
use super::state::{Ended, State};
use super::terminal::{self, Screen};
use super::theme::Theme;
use super::update::{Action, Effect, Wish, update};
use super::view::{draw, room, row_at};
use crate::cmd::exit::Failure;
use ratatui::crossterm::event::{
    self, Event as TerminalEvent, KeyEventKind, MouseButton, MouseEventKind,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::emulate_default_handler;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// Things that may wait for the loop.
const WAITING: usize = 256;
/// How often signals are looked at.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(100);
/// How long after a signal the loop may still draw.
const GRACE: Duration = Duration::from_secs(2);
/// How long after the last picture the end of a recording that is shown at once may take. What takes
/// longer (a pipe, whose writer has stopped) has more to show, and the picture is whole.
const END_TIME: Duration = Duration::from_secs(1);
/// Rows that a notch of the wheel moves.
const WHEEL_ROWS: i16 = 3;

/// Something that happened outside.
enum Input {
    Terminal(TerminalEvent),
    Source(SourceEvent),
    /// The terminal is gone.
    Gone(io::Error),
    /// A signal says to end.
    End,
}

/// How it is shown.
#[derive(Clone, Copy)]
pub struct Look {
    /// Its colours.
    pub theme: Theme,
    /// Whether the mouse is the program's.
    pub mouse: bool,
    /// Leave after so many pictures.
    pub count: Option<u64>,
    /// Whether the source is soon at its end, and how it ends is waited for after the last picture.
    pub ends_soon: bool,
}

/// Counts the pictures of news. What a key changes is the same picture, and one that stands still
/// shows no news.
struct Pictures {
    left: Option<u64>,
    is_new: bool,
}

impl Pictures {
    fn hear(&mut self, action: &Action, state: &State) {
        let shows_it = !state.paused && state.unheard.is_empty();
        self.is_new |= matches!(action, Action::Feed(_)) && shows_it;
    }

    /// What was heard is on the screen; whether that was the last picture.
    fn drawn(&mut self) -> bool {
        if std::mem::take(&mut self.is_new) {
            self.left = self.left.map(|left| left.saturating_sub(1));
        }
        self.left == Some(0)
    }
}

/// Where the loop's inputs go in.
#[derive(Clone)]
pub struct Inputs(SyncSender<Input>);

/// Shows `state`, fed by `feeds`, until the user leaves or the pictures are shown. `wishes` tell the
/// source.
pub fn run(
    mut state: State,
    feeds: Receiver<SourceEvent>,
    wishes: &Sender<Wish>,
    look: &Look,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::run_time(format!("cannot use the terminal: {error}"));
    let (sender, inputs) = sync_channel(WAITING);
    let mut screen = Screen::take(look.mouse).map_err(failed)?;
    listen(&Inputs(sender), feeds).map_err(failed)?;
    let mut pictures = Pictures {
        left: look.count,
        is_new: false,
    };
    // Until when the end of the source is waited for, once the last picture is shown.
    let mut until = None;
    loop {
        screen
            .terminal()
            .draw(|frame| draw(frame, &state, look.theme))
            .map_err(failed)?;
        if pictures.drawn() {
            if !look.ends_soon || state.ended.is_some() {
                return outcome(state.ended.as_ref());
            }
            until.get_or_insert_with(|| Instant::now() + END_TIME);
        }
        let Some(input) = next_input(&inputs, until) else {
            return outcome(state.ended.as_ref());
        };
        let mut next = Some(input);
        while let Some(input) = next {
            let input = match input {
                Input::Gone(error) => return Err(failed(error)),
                Input::Source(said) if until.is_some() => return outcome(end_of(&said)),
                input => input,
            };
            let size = screen.terminal().size().map_err(failed)?;
            for action in actions(&state, input, size.into()) {
                let Some(action) = action else {
                    return outcome(state.ended.as_ref());
                };
                pictures.hear(&action, &state);
                if let Some(effect) = update(&mut state, action)
                    && carry_out(effect, &mut state, &mut screen, wishes).map_err(failed)?
                {
                    return outcome(state.ended.as_ref());
                }
            }
            next = inputs.try_recv().ok();
        }
    }
}

/// What comes next; none if that is nothing, or nothing until then.
fn next_input(inputs: &Receiver<Input>, until: Option<Instant>) -> Option<Input> {
    match until {
        Some(until) => {
            let left = until.saturating_duration_since(Instant::now());
            inputs.recv_timeout(left).ok()
        }
        None => inputs.recv().ok(),
    }
}

/// The end of the source, if it says that. Whatever else it says after the last picture is of more
/// pictures: what was shown is whole.
const fn end_of(said: &SourceEvent) -> Option<&Ended> {
    match said {
        SourceEvent::Ended(ended) => Some(ended),
        _ => None,
    }
}

/// How it went: what ended the source is told again once the screen is gone, whole.
pub fn outcome(ended: Option<&Ended>) -> Result<(), Failure> {
    match ended {
        Some(ended) if ended.failed => Err(Failure::run_time(ended.why.clone())),
        Some(_) | None => Ok(()),
    }
}

/// What an input means to the state; `None` among them is the end.
fn actions(state: &State, input: Input, area: ratatui::layout::Rect) -> Vec<Option<Action>> {
    match input {
        Input::End | Input::Gone(_) => vec![None],
        Input::Source(SourceEvent::Feed(feed)) => vec![
            Some(Action::Room(room(area, state))),
            Some(Action::Feed(feed)),
        ],
        Input::Source(SourceEvent::Started(header)) => vec![Some(Action::Started(header))],
        Input::Source(SourceEvent::Counting(counting)) => vec![Some(Action::Counting(counting))],
        Input::Source(SourceEvent::Ended(ended)) => vec![Some(Action::Ended(ended))],
        Input::Terminal(TerminalEvent::Key(key)) if key.kind != KeyEventKind::Release => {
            vec![
                Some(Action::Room(room(area, state))),
                Some(Action::Key(key)),
            ]
        }
        Input::Terminal(TerminalEvent::Mouse(mouse)) => match mouse.kind {
            MouseEventKind::ScrollDown | MouseEventKind::ScrollUp => {
                let is_down = mouse.kind == MouseEventKind::ScrollDown;
                let rows = if is_down { WHEEL_ROWS } else { -WHEEL_ROWS };
                vec![
                    Some(Action::Room(room(area, state))),
                    Some(Action::Scroll(rows)),
                ]
            }
            MouseEventKind::Down(MouseButton::Left) => row_at(state, area, mouse.row)
                .map(|row| Some(Action::Click(row)))
                .into_iter()
                .collect(),
            _ => Vec::new(),
        },
        Input::Terminal(_) => Vec::new(),
    }
}

/// Does what the state wants done; whether that is to leave.
fn carry_out(
    effect: Effect,
    state: &mut State,
    screen: &mut Screen,
    wishes: &Sender<Wish>,
) -> io::Result<bool> {
    let told = match effect {
        Effect::Quit => return Ok(true),
        Effect::Suspend => {
            screen.suspend()?;
            return Ok(false);
        }
        Effect::Want(wish) => {
            // A source that has ended says so.
            let _ = wishes.send(*wish);
            return Ok(false);
        }
        Effect::Copy(text) => {
            screen.copy(&text)?;
            "copied, if the terminal lets programs do so (OSC 52)".to_owned()
        }
        Effect::Write(text) => {
            let path = snapshot_path();
            match std::fs::write(&path, text) {
                Ok(()) => format!("written to {}", path.display()),
                Err(error) => format!("cannot write {}: {error}", path.display()),
            }
        }
    };
    update(state, Action::Told(told));
    Ok(false)
}

/// A name that no snapshot of another second has.
fn snapshot_path() -> PathBuf {
    let now = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
    PathBuf::from(format!("rstmon-top-{now}.json"))
}

/// Starts the threads that wait for the terminal, the source and signals.
fn listen(inputs: &Inputs, feeds: Receiver<SourceEvent>) -> io::Result<()> {
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let sender = inputs.0.clone();
    thread("terminal").spawn(move || {
        loop {
            let read = event::read();
            let is_last = read.is_err();
            let input = read.map_or_else(Input::Gone, Input::Terminal);
            // A loop that has ended hears nothing.
            if sender.send(input).is_err() || is_last {
                return;
            }
        }
    })?;
    let sender = inputs.0.clone();
    thread("feeds").spawn(move || {
        while let Ok(event) = feeds.recv() {
            if sender.send(Input::Source(event)).is_err() {
                return;
            }
        }
    })?;
    // The signal that asks to end; zero before.
    let asked = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register_usize(signal, Arc::clone(&asked), signal.unsigned_abs() as usize)?;
    }
    let sender = inputs.0.clone();
    thread("signals").spawn(move || {
        while asked.load(Ordering::Relaxed) == 0 {
            std::thread::sleep(SIGNAL_INTERVAL);
        }
        let began = Instant::now();
        // The loop waits where the terminal takes no bytes: it hears nothing then, and what waits
        // for it may be full.
        while began.elapsed() < GRACE {
            if let Err(TrySendError::Disconnected(_)) = sender.try_send(Input::End) {
                return;
            }
            std::thread::sleep(SIGNAL_INTERVAL);
        }
        terminal::abandon();
        let signal = i32::try_from(asked.load(Ordering::Relaxed)).unwrap_or(SIGTERM);
        let _ = emulate_default_handler(signal);
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::testing::{empty, feed};
    use ratatui::layout::Rect;

    #[test]
    fn pictures_of_news_are_counted() {
        let news = Action::Feed(Box::new(feed(Vec::new())));
        let (shows, mut stopped, mut waiting) = (empty(), empty(), empty());
        stopped.paused = true;
        waiting.unheard.push_back(true);
        let mut pictures = Pictures {
            left: Some(2),
            is_new: false,
        };
        assert!(!pictures.drawn());
        pictures.hear(&news, &shows);
        // Two that come at once are one picture.
        pictures.hear(&news, &shows);
        assert!(!pictures.drawn());
        pictures.hear(&Action::Scroll(1), &shows);
        pictures.hear(&news, &stopped);
        pictures.hear(&news, &waiting);
        assert!(!pictures.drawn());
        pictures.hear(&news, &shows);
        assert!(pictures.drawn());
        let mut endless = Pictures {
            left: None,
            is_new: true,
        };
        assert!(!endless.drawn());
    }

    #[test]
    fn how_a_recording_ends_is_told_after_the_last_picture() {
        let ended = Ended {
            why: "cut off".to_owned(),
            failed: true,
        };
        let news = SourceEvent::Feed(Box::new(feed(Vec::new())));
        assert_eq!(end_of(&news), None);
        assert_eq!(end_of(&SourceEvent::Ended(ended.clone())), Some(&ended));
    }

    #[test]
    fn after_the_last_picture_keys_are_heard_and_the_end_is_not_waited_for_without_end() {
        let (sender, inputs) = sync_channel(WAITING);
        let resized = Input::Terminal(TerminalEvent::Resize(80, 24));
        assert!(sender.send(resized).is_ok(), "there is room");
        let until = Instant::now() + Duration::from_millis(10);
        let first = next_input(&inputs, Some(until));
        assert!(matches!(first, Some(Input::Terminal(_))));
        assert!(next_input(&inputs, Some(until)).is_none());
        assert!(Instant::now() >= until);
    }

    #[test]
    fn a_source_that_starts_again_is_told_to_the_state() {
        let state = empty();
        let started = SourceEvent::Started(Box::new(state.header.clone()));
        let told = actions(&state, Input::Source(started), Rect::new(0, 0, 80, 24));
        assert!(matches!(told.as_slice(), [Some(Action::Started(_))]));
    }
}
