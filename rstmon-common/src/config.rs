//! What the loader tells the programs, in `.rodata` that is frozen before they are verified.
//!
//! A flag that is off removes its branch: the verifier sees a constant.

use bytemuck::{Pod, Zeroable};

/// Ports that one kernel-side filter can hold.
pub const FILTER_PORTS: usize = 16;

/// Number of the first `skb_drop_reason` that the bitmap cannot hold (subsystem reasons).
pub const DROP_REASONS: u32 = 256;

/// Lengths of the stretches that the programs copy at once, see `ProbeConfig::sock_window`.
pub const SOCK_WINDOW_LEN: usize = 192;
/// Of `struct inet_connection_sock`.
pub const ICSK_WINDOW_LEN: usize = 64;
/// Of `struct tcp_sock`.
pub const TCP_WINDOW_LEN: usize = 448;

/// A number of a reason that this kernel does not have.
pub const NO_REASON: u32 = u32::MAX;

/// Choices made before load. All plain integers; booleans are 0 or 1.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ProbeConfig {
    /// Key of the permutation that hides socket addresses.
    pub socket_key: u64,
    /// Events that all CPUs together may put on the ring in a second.
    pub max_events_per_sec: u64,
    /// Drop reasons with which the kernel may drop a RST that reached TCP, a bit each.
    pub drop_reasons: [u64; 4],
    /// Number of `SKB_DROP_REASON_NO_SOCKET`, or [`NO_REASON`].
    pub drop_no_socket: u32,
    /// Number of `SKB_DROP_REASON_NOT_SPECIFIED`, or [`NO_REASON`].
    pub drop_not_specified: u32,
    /// Unread bytes of the ring from which on the reader is woken at once.
    pub wake_bytes: u32,
    /// Kernel-side filter: only this process id; 0: any.
    pub filter_pid: u32,
    /// Kernel-side filter: only this network namespace; 0: any.
    pub filter_netns: u32,
    /// Kernel-side filter: only connections with one of these ports, either end.
    pub filter_ports: [u16; FILTER_PORTS],
    /// Where in `struct sock` the stretch begins that holds most of the fields; a multiple of 8.
    pub sock_window: u16,
    /// The same of `struct inet_connection_sock`.
    pub icsk_window: u16,
    /// The same of `struct tcp_sock`.
    pub tcp_window: u16,
    /// How many of `filter_ports` count; 0: any port.
    pub filter_port_count: u8,
    /// Kernel-side filter: bit `1 << KIND_*` for each wanted kind.
    pub filter_kinds: u8,
    /// `tcp_send_reset` has its third argument, the reason.
    pub send_reset_has_reason: u8,
    /// Passive resets are taken from `tcp_v4/v6_send_reset`; the tracepoint takes active ones only.
    pub passive_by_probe: u8,
    /// `tcp_reset` tells its segment: the tracepoint `tcp_receive_reset` stays out.
    pub receive_by_probe: u8,
    /// `kfree_skb` has its argument `reason`.
    pub kfree_has_reason: u8,
    /// `kfree_skb` has its argument `rx_sk`.
    pub kfree_has_socket: u8,
    /// A RST that a request socket survives is dropped for a reason of its own.
    pub embryonic_kill_is_told: u8,
    /// `inet_csk_reqsk_queue_drop` tells which request a RST has killed.
    pub killed_request_by_probe: u8,
    /// Resets that a connection refuses are taken from the functions that judge them.
    pub refused_by_probe: u8,
    /// Deduce socketless resets from `kfree_skb` with reason `NO_SOCKET`.
    pub deduce_socketless: u8,
    /// `sk_cgrp_data` is the tagged word of kernels before 5.15: a pointer only if bit 0 is clear.
    pub cgroup_is_tagged: u8,
    /// `tcp_reset` has its second argument, the segment.
    pub tcp_reset_has_skb: u8,
    /// Zero.
    pub reserved: [u8; 1],
}

impl ProbeConfig {
    /// Everything off, everything wanted.
    pub const NONE: Self = Self {
        socket_key: 0,
        drop_reasons: [0; 4],
        drop_no_socket: NO_REASON,
        drop_not_specified: NO_REASON,
        max_events_per_sec: u64::MAX,
        wake_bytes: 0,
        filter_pid: 0,
        filter_netns: 0,
        filter_ports: [0; FILTER_PORTS],
        filter_port_count: 0,
        filter_kinds: u8::MAX,
        send_reset_has_reason: 0,
        passive_by_probe: 0,
        receive_by_probe: 0,
        kfree_has_reason: 0,
        kfree_has_socket: 0,
        embryonic_kill_is_told: 0,
        killed_request_by_probe: 0,
        refused_by_probe: 0,
        deduce_socketless: 0,
        cgroup_is_tagged: 0,
        tcp_reset_has_skb: 0,
        reserved: [0; 1],
        sock_window: 0,
        icsk_window: 0,
        tcp_window: 0,
    };
}
