//! Why a reset happened: an event in, a verdict with its evidence out.

pub mod key_facts;
