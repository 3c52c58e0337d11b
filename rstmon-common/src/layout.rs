//! Where the running kernel keeps each field that the programs read: one row a field.
//!
//! rustc emits no CO-RE relocations, so `rstmon::kernel::layout` resolves every row against the
//! kernel's BTF at start and the loader freezes the result into the programs' `.rodata`. An absent
//! field is [`ABSENT`]; the verifier prunes the branch that would have read it.
//!
//! To read a new field, add a row here: the struct, the table and the loader follow from it.

use bytemuck::{Pod, Zeroable};

/// The offset of a field that this kernel does not have.
pub const ABSENT: u16 = u16::MAX;

/// Whether rstmon can work without a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Without it no event can be told from another: the kernel is not supported.
    Required,
    /// Without it some facts are absent from the events.
    Optional,
}

/// What a row of the table says of one field.
#[derive(Clone, Copy, Debug)]
pub struct FieldSpec {
    /// The row's name, also the member's name in [`KernelLayout`].
    pub name: &'static str,
    /// The kernel structure that holds it.
    pub structure: &'static str,
    /// Spellings of the member path, newest first; the first that resolves is taken. Anonymous
    /// structs and unions are looked through, as C does.
    pub paths: &'static [&'static str],
    /// Width in bytes that the programs read. A kernel where it differs gets [`ABSENT`].
    /// Zero: the address of the member is wanted, whatever its size.
    pub size: u16,
    /// Whether rstmon can do without.
    pub need: Need,
}

macro_rules! kernel_layout {
    ($( $(#[$doc:meta])* $name:ident : $structure:literal, [$($path:literal),+], $size:literal, $need:ident; )+) => {
        /// Byte offsets of kernel fields in the running kernel; [`ABSENT`] where it has none.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
        pub struct KernelLayout { $( $(#[$doc])* pub $name: u16, )+ }

        impl KernelLayout {
            /// A kernel of which nothing is known.
            pub const NONE: Self = Self { $( $name: ABSENT, )+ };
        }

        /// The table, in the order of the members of [`KernelLayout`].
        pub const FIELDS: &[FieldSpec] = &[ $( FieldSpec {
            name: stringify!($name),
            structure: $structure,
            paths: &[$($path),+],
            size: $size,
            need: Need::$need,
        }, )+ ];
    };
}

kernel_layout! {
    // --- struct sock_common: valid for full, request and timewait sockets ---
    /// `AF_INET` or `AF_INET6`.
    sock_family: "sock", ["__sk_common.skc_family"], 2, Required;
    /// TCP state, `enum` of include/net/tcp_states.h.
    sock_state: "sock", ["__sk_common.skc_state"], 1, Required;
    /// Destination port, network order.
    sock_dport: "sock", ["__sk_common.skc_dport"], 2, Required;
    /// Local port, host order; 0 once the port was given back.
    sock_num: "sock", ["__sk_common.skc_num"], 2, Required;
    /// Remote IPv4 address.
    sock_daddr: "sock", ["__sk_common.skc_daddr"], 4, Required;
    /// Local IPv4 address.
    sock_rcv_saddr: "sock", ["__sk_common.skc_rcv_saddr"], 4, Required;
    /// Remote IPv6 address.
    sock_v6_daddr: "sock", ["__sk_common.skc_v6_daddr"], 16, Optional;
    /// Local IPv6 address.
    sock_v6_rcv_saddr: "sock", ["__sk_common.skc_v6_rcv_saddr"], 16, Optional;
    /// The network namespace's `struct net *`.
    sock_net: "sock", ["__sk_common.skc_net.net"], 8, Optional;
    /// Socket cookie; 0 until somebody asked for it.
    sock_cookie: "sock", ["__sk_common.skc_cookie"], 8, Optional;
    /// `enum sock_flags` bits.
    sock_flags: "sock", ["__sk_common.skc_flags"], 8, Optional;
    /// Interface the socket is bound to.
    sock_bound_dev_if: "sock", ["__sk_common.skc_bound_dev_if"], 4, Optional;

    // --- struct sock: full sockets only ---
    /// `sk_protocol`: 16 bits since 5.6.
    sock_protocol: "sock", ["sk_protocol"], 2, Optional;
    /// `RCV_SHUTDOWN` 1, `SEND_SHUTDOWN` 2.
    sock_shutdown: "sock", ["sk_shutdown"], 1, Optional;
    /// Pending error of the socket, positive errno.
    sock_err: "sock", ["sk_err"], 4, Optional;
    /// SO_LINGER time in jiffies.
    sock_lingertime: "sock", ["sk_lingertime"], 8, Optional;
    /// `struct socket *`, NULL once orphaned and for children never accepted.
    sock_socket: "sock", ["sk_socket"], 8, Optional;
    /// Inode number, kept in the socket itself since 6.17.
    sock_ino: "sock", ["sk_ino"], 8, Optional;
    /// Owner's uid; stays after orphaning.
    sock_uid: "sock", ["sk_uid"], 4, Optional;
    /// Firewall mark.
    sock_mark: "sock", ["sk_mark"], 4, Optional;
    /// `struct cgroup *` of the socket (the pointer-or-classid word on kernels before 5.15).
    sock_cgroup: "sock", ["sk_cgrp_data.cgroup", "sk_cgrp_data.val"], 8, Optional;
    /// Connections waiting to be accepted, of a listener.
    sock_ack_backlog: "sock", ["sk_ack_backlog"], 4, Optional;
    /// The accept queue's limit, of a listener.
    sock_max_ack_backlog: "sock", ["sk_max_ack_backlog"], 4, Optional;

    // --- struct inet_sock ---
    /// Local port, network order; survives the close (unlike `skc_num`).
    inet_sport: "inet_sock", ["inet_sport"], 2, Required;

    // --- struct inet_connection_sock ---
    /// Consecutive retransmissions without an answer.
    icsk_retransmits: "inet_connection_sock", ["icsk_retransmits"], 1, Optional;
    /// Unanswered keepalive or window probes.
    icsk_probes_out: "inet_connection_sock", ["icsk_probes_out"], 1, Optional;
    /// TCP_USER_TIMEOUT in milliseconds.
    icsk_user_timeout: "inet_connection_sock", ["icsk_user_timeout"], 4, Optional;
    /// When data was last received, jiffies.
    icsk_last_received: "inet_connection_sock", ["icsk_ack.lrcvtime"], 4, Optional;

    // --- struct tcp_sock ---
    /// RCV.NXT.
    tcp_rcv_nxt: "tcp_sock", ["rcv_nxt"], 4, Required;
    /// First byte that the application has not read.
    tcp_copied_seq: "tcp_sock", ["copied_seq"], 4, Optional;
    /// SND.NXT.
    tcp_snd_nxt: "tcp_sock", ["snd_nxt"], 4, Required;
    /// SND.UNA.
    tcp_snd_una: "tcp_sock", ["snd_una"], 4, Optional;
    /// One past the last byte the application wrote.
    tcp_write_seq: "tcp_sock", ["write_seq"], 4, Optional;
    /// Window offered by the peer.
    tcp_snd_wnd: "tcp_sock", ["snd_wnd"], 4, Optional;
    /// Window offered to the peer.
    tcp_rcv_wnd: "tcp_sock", ["rcv_wnd"], 4, Optional;
    /// RCV.NXT when the window was last offered.
    tcp_rcv_wup: "tcp_sock", ["rcv_wup"], 4, Optional;
    /// Smoothed round-trip time, microseconds times eight.
    tcp_srtt_us: "tcp_sock", ["srtt_us"], 4, Optional;
    /// Windowed minimum of the round-trip time: `struct minmax`, its first sample is `{u32 t; u32 v}`.
    tcp_rtt_min: "tcp_sock", ["rtt_min"], 0, Optional;
    /// When data was last sent, jiffies.
    tcp_last_sent: "tcp_sock", ["lsndtime"], 4, Optional;
    /// Payload bytes sent, retransmissions included.
    tcp_bytes_sent: "tcp_sock", ["bytes_sent"], 8, Optional;
    /// Payload bytes that the peer acknowledged.
    tcp_bytes_acked: "tcp_sock", ["bytes_acked"], 8, Optional;
    /// Payload bytes received in order.
    tcp_bytes_received: "tcp_sock", ["bytes_received"], 8, Optional;
    /// Retransmissions over the connection's life.
    tcp_total_retrans: "tcp_sock", ["total_retrans"], 4, Optional;
    /// FIN-WAIT-2 timeout, jiffies; negative: TCP_LINGER2 below zero.
    tcp_linger2: "tcp_sock", ["linger2"], 4, Optional;
    /// When the peer last acknowledged something, jiffies.
    tcp_last_heard: "tcp_sock", ["rcv_tstamp"], 4, Optional;
    /// Newest TSval of the peer.
    tcp_ts_recent: "tcp_sock", ["rx_opt.ts_recent"], 4, Optional;
    /// Whether it is a subflow of an MPTCP connection; with `CONFIG_MPTCP`.
    tcp_is_mptcp: "tcp_sock", ["is_mptcp"], 1, Optional;
    /// Number of SACK blocks to be sent.
    tcp_num_sacks: "tcp_sock", ["rx_opt.num_sacks"], 1, Optional;
    /// The SACK blocks to be sent: `struct tcp_sack_block { u32 start_seq, end_seq; }[4]`.
    tcp_selective_acks: "tcp_sock", ["selective_acks"], 0, Optional;

    // --- struct inet_timewait_sock ---
    /// `TCP_FIN_WAIT2` or `TCP_TIME_WAIT`.
    tw_substate: "inet_timewait_sock", ["tw_substate"], 1, Optional;
    /// RCV.NXT of the connection that is in TIME-WAIT (`tw_rcv_nxt`).
    tw_rcv_nxt: "tcp_timewait_sock", ["tw_sk.__tw_common.skc_tw_rcv_nxt"], 4, Optional;

    // --- namespaces, devices, cgroups ---
    /// Inode number of the network namespace.
    net_inum: "net", ["ns.inum"], 4, Optional;
    /// The device's `struct net *`.
    dev_net: "net_device", ["nd_net.net"], 8, Optional;
    /// Interface index.
    dev_ifindex: "net_device", ["ifindex"], 4, Optional;
    /// The cgroup's `struct kernfs_node *`.
    cgroup_kn: "cgroup", ["kn"], 8, Optional;
    /// The cgroup's id: the inode number of its directory.
    kernfs_id: "kernfs_node", ["id"], 8, Optional;
    /// The inode inside the allocation that a `struct socket` is the first part of.
    socket_inode: "socket_alloc", ["vfs_inode"], 0, Optional;
    /// Inode number.
    inode_ino: "inode", ["i_ino"], 8, Optional;

    // --- struct task_struct ---
    /// The process's first thread, whose name is the process's.
    task_group_leader: "task_struct", ["group_leader"], 8, Optional;
    /// The thread's name.
    task_comm: "task_struct", ["comm"], 16, Optional;

    /// Process id: that of the first thread, in the initial pid namespace.
    task_tgid: "task_struct", ["tgid"], 4, Optional;
    /// `PF_*`.
    task_flags: "task_struct", ["flags"], 4, Optional;
    /// How the thread ended, once it is exiting.
    task_exit_code: "task_struct", ["exit_code"], 4, Optional;
    /// `struct signal_struct *`, shared by the threads of a process.
    task_signal: "task_struct", ["signal"], 8, Optional;
    /// The memory of a process that was chosen to free it; NULL of all others.
    signal_oom_mm: "signal_struct", ["oom_mm"], 8, Optional;
    /// Who or what sent a signal: zero and below is another process.
    siginfo_code: "kernel_siginfo", ["si_code"], 4, Optional;

    // --- struct sk_buff ---
    /// Start of the packet's buffer.
    skb_head: "sk_buff", ["head"], 8, Required;
    /// Payload of the current layer; the TCP header where TCP handles it.
    skb_data: "sk_buff", ["data"], 8, Required;
    /// Length from `data` on, fragments included.
    skb_len: "sk_buff", ["len"], 4, Required;
    /// How much of `len` lies in fragments, and not at `data`.
    skb_data_len: "sk_buff", ["data_len"], 4, Optional;
    /// Ethertype, network order.
    skb_protocol: "sk_buff", ["protocol", "headers.protocol"], 2, Required;
    /// Offset of the TCP header from `head`.
    skb_transport_header: "sk_buff", ["transport_header", "headers.transport_header"], 2, Required;
    /// Offset of the IP header from `head`.
    skb_network_header: "sk_buff", ["network_header", "headers.network_header"], 2, Required;
    /// Interface that the packet came in by.
    skb_iif: "sk_buff", ["skb_iif", "headers.skb_iif"], 4, Optional;
    /// `struct net_device *`; NULL in the receive path of full sockets.
    skb_dev: "sk_buff", ["dev"], 8, Optional;
    /// The socket that the packet belongs to, if any.
    skb_sk: "sk_buff", ["sk"], 8, Optional;
    /// The byte that holds the bit field `pkt_type`, in its low three bits on little-endian.
    skb_pkt_type: "sk_buff", ["pkt_type"], 0, Optional;
}

const _: () = assert!(size_of::<KernelLayout>() == FIELDS.len() * size_of::<u16>());
