//! Which stretches of the kernel's sockets the programs copy at once.
//!
//! A copy of a few hundred bytes costs the kernel little more than the read of one field. The
//! stretches have fixed lengths; this module lays each where it covers the most fields. Pure; called
//! when a capture starts. A field outside is read on its own, so a bad choice costs time, not data.

use rstmon_common::config::{ICSK_WINDOW_LEN, ProbeConfig, SOCK_WINDOW_LEN, TCP_WINDOW_LEN};
use rstmon_common::layout::{ABSENT, FIELDS, KernelLayout};

/// Writes where the stretches begin into the programs' configuration.
pub fn place_windows(layout: &KernelLayout, config: &mut ProbeConfig) {
    config.sock_window = place(layout, "sock", SOCK_WINDOW_LEN);
    config.icsk_window = place(layout, "inet_connection_sock", ICSK_WINDOW_LEN);
    config.tcp_window = place(layout, "tcp_sock", TCP_WINDOW_LEN);
}

/// The multiple of eight from which `len` bytes cover the most fields of `structure`. What lies in
/// `sock_common` is copied anyway and does not count.
fn place(layout: &KernelLayout, structure: &str, len: usize) -> u16 {
    let offsets: &[u16] = bytemuck::cast_slice(bytemuck::bytes_of(layout));
    let extents: Vec<(u16, usize)> = FIELDS
        .iter()
        .zip(offsets)
        .filter(|(field, offset)| {
            let common = field
                .paths
                .iter()
                .any(|path| path.starts_with("__sk_common"));
            field.structure == structure && !common && **offset != ABSENT
        })
        .map(|(field, offset)| (*offset, usize::from(*offset) + usize::from(field.size)))
        .collect();
    let covered = |start: u16| {
        let end = usize::from(start) + len;
        extents
            .iter()
            .filter(|(from, to)| *from >= start && *to <= end)
            .count()
    };
    extents
        .iter()
        .map(|(offset, _)| offset & !7)
        // Of equals the first: nearer to the beginning of the structure.
        .rev()
        .max_by_key(|start| (covered(*start), u16::MAX - start))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_covers_the_most_fields_and_begins_aligned() {
        let layout = KernelLayout {
            tcp_rcv_nxt: 1664,
            tcp_snd_nxt: 1668,
            tcp_copied_seq: 1464,
            tcp_snd_wnd: 1436,
            tcp_total_retrans: 2200,
            ..KernelLayout::NONE
        };
        assert_eq!(place(&layout, "tcp_sock", 448), 1432);
        // Two here, two there: the first.
        assert_eq!(place(&layout, "tcp_sock", 64), 1432);
    }

    #[test]
    fn without_fields_it_begins_at_the_beginning() {
        assert_eq!(place(&KernelLayout::NONE, "tcp_sock", 448), 0);
    }

    #[test]
    fn what_sock_common_holds_does_not_count() {
        let layout = KernelLayout {
            sock_family: 16,
            sock_state: 18,
            sock_mark: 524,
            ..KernelLayout::NONE
        };
        assert_eq!(place(&layout, "sock", 192), 520);
    }
}
