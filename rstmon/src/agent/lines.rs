//! An event's JSON line, rendered once for all that want it, and not at all if nobody does.
//!
//! Made by the capture thread for each event; asked by the event log and the clients.

use crate::event::capture::CaptureFacts;
use crate::event::model::Event;
use crate::sink::jsonl::EventLines;
use std::io;

/// Renders the lines, one after the other in the same memory.
#[derive(Debug, Default)]
pub struct Lines(EventLines);

impl Lines {
    /// The line of an event, not yet rendered.
    pub const fn of<'a>(&'a mut self, event: &'a Event, facts: &'a CaptureFacts) -> EventLine<'a> {
        EventLine {
            event,
            facts,
            lines: &mut self.0,
            is_rendered: false,
        }
    }
}

/// An event with its line.
#[derive(Debug)]
pub struct EventLine<'a> {
    /// The event.
    pub event: &'a Event,
    facts: &'a CaptureFacts,
    lines: &'a mut EventLines,
    is_rendered: bool,
}

impl EventLine<'_> {
    /// The line, newline included.
    pub fn bytes(&mut self) -> io::Result<&[u8]> {
        if !self.is_rendered {
            self.lines.render(self.event, self.facts)?;
            self.is_rendered = true;
        }
        Ok(self.lines.last())
    }
}
