//! What a RST says of its author: a vendor's text, a window code, a diagnostic payload.
//!
//! Called by the rules and by `evidence`. Every parser takes bytes that anybody may have chosen and
//! answers with a meaning or nothing; text leaves here through `event::printable` only.
//!
//! * [`big_ip`]: the reset cause that F5 BIG-IP puts into the segment.
//! * [`netscaler`]: the codes that NetScaler puts into the window field.
//! * [`diagnostic_payload`]: the payload that the IETF is about to specify, in both of its forms.

pub(super) mod big_ip;
pub(super) mod diagnostic_payload;
pub(super) mod netscaler;

use crate::event::printable::printable;
use big_ip::BigIpCause;
use diagnostic_payload::DiagnosticPayload;
use std::fmt;

/// Shorter printable payloads are as likely chance as text.
const MIN_TEXT: usize = 4;

/// What the payload of a RST means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PayloadMeaning {
    /// F5 BIG-IP names itself and the cause.
    BigIp(BigIpCause),
    /// A reason in the IETF's format; its author is whoever reset, the peer or a box on the way.
    Diagnostic(DiagnosticPayload),
    /// Text as RFC 1122, 4.2.2.12 suggests. It names no author by itself.
    Text(String),
}

impl PayloadMeaning {
    /// The meaning of a RST's payload, the more specific reading first; `None` for other bytes.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        big_ip::parse_big_ip(payload)
            .map(Self::BigIp)
            .or_else(|| diagnostic_payload::parse_diagnostic(payload).map(Self::Diagnostic))
            .or_else(|| parse_text(payload).map(Self::Text))
    }
}

impl fmt::Display for PayloadMeaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BigIp(cause) => write!(f, "{cause}"),
            Self::Diagnostic(diagnostic) => write!(f, "{diagnostic}"),
            Self::Text(text) => write!(f, "text \"{text}\""),
        }
    }
}

/// ASCII text, as the RFC asks for, with the padding that it may end in.
fn parse_text(payload: &[u8]) -> Option<String> {
    let text = trim_padding(payload);
    let is_text = text
        .iter()
        .all(|byte| matches!(byte, b' '..=b'~' | b'\r' | b'\n' | b'\t'));
    (text.len() >= MIN_TEXT && is_text).then(|| printable(text).into_owned())
}

/// Without the blanks, line ends and NULs around the text.
fn trim_padding(bytes: &[u8]) -> &[u8] {
    let is_padding = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace();
    let start = bytes.iter().position(|byte| !is_padding(byte));
    let end = bytes.iter().rposition(|byte| !is_padding(byte));
    start
        .zip(end)
        .and_then(|(start, end)| bytes.get(start..=end))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_shown_and_nothing_else() {
        let shown = |bytes: &[u8]| PayloadMeaning::parse(bytes).map(|it| it.to_string());
        assert_eq!(
            shown(b"Go away, we're not home\0\0").unwrap(),
            "text \"Go away, we're not home\""
        );
        assert_eq!(shown(b"a\r\nline").unwrap(), "text \"a\\x0d\\x0aline\"");
        for other in [
            &b"abc"[..],
            b"\x1b[2Jgone",
            b"\xff\xfe\xfd\xfc",
            b"",
            b"\0\0\0\0\0",
        ] {
            assert_eq!(shown(other), None, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn any_payload_is_one_safe_line(bytes in prop::collection::vec(any::<u8>(), 0..104)) {
            for prefix in [&b""[..], b"BIG-IP: [0x1:2] ", b"\x19\x30\x39\xa1\x03", b"\x33\xaa"] {
                let payload = [prefix, &bytes].concat();
                if let Some(meaning) = PayloadMeaning::parse(&payload) {
                    let shown = meaning.to_string();
                    prop_assert!(!shown.chars().any(char::is_control), "{shown:?}");
                }
            }
        }
    }
}
