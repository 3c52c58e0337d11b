//! The ports that this host gives to its own connections, which are nobody's service.
//!
//! Read by the commands that count by port.

use std::ops::RangeInclusive;

/// Where the kernel tells it; the range of the network namespace that reads.
const FILE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// `net.ipv4.ip_local_port_range`; none where the kernel does not tell.
#[must_use]
pub fn read_port_range() -> Option<RangeInclusive<u16>> {
    parse_port_range(&std::fs::read_to_string(FILE).ok()?)
}

/// The range as the kernel writes it: the lowest and the highest port.
fn parse_port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut ports = text.split_ascii_whitespace().map(str::parse);
    match (ports.next(), ports.next(), ports.next()) {
        (Some(Ok(low)), Some(Ok(high)), None) => Some(low..=high),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_two_ports() {
        assert_eq!(parse_port_range("32768\t60999\n"), Some(32768..=60999));
        for text in ["", "1", "1 2 3", "1 70000", "a b"] {
            assert_eq!(parse_port_range(text), None, "{text}");
        }
    }
}
