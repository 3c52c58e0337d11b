//! The keys, once: what they do and what the help says of them.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Leave.
    Quit,
    /// Show or hide the help.
    Help,
    /// The next view.
    NextView,
    /// The view before.
    PreviousView,
    /// The view of this number.
    View(usize),
    /// Up by so many rows.
    Up(Step),
    /// Down by so many rows.
    Down(Step),
    /// Look at the row.
    Open,
    /// Back from where one is.
    Back,
    /// Begin a filter.
    Filter,
    /// Sort by the next column.
    NextSort,
    /// Sort by the column before.
    PreviousSort,
    /// Turn the order around.
    Reverse,
    /// Stop the picture, or let it go on.
    Pause,
    /// Count from zero.
    Reset,
    /// Write what there is to a file.
    Write,
    /// Copy the row as JSON.
    CopyJson,
    /// Copy a filter of tcpdump and ss for the row.
    CopyFilter,
    /// Stop the process, as the shell's Ctrl-Z.
    Suspend,
}

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// One row.
    Row,
    /// A screen.
    Page,
    /// To the end.
    End,
}

/// One line of the help.
pub struct Binding {
    /// The keys, as they are read.
    pub keys: &'static str,
    /// What they do.
    pub does: &'static str,
    /// Whether a key is one of them, and what it asks for.
    find: fn(KeyEvent) -> Option<Command>,
}

/// A binding of plain keys.
macro_rules! binding {
    ($keys:literal, $does:literal, { $($pattern:pat => $command:expr),+ $(,)? }) => {
        Binding {
            keys: $keys,
            does: $does,
            find: |key| match (key.code, key.modifiers.contains(KeyModifiers::CONTROL)) {
                $($pattern => Some($command),)+
                _ => None,
            },
        }
    };
}

/// All of them, in the order of the help.
pub const BINDINGS: &[Binding] = &[
    binding!("Tab, Shift-Tab", "next view, view before", {
        (KeyCode::Tab | KeyCode::Right, false) => Command::NextView,
        (KeyCode::BackTab | KeyCode::Left, _) => Command::PreviousView,
    }),
    Binding {
        keys: "1 … 7",
        does: "the view of this number",
        find: |key| match key.code {
            KeyCode::Char(digit @ '1'..='7') => {
                Some(Command::View(digit.to_digit(10)? as usize - 1))
            }
            _ => None,
        },
    },
    binding!("j k, arrows", "down, up", {
        (KeyCode::Char('j') | KeyCode::Down, false) => Command::Down(Step::Row),
        (KeyCode::Char('k') | KeyCode::Up, false) => Command::Up(Step::Row),
    }),
    binding!("PgDn PgUp, Ctrl-F Ctrl-B", "a screen down, up", {
        (KeyCode::PageDown, _) | (KeyCode::Char('f'), true) => Command::Down(Step::Page),
        (KeyCode::PageUp, _) | (KeyCode::Char('b'), true) => Command::Up(Step::Page),
    }),
    binding!("g G, Home End", "first row, last row", {
        (KeyCode::Char('g') | KeyCode::Home, false) => Command::Up(Step::End),
        (KeyCode::Char('G') | KeyCode::End, false) => Command::Down(Step::End),
    }),
    binding!("Enter", "the row whole: meaning, remedy, evidence, numbers", {
        (KeyCode::Enter, _) => Command::Open,
    }),
    binding!("Esc", "back; drop the filter (own capture: all counts back)", {
        (KeyCode::Esc | KeyCode::Backspace, _) => Command::Back,
    }),
    binding!("/", "filter, as of `trace`; counts from then on (-r: all)", {
        (KeyCode::Char('/'), false) => Command::Filter,
    }),
    binding!("> <, s", "sort by the next column, by the one before", {
        (KeyCode::Char('>' | 's'), false) => Command::NextSort,
        (KeyCode::Char('<'), false) => Command::PreviousSort,
    }),
    binding!("S", "turn the order around", {
        (KeyCode::Char('S'), false) => Command::Reverse,
    }),
    binding!("Space, p", "stop the picture, let it go on; counting goes on", {
        (KeyCode::Char(' ' | 'p'), false) => Command::Pause,
    }),
    binding!("r", "count from zero", {
        (KeyCode::Char('r'), false) => Command::Reset,
    }),
    binding!("w", "write what there is to a file, as JSON", {
        (KeyCode::Char('w'), false) => Command::Write,
    }),
    binding!("c", "copy the row as JSON, through the terminal", {
        (KeyCode::Char('c'), false) => Command::CopyJson,
    }),
    binding!("f", "copy filters of tcpdump and ss for the event", {
        (KeyCode::Char('f'), false) => Command::CopyFilter,
    }),
    binding!("? h F1", "this help", {
        (KeyCode::Char('?' | 'h') | KeyCode::F(1), false) => Command::Help,
    }),
    binding!("Ctrl-Z", "to the shell; `fg` comes back", {
        (KeyCode::Char('z'), true) => Command::Suspend,
    }),
    binding!("q, Ctrl-C", "leave", {
        (KeyCode::Char('q'), false) | (KeyCode::Char('c'), true) => Command::Quit,
    }),
];

/// What a key asks for.
#[must_use]
pub fn command_of(key: KeyEvent) -> Option<Command> {
    BINDINGS.iter().find_map(|binding| (binding.find)(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_keys_do_the_usual() {
        let of = |code, modifiers| command_of(KeyEvent::new(code, modifiers));
        let (none, control) = (KeyModifiers::NONE, KeyModifiers::CONTROL);
        assert_eq!(of(KeyCode::Char('q'), none), Some(Command::Quit));
        assert_eq!(of(KeyCode::Char('c'), control), Some(Command::Quit));
        assert_eq!(of(KeyCode::Char('c'), none), Some(Command::CopyJson));
        assert_eq!(
            of(KeyCode::Char('G'), KeyModifiers::SHIFT),
            Some(Command::Down(Step::End))
        );
        assert_eq!(of(KeyCode::Char('7'), none), Some(Command::View(6)));
        assert_eq!(of(KeyCode::Char('8'), none), None);
        assert_eq!(of(KeyCode::Char('z'), control), Some(Command::Suspend));
    }
}
