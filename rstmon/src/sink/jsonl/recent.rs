//! What two lines that follow each other mostly have in common, kept from the one to the next.
//!
//! Owned by [`super::EventLines`]. A line is the same with and without: the tests of `sink::jsonl`
//! hold the two together.

use crate::event::model::Event;
use community_id::calculate_community_id;
use jiff::Timestamp;
use jiff::tz::Offset;
use std::io;
use std::net::IpAddr;

/// IP protocol number of TCP.
const PROTOCOL_TCP: u8 = 6;
/// Seed of the Community ID that other tools use unless told otherwise.
const COMMUNITY_SEED: u16 = 0;
/// Nanoseconds of a second.
const SECOND: i64 = 1_000_000_000;

/// The second of the last time that was written.
#[derive(Debug)]
pub(super) struct RecentSecond {
    /// Seconds since the epoch.
    number: i64,
    /// `2026-03-04T05:06:07`.
    text: String,
}

impl RecentSecond {
    /// None yet.
    pub(super) const fn new() -> Self {
        Self {
            number: i64::MIN,
            text: String::new(),
        }
    }

    /// The second that `time_ns`, nanoseconds since the epoch, lies in, and the nanoseconds that are
    /// left.
    pub(super) fn split(&mut self, time_ns: i64) -> io::Result<(&str, u32)> {
        let second = time_ns.div_euclid(SECOND);
        if second != self.number {
            self.text = render_second(second)?;
            self.number = second;
        }
        // The remainder is below a second.
        Ok((&self.text, time_ns.rem_euclid(SECOND) as u32))
    }
}

/// A second in UTC by RFC 3339, without the letter that ends it.
fn render_second(second: i64) -> io::Result<String> {
    // Every i64 of nanoseconds lies between the years 1677 and 2262, which jiff can hold.
    let time = Timestamp::from_second(second).map_err(io::Error::other)?;
    Ok(Offset::UTC
        .to_datetime(time)
        .strftime("%Y-%m-%dT%H:%M:%S")
        .to_string())
}

/// An end of a connection.
type End = (IpAddr, u16);

/// The connection that was last written, with its Community ID: over loopback and between
/// containers both ends of a reset are written, one after the other.
#[derive(Debug)]
pub(super) struct RecentConnection {
    ends: Option<(End, End)>,
    community_id: String,
}

impl RecentConnection {
    /// None yet.
    pub(super) const fn new() -> Self {
        Self {
            ends: None,
            community_id: String::new(),
        }
    }

    /// Community ID version 1 of the event's flow, equal at both ends.
    pub(super) fn community_id(&mut self, event: &Event) -> Option<&str> {
        let local = (event.local_addr, event.local_port);
        let remote = (event.remote_addr, event.remote_port);
        let is_known = self
            .ends
            .is_some_and(|ends| ends == (local, remote) || ends == (remote, local));
        if !is_known {
            self.ends = None;
            self.community_id = calculate_community_id(
                COMMUNITY_SEED,
                local.0,
                remote.0,
                Some(local.1),
                Some(remote.1),
                PROTOCOL_TCP,
                false,
            )
            .ok()?;
            self.ends = Some((local, remote));
        }
        Some(&self.community_id)
    }
}
