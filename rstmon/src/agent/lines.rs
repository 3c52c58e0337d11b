//! An event's JSON line, rendered once for all that want it, and not at all if nobody does.
//!
//! Made by the capture thread for each event; asked by the event log and the clients.

use crate::event::capture::CaptureFacts;
use crate::event::model::Event;
use crate::sink::jsonl::EventLines;
use std::io;

/// Renders the lines, one after the other in the same memory.
#[derive(Debug, Default)]
pub struct Lines {
    lines: EventLines,
    line: Vec<u8>,
}

impl Lines {
    /// The line of an event, not yet rendered.
    pub fn of<'a>(&'a mut self, event: &'a Event, facts: &'a CaptureFacts) -> EventLine<'a> {
        self.line.clear();
        EventLine {
            event,
            facts,
            lines: self,
        }
    }
}

/// An event with its line.
#[derive(Debug)]
pub struct EventLine<'a> {
    /// The event.
    pub event: &'a Event,
    facts: &'a CaptureFacts,
    /// Holds the line as soon as somebody has asked for it.
    lines: &'a mut Lines,
}

impl EventLine<'_> {
    /// The line, newline included.
    pub fn bytes(&mut self) -> io::Result<&[u8]> {
        let Lines { lines, line } = &mut *self.lines;
        if line.is_empty() {
            lines.append(self.event, self.facts, line)?;
        }
        Ok(line)
    }
}
