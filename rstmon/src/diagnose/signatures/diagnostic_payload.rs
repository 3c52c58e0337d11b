//! The RST diagnostic payload of the IETF's drafts: why a connection was reset, told by whoever did.
//!
//! Two forms are about. draft-ietf-tcpm-rst-diagnostic-payload fixes eight bytes: a magic number, a
//! reason and an enterprise number. The individual draft before it, draft-boucadair-tcpm-rst-
//! diagnostic-payload, has a CBOR sequence (RFC 8742) of a magic number and a map. As they demand, a
//! malformed payload is taken for none.

use crate::event::printable::printable;
use minicbor::Decoder;
use std::fmt;

/// First two bytes of the eight-byte form.
const MAGIC: u16 = 0x33aa;

/// First item of the CBOR form, to be replaced by the number of an RFC that never came.
const CBOR_MAGIC: u64 = 12_345;

/// Keys of the CBOR map.
mod key {
    pub(super) const REASON_CODE: u64 = 1;
    pub(super) const PRIVATE_ENTERPRISE_NUMBER: u64 = 2;
    pub(super) const REASON_DESCRIPTION: u64 = 3;
}

/// More pairs than there are keys to give.
const MAX_PAIRS: u64 = 16;

/// The reasons of the registry "TCP Failure Causes", from 1 up, in the words of the protocol.
const REASONS: [&str; 17] = [
    "illegal option",
    "desynchronized state",
    "data after close",
    "abort",
    "unexpected ACK before the connection was synchronized",
    "unexpected SYN in the window",
    "unexpected security compartment",
    "malformed message",
    "not authorized",
    "resource exceeded",
    "network failure",
    "reset received from the peer",
    "destination unreachable",
    "connection timeout",
    "too much outstanding data",
    "unacceptable performance",
    "middlebox interference",
];

/// A well-formed payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::diagnose) struct DiagnosticPayload {
    /// Number of the reason, in the registry or in that of `enterprise`.
    code: Option<u64>,
    /// Whose registry; `None`: the IETF's.
    enterprise: Option<u64>,
    /// In words, safe to show.
    description: Option<String>,
}

impl DiagnosticPayload {
    /// The reason in words where it is of the registry.
    fn reason(&self) -> Option<&'static str> {
        let code = self.code.filter(|_| self.enterprise.is_none())?;
        let index = usize::try_from(code.checked_sub(1)?).ok()?;
        REASONS.get(index).copied()
    }

    /// Whether it is one of the reasons that boxes on the way give (8 to 14 of the registry), or
    /// that tells of one.
    pub(in crate::diagnose) const fn names_middlebox(&self) -> bool {
        self.enterprise.is_none() && matches!(self.code, Some(8..=14 | 17))
    }
}

impl fmt::Display for DiagnosticPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("diagnostic")?;
        if let Some(code) = self.code {
            write!(f, " code {code}")?;
        }
        if let Some(enterprise) = self.enterprise {
            write!(f, " of enterprise {enterprise}")?;
        }
        if let Some(words) = self.description.as_deref().or_else(|| self.reason()) {
            write!(f, " \"{words}\"")?;
        }
        Ok(())
    }
}

/// Reads the payload of a RST, in either form.
pub(super) fn parse_diagnostic(payload: &[u8]) -> Option<DiagnosticPayload> {
    parse_fixed(payload).or_else(|| parse_cbor(payload))
}

fn parse_fixed(payload: &[u8]) -> Option<DiagnosticPayload> {
    let &[m0, m1, c0, c1, e0, e1, e2, e3] = payload else {
        return None;
    };
    let code = u16::from_be_bytes([c0, c1]);
    let enterprise = u32::from_be_bytes([e0, e1, e2, e3]);
    (u16::from_be_bytes([m0, m1]) == MAGIC && code != 0).then(|| DiagnosticPayload {
        code: Some(code.into()),
        enterprise: Some(u64::from(enterprise)).filter(|&number| number != 0),
        description: None,
    })
}

/// The map may also come without a length. A text that the capture cut is no well-formed payload.
fn parse_cbor(payload: &[u8]) -> Option<DiagnosticPayload> {
    let mut decoder = Decoder::new(payload);
    if decoder.u64().ok()? != CBOR_MAGIC {
        return None;
    }
    let mut found = DiagnosticPayload {
        code: None,
        enterprise: None,
        description: None,
    };
    let pairs = decoder.map().ok()?;
    for _ in 0..pairs.unwrap_or(MAX_PAIRS).min(MAX_PAIRS) {
        if pairs.is_none() && decoder.datatype().ok()? == minicbor::data::Type::Break {
            break;
        }
        match decoder.u64().ok()? {
            key::REASON_CODE => found.code = Some(decoder.u64().ok()?),
            key::PRIVATE_ENTERPRISE_NUMBER => found.enterprise = Some(decoder.u64().ok()?),
            key::REASON_DESCRIPTION => {
                found.description = Some(printable(decoder.str().ok()?.as_bytes()).into_owned());
            }
            _ => decoder.skip().ok()?,
        }
    }
    found.enterprise = found.enterprise.filter(|&number| number != 0);
    (found.code.is_some_and(|code| code != 0) || found.description.is_some()).then_some(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;

    fn shown(payload: &[u8]) -> Option<String> {
        parse_diagnostic(payload).map(|it| it.to_string())
    }

    #[test]
    fn eight_bytes() {
        let timeout = b"\x33\xaa\0\x0e\0\0\0\0";
        assert_eq!(
            shown(timeout).unwrap(),
            "diagnostic code 14 \"connection timeout\""
        );
        assert!(parse_diagnostic(timeout).unwrap().names_middlebox());
        assert_eq!(
            shown(b"\x33\xaa\x04\xd2\0\0\x7e\xd9").unwrap(),
            "diagnostic code 1234 of enterprise 32473"
        );
        let abort = parse_diagnostic(b"\x33\xaa\0\x04\0\0\0\0").unwrap();
        assert!(!abort.names_middlebox());
        for malformed in [
            &b"\x33\xaa\0\0\0\0\0\0"[..],
            b"\x33\xaa\0\x0e\0\0\0",
            b"\x33\xaa\0\x0e\0\0\0\0\0",
            b"\x33\xab\0\x0e\0\0\0\0",
        ] {
            assert_eq!(shown(malformed), None, "{malformed:?}");
        }
    }

    #[test]
    fn cbor() {
        assert_eq!(
            shown(b"\x19\x30\x39\xa1\x01\x02").unwrap(),
            "diagnostic code 2 \"desynchronized state\""
        );
        assert_eq!(
            shown(b"\x19\x30\x39\xa2\x01\x19\x04\xd2\x02\x19\x7e\xd9").unwrap(),
            "diagnostic code 1234 of enterprise 32473"
        );
        assert_eq!(
            shown(b"\x19\x30\x39\xa1\x03\x68over\nout").unwrap(),
            "diagnostic \"over\\x0aout\""
        );
        // A map of no stated length, with a key that is not known.
        assert_eq!(
            shown(b"\x19\x30\x39\xbf\x04\x61x\x01\x09\xff").unwrap(),
            "diagnostic code 9 \"not authorized\""
        );
    }

    #[test]
    fn broken_cbor_is_none() {
        let whole = b"\x19\x30\x39\xa2\x01\x19\x04\xd2\x03\x63why";
        assert!(shown(whole).is_some());
        for length in 0..whole.len() {
            assert_eq!(shown(&whole[..length]), None, "{length}");
        }
        for malformed in [
            &b"\x19\x30\x38\xa1\x01\x02"[..],
            b"\x19\x30\x39\xa0",
            b"\x19\x30\x39\xa1\x01\x61x",
            b"\x19\x30\x39\xa1\x03\x62\xff\xff",
            b"\x19\x30\x39\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x19\x30\x39\xa1\x01\x00",
        ] {
            assert_eq!(shown(malformed), None, "{malformed:?}");
        }
    }
}
