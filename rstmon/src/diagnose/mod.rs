//! Why a reset happened: an event in, a verdict with its evidence out.
//!
//! Called once an event, after `event::decode`, by the live capture and by the replay alike. Pure:
//! the only time is that of the events, the only memory the engine's bounded tables, so a
//! recording gives the same verdicts anywhere. Every event gets exactly one verdict; what no rule
//! explains is `undiagnosed`, never hidden.
//!
//! * [`engine`]: runs the rules and keeps what a later event of the same flow needs.
//! * [`rules`]: one file a cause or close family, and the table that orders them.
//! * [`signatures`]: what a RST says of its author.
//! * [`baseline`], [`forgery`]: the peer that the handshake showed, and what does not fit it.
//! * [`idle_timers`]: the known ones and those that resets give away.
//! * [`evidence`]: how a fact used is written.
//! * [`stories`]: the two ends of a reset within one machine.
//! * [`explain`]: what each cause means and what to do about it, for people.
//! * [`key_facts`]: the facts that a text line has room for.

mod baseline;
pub mod engine;
pub mod evidence;
pub mod explain;
mod flows;
mod forgery;
mod generations;
mod idle_timers;
pub mod key_facts;
mod proxies;
pub mod rules;
mod signatures;
pub mod stories;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use engine::Engine;
pub use key_facts::key_facts;
