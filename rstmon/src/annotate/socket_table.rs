//! The kernel's table of TCP sockets as `/proc/PID/net/tcp` and `tcp6` show it (`proc_pid_net(5)`).
//!
//! Called by [`super::sockets`] when owners are seeded. Parsing is pure; a line that makes no sense
//! is counted, never guessed at.

use std::io::{self, BufRead};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One socket of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableRow {
    /// This end. A v4-mapped address is written as IPv4, as in every event.
    pub(super) local: SocketAddr,
    /// The other end; address and port zero for a listener.
    pub(super) remote: SocketAddr,
    /// `include/net/tcp_states.h`.
    pub(super) state: u8,
    /// Inode; 0: no process holds it.
    pub(super) inode: u64,
}

/// Reads a table row by row. Returns how many lines made no sense.
pub(super) fn read_table(
    mut table: impl BufRead,
    mut take: impl FnMut(TableRow),
) -> io::Result<u64> {
    let mut line = Vec::with_capacity(256);
    let mut broken = 0;
    let mut header = true;
    while table.read_until(b'\n', &mut line)? > 0 {
        if !header {
            match parse_row(&line) {
                Some(row) => take(row),
                None => broken += 1,
            }
        }
        header = false;
        line.clear();
    }
    Ok(broken)
}

/// One line: number, local, remote, state, queues, timer, retransmissions, uid, timeout, inode, ...
fn parse_row(line: &[u8]) -> Option<TableRow> {
    let text = std::str::from_utf8(line).ok()?;
    let mut fields = text.split_ascii_whitespace();
    let local = parse_endpoint(fields.nth(1)?)?;
    let remote = parse_endpoint(fields.next()?)?;
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let inode = fields.nth(5)?.parse().ok()?;
    Some(TableRow {
        local,
        remote,
        state,
        inode,
    })
}

/// `0100007F:1F90`: the address in words of four bytes, each printed as a number of this host's
/// byte order; the port as a number.
fn parse_endpoint(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(parse_word(address)?)),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&parse_word(address.get(index * 8..index * 8 + 8)?)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// Eight hexadecimal digits, as the bytes stand in memory.
fn parse_word(digits: &str) -> Option<[u8; 4]> {
    // from_str_radix takes a sign, which the kernel never writes.
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]
    use super::*;
    use rstmon_common::wire::tcp_state;

    const HEADER: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr\n";

    fn rows(text: &str) -> (Vec<TableRow>, u64) {
        let mut rows = Vec::new();
        let broken = read_table(text.as_bytes(), |row| rows.push(row)).unwrap();
        (rows, broken)
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn rows_of_both_families_are_read() {
        let text = format!(
            "{HEADER}   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 31337 1 0 100 0 0 10 0\n\
             \x20  1: 0000000000000000FFFF00000100000A:0050 0000000000000000FFFF00000200000A:D431 01 00000000:00000000 00:00000000 00000000     0        0 77 1 0\n\
             \x20  2: B80D0120000000000000000001000000:0050 B80D0120000000000000000002000000:D431 08 00000000:00000000 00:00000000 00000000     0        0 0 1 0\n"
        );
        let (rows, broken) = rows(&text);
        assert_eq!(broken, 0);
        let expected = |local: &str, remote: &str, state, inode| TableRow {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            state,
            inode,
        };
        assert_eq!(
            rows,
            [
                expected("127.0.0.1:8080", "0.0.0.0:0", tcp_state::LISTEN, 31337),
                expected("10.0.0.1:80", "10.0.0.2:54321", tcp_state::ESTABLISHED, 77),
                expected(
                    "[2001:db8::1]:80",
                    "[2001:db8::2]:54321",
                    tcp_state::CLOSE_WAIT,
                    0
                ),
            ]
        );
    }

    #[test]
    fn lines_that_make_no_sense_are_counted() {
        let good = "0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 5";
        let text = format!(
            "{HEADER}\n0: zz\n{good}\n0: +100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 5\n\
            0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0\n0: 0100007F:11F90 00000000:0000 0A 0:0 0:0 0 0 0 5\n"
        );
        let (rows, broken) = rows(&text);
        assert_eq!(rows.len(), 1);
        assert_eq!(broken, 5);
    }
}
