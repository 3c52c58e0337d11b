//! Events for tests: one that knows nothing it may not know, and one that knows everything.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

use crate::event::capture::{CaptureFacts, DegradationReport, HookReport};
use crate::event::facts::Facts;
use crate::event::model::{
    Cause, Confidence, Connection, Event, Family, HookId, Initiator, Kind, Process, RecentClose,
    Role, Segment, SocketState, TcpFlags, Verdict,
};
use crate::event::workload::{Container, ContainerId, Pod, PodNames, PodUid, Runtime, Workload};
use crate::kernel::reasons::ReasonNames;
use proptest::prelude::*;
use rstmon_common::wire::{self, tcp_flag};
use std::sync::Arc;

/// 2026-03-01T12:34:56.789012345Z.
pub(crate) const TIME_NS: i64 = 1_772_368_496_789_012_345;

/// A stray RST to 192.0.2.1:443 of which only the least is known.
pub(crate) fn bare() -> Event {
    Event {
        seq_no: 1,
        time_ns: TIME_NS,
        mono_ns: 5_000_000_000,
        kind: Kind::Stray,
        hook: HookId(wire::HOOK_KFREE_SKB),
        deduced: false,
        active: false,
        verdict: Verdict {
            cause: Cause::Undiagnosed,
            initiator: Initiator::Unknown,
            confidence: Confidence::Guess,
            evidence: Facts::new(),
        },
        kernel_reason: None,
        drop_reason: None,
        state: None,
        family: Family::Ipv4,
        local_addr: "192.0.2.1".parse().unwrap(),
        local_port: 443,
        remote_addr: "198.51.100.7".parse().unwrap(),
        remote_port: 50_000,
        role: None,
        rst: None,
        trigger: None,
        payload: None,
        mptcp_reset_reason: None,
        asks_for_subflow: false,
        handshake_ttl: None,
        handshake_ip_id: None,
        handshake_ts_value: None,
        connection: Connection::default(),
        socket: None,
        recent_close: None,
        owner: None,
        owner_is_listener: false,
        owner_end: None,
        killer: None,
        exe: None,
        uid: None,
        actor: None,
        current: None,
        cgroup_id: None,
        cgroup: None,
        workload: None,
        netns: None,
        ifindex: None,
        mark: None,
        cookie: None,
        inode: None,
        story: None,
    }
}

/// A reset of which the kernel tells nothing but that a listener at any IPv6 address and port 443 sent it.
pub(crate) fn listener() -> Event {
    let unknown = Family::Ipv6.unspecified();
    Event {
        kind: Kind::Sent,
        state: Some(SocketState::Listen),
        family: Family::Ipv6,
        local_addr: unknown,
        remote_addr: unknown,
        remote_port: 0,
        ..bare()
    }
}

/// An event with every printed field.
pub(crate) fn full() -> Event {
    Event {
        seq_no: 7,
        time_ns: TIME_NS,
        mono_ns: 81_234_567_890_123,
        kind: Kind::Sent,
        hook: HookId(wire::HOOK_TCP_SEND_RESET),
        deduced: true,
        active: true,
        verdict: Verdict {
            cause: Cause::CloseUnreadData,
            initiator: Initiator::LocalApp,
            confidence: Confidence::Certain,
            evidence: ["kernel_reason=TCP_ABORT_ON_CLOSE", "unread_bytes=5"]
                .into_iter()
                .collect(),
        },
        kernel_reason: Some("TCP_ABORT_ON_CLOSE".into()),
        drop_reason: Some("TCP_CLOSE".into()),
        state: Some(SocketState::Established),
        role: Some(Role::Server),
        rst: Some(segment(tcp_flag::RST | tcp_flag::ACK)),
        trigger: Some(segment(tcp_flag::PSH | tcp_flag::ACK)),
        handshake_ttl: Some(64),
        handshake_ip_id: Some(0),
        handshake_ts_value: Some(77),
        connection: connection(),
        recent_close: Some(RecentClose {
            ago_ms: 12,
            state: SocketState::FinWait2,
        }),
        owner: Some(Process {
            pid: 1234,
            comm: "nginx".into(),
        }),
        exe: Some("/usr/sbin/nginx".into()),
        uid: Some(33),
        actor: Some(Process {
            pid: 99,
            comm: "ss".into(),
        }),
        current: Some(Process {
            pid: 5,
            comm: "ksoftirqd/0".into(),
        }),
        cgroup_id: Some(4242),
        cgroup: Some("/system.slice/nginx.service".into()),
        workload: Some(workload().into()),
        netns: Some(4_026_531_840),
        ifindex: Some(2),
        mark: Some(1),
        cookie: Some(u64::MAX),
        inode: Some(123_456),
        story: Some(6),
        ..bare()
    }
}

/// A container of a pod within a unit, with all that can be known of it.
pub(crate) fn workload() -> Workload {
    Workload {
        container: Some(Container::Identified {
            id: ContainerId::parse(&"0123456789abcdef".repeat(4)).unwrap(),
            name: Some("web".into()),
            runtime: Some(Runtime::Containerd),
        }),
        pod: Some(Pod {
            uid: PodUid::parse("2f6b1c1e-0d3a-4c55-9a43-3a1b2c3d4e5f").unwrap(),
            names: Some(PodNames {
                namespace: "shop".into(),
                name: "web-1".into(),
            }),
        }),
        unit: Some("nginx.service".into()),
    }
}

fn segment(flags: u8) -> Segment {
    Segment {
        flags: TcpFlags(flags),
        seq: u32::MAX,
        ack: 1_000,
        len: 5,
        window: Some(502),
        ttl: Some(64),
        ip_id: Some(54_321),
        timestamps: Some((1, 2)),
    }
}

fn connection() -> Connection {
    Connection {
        age_ms: Some(61_000),
        idle_ms: Some(3),
        srtt_us: Some(210),
        min_rtt_us: Some(180),
        bytes_sent: Some(1 << 53),
        bytes_acked: Some((1 << 53) + 1),
        bytes_received: Some(5),
        unread_bytes: Some(5),
        unacked_bytes: Some(6),
        unsent_bytes: Some(7),
        retransmits: Some(1),
    }
}

/// Facts of a capture in which something was missing.
pub(crate) fn facts() -> CaptureFacts {
    CaptureFacts {
        version: "0.1.0".into(),
        abi: wire::ABI,
        boot_id: "2d4c1a52-9d0c-4f0e-9a43-3a1b2c3d4e5f".into(),
        host: "web1".into(),
        kernel: "6.12.0".into(),
        mode: "tracepoint".into(),
        hooks: vec![
            HookReport {
                hook: "tcp_send_reset".into(),
                variant: Some("raw_tp".into()),
                attached: true,
                awaits_module: false,
            },
            HookReport {
                hook: "tcp_reset".into(),
                variant: None,
                attached: false,
                awaits_module: false,
            },
            HookReport {
                hook: "nf_send_reset".into(),
                variant: None,
                attached: false,
                awaits_module: true,
            },
        ],
        degradations: vec![DegradationReport {
            id: "no-probes".into(),
            effect: "segments of received RSTs are not seen".into(),
            reason: "kprobes are refused".into(),
            remedy: "boot without lockdown".into(),
        }],
        reasons: ReasonNames {
            rst: [(5, "TCP_ABORT_ON_CLOSE".into())].into(),
            drop: [(3, "NO_SOCKET".into())].into(),
        },
        realtime_offset_ns: 1_772_368_000_000_000_000,
        hz: Some(250),
    }
}

/// Runs of the same event, which have many labels in common.
pub(crate) fn runs_of_alike() -> impl Strategy<Value = Vec<Event>> {
    let runs = prop::collection::vec((alike(), 1..5_usize), 1..25);
    runs.prop_map(|runs| {
        let repeated = |(event, times)| std::iter::repeat_n(event, times);
        runs.into_iter().flat_map(repeated).collect()
    })
}

fn alike() -> impl Strategy<Value = Event> {
    let of_unit = |unit: &str| {
        Some(Arc::new(Workload {
            unit: Some(unit.into()),
            ..Workload::default()
        }))
    };
    let workloads = [None, of_unit("a.service"), of_unit("b.service")];
    let comms = [None, Some("nginx"), Some("envoy")];
    let kinds = [Kind::Sent, Kind::Received];
    let causes = [Cause::PortClosed, Cause::PeerAborted];
    (any::<[bool; 4]>(), 0..3_usize, 0..3_usize).prop_map(move |(bits, comm, workload)| {
        let mut event = bare();
        let [kind, cause, peer, port] = bits.map(usize::from);
        event.kind = kinds[kind];
        event.verdict.cause = causes[cause];
        event.remote_addr = [[192, 0, 2, 1], [192, 0, 2, 2]][peer].into();
        event.local_port = [443, 5432][port];
        event.owner = comms[comm].map(|comm| Process {
            pid: 7,
            comm: comm.into(),
        });
        event.workload = workloads[workload].clone();
        event
    })
}
