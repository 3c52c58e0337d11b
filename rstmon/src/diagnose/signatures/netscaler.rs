//! The codes that Citrix NetScaler puts into the window field of the RSTs it sends.
//!
//! The vendor lists them in its article CTX200852. The field of any live peer may hold such a number
//! by chance, so a code means something only beside another sign; the rule sees to that. Codes not
//! listed here mean nothing.

/// Lowest and highest code with its meaning, in ascending order.
const CODES: &[(u16, u16, &str)] = &[
    (8196, 8196, "bad TLS record"),
    (8201, 8202, "packet for no connection that it knows"),
    (8204, 8204, "SYN again with another sequence number"),
    (8205, 8205, "handshake ended with a wrong ACK"),
    (8206, 8206, "packet of an older connection while connecting"),
    (8207, 8207, "SYN in the window of a connection"),
    (8208, 8208, "too many duplicate retransmissions"),
    (8209, 8209, "out of memory"),
    (8211, 8211, "idle timeout"),
    (8212, 8212, "stray SYN"),
    (8214, 8214, "MSS too large"),
    (9100, 9100, "HTTP transaction never finished"),
    (
        9201,
        9203,
        "response of an earlier transaction on a reused connection",
    ),
    (9205, 9205, "chunked encoding broken"),
    (9206, 9209, "HTTP not understood"),
    (9212, 9212, "invalid HTTP request"),
    (9217, 9217, "body longer than its content length"),
    (9222, 9222, "both content length and transfer encoding"),
    (9300, 9303, "idle timeout, or its service went down"),
    (9304, 9304, "window probes unanswered"),
    (9305, 9305, "SYN answered with a wrong ACK"),
    (9307, 9309, "window kept too small"),
    (9310, 9310, "keepalive unanswered"),
    (9400, 9401, "connection flushed to make room"),
    (9600, 9601, "too many packets out of sequence"),
    (9700, 9701, "RST of the other side passed on"),
    (9702, 9702, "data after FIN"),
    (9800, 9800, "monitor probe timed out"),
    (9811, 9811, "after a fatal TLS alert"),
    (9812, 9812, "address removed from its configuration"),
    (9814, 9814, "policy with action RESET"),
    (9816, 9816, "bad TLS record"),
    (9817, 9817, "certificate changing"),
    (9820, 9820, "TLS hardware failed"),
    (9821, 9822, "TLS configuration changed"),
    (9827, 9827, "TLS configuration changed"),
    (9829, 9829, "other site is down"),
    (9830, 9830, "ACL denies the session"),
    (9832, 9832, "application error"),
    (9833, 9833, "fatal TLS error"),
    (9838, 9838, "bad TLS record"),
    (9845, 9845, "application security policy"),
];

/// What a window field says if it is a code.
pub(in crate::diagnose) fn resolve_code(window: u16) -> Option<&'static str> {
    CODES
        .iter()
        .find(|(first, last, _)| (*first..=*last).contains(&window))
        .map(|(_, _, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_ordered_and_in_the_vendor_s_range() {
        let mut after = 8145;
        for (first, last, meaning) in CODES {
            assert!(after < *first && first <= last, "{first}");
            assert!(!meaning.is_empty());
            after = *last;
        }
        assert!(after <= 10_042);
    }

    #[test]
    fn only_listed_codes_mean_something() {
        assert_eq!(resolve_code(9811), Some("after a fatal TLS alert"));
        assert_eq!(resolve_code(8202), resolve_code(8201));
        for other in [0, 501, 8145, 8203, 9999, 64_000] {
            assert_eq!(resolve_code(other), None, "{other}");
        }
    }
}
