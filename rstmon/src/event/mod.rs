//! From the bytes of the ring to the event that people and machines read.
//!
//! [`model`] is the event (contract: schema `rstmon.event/1`), [`decode`] makes it from a
//! `RawEvent`. Pure: no I/O, no clock; time and the facts of the kernel come in as values, so a
//! recording made on another host replays through the same code.

pub mod annotation;
pub mod capture;
pub mod cells;
pub mod clock;
pub mod decode;
pub mod facts;
pub mod json_line;
pub mod model;
pub mod printable;
pub mod tentative;
pub mod vocabulary;
pub mod workload;
