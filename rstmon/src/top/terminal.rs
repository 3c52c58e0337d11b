//! The screen: raw, alternate, with or without the mouse; given back whatever happens.
//!
//! Given back on drop, in a panic before its message is printed, and around a stop by Ctrl-Z. A
//! terminal that is dead takes nothing, and nothing more is tried.

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{DisableMouseCapture, EnableMouseCapture};
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{execute, queue};
use std::io::{self, Stdout, Write};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the terminal is this program's at the moment.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal, taken.
pub struct Screen {
    /// Never dropped: it would show the cursor, which [`give_back`] does, and print an error where
    /// the terminal is dead, which panics where standard error is that terminal.
    terminal: ManuallyDrop<Terminal<CrosstermBackend<Stdout>>>,
    mouse: bool,
}

impl Screen {
    /// Takes the terminal.
    pub fn take(mouse: bool) -> io::Result<Self> {
        give_back_in_panic();
        let terminal = ManuallyDrop::new(Terminal::new(CrosstermBackend::new(io::stdout()))?);
        let mut screen = Self { terminal, mouse };
        screen.enter()?;
        Ok(screen)
    }

    fn enter(&mut self) -> io::Result<()> {
        enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        let mut stdout = io::stdout();
        queue!(stdout, EnterAlternateScreen)?;
        if self.mouse {
            queue!(stdout, EnableMouseCapture)?;
        }
        queue!(stdout, Clear(ClearType::All))?;
        stdout.flush()?;
        // A new one draws everything. `Terminal::clear` would ask the terminal for its cursor, and
        // the answer would go to the thread that reads keys.
        *self.terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        Ok(())
    }

    /// The terminal, to draw on.
    pub fn terminal(&mut self) -> &mut Terminal<CrosstermBackend<Stdout>> {
        &mut self.terminal
    }

    /// Gives the terminal back, stops the process as the shell's Ctrl-Z does, and takes the terminal
    /// again once the shell lets it go on.
    pub fn suspend(&mut self) -> io::Result<()> {
        give_back();
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGTSTP)?;
        self.enter()
    }

    /// Puts a text into the clipboard of terminals that know OSC 52.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        use base64::Engine;
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        let mut stdout = io::stdout();
        write!(stdout, "\x1b]52;c;{encoded}\x07")?;
        stdout.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back, once.
fn give_back() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    // A dead terminal takes neither; there is nobody to tell.
    let _ = execute!(
        io::stdout(),
        DisableMouseCapture,
        LeaveAlternateScreen,
        Show
    );
    let _ = disable_raw_mode();
}

/// Puts the line settings back of a terminal that takes no bytes: whoever writes to it waits for ever,
/// so this writes nothing. The process must end at once.
pub fn abandon() {
    // A terminal that is gone has no settings.
    let _ = disable_raw_mode();
}

/// A panic's message is printed on the terminal as it was.
fn give_back_in_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        give_back();
        print(panic);
    }));
}
