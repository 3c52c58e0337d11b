//! Colours: the terminal's own sixteen on its own background, so they fit light and dark ones. Nothing
//! is said by colour alone.

use crate::diagnose::explain::page::Harm;
use crate::diagnose::explain::page_of;
use crate::event::model::Cause;
use ratatui::style::{Color, Modifier, Style};

/// Styles of the parts of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    has_color: bool,
}

impl Theme {
    /// With colours, or without any.
    #[must_use]
    pub const fn new(has_color: bool) -> Self {
        Self { has_color }
    }

    const fn colored(self, color: Color) -> Style {
        if self.has_color {
            Style::new().fg(color)
        } else {
            Style::new()
        }
    }

    /// Heads of columns, titles.
    #[must_use]
    pub const fn head(self) -> Style {
        self.colored(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// What is chosen: the row, the view.
    #[must_use]
    pub const fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// What is of less weight.
    #[must_use]
    pub const fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// What needs a look: losses, degradations, errors.
    #[must_use]
    pub const fn alarm(self) -> Style {
        self.colored(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What is not as usual: paused, filtered.
    #[must_use]
    pub const fn notice(self) -> Style {
        self.colored(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// A cause, by the harm it usually does.
    #[must_use]
    pub const fn cause(self, cause: Cause) -> Style {
        match page_of(cause).harm {
            Harm::Benign => self.colored(Color::Green),
            Harm::Depends => Style::new(),
            Harm::Harmful => self.colored(Color::Red),
        }
    }
}
