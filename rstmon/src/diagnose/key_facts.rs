//! The two or three facts of an event that a text line has room for.

use crate::event::model::Event;

/// The facts that matter most for the event's cause, most telling first.
#[must_use]
pub fn key_facts(event: &Event) -> Vec<String> {
    event
        .connection
        .unread_bytes
        .map(|bytes| format!("{bytes} B unread"))
        .into_iter()
        .collect()
}
