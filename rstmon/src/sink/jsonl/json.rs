//! How the values of a line are written as JSON.
//!
//! Called by `sink::jsonl` for every field of every event, so what an event holds is written straight
//! into the line; what only the first and the last line hold goes through `serde_json`
//! ([`Structured`]). The output is the one of `serde_json` for the same value: a test holds them
//! together.

use super::recent::RecentSecond;
use crate::event::facts::Facts;
use crate::event::model::{
    Cause, Confidence, Exact, Family, Initiator, Kind, Role, SocketState, TcpFlags,
};
use crate::event::workload::Runtime;
use crate::pieces;
use serde::Serialize;
use serde_json::Value;
use std::io::{self, Write as _};
use std::net::IpAddr;

/// Room for nearly every line, bytes.
const USUAL_LINE: usize = 2048;

/// Bytes of the longest IPv6 address in text.
const LONGEST_IPV6: usize = 39;

/// What is left of the room that a line is written into.
///
/// Handed on by value: behind a reference it would be read and written back for each small write,
/// instead of staying in registers (docs/tuning.md). After something that does not fit no room is
/// left; so a line that fills its room to the last byte counts as one that does not fit.
#[must_use]
pub(super) struct Room<'a>(&'a mut [u8]);

impl Room<'_> {
    /// Lets `fill` fill the next `length` bytes, if there are so many.
    #[inline(always)]
    fn put_with(self, length: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        match self.0.split_at_mut_checked(length) {
            Some((head, tail)) => {
                fill(head);
                Self(tail)
            }
            None => Self(&mut []),
        }
    }

    /// Writes bytes, if they fit.
    #[inline(always)]
    pub(super) fn put(self, bytes: &[u8]) -> Self {
        self.put_with(bytes.len(), |head| head.copy_from_slice(bytes))
    }

    /// Writes a few bytes, as the digits of a number are.
    #[inline(always)]
    fn put_short(self, bytes: &[u8]) -> Self {
        self.put_with(bytes.len(), |head| pieces::copy(bytes, head))
    }

    /// Writes what is known to need no escaping, between quotation marks.
    #[inline(always)]
    fn put_quoted(self, text: &[u8]) -> Self {
        self.put_with(text.len() + 2, |head| {
            if let [opening, inner @ .., closing] = head {
                (*opening, *closing) = (b'"', b'"');
                inner.copy_from_slice(text);
            }
        })
    }
}

/// What `write` writes, in `room`, which is kept from line to line so that it need not be cleared for
/// each; again with more room if it did not fit.
pub(super) fn render(
    room: &mut Vec<u8>,
    write: impl for<'r> Fn(Room<'r>) -> Room<'r>,
) -> &mut [u8] {
    if room.len() < USUAL_LINE {
        room.resize(USUAL_LINE, 0);
    }
    loop {
        let size = room.len();
        let left = write(Room(room)).0.len();
        if left > 0 {
            return room.get_mut(..size - left).unwrap_or_default();
        }
        room.resize(2 * size, 0);
    }
}

/// A value that can stand in a line.
pub(super) trait JsonValue {
    /// Writes the value, and gives back what room is left.
    fn write<'r>(&self, out: Room<'r>) -> Room<'r>;
}

/// A value as `serde_json` has written it.
pub(super) struct Structured(String);

impl Structured {
    /// Of what can be serialized.
    pub(super) fn of<T: Serialize>(value: &T) -> serde_json::Result<Self> {
        serde_json::to_string(value).map(Self)
    }
}

impl JsonValue for Structured {
    fn write<'r>(&self, out: Room<'r>) -> Room<'r> {
        out.put(self.0.as_bytes())
    }
}

/// Most names need no escaping; they are copied.
impl JsonValue for &str {
    fn write<'r>(&self, out: Room<'r>) -> Room<'r> {
        if is_plain(self.as_bytes()) {
            out.put_quoted(self.as_bytes())
        } else {
            out.put(Value::from(*self).to_string().as_bytes())
        }
    }
}

/// Whether a string holds these bytes as they are (RFC 8259, 7). In pieces of a length that the
/// compiler knows, so that it compares a piece at once; the last piece may overlap the one before.
fn is_plain(bytes: &[u8]) -> bool {
    const LONG: usize = 16;
    const SHORT: usize = 8;
    if let Some(last) = bytes.last_chunk::<LONG>() {
        return bytes.as_chunks::<LONG>().0.iter().all(is_plain_piece) && is_plain_piece(last);
    }
    match (bytes.first_chunk::<SHORT>(), bytes.last_chunk::<SHORT>()) {
        (Some(first), Some(last)) => is_plain_piece(first) && is_plain_piece(last),
        _ => !bytes.iter().any(|byte| is_escaped(*byte)),
    }
}

/// Without a branch for each byte.
fn is_plain_piece<const LENGTH: usize>(piece: &[u8; LENGTH]) -> bool {
    !piece
        .iter()
        .fold(false, |found, byte| found | is_escaped(*byte))
}

const fn is_escaped(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

impl JsonValue for &Facts {
    fn write<'r>(&self, out: Room<'r>) -> Room<'r> {
        let mut out = out.put(b"[");
        for (number, fact) in self.iter().enumerate() {
            if number > 0 {
                out = out.put(b",");
            }
            out = fact.write(out);
        }
        out.put(b"]")
    }
}

/// Enums whose spellings are the program's own.
macro_rules! spelled {
    ($($name:ty),+) => { $(
        impl JsonValue for $name {
            fn write<'r>(&self, out: Room<'r>) -> Room<'r> {
                out.put_quoted(self.name().as_bytes())
            }
        }
    )+ };
}

spelled!(
    Kind,
    Cause,
    Initiator,
    Confidence,
    Family,
    SocketState,
    Role,
    Runtime
);

macro_rules! integers {
    ($($name:ty),+) => { $(
        impl JsonValue for $name {
            fn write<'r>(&self, out: Room<'r>) -> Room<'r> {
                out.put_short(itoa::Buffer::new().format(*self).as_bytes())
            }
        }
    )+ };
}

integers!(u8, u16, u32);

impl JsonValue for Exact {
    fn write<'r>(&self, out: Room<'r>) -> Room<'r> {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(self.0).as_bytes();
        if self.is_number() {
            out.put_short(digits)
        } else {
            out.put_quoted(digits)
        }
    }
}

impl JsonValue for bool {
    fn write<'r>(&self, out: Room<'r>) -> Room<'r> {
        out.put(if *self { b"true" } else { b"false" })
    }
}

impl JsonValue for TcpFlags {
    fn write<'r>(&self, out: Room<'r>) -> Room<'r> {
        self.letters()
            .fold(out.put(b"\""), |out, letter| out.put(&[letter as u8]))
            .put(b"\"")
    }
}

impl JsonValue for IpAddr {
    fn write<'r>(&self, out: Room<'r>) -> Room<'r> {
        match self {
            // Octet by octet, without the machinery of `Display`.
            Self::V4(address) => {
                let [first, rest @ ..] = address.octets();
                let out = first.write(out.put(b"\""));
                rest.iter()
                    .fold(out, |out, octet| octet.write(out.put(b".")))
                    .put(b"\"")
            }
            Self::V6(address) => {
                let mut text = [0; LONGEST_IPV6];
                let mut left = text.as_mut_slice();
                // It fits: eight groups of four digits are the longest that is written.
                let _ = write!(left, "{address}");
                let length = LONGEST_IPV6 - left.len();
                out.put_quoted(text.get(..length).unwrap_or_default())
            }
        }
    }
}

/// A time, printed as RFC 3339 in UTC with all nine digits.
pub(super) struct Time<'a> {
    /// Up to the second.
    second: &'a str,
    /// What is left, below a second.
    nanos: u32,
}

impl<'a> Time<'a> {
    /// Of nanoseconds since the epoch.
    pub(super) fn of(time_ns: i64, recent: &'a mut RecentSecond) -> io::Result<Self> {
        let (second, nanos) = recent.split(time_ns)?;
        Ok(Self { second, nanos })
    }
}

impl JsonValue for Time<'_> {
    fn write<'r>(&self, out: Room<'r>) -> Room<'r> {
        // The digit before the nine makes the zeros in front of a small number.
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(1_000_000_000 + self.nanos).as_bytes();
        out.put(b"\"")
            .put(self.second.as_bytes())
            .put(b".")
            .put(digits.get(1..).unwrap_or_default())
            .put(b"Z\"")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use crate::event::clock::rfc3339_ns;
    use proptest::prelude::*;

    fn written(value: &impl JsonValue) -> String {
        let mut room = Vec::new();
        String::from_utf8(render(&mut room, |room| value.write(room)).to_vec()).unwrap()
    }

    fn written_time(ns: i64) -> String {
        written(&Time::of(ns, &mut RecentSecond::new()).unwrap())
    }

    proptest! {
        #[test]
        fn values_are_written_as_serde_json_writes_them(
            text in ".{0,40}",
            number in any::<u64>(),
            v4 in any::<[u8; 4]>(),
            v6 in any::<[u8; 16]>(),
            flags in any::<u8>(),
        ) {
            prop_assert_eq!(written(&text.as_str()), serde_json::to_string(&text).unwrap());
            let facts: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
            prop_assert_eq!(
                written(&&facts.iter().collect::<Facts>()),
                serde_json::to_string(&facts).unwrap()
            );
            prop_assert_eq!(written(&Exact(number)), serde_json::to_string(&Exact(number)).unwrap());
            prop_assert_eq!(written(&(number as u32)), serde_json::to_string(&(number as u32)).unwrap());
            for address in [IpAddr::from(v4), IpAddr::from(v6)] {
                prop_assert_eq!(written(&address), serde_json::to_string(&address).unwrap());
            }
            let flags = TcpFlags(flags);
            prop_assert_eq!(written(&flags), serde_json::to_string(&flags).unwrap());
        }

        #[test]
        fn a_time_is_written_as_the_library_writes_it(ns in any::<i64>()) {
            prop_assert_eq!(written_time(ns), format!("\"{}\"", rfc3339_ns(ns)));
        }
    }

    #[test]
    fn the_ends_of_time_are_written_too() {
        for ns in [i64::MIN, -1, 0, 1, 999_999_999, i64::MAX] {
            assert_eq!(written_time(ns), format!("\"{}\"", rfc3339_ns(ns)));
        }
    }

    #[test]
    fn every_control_character_is_escaped() {
        for byte in 0..=0x7f_u8 {
            let text = format!("a{}b", char::from(byte));
            assert_eq!(
                written(&text.as_str()),
                serde_json::to_string(&text).unwrap()
            );
        }
    }

    #[test]
    fn what_needs_escaping_is_found_at_every_place() {
        for length in 0..40 {
            for place in 0..length {
                let mut text = "x".repeat(length);
                text.replace_range(place..=place, "\"");
                assert_eq!(
                    written(&text.as_str()),
                    serde_json::to_string(&text).unwrap()
                );
            }
            let plain = "x".repeat(length);
            assert_eq!(written(&plain.as_str()), format!("\"{plain}\""));
        }
    }

    #[test]
    fn what_needs_more_room_is_written_whole() {
        for length in [
            0,
            USUAL_LINE - 3,
            USUAL_LINE - 2,
            USUAL_LINE - 1,
            9 * USUAL_LINE,
        ] {
            for text in ["x".repeat(length), "\"".repeat(length)] {
                assert!(
                    written(&text.as_str()) == serde_json::to_string(&text).unwrap(),
                    "{length} bytes"
                );
            }
        }
    }

    #[test]
    fn numbers_of_every_length_are_written_whole() {
        for digits in 1..=16 {
            let number = 10_u64.pow(digits - 1) + 3;
            assert_eq!(written(&Exact(number)), number.to_string());
        }
    }
}
