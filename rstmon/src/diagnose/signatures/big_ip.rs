//! The reset cause of F5 BIG-IP: `BIG-IP: [0x2409a71:704] {peer} No flow found for ACK`.
//!
//! Sent where the device's `tm.rstcause.pkt` is on, as the payload of its RSTs. The numbers are a
//! place in its software; `{peer}` says that the other of its two connections was reset first.

use super::trim_padding;
use crate::event::printable::printable;
use std::fmt;

/// What a BIG-IP says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::diagnose) struct BigIpCause {
    /// Its cause, safe to show; cut where the capture cut the payload.
    pub(in crate::diagnose) cause: String,
    /// The reset began at the other of its two connections.
    pub(in crate::diagnose) from_other_side: bool,
    /// Place in its software, as `0x2409a71:704`.
    place: String,
}

impl fmt::Display for BigIpCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cause, place, .. } = self;
        let side = if self.from_other_side {
            ", from its other side"
        } else {
            ""
        };
        write!(f, "F5 BIG-IP \"{cause}\" at {place}{side}")
    }
}

/// Reads the payload of a RST; `None` if it is not such a text.
pub(super) fn parse_big_ip(payload: &[u8]) -> Option<BigIpCause> {
    let rest = payload.strip_prefix(b"BIG-IP: [")?;
    let bracket = rest.iter().position(|&byte| byte == b']')?;
    let place = rest.get(..bracket).filter(|place| is_place(place))?;
    let said = trim_padding(rest.get(bracket + 1..)?);
    let (from_other_side, cause) = match said.strip_prefix(b"{peer}") {
        Some(cause) => (true, trim_padding(cause)),
        None => (false, said),
    };
    (!cause.is_empty()).then(|| BigIpCause {
        cause: printable(cause).into_owned(),
        from_other_side,
        place: printable(place).into_owned(),
    })
}

/// `0x`, hexadecimal digits, a colon, decimal digits.
fn is_place(place: &[u8]) -> bool {
    let Some(numbers) = place.strip_prefix(b"0x") else {
        return false;
    };
    let Some(colon) = numbers.iter().position(|&byte| byte == b':') else {
        return false;
    };
    let (module, line) = numbers.split_at(colon);
    let line = line.get(1..).unwrap_or_default();
    !module.is_empty()
        && module.iter().all(u8::is_ascii_hexdigit)
        && !line.is_empty()
        && line.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;

    #[test]
    fn causes_are_read() {
        let plain = parse_big_ip(b"BIG-IP: [0x2664c65:2574] No flow found for ACK").unwrap();
        assert_eq!(plain.cause, "No flow found for ACK");
        assert!(!plain.from_other_side);
        assert_eq!(
            plain.to_string(),
            "F5 BIG-IP \"No flow found for ACK\" at 0x2664c65:2574"
        );
        let other =
            parse_big_ip(b"BIG-IP: [0x31ae141:4666] {peer} TCP RST from remote system").unwrap();
        assert_eq!(other.cause, "TCP RST from remote system");
        assert!(other.from_other_side);
        let cut = parse_big_ip(b"BIG-IP: [0x34315a9:136] Port denied lis=/Common/vs po").unwrap();
        assert_eq!(cut.cause, "Port denied lis=/Common/vs po");
    }

    #[test]
    fn what_only_resembles_one_is_none() {
        for other in [
            &b"BIG-IP: "[..],
            b"BIG-IP: [0x2664c65:2574",
            b"BIG-IP: [0x2664c65:2574]",
            b"BIG-IP: [0x2664c65:2574] \0\0",
            b"BIG-IP: [2664c65:2574] cause",
            b"BIG-IP: [0x:1] cause",
            b"BIG-IP: [0xg:1] cause",
            b"BIG-IP: [0x1:] cause",
            b"big-ip: [0x1:1] cause",
        ] {
            assert_eq!(parse_big_ip(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_hostile_cause_is_escaped() {
        let hostile = parse_big_ip(b"BIG-IP: [0x1:1] \x1b[31mred\xff\x0anext").unwrap();
        assert_eq!(hostile.cause, "\\x1b[31mred\\xff\\x0anext");
    }
}
