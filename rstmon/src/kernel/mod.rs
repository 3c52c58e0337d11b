//! What the running kernel is and what it can do for rstmon: facts, never aya.
//!
//! Read once at start by the commands. Everything that decides is pure and takes the facts as
//! values; only `facts` and `tracefs` do I/O.

pub mod btf;
pub mod capabilities;
pub mod degradation;
pub mod facts;
pub mod hook;
pub mod layout;
pub mod mode;
pub mod port_range;
pub mod probe_plan;
pub mod reasons;
pub mod symbols;
pub mod tracefs;
pub mod windows;
