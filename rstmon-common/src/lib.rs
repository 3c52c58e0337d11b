//! What the eBPF programs and user space agree on.
//!
//! The eBPF crate writes these types, `rstmon` reads them. Everything here is a plain integer or an
//! array of them: no enum, `bool`, reference or padding ever crosses the boundary, so that any bytes
//! at all are a valid value and a decoder is the only judge of what they mean.
//!
//! * [`wire`]: the record that the ring buffer carries, and [`wire::ABI`], its number.
//! * [`layout`]: where the running kernel keeps each field, one row a field.
//! * [`classic`]: where the classic tracepoints' records keep theirs, for kernels without BTF.
//! * [`config`]: what the loader tells the programs before they are frozen.
//! * [`counts`]: how the exact per-CPU counters are indexed, and the stages that can lose an event.
//! * [`maps`]: keys and values of the maps that remember sockets, listeners and closed connections.

#![no_std]

pub mod classic;
pub mod config;
pub mod counts;
pub mod layout;
pub mod maps;
pub mod wire;
