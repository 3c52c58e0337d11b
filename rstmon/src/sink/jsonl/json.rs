//! How the values of a line are written as JSON.
//!
//! Called by `sink::jsonl` for every field of every event, so what an event holds is written straight
//! into the line; what only the first and the last line hold goes through `serde_json`
//! ([`Structured`]). The output is the one of `serde_json` for the same value: a test holds them
//! together.

use crate::event::facts::Facts;
use crate::event::model::{
    Cause, Confidence, Exact, Family, Initiator, Kind, Role, SocketState, TcpFlags,
};
use crate::event::workload::Runtime;
use jiff::Timestamp;
use jiff::tz::Offset;
use serde::Serialize;
use std::io::Write as _;
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

impl std::io::Write for Room<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Appends what `write` writes, again with more room if it did not fit. On an error `out` is left as
/// it was.
pub(super) fn append(
    out: &mut Vec<u8>,
    write: impl Fn(&mut Room<'_>) -> serde_json::Result<()>,
) -> serde_json::Result<()> {
    let start = out.len();
    let mut size = USUAL_LINE;
    loop {
        out.resize(start + size, 0);
        let mut room = Room {
            left: out.get_mut(start..).unwrap_or_default(),
            is_short: false,
        };
        let written = write(&mut room);
        let (left, is_short) = (room.left.len(), room.is_short);
        if written.is_ok() && is_short {
            size *= 2;
            continue;
        }
        out.truncate(start + if written.is_ok() { size - left } else { 0 });
        return written;
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
/// compiler knows, so that it compares a piece at once.
fn is_plain(bytes: &[u8]) -> bool {
    let escaped = |byte: &&u8| **byte < b' ' || **byte == b'"' || **byte == b'\\';
    let (pieces, rest) = bytes.as_chunks::<16>();
    let plain = pieces
        .iter()
        .all(|piece| piece.iter().filter(escaped).count() == 0);
    plain && !rest.iter().any(|byte| escaped(&byte))
}

/// Writes what is known to need no escaping.
fn write_quoted(text: &str, out: &mut Room<'_>) {
    out.put(b"\"");
    out.put(text.as_bytes());
    out.put(b"\"");
}

impl JsonValue for String {
    fn write(&self, out: &mut Room<'_>) -> serde_json::Result<()> {
        self.as_str().write(out)
    }
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

/// Nanoseconds since the epoch, printed as RFC 3339 in UTC with all nine digits.
pub(super) struct Time(pub(super) i64);

impl JsonValue for Time {
    /// The library finds the date; its printer is made for every form there is, this for one.
    fn write(&self, out: &mut Room<'_>) -> serde_json::Result<()> {
        // Every i64 of nanoseconds lies between the years 1677 and 2262, which jiff can hold.
        let time = Timestamp::from_nanosecond(i128::from(self.0))
            .map_err(|error| serde_json::Error::io(std::io::Error::other(error)))?;
        let time = Offset::UTC.to_datetime(time);
        let parts = [
            (b'"', time.year().unsigned_abs(), 4),
            (b'-', time.month().unsigned_abs().into(), 2),
            (b'-', time.day().unsigned_abs().into(), 2),
            (b'T', time.hour().unsigned_abs().into(), 2),
            (b':', time.minute().unsigned_abs().into(), 2),
            (b':', time.second().unsigned_abs().into(), 2),
        ];
        for (before, number, width) in parts {
            out.put(&[before]);
            write_padded(number.into(), width, out);
        }
        out.put(b".");
        write_padded(time.subsec_nanosecond().unsigned_abs(), 9, out);
        out.put(b"Z\"");
        Ok(())
    }
}

/// Writes a number with zeros before it up to `width` digits.
fn write_padded(number: u32, width: usize, out: &mut Room<'_>) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number);
    for _ in digits.len()..width {
        out.put(b"0");
    }
    out.put(digits.as_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use crate::event::clock::rfc3339_ns;
    use proptest::prelude::*;

    fn written(value: &impl JsonValue) -> String {
        let mut out = Vec::new();
        append(&mut out, |room| value.write(room)).unwrap();
        String::from_utf8(out).unwrap()
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
            prop_assert_eq!(written(&Time(ns)), format!("\"{}\"", rfc3339_ns(ns)));
        }
    }

    #[test]
    fn the_ends_of_time_are_written_too() {
        for ns in [i64::MIN, -1, 0, 1, 999_999_999, i64::MAX] {
            assert_eq!(written(&Time(ns)), format!("\"{}\"", rfc3339_ns(ns)));
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
                append(&mut out, |room| text.as_str().write(room)).unwrap();
                let expected = format!("before {}", serde_json::to_string(&text).unwrap());
                assert!(out == expected.as_bytes(), "{length} bytes");
            }
        }
    }

    #[test]
    fn an_error_leaves_the_lines_before_it() {
        let mut out = b"before ".to_vec();
        let failed = append(&mut out, |room| {
            room.put(b"torn");
            Err(serde_json::Error::io(std::io::Error::other("no more")))
        });
        assert!(failed.is_err());
        assert_eq!(out, b"before ");
    }
}
