//! Raw records as the programs make them, for the benchmarks: one of each common cause, and the two
//! of a refused connection over loopback.

#![allow(
    clippy::large_types_passed_by_value,
    reason = "records are made once, before anything is measured"
)]

use bytemuck::Zeroable;
use rstmon::event::capture::CaptureFacts;
use rstmon_common::wire::{self, RawEvent, sock_flag, tcp_flag, tcp_state};

/// Facts of a capture on a kernel with reasons.
pub(crate) fn facts(realtime_offset_ns: i64) -> CaptureFacts {
    let mut facts = CaptureFacts {
        version: "0.1.0".into(),
        abi: wire::ABI,
        boot_id: "2d4c1a52-9d0c-4f0e-9a43-3a1b2c3d4e5f".into(),
        host: "web1.example.net".into(),
        kernel: "6.18.0".into(),
        mode: "probe".into(),
        realtime_offset_ns,
        hz: Some(250),
        ..CaptureFacts::default()
    };
    for (number, name) in RST_REASONS {
        facts.reasons.rst.insert(number, name.into());
    }
    for (number, name) in DROP_REASONS {
        facts.reasons.drop.insert(number, name.into());
    }
    facts
}

const RST_REASONS: [(u32, &str); 6] = [
    (2, "NO_SOCKET"),
    (5, "TCP_ABORT_ON_DATA"),
    (6, "TCP_TIMEWAIT_SOCKET"),
    (12, "TCP_ABORT_ON_CLOSE"),
    (15, "TCP_KEEPALIVE_TIMEOUT"),
    (17, "TCP_STATE"),
];

const DROP_REASONS: [(u32, &str); 2] = [(3, "NO_SOCKET"), (30, "TCP_INVALID_SEQUENCE")];

/// Addresses, and what every record has.
fn base(kind: u8, hook: u8) -> RawEvent {
    RawEvent {
        abi: wire::ABI,
        have: wire::HAVE_TUPLE | wire::HAVE_NETNS,
        kind,
        hook,
        family: wire::AF_INET,
        local_addr: [192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        remote_addr: [198, 51, 100, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        local_port: 443,
        remote_port: 50_000,
        netns: 4_026_531_840,
        ifindex: 2,
        ..RawEvent::zeroed()
    }
}

/// A socket in `state`, owned by this process so that its executable can be found.
fn with_socket(raw: RawEvent, state: u8) -> RawEvent {
    RawEvent {
        have: raw.have
            | wire::HAVE_STATE
            | wire::HAVE_SOCK
            | wire::HAVE_TCP
            | wire::HAVE_OWNER
            | wire::HAVE_CURRENT
            | wire::HAVE_BORN
            | wire::HAVE_CGROUP,
        socket_kind: wire::SOCKET_FULL,
        state,
        state_at_hook: state,
        socket_id: 77,
        inode: 123_456,
        cgroup_id: 1,
        owner_comm: *b"nginx\0\0\0\0\0\0\0\0\0\0\0",
        current_comm: *b"ksoftirqd/0\0\0\0\0\0",
        owner_pid: std::process::id(),
        rcv_nxt: 5_000,
        copied_seq: 5_000,
        rcv_wup: 5_000,
        rcv_wnd: 65_536,
        snd_una: 9_000,
        snd_nxt: 9_000,
        write_seq: 9_000,
        snd_wnd: 65_536,
        srtt_us_8: 1_600,
        min_rtt_us: 180,
        bytes_sent: 8_999,
        bytes_acked: 8_999,
        bytes_received: 4_999,
        ..raw
    }
}

fn with_segment(raw: RawEvent, flags: u8, len: u32) -> RawEvent {
    RawEvent {
        have: raw.have | wire::HAVE_SEGMENT | wire::HAVE_SEGMENT_IP,
        segment_flags: flags,
        segment_len: len,
        segment_seq: 349_023_753,
        segment_ack: 200,
        segment_window: 502,
        segment_ttl: 64,
        ..raw
    }
}

fn with_reason(raw: RawEvent, reason: u32) -> RawEvent {
    RawEvent {
        have: raw.have | wire::HAVE_RST_REASON,
        reason,
        ..raw
    }
}

fn with_drop_reason(raw: RawEvent, reason: u32) -> RawEvent {
    RawEvent {
        have: raw.have | wire::HAVE_DROP_REASON,
        reason,
        ..raw
    }
}

/// A RST that arrived, at RCV.NXT, beside what the handshake showed.
fn with_rst(raw: RawEvent, flags: u8) -> RawEvent {
    RawEvent {
        flags: raw.flags | wire::FLAG_SEGMENT_IS_RST | wire::FLAG_CLIENT,
        have: raw.have | wire::HAVE_HANDSHAKE,
        segment_seq: 5_000,
        handshake_ttl: 64,
        ..with_segment(raw, flags, 0)
    }
}

fn over_ipv6(raw: RawEvent) -> RawEvent {
    RawEvent {
        family: wire::AF_INET6,
        local_addr: *b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01",
        remote_addr: *b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02",
        ..raw
    }
}

/// The answer to a SYN for a port that nobody listens on.
pub(crate) fn port_closed() -> RawEvent {
    let raw = base(wire::KIND_SENT, wire::HOOK_TCP_SEND_RESET);
    let raw = RawEvent {
        have: raw.have | wire::HAVE_STATE,
        ..raw
    };
    with_reason(with_segment(raw, tcp_flag::SYN, 0), 2)
}

/// What the client gets for it.
pub(crate) fn connection_refused() -> RawEvent {
    let raw = base(wire::KIND_RECEIVED, wire::HOOK_TCP_RECEIVE_RESET);
    let raw = with_socket(raw, tcp_state::SYN_SENT);
    RawEvent {
        flags: wire::FLAG_CLIENT,
        ..raw
    }
}

fn sent_actively(state: u8, at_hook: u8, reason: u32) -> RawEvent {
    let raw = with_socket(base(wire::KIND_SENT, wire::HOOK_TCP_SEND_RESET), state);
    let raw = RawEvent {
        flags: wire::FLAG_ACTIVE | wire::FLAG_SERVER,
        state_at_hook: at_hook,
        shutdown: 3,
        ..raw
    };
    with_reason(raw, reason)
}

/// Records of a host where much goes wrong, each of another cause.
pub(crate) fn mix() -> Vec<RawEvent> {
    let close = tcp_state::CLOSE;
    let established = tcp_state::ESTABLISHED;
    let received = |state| with_socket(base(wire::KIND_RECEIVED, wire::HOOK_TCP_RESET), state);
    let dropped = |kind| base(kind, wire::HOOK_KFREE_SKB);
    let sent = base(wire::KIND_SENT, wire::HOOK_TCP_SEND_RESET);
    let bare = tcp_flag::RST;
    let with_ack = tcp_flag::RST | tcp_flag::ACK;
    let data = tcp_flag::PSH | tcp_flag::ACK;
    let mut records = vec![
        port_closed(),
        connection_refused(),
        RawEvent {
            copied_seq: 4_900,
            ..sent_actively(established, close, 12)
        },
        RawEvent {
            sock_flags: sock_flag::LINGER,
            ..sent_actively(established, close, 17)
        },
        RawEvent {
            probes_out: 9,
            sock_flags: sock_flag::KEEPOPEN,
            ..sent_actively(established, established, 15)
        },
        with_reason(
            with_segment(with_socket(sent, tcp_state::FIN_WAIT2), data, 512),
            5,
        ),
        with_reason(with_segment(port_closed(), data, 512), 2),
        with_rst(received(established), with_ack),
        with_rst(received(established), bare),
        with_rst(received(tcp_state::CLOSE_WAIT), bare),
        with_drop_reason(
            with_rst(with_socket(dropped(wire::KIND_REJECTED), established), bare),
            30,
        ),
        with_drop_reason(with_rst(dropped(wire::KIND_STRAY), bare), 3),
    ];
    let ipv6: Vec<RawEvent> = records.iter().copied().map(over_ipv6).collect();
    records.extend(ipv6);
    records
}
