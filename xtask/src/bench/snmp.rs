//! The kernel's own count of the resets it sent, which the loads and the captures are held against.

use anyhow::Context;
use std::fs;

/// `OutRsts` of this network namespace, since boot.
pub(super) fn read_out_rsts() -> anyhow::Result<u64> {
    let path = "/proc/net/snmp";
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    parse_out_rsts(&text).with_context(|| format!("{path} has no OutRsts"))
}

/// `OutRsts` of the pair of lines `Tcp:`: names, then values.
fn parse_out_rsts(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let column = names
        .split_whitespace()
        .position(|name| name == "OutRsts")?;
    values.split_whitespace().nth(column)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parse_out_rsts;

    #[test]
    fn out_rsts_is_found_by_its_name() {
        let snmp = "Ip: Forwarding OutRsts\nIp: 1 99\nTcp: RtoMin MaxConn OutRsts InCsumErrors\n\
                    Tcp: 200 -1 1234 0\n";
        assert_eq!(parse_out_rsts(snmp), Some(1234));
        assert_eq!(parse_out_rsts("Tcp: RtoMin\nTcp: 200\n"), None);
        assert_eq!(parse_out_rsts("Tcp: RtoMin OutRsts\n"), None);
    }
}
