//! The agent's metrics: declared once, counted from events, put on a page.
//!
//! [`families`] declares them (contract, section 4); [`tally`] is fed by the capture loop of the agent;
//! [`page`] makes the page of a scrape from a copy of the tally and the kernel's own counters. Pure:
//! what is read from the kernel, and the time, come in as values.
//!
//! Counters never go back. A reset enters `rstmon_resets_total` and `rstmon_kernel_resets_total`
//! together, when its event has been diagnosed or is known to be lost, so that the two sums are the
//! same at every scrape; what is still under way is `rstmon_events_in_flight`.

pub mod capped;
pub mod families;
pub mod hinted;
pub mod histogram;
pub mod known;
pub mod names;
pub mod page;
pub mod recent;
pub mod repeats;
pub mod tally;
pub mod workload_labels;
