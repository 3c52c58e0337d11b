//! What a record means, field by field, and that no bytes break the decoder.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use super::{CheckedRecord, DecodeError, decode, parse_raw_event};
use crate::event::capture::CaptureFacts;
use crate::event::model::{Event, Family, Role, Segment, SocketState, TcpFlags};
use bytemuck::Zeroable;
use proptest::prelude::*;
use rstmon_common::wire::{self, RawEvent, sock_flag, tcp_flag, tcp_state};

fn record() -> RawEvent {
    RawEvent {
        abi: wire::ABI,
        kind: wire::KIND_SENT,
        hook: wire::HOOK_TCP_SEND_RESET,
        have: wire::HAVE_TUPLE,
        family: 2,
        mono_ns: 5_000_000_000,
        local_addr: [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        remote_addr: [127, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ..RawEvent::zeroed()
    }
}

/// An established connection in the middle of its life.
fn connection() -> RawEvent {
    RawEvent {
        kind: wire::KIND_RECEIVED,
        hook: wire::HOOK_TCP_RESET,
        have: wire::HAVE_TUPLE | wire::HAVE_STATE | wire::HAVE_SOCK | wire::HAVE_TCP,
        socket_kind: wire::SOCKET_FULL,
        state: tcp_state::ESTABLISHED,
        state_at_hook: tcp_state::ESTABLISHED,
        ..record()
    }
}

fn facts() -> CaptureFacts {
    let mut facts = CaptureFacts {
        hz: Some(250),
        realtime_offset_ns: 1_000,
        ..CaptureFacts::default()
    };
    facts.reasons.rst.insert(3, "TCP_RFC7323_PAWS".into());
    facts.reasons.drop.insert(3, "NO_SOCKET".into());
    facts
}

#[allow(
    clippy::large_types_passed_by_value,
    reason = "each test builds its own record"
)]
fn event(raw: RawEvent) -> Event {
    decode(CheckedRecord::new(&raw).unwrap(), 1, &facts())
}

#[test]
fn numbers_out_of_range_are_refused_by_name() {
    let unknown = |field, got| DecodeError::Unknown { field, got };
    let rows: [(RawEvent, DecodeError); 9] = [
        (RawEvent { abi: 9, ..record() }, DecodeError::Abi { got: 9 }),
        (
            RawEvent {
                have: 0,
                ..record()
            },
            DecodeError::NoTuple,
        ),
        (
            RawEvent {
                kind: 0,
                ..record()
            },
            unknown("kind", 0),
        ),
        (
            RawEvent {
                kind: 5,
                ..record()
            },
            unknown("kind", 5),
        ),
        (
            RawEvent {
                hook: 13,
                ..record()
            },
            unknown("hook", 13),
        ),
        (
            RawEvent {
                family: 7,
                ..record()
            },
            unknown("family", 7),
        ),
        (
            RawEvent {
                state: 13,
                ..record()
            },
            unknown("state", 13),
        ),
        (
            RawEvent {
                socket_kind: 4,
                ..record()
            },
            unknown("socket_kind", 4),
        ),
        (
            RawEvent {
                closed_state: 99,
                ..record()
            },
            unknown("closed_state", 99),
        ),
    ];
    for (raw, expected) in rows {
        assert_eq!(CheckedRecord::new(&raw).err(), Some(expected));
    }
}

#[test]
fn a_record_has_one_size() {
    let raw = record();
    let bytes = bytemuck::bytes_of(&raw);
    assert_eq!(parse_raw_event(bytes).as_deref(), Ok(&raw));
    // Bytes that lie anywhere are read, too.
    let shifted = [&[0], bytes].concat();
    assert_eq!(parse_raw_event(&shifted[1..]).as_deref(), Ok(&raw));
    let short = bytes.split_last().unwrap().1;
    assert_eq!(
        parse_raw_event(short),
        Err(DecodeError::Size {
            got: wire::RAW_EVENT_SIZE - 1
        })
    );
    assert_eq!(parse_raw_event(&[]), Err(DecodeError::Size { got: 0 }));
}

#[test]
fn nothing_is_known_without_its_bit() {
    // Every field set, none of them said to be there.
    let mut raw: RawEvent = bytemuck::pod_read_unaligned(&[1; wire::RAW_EVENT_SIZE]);
    (raw.abi, raw.flags, raw.have) = (wire::ABI, 0, wire::HAVE_TUPLE);
    (raw.family, raw.hook, raw.mono_ns) = (2, wire::HOOK_KFREE_SKB, 1);
    let event = event(raw);
    assert_eq!(event.state, None);
    assert_eq!(event.connection, crate::event::model::Connection::default());
    assert_eq!(
        (
            event.kernel_reason,
            event.drop_reason,
            event.socket,
            event.owner
        ),
        (None, None, None, None)
    );
    assert_eq!(
        (event.rst, event.trigger, event.recent_close),
        (None, None, None)
    );
    assert_eq!(
        (event.uid, event.netns, event.cgroup_id),
        (None, None, None)
    );
    assert_eq!((event.handshake_ttl, event.handshake_ip_id), (None, None));
}

#[test]
fn a_mapped_address_is_ipv4() {
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3];
    let seen = event(RawEvent {
        family: 10,
        local_addr: mapped,
        remote_addr: mapped,
        ..record()
    });
    assert_eq!(seen.family, Family::Ipv4);
    assert_eq!(seen.local_addr.to_string(), "10.1.2.3");
    let mut loopback = [0; 16];
    loopback[15] = 1;
    let six = event(RawEvent {
        family: 10,
        local_addr: loopback,
        remote_addr: loopback,
        ..record()
    });
    assert_eq!(six.family, Family::Ipv6);
    assert_eq!(six.remote_addr.to_string(), "::1");
}

#[test]
fn the_state_is_the_one_before() {
    let timewait = |substate| RawEvent {
        have: wire::HAVE_TUPLE | wire::HAVE_STATE | wire::HAVE_TIMEWAIT,
        socket_kind: wire::SOCKET_TIMEWAIT,
        state: tcp_state::TIME_WAIT,
        timewait_substate: substate,
        ..record()
    };
    let dropped = RawEvent {
        kind: wire::KIND_STRAY,
        hook: wire::HOOK_KFREE_SKB,
        ..record()
    };
    let rows = [
        (timewait(tcp_state::FIN_WAIT2), Some(SocketState::FinWait2)),
        (timewait(tcp_state::TIME_WAIT), Some(SocketState::TimeWait)),
        (
            RawEvent {
                socket_kind: wire::SOCKET_REQUEST,
                ..record()
            },
            Some(SocketState::SynRecv),
        ),
        (connection(), Some(SocketState::Established)),
        (
            RawEvent {
                have: wire::HAVE_TUPLE,
                ..connection()
            },
            None,
        ),
        (record(), Some(SocketState::None)),
        (dropped, None),
        (
            RawEvent {
                have: wire::HAVE_TUPLE | wire::HAVE_DROP_REASON,
                reason: 3,
                ..dropped
            },
            Some(SocketState::None),
        ),
    ];
    for (raw, state) in rows {
        assert_eq!(event(raw).state, state);
    }
}

#[test]
fn a_rst_that_answers_is_computed_as_the_kernel_does() {
    let trigger = |flags, seq, ack, len| RawEvent {
        have: wire::HAVE_TUPLE | wire::HAVE_SEGMENT,
        segment_flags: flags,
        segment_seq: seq,
        segment_ack: ack,
        segment_len: len,
        ..record()
    };
    let rows = [
        (
            trigger(tcp_flag::SYN, 7, 0, 0),
            (tcp_flag::RST | tcp_flag::ACK, 0, 8),
        ),
        (
            trigger(tcp_flag::ACK | tcp_flag::PSH, 7, 42, 5),
            (tcp_flag::RST, 42, 0),
        ),
        (
            trigger(tcp_flag::FIN, u32::MAX, 0, 3),
            (tcp_flag::RST | tcp_flag::ACK, 0, 3),
        ),
    ];
    for (raw, (flags, seq, ack)) in rows {
        let seen = event(raw);
        let rst = seen.rst.unwrap();
        assert_eq!((rst.flags, rst.seq, rst.ack), (TcpFlags(flags), seq, ack));
        assert_eq!((rst.window, rst.ttl), (Some(0), None));
        assert_eq!(seen.trigger.unwrap().len, raw.segment_len);
    }
}

#[test]
fn an_active_rst_stands_at_snd_nxt_unless_the_window_shrank() {
    let active = RawEvent {
        kind: wire::KIND_SENT,
        flags: wire::FLAG_ACTIVE,
        snd_nxt: 900,
        snd_una: 800,
        snd_wnd: 100,
        rcv_nxt: 77,
        ..connection()
    };
    let expected = Segment {
        flags: TcpFlags(tcp_flag::RST | tcp_flag::ACK),
        seq: 900,
        ack: 77,
        len: 0,
        window: None,
        ttl: None,
        ip_id: None,
        timestamps: None,
    };
    assert_eq!(event(active).rst, Some(expected));
    assert_eq!(
        event(RawEvent {
            snd_wnd: 99,
            ..active
        })
        .rst,
        None
    );
}

#[test]
fn a_seen_rst_is_given_as_it_was() {
    let raw = RawEvent {
        have: wire::HAVE_TUPLE | wire::HAVE_SEGMENT | wire::HAVE_SEGMENT_IP,
        flags: wire::FLAG_SEGMENT_IS_RST,
        segment_flags: tcp_flag::RST,
        segment_ttl: 250,
        segment_ip_id: 3,
        segment_window: 9,
        ..connection()
    };
    let seen = event(raw);
    let rst = seen.rst.unwrap();
    assert_eq!(
        (rst.ttl, rst.ip_id, rst.window),
        (Some(250), Some(3), Some(9))
    );
    assert_eq!(seen.trigger, None);
    let six = event(RawEvent { family: 10, ..raw });
    assert_eq!(six.rst.unwrap().ip_id, None);
}

#[test]
fn sequence_numbers_are_subtracted_around_the_wrap() {
    let unread = |rcv_nxt, copied_seq, sock_flags| {
        let raw = RawEvent {
            rcv_nxt,
            copied_seq,
            sock_flags,
            ..connection()
        };
        event(raw).connection.unread_bytes
    };
    assert_eq!(unread(3, u32::MAX - 1, 0), Some(5));
    assert_eq!(unread(6, 0, sock_flag::DONE), Some(5));
    assert_eq!(unread(0, 0, sock_flag::DONE), Some(0));
    assert_eq!(unread(0, 5, 0), None);
}

#[test]
fn a_syn_or_fin_is_no_byte() {
    let out = |state, una, nxt, write| {
        let raw = RawEvent {
            state,
            snd_una: una,
            snd_nxt: nxt,
            write_seq: write,
            ..connection()
        };
        let numbers = event(raw).connection;
        (numbers.unacked_bytes, numbers.unsent_bytes)
    };
    assert_eq!(out(tcp_state::SYN_SENT, 10, 11, 11), (Some(0), Some(0)));
    assert_eq!(out(tcp_state::ESTABLISHED, 10, 15, 17), (Some(5), Some(2)));
    assert_eq!(out(tcp_state::FIN_WAIT1, 10, 16, 16), (Some(5), Some(0)));
    assert_eq!(out(tcp_state::FIN_WAIT1, 10, 15, 18), (Some(5), Some(2)));
    assert_eq!(out(tcp_state::FIN_WAIT2, 16, 16, 16), (Some(0), Some(0)));
    assert_eq!(out(tcp_state::ESTABLISHED, 20, 10, 10), (None, Some(0)));
}

#[test]
fn idle_time_is_since_the_later_stamp() {
    let idle = |jiffies, last_sent, last_received, hz| {
        let raw = RawEvent {
            jiffies,
            last_sent,
            last_received,
            ..connection()
        };
        let facts = CaptureFacts { hz, ..facts() };
        decode(CheckedRecord::new(&raw).unwrap(), 1, &facts)
            .connection
            .idle_ms
    };
    assert_eq!(idle(1_000, 500, 750, Some(250)), Some(1_000));
    assert_eq!(idle(1_000, 500, 0, Some(250)), Some(2_000));
    assert_eq!(
        idle((1 << 32) + 5, u32::MAX - 244, 0, Some(250)),
        Some(1_000)
    );
    assert_eq!(idle(1_000, 0, 0, Some(250)), None);
    assert_eq!(idle(1_000, 2_000, 0, Some(250)), None);
    assert_eq!(idle(1_000, 500, 750, None), None);
}

/// Data of ours that a RST answers: the quiet time before it is told by what the peer had sent.
#[test]
fn a_peer_that_sent_no_data_shows_no_quiet_time_before_ours() {
    let idle_after = |bytes_acked, state, bytes_received, sock_flags| {
        let raw = RawEvent {
            state,
            bytes_acked,
            jiffies: 10_000,
            last_sent: 9_990,
            last_received: 5_000,
            snd_una: 100,
            snd_nxt: 200,
            write_seq: 200,
            bytes_received,
            sock_flags,
            ..connection()
        };
        event(raw).connection.idle_ms
    };
    let idle = |state, bytes_received, sock_flags| {
        idle_after(1_000_000, state, bytes_received, sock_flags)
    };
    let fin = sock_flag::DONE;
    // Unless it is the first data that the connection carries at all.
    assert_eq!(idle_after(1, tcp_state::ESTABLISHED, 0, 0), Some(19_960));
    assert_eq!(idle(tcp_state::ESTABLISHED, 7, 0), Some(19_960));
    assert_eq!(idle(tcp_state::ESTABLISHED, 0, 0), None);
    // The kernel counts the peer's FIN among the bytes.
    assert_eq!(idle(tcp_state::CLOSE_WAIT, 1, fin), None);
    assert_eq!(idle(tcp_state::CLOSE_WAIT, 2, fin), Some(19_960));
}

#[test]
fn times_ages_and_reasons() {
    let raw = RawEvent {
        have: connection().have | wire::HAVE_BORN | wire::HAVE_CLOSED | wire::HAVE_RST_REASON,
        born_ns: 2_000_000_000,
        closed_ns: 4_000_000_000,
        closed_state: tcp_state::LAST_ACK,
        reason: 3,
        ..connection()
    };
    let seen = event(raw);
    assert_eq!(seen.time_ns, 5_000_001_000);
    assert_eq!(seen.connection.age_ms, Some(3_000));
    let close = seen.recent_close.unwrap();
    assert_eq!((close.ago_ms, close.state), (1_000, SocketState::LastAck));
    assert_eq!(seen.kernel_reason.as_deref(), Some("TCP_RFC7323_PAWS"));
    assert_eq!(event(RawEvent { reason: 99, ..raw }).kernel_reason, None);
}

#[test]
fn the_role_is_told_or_follows_from_the_state() {
    let syn = RawEvent {
        have: wire::HAVE_TUPLE | wire::HAVE_SEGMENT,
        segment_flags: tcp_flag::SYN,
        ..record()
    };
    let rows = [
        (
            RawEvent {
                flags: wire::FLAG_CLIENT,
                ..connection()
            },
            Some(Role::Client),
        ),
        (
            RawEvent {
                flags: wire::FLAG_SERVER,
                ..connection()
            },
            Some(Role::Server),
        ),
        (
            RawEvent {
                state: tcp_state::SYN_SENT,
                ..connection()
            },
            Some(Role::Client),
        ),
        (syn, Some(Role::Server)),
        (connection(), None),
        (record(), None),
    ];
    for (raw, role) in rows {
        assert_eq!(event(raw).role, role);
    }
}

#[test]
fn a_name_cannot_drive_a_terminal() {
    let comm = |bytes: &[u8]| {
        let mut owner_comm = [0; wire::COMM_LEN];
        owner_comm[..bytes.len()].copy_from_slice(bytes);
        let have = wire::HAVE_TUPLE | wire::HAVE_OWNER;
        let raw = RawEvent {
            have,
            owner_pid: 7,
            owner_comm,
            ..record()
        };
        event(raw).owner.unwrap().comm
    };
    assert_eq!(comm(b"nginx: worker"), "nginx: worker");
    assert_eq!(comm("größe".as_bytes()), "größe");
    assert_eq!(comm(b"\x1b[31mx\n"), "\\x1b[31mx\\x0a");
    assert_eq!(comm(b"a\xffb"), "a\\xffb");
    assert_eq!(comm("\u{202e}a".as_bytes()), "\\u{202e}a");
}

proptest! {
    #[test]
    fn any_bytes_are_an_event_or_an_error(
        mut bytes in prop::collection::vec(any::<u8>(), wire::RAW_EVENT_SIZE),
        plausible in any::<bool>(),
    ) {
        if plausible {
            let mut raw: RawEvent = bytemuck::pod_read_unaligned(&bytes);
            raw.abi = wire::ABI;
            raw.have |= wire::HAVE_TUPLE;
            raw.kind = raw.kind % 4 + 1;
            raw.hook = raw.hook % 12 + 1;
            raw.family = if raw.family.is_multiple_of(2) { 2 } else { 10 };
            raw.socket_kind %= 4;
            raw.state %= 13;
            raw.state_at_hook %= 13;
            raw.closed_state %= 13;
            bytes = bytemuck::bytes_of(&raw).to_vec();
        }
        let decoded = parse_raw_event(&bytes).and_then(|raw| {
            let record = CheckedRecord::new(&raw)?;
            Ok(decode(record, 1, &facts()))
        });
        prop_assert!(decoded.is_ok() || !plausible);
        let text = decoded.map(|event| event.owner.map(|it| it.comm).unwrap_or_default());
        prop_assert!(!text.unwrap_or_default().chars().any(char::is_control));
    }
}

/// A stream of ours, whose acknowledgments come in, is not quiet because the peer sends no data.
#[test]
fn a_peer_that_acknowledges_is_not_quiet() {
    let idle_after = |state, sent: u32, heard: u32, received: u32| {
        let raw = RawEvent {
            state,
            jiffies: 1_000_000,
            last_sent: 1_000_000 - sent,
            last_received: 1_000_000 - received,
            last_heard: 1_000_000 - heard,
            snd_una: 100,
            snd_nxt: 200,
            write_seq: 200,
            bytes_received: 7,
            ..connection()
        };
        event(raw).connection.idle_ms
    };
    let established =
        |sent, heard, received| idle_after(tcp_state::ESTABLISHED, sent, heard, received);
    // In ticks of four milliseconds.
    assert_eq!(established(5, 10, 900_000), None);
    assert_eq!(established(5, 2, 900_000), None);
    assert_eq!(established(5, 255, 900_000), None);
    // A keepalive probe was answered well before our data.
    assert_eq!(established(5, 256, 90_005), Some(360_000));
    assert_eq!(established(5, 90_005, 90_005), Some(360_000));
    // One exchange, where both are near.
    assert_eq!(established(5, 10, 255), Some(1_000));
    assert_eq!(established(5, 10, 256), None);
    // What was heard last is the peer's FIN.
    let half_closed = idle_after(tcp_state::CLOSE_WAIT, 5, 2, 90_005);
    assert_eq!(half_closed, Some(360_000));
}
