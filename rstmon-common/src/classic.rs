//! Where the records of the classic tracepoints keep their fields, for kernels without BTF.
//!
//! `rstmon::kernel::tracefs` fills it from the `format` files of tracefs; the loader freezes it into
//! the programs' `.rodata`. Offsets count from the start of the record, which is also the context of
//! the program. A field that a record does not have is [`ABSENT`]; its branch is pruned.
//!
//! One set of members serves every form that a record ever had. Where the addresses are a
//! `struct sockaddr_in6` each (`tcp_send_reset` since 6.10), the members point into it, and
//! [`RecordLayout::ports_are_network_order`] says how to read the ports.

use crate::layout::ABSENT;
use bytemuck::{Pod, Zeroable};

/// One member of a record.
#[derive(Clone, Copy, Debug)]
pub struct RecordField {
    /// Name in the `format` file, also the member's name in [`RecordLayout`] but for the suffix of
    /// members that have two widths.
    pub name: &'static str,
    /// Width in bytes that the programs read; a record where it differs gets [`ABSENT`].
    pub size: u16,
    /// Where the offset goes.
    pub slot: fn(&mut RecordLayout) -> &mut u16,
}

macro_rules! record_layout {
    ($( $(#[$doc:meta])* $member:ident : $name:literal, $size:literal; )+) => {
        /// Offsets within the record of one tracepoint; [`ABSENT`] where it has no such field.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
        pub struct RecordLayout {
            $( $(#[$doc])* pub $member: u16, )+
            /// Not an offset: 1 if `sport` and `dport` are in network order, 0 if in host order.
            pub ports_are_network_order: u16,
        }

        impl RecordLayout {
            /// A record of which nothing is known.
            pub const NONE: Self = Self { $( $member: ABSENT, )+ ports_are_network_order: 0 };
        }

        /// The table, in the order of the members of [`RecordLayout`].
        pub const RECORD_FIELDS: &[RecordField] = &[ $( RecordField {
            name: $name,
            size: $size,
            slot: |record| &mut record.$member,
        }, )+ ];
    };
}

record_layout! {
    /// Address of the `struct sock`, 8 bytes; 0: no socket.
    skaddr: "skaddr", 8;
    /// Address of the `struct sk_buff`, 8 bytes; 0: no segment led to it.
    skbaddr: "skbaddr", 8;
    /// State of the socket, 4 bytes; 0: no socket.
    state: "state", 4;
    /// State that is left, 4 bytes.
    oldstate: "oldstate", 4;
    /// State that is entered, 4 bytes.
    newstate: "newstate", 4;
    /// Number of `enum sk_rst_reason`, 4 bytes.
    reason: "reason", 4;
    /// Local port, 2 bytes.
    sport: "sport", 2;
    /// Remote port, 2 bytes.
    dport: "dport", 2;
    /// `AF_INET` or `AF_INET6`, 2 bytes in host order. Absent in `tcp_send_reset` before 5.15, which
    /// gives IPv4 as v4-mapped in the IPv6 addresses.
    family: "family", 2;
    /// Protocol, 2 bytes (5.6 and later).
    protocol: "protocol", 2;
    /// Protocol, 1 byte (before 5.6).
    protocol_u8: "protocol", 1;
    /// Local IPv4 address, 4 bytes.
    saddr: "saddr", 4;
    /// Remote IPv4 address, 4 bytes.
    daddr: "daddr", 4;
    /// Local IPv6 address, 16 bytes.
    saddr_v6: "saddr_v6", 16;
    /// Remote IPv6 address, 16 bytes.
    daddr_v6: "daddr_v6", 16;
    /// Socket cookie, 8 bytes.
    sock_cookie: "sock_cookie", 8;
}

/// The records of the tracepoints that classic mode attaches to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ClassicLayout {
    /// `tcp/tcp_send_reset`.
    pub send_reset: RecordLayout,
    /// `tcp/tcp_receive_reset`.
    pub receive_reset: RecordLayout,
    /// `sock/inet_sock_set_state`.
    pub set_state: RecordLayout,
}

impl ClassicLayout {
    /// Nothing known of any record.
    pub const NONE: Self = Self {
        send_reset: RecordLayout::NONE,
        receive_reset: RecordLayout::NONE,
        set_state: RecordLayout::NONE,
    };
}

const _: () = assert!(size_of::<RecordLayout>() == (RECORD_FIELDS.len() + 1) * size_of::<u16>());
