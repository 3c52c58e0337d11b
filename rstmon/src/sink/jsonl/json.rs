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
use jiff::Timestamp;
use jiff::tz::Offset;
use serde::Serialize;
use std::io::Write as _;
use std::net::IpAddr;

/// A value that can stand in a line.
pub(super) trait JsonValue {
    /// Appends the value. On an error `out` holds a part of it.
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()>;
}

/// A value that `serde_json` writes.
pub(super) struct Structured<T>(pub(super) T);

impl<T: Serialize> JsonValue for Structured<T> {
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(out, &self.0)
    }
}

/// Most names need no escaping, and to see that takes a fifth of the time of looking for what to
/// escape byte by byte.
impl JsonValue for &str {
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        if self.bytes().fold(true, |all, byte| all & is_plain(byte)) {
            write_quoted(self, out);
            Ok(())
        } else {
            serde_json::to_writer(out, self)
        }
    }
}

/// Whether a string holds this byte as it is (RFC 8259, 7).
const fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte != b'"' && byte != b'\\'
}

/// Writes what is known to need no escaping.
fn write_quoted(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

impl JsonValue for String {
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        self.as_str().write(out)
    }
}

impl JsonValue for &Facts {
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        out.push(b'[');
        for (number, fact) in self.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            fact.write(out)?;
        }
        out.push(b']');
        Ok(())
    }
}

/// Enums whose spellings are the program's own.
macro_rules! spelled {
    ($($name:ty),+) => { $(
        impl JsonValue for $name {
            fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
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
    Role
);

macro_rules! integers {
    ($($name:ty),+) => { $(
        impl JsonValue for $name {
            fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
                out.extend_from_slice(itoa::Buffer::new().format(*self).as_bytes());
                Ok(())
            }
        }
    )+ };
}

integers!(u8, u16, u32);

impl JsonValue for Exact {
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(self.0);
        if self.is_number() {
            out.extend_from_slice(digits.as_bytes());
        } else {
            write_quoted(digits, out);
        }
        Ok(())
    }
}

impl JsonValue for bool {
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
        Ok(())
    }
}

impl JsonValue for TcpFlags {
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        out.push(b'"');
        out.extend(self.letters().map(|letter| letter as u8));
        out.push(b'"');
        Ok(())
    }
}

impl JsonValue for IpAddr {
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let mut before = b'"';
        match self {
            // Octet by octet: `Display` takes four times as long.
            Self::V4(address) => {
                for octet in address.octets() {
                    out.push(before);
                    octet.write(out)?;
                    before = b'.';
                }
            }
            Self::V6(address) => {
                out.push(before);
                write!(out, "{address}").map_err(serde_json::Error::io)?;
            }
        }
        out.push(b'"');
        Ok(())
    }
}

/// Nanoseconds since the epoch, printed as RFC 3339 in UTC with all nine digits.
pub(super) struct Time(pub(super) i64);

impl JsonValue for Time {
    /// The library finds the date; its printer, made for every form there is, takes five times as
    /// long as the digits here.
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
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
            out.push(before);
            write_padded(number.into(), width, out);
        }
        out.push(b'.');
        write_padded(time.subsec_nanosecond().unsigned_abs(), 9, out);
        out.extend_from_slice(b"Z\"");
        Ok(())
    }
}

/// Writes a number with zeros before it up to `width` digits.
fn write_padded(number: u32, width: usize, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number);
    out.extend(std::iter::repeat_n(
        b'0',
        width.saturating_sub(digits.len()),
    ));
    out.extend_from_slice(digits.as_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use crate::event::clock::rfc3339_ns;
    use proptest::prelude::*;

    fn written(value: &impl JsonValue) -> String {
        let mut out = Vec::new();
        value.write(&mut out).unwrap();
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
}
