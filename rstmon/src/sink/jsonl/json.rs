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
use serde::Serialize;
use std::io::{self, Write as _};
use std::net::IpAddr;

/// Room for nearly every line, bytes.
const USUAL_LINE: usize = 2048;

/// Room that a line is written into. A `Vec` that may grow at any of some hundred and fifty small
/// writes took about 120 ns more for the line of an event.
pub(super) struct Room<'a> {
    left: &'a mut [u8],
    /// Something did not fit; what follows is not written either.
    is_short: bool,
}

impl Room<'_> {
    /// Writes bytes, if they fit.
    #[inline(always)]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        match std::mem::take(&mut self.left).split_at_mut_checked(bytes.len()) {
            Some((head, tail)) if !self.is_short => {
                head.copy_from_slice(bytes);
                self.left = tail;
            }
            _ => self.is_short = true,
        }
    }
}

impl io::Write for Room<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends what `write` writes into `room`, which is kept from line to line so that it need not be
/// cleared for each; again with more room if it did not fit. On an error `out` is left as it was.
pub(super) fn append(
    out: &mut Vec<u8>,
    room: &mut Vec<u8>,
    write: impl Fn(&mut Room<'_>) -> serde_json::Result<()>,
) -> serde_json::Result<()> {
    if room.len() < USUAL_LINE {
        room.resize(USUAL_LINE, 0);
    }
    loop {
        let size = room.len();
        let mut line = Room {
            left: room,
            is_short: false,
        };
        write(&mut line)?;
        let (left, is_short) = (line.left.len(), line.is_short);
        if is_short {
            room.resize(2 * size, 0);
            continue;
        }
        out.extend_from_slice(room.get(..size - left).unwrap_or_default());
        return Ok(());
    }
}

/// A value that can stand in a line.
pub(super) trait JsonValue {
    /// Appends the value. On an error `out` holds a part of it.
    fn write(&self, out: &mut Room<'_>) -> serde_json::Result<()>;
}

/// A value that `serde_json` writes.
pub(super) struct Structured<T>(pub(super) T);

impl<T: Serialize> JsonValue for Structured<T> {
    fn write(&self, out: &mut Room<'_>) -> serde_json::Result<()> {
        serde_json::to_writer(out, &self.0)
    }
}

/// Most names need no escaping; they are copied.
impl JsonValue for &str {
    fn write(&self, out: &mut Room<'_>) -> serde_json::Result<()> {
        if is_plain(self.as_bytes()) {
            write_quoted(self, out);
            Ok(())
        } else {
            serde_json::to_writer(out, self)
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
    piece.iter().filter(|byte| is_escaped(**byte)).count() == 0
}

const fn is_escaped(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

/// Writes what is known to need no escaping.
fn write_quoted(text: &str, out: &mut Room<'_>) {
    out.put(b"\"");
    out.put(text.as_bytes());
    out.put(b"\"");
}

impl JsonValue for &Facts {
    fn write(&self, out: &mut Room<'_>) -> serde_json::Result<()> {
        out.put(b"[");
        for (number, fact) in self.iter().enumerate() {
            if number > 0 {
                out.put(b",");
            }
            fact.write(out)?;
        }
        out.put(b"]");
        Ok(())
    }
}

/// Enums whose spellings are the program's own.
macro_rules! spelled {
    ($($name:ty),+) => { $(
        impl JsonValue for $name {
            fn write(&self, out: &mut Room<'_>) -> serde_json::Result<()> {
                write_quoted(self.name(), out);
                Ok(())
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
            fn write(&self, out: &mut Room<'_>) -> serde_json::Result<()> {
                out.put(itoa::Buffer::new().format(*self).as_bytes());
                Ok(())
            }
        }
    )+ };
}

integers!(u8, u16, u32);

impl JsonValue for Exact {
    fn write(&self, out: &mut Room<'_>) -> serde_json::Result<()> {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(self.0);
        if self.is_number() {
            out.put(digits.as_bytes());
        } else {
            write_quoted(digits, out);
        }
        Ok(())
    }
}

impl JsonValue for bool {
    fn write(&self, out: &mut Room<'_>) -> serde_json::Result<()> {
        out.put(if *self { b"true" } else { b"false" });
        Ok(())
    }
}

impl JsonValue for TcpFlags {
    fn write(&self, out: &mut Room<'_>) -> serde_json::Result<()> {
        out.put(b"\"");
        for letter in self.letters() {
            out.put(&[letter as u8]);
        }
        out.put(b"\"");
        Ok(())
    }
}

impl JsonValue for IpAddr {
    fn write(&self, out: &mut Room<'_>) -> serde_json::Result<()> {
        let mut before = b'"';
        match self {
            // Octet by octet, without the machinery of `Display`.
            Self::V4(address) => {
                for octet in address.octets() {
                    out.put(&[before]);
                    octet.write(out)?;
                    before = b'.';
                }
            }
            Self::V6(address) => {
                out.put(&[before]);
                write!(out, "{address}").map_err(serde_json::Error::io)?;
            }
        }
        out.put(b"\"");
        Ok(())
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
    fn write(&self, out: &mut Room<'_>) -> serde_json::Result<()> {
        out.put(b"\"");
        out.put(self.second.as_bytes());
        // The digit before the nine makes the zeros in front of a small number.
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(1_000_000_000 + self.nanos).as_bytes();
        out.put(b".");
        out.put(digits.get(1..).unwrap_or_default());
        out.put(b"Z\"");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use crate::event::clock::rfc3339_ns;
    use proptest::prelude::*;

    fn written(value: &impl JsonValue) -> String {
        let mut out = Vec::new();
        append(&mut out, &mut Vec::new(), |room| value.write(room)).unwrap();
        String::from_utf8(out).unwrap()
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
    fn what_needs_more_room_is_written_whole_behind_what_was_there() {
        for length in [
            0,
            USUAL_LINE - 3,
            USUAL_LINE - 2,
            USUAL_LINE - 1,
            9 * USUAL_LINE,
        ] {
            for text in ["x".repeat(length), "\"".repeat(length)] {
                let mut out = b"before ".to_vec();
                append(&mut out, &mut Vec::new(), |room| text.as_str().write(room)).unwrap();
                let expected = format!("before {}", serde_json::to_string(&text).unwrap());
                assert!(out == expected.as_bytes(), "{length} bytes");
            }
        }
    }

    #[test]
    fn an_error_leaves_the_lines_before_it() {
        let mut out = b"before ".to_vec();
        let failed = append(&mut out, &mut Vec::new(), |room| {
            room.put(b"torn");
            Err(serde_json::Error::io(io::Error::other("no more")))
        });
        assert!(failed.is_err());
        assert_eq!(out, b"before ");
    }
}
