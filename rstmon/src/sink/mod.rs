//! Where events go: lines for people, lines for machines, recordings.
//!
//! Called by the commands with finished events. Rendering is pure: it gets time zone, width and
//! colour as values. What asks the terminal, or reads or writes a file, says so.

pub mod jsonl;
pub mod recording;
pub mod terminal;
pub mod text;
pub mod totals;

#[cfg(test)]
pub(crate) mod samples;
