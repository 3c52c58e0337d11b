//! Where events go: lines for people, lines for machines, recordings.
//!
//! Called by the commands with finished events. Rendering is pure; what touches the terminal or a
//! file says so in its name.

#[cfg(test)]
pub(crate) mod samples;
