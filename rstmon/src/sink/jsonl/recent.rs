//! What two lines that follow each other mostly have in common, kept from the one to the next.
//!
//! Owned by [`super::EventLines`]. A line is the same with and without: the tests of `sink::jsonl`
//! hold the two together.

use super::json::{self, Room};
use crate::event::capture::CaptureFacts;
use crate::event::model::{Event, Family, Kind, Verdict};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use jiff::tz::Offset;
use sha1::{Digest, Sha1};
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

    /// Community ID version 1 of the event's flow, equal at both ends; none where an end is not known.
    pub(super) fn community_id(&mut self, event: &Event) -> Option<&str> {
        let local = (event.known_local_addr()?, event.local_port);
        let peer = event.peer()?;
        let remote = (peer.ip(), peer.port());
        let is_known = self
            .ends
            .is_some_and(|ends| ends == (local, remote) || ends == (remote, local));
        if !is_known {
            self.ends = None;
            write_community_id(&mut self.community_id, local, remote)?;
            self.ends = Some((local, remote));
        }
        Some(&self.community_id)
    }
}

/// Writes the Community ID of a TCP connection in place of `text`; `None` if its ends are of two
/// families. By the specification, version 1: the lower end goes first. Not by a library that
/// allocates for each step of it (docs/tuning.md); a test holds the two together.
fn write_community_id(text: &mut String, local: End, remote: End) -> Option<()> {
    let (first, second) = if local <= remote {
        (local, remote)
    } else {
        (remote, local)
    };
    let mut hash = Sha1::new_with_prefix(COMMUNITY_SEED.to_be_bytes());
    match (first.0, second.0) {
        (IpAddr::V4(first), IpAddr::V4(second)) => {
            hash.update([first.octets(), second.octets()].as_flattened());
        }
        (IpAddr::V6(first), IpAddr::V6(second)) => {
            hash.update([first.octets(), second.octets()].as_flattened());
        }
        _ => return None,
    }
    hash.update([PROTOCOL_TCP, 0]);
    hash.update([first.1.to_be_bytes(), second.1.to_be_bytes()].as_flattened());
    text.clear();
    text.push_str("1:");
    BASE64_STANDARD.encode_string(hash.finalize(), text);
    Some(())
}

/// By kind, the verdict that was written last.
#[derive(Debug)]
pub(super) struct RecentVerdicts([Option<RecentVerdict>; Kind::ALL.len()]);

/// A verdict, with all that the recurring fields of its line were made of. What came once need not come
/// again: they are kept when it has come twice.
#[derive(Debug)]
struct RecentVerdict {
    boot_id: String,
    host: String,
    verdict: Verdict,
    family: Family,
    /// Begins with the recurring fields, as they were written.
    room: Vec<u8>,
    /// Their length; 0: they are not kept.
    length: usize,
}

impl RecentVerdicts {
    /// None yet.
    pub(super) const fn new() -> Self {
        Self([const { None }; Kind::ALL.len()])
    }

    /// The recurring fields of the event's line, which `write` writes; absent where they are not those
    /// of the last line of its kind.
    pub(super) fn recall(
        &mut self,
        event: &Event,
        facts: &CaptureFacts,
        write: impl for<'r> Fn(Room<'r>) -> Room<'r>,
    ) -> Option<&[u8]> {
        let recent = self.0.get_mut(event.kind as usize)?;
        if let Some(recent) = recent {
            recent.recall(event, facts, write)
        } else {
            *recent = Some(RecentVerdict::of(event, facts));
            None
        }
    }
}

impl RecentVerdict {
    fn of(event: &Event, facts: &CaptureFacts) -> Self {
        Self {
            boot_id: facts.boot_id.clone(),
            host: facts.host.clone(),
            verdict: event.verdict.clone(),
            family: event.family,
            room: Vec::new(),
            length: 0,
        }
    }

    fn is_of(&self, event: &Event, facts: &CaptureFacts) -> bool {
        self.verdict == event.verdict
            && self.family == event.family
            && self.boot_id == facts.boot_id
            && self.host == facts.host
    }

    /// In the memory that there is: many events are like no other.
    fn forget_for(&mut self, event: &Event, facts: &CaptureFacts) {
        self.boot_id.clone_from(&facts.boot_id);
        self.host.clone_from(&facts.host);
        let mut evidence = std::mem::take(&mut self.verdict.evidence);
        evidence.clone_from(&event.verdict.evidence);
        self.verdict = Verdict {
            evidence,
            ..event.verdict
        };
        self.family = event.family;
        self.length = 0;
    }

    /// See [`RecentVerdicts::recall`].
    fn recall(
        &mut self,
        event: &Event,
        facts: &CaptureFacts,
        write: impl for<'r> Fn(Room<'r>) -> Room<'r>,
    ) -> Option<&[u8]> {
        if !self.is_of(event, facts) {
            self.forget_for(event, facts);
            return None;
        }
        if self.length == 0 {
            self.length = json::render(&mut self.room, write).len();
        }
        self.room.get(..self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use community_id::calculate_community_id;
    use proptest::prelude::*;

    fn written(local: End, remote: End) -> Option<String> {
        let mut text = "what was there".to_owned();
        write_community_id(&mut text, local, remote)?;
        Some(text)
    }

    fn by_library(local: End, remote: End) -> Option<String> {
        let ports = (Some(local.1), Some(remote.1));
        let (seed, tcp) = (COMMUNITY_SEED, PROTOCOL_TCP);
        calculate_community_id(seed, local.0, remote.0, ports.0, ports.1, tcp, false).ok()
    }

    fn hold_together(local: End, remote: End) {
        assert_eq!(written(local, remote), by_library(local, remote));
        assert_eq!(written(local, remote), written(remote, local));
    }

    proptest! {
        #[test]
        fn a_community_id_is_written_as_the_library_writes_it(
            v4 in any::<[[u8; 4]; 2]>(),
            v6 in any::<[[u8; 16]; 2]>(),
            ports in any::<[u16; 2]>(),
        ) {
            hold_together((v4[0].into(), ports[0]), (v4[1].into(), ports[1]));
            hold_together((v6[0].into(), ports[0]), (v6[1].into(), ports[1]));
            // Over loopback the addresses are the same, and a socket may be connected to itself.
            hold_together((v4[0].into(), ports[0]), (v4[0].into(), ports[1]));
            hold_together((v6[0].into(), ports[0]), (v6[0].into(), ports[0]));
        }
    }

    #[test]
    fn ends_of_two_families_have_none() {
        assert_eq!(written(([1; 4].into(), 1), ([1; 16].into(), 1)), None);
    }
}
