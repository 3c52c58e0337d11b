//! Pages of the resets with which this host answers a segment that does not fit.

use super::page::{CausePage, Direction, Harm, Lookalike, Remedy, Sign};
use crate::event::model::Cause;

pub(super) const PORT_CLOSED: CausePage = CausePage {
    title: "a SYN came for a port nobody listens on",
    direction: Direction::Sent,
    meaning: "Somebody tried to connect to a port of this host that has no listener, and was \
        refused. The client sees ECONNREFUSED.",
    who: "This host's TCP (`local-kernel`), as it must; the client asked for a port that is not \
        there.",
    harm: Harm::Depends,
    harm_detail: "Benign from port scans, health checks of a stopped service, and Happy Eyeballs \
        (IPv6 refused, IPv4 used). Harmful when the service should be there.",
    mechanism: "RFC 9293 3.10.7.1: a SYN in state CLOSED is answered with a RST. Linux: \
        `tcp_v4_rcv()` or `tcp_v6_rcv()` finds no socket and calls `tcp_v4_send_reset()` or \
        `tcp_v6_send_reset()`.",
    in_rstmon: &[
        Sign {
            fact: "trigger=S seq=… len=0",
            says: "a SYN, without ACK",
        },
        Sign {
            fact: "kernel_reason=NO_SOCKET",
            says: "no socket was found (Linux 6.10 and later)",
        },
        Sign {
            fact: "drop_reason=NO_SOCKET",
            says: "on older kernels without probes, the reset is deduced from the dropped SYN",
        },
        Sign {
            fact: "state=none",
            says: "no socket. `local_port` is the port that was asked for",
        },
    ],
    in_tcpdump: "`Flags [S]`, answered by `Flags [R.]`, `seq 0`, ack one above the SYN's seq, \
        `win 0`.",
    in_counters: "`TcpOutRsts` only, here. At the client: `TcpAttemptFails`.",
    origins: &[
        "The service is down, still starting, or just restarting.",
        "It listens on 127.0.0.1 only, on IPv4 only, or in another network namespace or container.",
        "A balancer or a service registry with an old address or port.",
        "Port scans: many ports from one address.",
    ],
    remedies: &[
        Remedy {
            advice: "Is there a listener, and on which address?",
            lines: &["ss -ltnp 'sport = :8080'", "systemctl status SERVICE"],
        },
        Remedy {
            advice: "In a container: look inside its network namespace, and bind to 0.0.0.0 or \
                [::].",
            lines: &["nsenter -t PID -n ss -ltn"],
        },
        Remedy {
            advice: "Port scans: drop what nobody should ask for, so that nothing is answered.",
            lines: &["nft add rule inet filter input tcp dport != { 22, 443 } tcp flags syn drop"],
        },
        Remedy {
            advice: "At start-up: let the balancer wait for readiness, and clients try again.",
            lines: &[],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::FirewallReject,
            difference: "a rule refused, though a listener may be there",
        },
        Lookalike {
            cause: Cause::ConnectionRefused,
            difference: "the same at the other end: our own SYN was refused",
        },
        Lookalike {
            cause: Cause::StaleSegment,
            difference: "what came was no SYN",
        },
    ],
    references: &[
        "RFC 9293 3.10.7.1 and 3.5.2",
        "Linux net/ipv4/tcp_ipv4.c: tcp_v4_rcv (no_tcp_socket), tcp_v4_send_reset",
    ],
};

pub(super) const STALE_SEGMENT: CausePage = CausePage {
    title: "a segment for a connection this host does not have",
    direction: Direction::Sent,
    meaning: "Data, an ACK or a FIN arrived for a connection that this host does not have, and \
        rstmon knows of no close that would explain it. The peer believes that the connection lives.",
    who: "`unknown`: this host's TCP must answer so; why the connection is not here (restart, \
        expiry, NAT, a balancer) is not seen from one segment. Likely at most: a close of which \
        rstmon does not know would make it `segment-after-close`.",
    harm: Harm::Depends,
    harm_detail: "The peer loses a connection that was useless anyway. Harmful if the connection \
        does live, in another container or on another host, and a packet was led astray.",
    mechanism: "RFC 9293 3.10.7.1 and 3.5.1 (half-open connections). Linux: no socket in \
        `tcp_v4_rcv()` or `tcp_v6_rcv()`; where somebody listens on the port, the listener, which \
        refuses any ACK.",
    in_rstmon: &[
        Sign {
            fact: "trigger=P. seq=… ack=… len=N",
            says: "what came: data, a bare ACK (a keepalive?), a FIN, or a SYN-ACK (`S.`: we had \
                given our connect up)",
        },
        Sign {
            fact: "state=listen",
            says: "a listener got it, with data, a FIN or a connection that is remembered: this \
                service has restarted or another host's connections have come here",
        },
        Sign {
            fact: "kernel_reason=NO_SOCKET",
            says: "Linux 6.10 and later; before, `state=none` or `drop_reason=NO_SOCKET`",
        },
        Sign {
            fact: "closed_ago_ms=N",
            says: "the connection was here and left without a word to the peer: retransmissions \
                used up, TCP_REPAIR; above 300000 it may have been another of the same ports",
        },
        Sign {
            fact: "closed_from=established",
            says: "the state that it left",
        },
        Sign {
            fact: "reset_received_ago_ms=N",
            says: "a RST had torn it down here",
        },
        Sign {
            fact: "peer_went_on_after_its_rst_ms=N",
            says: "the peer does not know of that RST: somebody else sent it, see `forged-suspect`",
        },
    ],
    in_tcpdump: "A segment with ACK and no SYN; our `Flags [R]` with its ack as seq, `win 0`, no \
        options.",
    in_counters: "`TcpOutRsts` only. Packets led astray: the `insert_failed` and `invalid` columns \
        of `conntrack -S`.",
    origins: &[
        "This host or container restarted, or its address moved (failover, VRRP, a new pod).",
        "A balancer sent a running connection to another backend.",
        "conntrack called a packet INVALID and so did not translate it back: the host's own stack \
         gets it and resets (Kubernetes, Docker).",
        "The connection timed out here (`net.ipv4.tcp_retries2`), and the peer's network came \
         back.",
        "An idle connection that the peer uses again after this end dropped it.",
    ],
    remedies: &[
        Remedy {
            advice: "Kubernetes or Docker, and the peer is a pod's: do not let INVALID packets \
                through, or let conntrack be liberal.",
            lines: &[
                "sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1",
                "nft insert rule inet filter input ct state invalid drop",
            ],
        },
        Remedy {
            advice: "Balancer: turn stickiness or consistent hashing on, and drain before removal.",
            lines: &[],
        },
        Remedy {
            advice: "Restart: nothing to mend; clients must reconnect.",
            lines: &[],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::SegmentAfterClose,
            difference: "this host had closed or reset it a short while ago",
        },
        Lookalike {
            cause: Cause::BadHandshakeAck,
            difference: "the port has a listener, which answers a stray ACK itself",
        },
        Lookalike {
            cause: Cause::PeerGone,
            difference: "the same seen from the other end",
        },
    ],
    references: &[
        "RFC 9293 3.5.1, 3.5.2 and 3.10.7.1",
        "Linux net/ipv4/tcp_ipv4.c: tcp_v4_rcv (no_tcp_socket)",
        "kubernetes/kubernetes issue 74839",
    ],
};

pub(super) const SEGMENT_AFTER_CLOSE: CausePage = CausePage {
    title: "a segment for a connection closed here just before",
    direction: Direction::Sent,
    meaning: "This host closed or reset the connection a short while ago, its socket is gone, and \
        a segment of the peer's arrived late. The answer is a RST; the connection was over \
        already.",
    who: "Who ended the connection: the application here that closed (`local-app`), or whoever the \
        reset before names (`local-kernel`, `local-admin`); `unknown` after a connect that was given \
        up. The peer had not heard yet, or did not care.",
    harm: Harm::Benign,
    harm_detail: "It follows another reset or an orderly end. Look at the first event of the same \
        ports: that one has the cause. Harmful only if the trigger carries data that mattered.",
    mechanism: "RFC 9293 3.10.7.1: no connection, so a RST. After our own RST there is no \
        TIME-WAIT that could answer more gently. Linux: no socket in `tcp_v4_rcv()` or \
        `tcp_v6_rcv()`.",
    in_rstmon: &[
        Sign {
            fact: "closed_ago_ms=N",
            says: "when the connection ended here; five minutes ago at most, as the ports may be in \
                use again after that",
        },
        Sign {
            fact: "closed_from=last-ack",
            says: "the state that it left: here it was closed in order, by both ends",
        },
        Sign {
            fact: "reset_sent_ago_ms=N",
            says: "this host had reset it: the segment crossed our RST",
        },
        Sign {
            fact: "trigger=F. seq=… ack=… len=0",
            says: "what came: mostly the peer's FIN or the rest of its data",
        },
        Sign {
            fact: "kernel_reason=NO_SOCKET",
            says: "Linux 6.10 and later",
        },
    ],
    in_tcpdump: "Our FIN or RST; later a segment of the peer's; our `Flags [R]` with its ack as \
        seq, `win 0`. After one reset there may be several, one for each segment that was on its \
        way.",
    in_counters: "`TcpOutRsts`, one for each such segment.",
    origins: &[
        "The peer had a window full of data on its way when this host reset the connection.",
        "The peer's FIN after a TLS close_notify that was itself answered with a RST.",
        "A peer that retransmits a FIN after our LAST-ACK ended.",
        "A peer that answers after `net.ipv4.tcp_fin_timeout` is over.",
    ],
    remedies: &[
        Remedy {
            advice: "Nothing here: mend the close that went before. Find it by the ports.",
            lines: &["rstmon trace -r resets.rstmon 'rport 40682'"],
        },
        Remedy {
            advice: "If a peer is slow to close: give FIN-WAIT-2 longer (seconds).",
            lines: &["sysctl -w net.ipv4.tcp_fin_timeout=120"],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::DataAfterClose,
            difference: "the socket was still there in FIN-WAIT",
        },
        Lookalike {
            cause: Cause::StaleSegment,
            difference: "no close of ours is known",
        },
    ],
    references: &[
        "RFC 9293 3.10.7.1; RFC 1122 4.2.2.13",
        "Linux net/ipv4/tcp_ipv4.c: tcp_v4_rcv (no_tcp_socket)",
        "rstmon explain lost-fin",
    ],
};

pub(super) const BAD_HANDSHAKE_ACK: CausePage = CausePage {
    title: "an unacceptable ACK during the handshake",
    direction: Direction::Sent,
    meaning: "While listening or connecting, this host got an ACK that fits no handshake of its \
        own. It answers with a RST, so that an old or forged connection cannot be taken for a new \
        one.",
    who: "`unknown`: a segment from the past, a peer that thinks it is connected, or a forger.",
    harm: Harm::Depends,
    harm_detail: "Benign when single: an old duplicate, a scanner's ACK probe, a connection from \
        before this host's restart. Harmful when connects fail because of it.",
    mechanism: "RFC 9293 3.10.7.2 (LISTEN), 3.10.7.3 (SYN-SENT), 3.10.7.4 (SYN-RECEIVED). Linux: \
        `tcp_rcv_state_process()`, `tcp_rcv_synsent_state_process()`, `tcp_check_req()`; a SYN \
        cookie that does not fit ends here, too.",
    in_rstmon: &[
        Sign {
            fact: "state=listen",
            says: "an ACK for a listener; `syn-sent`: a SYN-ACK that acknowledges no SYN of ours",
        },
        Sign {
            fact: "kernel_reason=TCP_FLAGS",
            says: "in LISTEN (Linux 6.10 and later)",
        },
        Sign {
            fact: "kernel_reason=TCP_INVALID_ACK_SEQUENCE",
            says: "in SYN-SENT; TCP_ACK_UNSENT_DATA, TCP_TOO_OLD_ACK and TCP_OLD_ACK in \
                SYN-RECEIVED",
        },
        Sign {
            fact: "trigger=. seq=… ack=… len=0",
            says: "the segment; in LISTEN a bare ACK, as data and FINs are a connection's",
        },
    ],
    in_tcpdump: "A segment with ACK; our `Flags [R]` with its ack as seq, `win 0`. In SYN-SENT our \
        SYN goes on being sent.",
    in_counters: "`TcpOutRsts`; `TcpExtSyncookiesFailed` where cookies were in use.",
    origins: &[
        "A keepalive of a connection from before this host's restart, to a port that listens again.",
        "Client ports reused quickly through NAT: the server answers for the former connection.",
        "Asymmetric routing: a firewall or proxy changed the sequence numbers of one direction \
         only.",
        "A SYN flood with cookies, scanners (`nmap -sA`).",
    ],
    remedies: &[
        Remedy {
            advice: "After a restart: nothing. It ends when the clients have reconnected.",
            lines: &[],
        },
        Remedy {
            advice: "Clients behind NAT: more ports, chosen at random.",
            lines: &[
                "nft add rule ip nat postrouting oifname eth0 masquerade fully-random",
                "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"",
            ],
        },
        Remedy {
            advice: "State SYN-SENT, again and again: see both directions on both ends.",
            lines: &["tcpdump -nSi any 'host PEER and tcp[tcpflags] & (tcp-syn|tcp-rst) != 0'"],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::AcceptQueueOverflow,
            difference: "the ACK was good, the queue was full",
        },
        Lookalike {
            cause: Cause::StaleSegment,
            difference: "a segment of a connection: with data, with a FIN, or of one that was here",
        },
        Lookalike {
            cause: Cause::Paws,
            difference: "the ACK was good, its timestamp was not",
        },
    ],
    references: &[
        "RFC 9293 3.10.7.2, 3.10.7.3, 3.10.7.4",
        "Linux net/ipv4/tcp_input.c: tcp_rcv_synsent_state_process, tcp_rcv_state_process",
        "Linux net/ipv4/syncookies.c: cookie_v4_check",
    ],
};

pub(super) const TIME_WAIT_HIT: CausePage = CausePage {
    title: "a segment that TIME-WAIT does not accept",
    direction: Direction::Sent,
    meaning: "The connection was closed here and only its timewait socket was left. A SYN (or, on \
        kernels that tell less, another segment) hit it and was answered with a RST.",
    who: "`unknown`: mostly a client, or a NAT before it, that used its port again too soon.",
    harm: Harm::Depends,
    harm_detail: "One connect fails; most clients try again and succeed, as the RST clears the \
        way. Harmful when it happens often.",
    mechanism: "RFC 9293 3.10.7.4, RFC 6191. Linux: `tcp_timewait_state_process()` answers \
        TCP_TW_RST to a SYN in the window while the timewait socket stands for FIN-WAIT-2. In \
        TIME-WAIT proper a SYN with a higher sequence number or timestamp opens a new connection, \
        and anything old gets an ACK, no RST.",
    in_rstmon: &[
        Sign {
            fact: "trigger=S seq=… len=0",
            says: "a new SYN with the ports of a connection that is not quite over",
        },
        Sign {
            fact: "kernel_reason=TCP_TIMEWAIT_SOCKET",
            says: "Linux 6.10 and later",
        },
        Sign {
            fact: "state=fin-wait-2",
            says: "what the timewait socket stood for; `time-wait` where the kernel does not tell",
        },
    ],
    in_tcpdump: "Our FIN and its ACK earlier; then `Flags [S]` from the same port, answered by our \
        `Flags [R.]` with `seq 0`.",
    in_counters: "`TcpOutRsts`. How many there are: `ss -s`, or tw in /proc/net/sockstat.",
    origins: &[
        "A NAT gateway with few addresses and many clients: ports come round quickly.",
        "A load generator or proxy that binds to a fixed source port.",
        "A peer that never closed its side (CLOSE-WAIT), died and came again.",
    ],
    remedies: &[
        Remedy {
            advice: "Clients: reuse connections, and give them more ports.",
            lines: &["sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\""],
        },
        Remedy {
            advice: "NAT: more addresses, ports at random (`--random-fully`), and TIME-WAIT \
                entries no shorter than the servers'.",
            lines: &["sysctl net.netfilter.nf_conntrack_tcp_timeout_time_wait"],
        },
        Remedy {
            advice: "Keep timestamps on at both ends: they let Linux accept a new SYN in \
                TIME-WAIT.",
            lines: &["sysctl -w net.ipv4.tcp_timestamps=1"],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::DataAfterClose,
            difference: "data or a FIN hit the timewait socket, no SYN",
        },
        Lookalike {
            cause: Cause::TimeWaitAssassination,
            difference: "a RST hit it; nothing was sent",
        },
    ],
    references: &[
        "RFC 9293 3.10.7.4; RFC 6191; RFC 1337",
        "Linux net/ipv4/tcp_minisocks.c: tcp_timewait_state_process",
    ],
};

pub(super) const PAWS: CausePage = CausePage {
    title: "timestamps said that the segment is old",
    direction: Direction::Sent,
    meaning: "While connecting, this host got a SYN-ACK that echoes a timestamp it did not send. \
        The answer belongs to an earlier connection with the same ports, so it is reset.",
    who: "`unknown`: a late segment, or a box that rewrites timestamps.",
    harm: Harm::Depends,
    harm_detail: "Once: an old duplicate, and the connect succeeds with the next SYN. Always: no \
        connection to that peer comes about.",
    mechanism: "RFC 7323 5 (protection against wrapped sequence numbers). Linux: \
        `tcp_rcv_synsent_state_process()` compares TSecr with the time of our SYNs. On established \
        connections a segment that fails this test is dropped and acknowledged, with no RST.",
    in_rstmon: &[
        Sign {
            fact: "kernel_reason=TCP_RFC7323_PAWS",
            says: "the kernel says so (since Linux 6.10)",
        },
        Sign {
            fact: "ack_fits=true",
            says: "older kernels give no reason; while connecting, a segment whose acknowledgment fits \
                is reset for its timestamps alone",
        },
        Sign {
            fact: "state=syn-sent",
            says: "our SYN was out",
        },
    ],
    in_tcpdump: "Our `Flags [S]` with `TS val A`; a `Flags [S.]` with `ecr B`, B not A; our \
        `Flags [R]`.",
    in_counters: "`TcpExtPAWSActive`, `TcpOutRsts`.",
    origins: &[
        "NAT that hands a port on quickly, with a server that answers for the former client.",
        "A firewall, proxy or SYN-cookie box that rewrites timestamps in one direction.",
    ],
    remedies: &[
        Remedy {
            advice: "Compare the timestamps on both sides of the suspected box.",
            lines: &["tcpdump -nvSi any 'host PEER and tcp[tcpflags] & tcp-syn != 0'"],
        },
        Remedy {
            advice: "Until the box is mended, as a test only:",
            lines: &["sysctl -w net.ipv4.tcp_timestamps=0"],
        },
    ],
    lookalikes: &[Lookalike {
        cause: Cause::BadHandshakeAck,
        difference: "the acknowledgment number did not fit; the timestamp was not looked at",
    }],
    references: &[
        "RFC 7323 5",
        "Linux net/ipv4/tcp_input.c: tcp_rcv_synsent_state_process",
    ],
};

pub(super) const MPTCP: CausePage = CausePage {
    title: "this host reset an MPTCP subflow",
    direction: Direction::Sent,
    meaning: "Multipath TCP ended a subflow, or the whole connection by a fast close. The kernel's \
        reason tells why; other subflows may live on.",
    who: "This host's MPTCP (`local-kernel`); for a fast close the application that aborted \
        (`local-app`).",
    harm: Harm::Depends,
    harm_detail: "Losing one subflow of several harms nobody. A fast close is an abort like any \
        other.",
    mechanism: "RFC 8684 3.6 (MP_TCPRST), 3.5 (MP_FASTCLOSE). Linux: `subflow_syn_recv_sock()`, \
        `mptcp_subflow_reset()`, `mptcp_do_fastclose()`. Kernels differ in what they send for an \
        abort: up to 5.15 some send no RST, 6.17 may send a FIN first.",
    in_rstmon: &[
        Sign {
            fact: "kernel_reason=MPTCP_RST_EMPTCP",
            says: "a join with an unknown token, a mapping that does not fit; likewise EUNSPEC, \
                ERESOURCE, EPROHIBIT, EWQ2BIG, EBADPERF, EMIDDLEBOX (RFC 8684 3.6)",
        },
        Sign {
            fact: "kernel_reason=TCP_ABORT_ON_CLOSE",
            says: "on a subflow that is not CLOSED: a fast close",
        },
        Sign {
            fact: "mptcp_subflow=true",
            says: "the socket carries a subflow; told where the reason is another's or there is none \
                (before Linux 6.12)",
        },
        Sign {
            fact: "trigger=S seq=… len=0",
            says: "a join that was refused; `mp_join=true` where the kernel gives no reason",
        },
    ],
    in_tcpdump: "`Flags [R.]` or `[R]` with the option `mptcp … reset` or `mptcp … fastclose`.",
    in_counters: "`MPTcpExtMPRstTx`, `MPTcpExtMPFastcloseTx`, `MPTcpExtMPJoinNoTokenFound`; \
        `TcpOutRsts`.",
    origins: &[
        "A client joins through an address for which a balancer chose another server.",
        "The application aborted: unread data, SO_LINGER 0.",
        "The path manager removed an address; a middlebox stripped options.",
    ],
    remedies: &[
        Remedy {
            advice: "See the limits and addresses, and what the kernel counts.",
            lines: &[
                "ip mptcp limits show; ip mptcp endpoint show",
                "nstat -az 'MPTcpExt*'",
            ],
        },
        Remedy {
            advice: "Servers behind a balancer: do not let clients join at the shared address.",
            lines: &["sysctl -w net.mptcp.allow_join_initial_addr_port=0"],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::CloseUnreadData,
            difference: "plain TCP; the socket is CLOSED when it resets",
        },
        Lookalike {
            cause: Cause::MptcpReceived,
            difference: "the other direction",
        },
    ],
    references: &[
        "RFC 8684 3.5 and 3.6",
        "Linux net/mptcp/subflow.c, net/mptcp/protocol.c: mptcp_do_fastclose",
    ],
};

pub(super) const INVALID_SEGMENT: CausePage = CausePage {
    title: "another segment that is answered with a reset",
    direction: Direction::Sent,
    meaning: "A segment did not fit its socket in a way that has no cause of its own here. The \
        kernel's reason says which.",
    who: "`unknown`: whoever sent the segment.",
    harm: Harm::Depends,
    harm_detail: "Single ones are noise of the Internet. Many from one peer: a broken stack or \
        box.",
    mechanism: "RFC 9293 3.10.7. Linux: `tcp_v4_send_reset()` or `tcp_v6_send_reset()` with a \
        reason that no other rule takes; without a reason, a SYN for a connection in SYN-RECEIVED \
        with another sequence number in the window (`tcp_check_req()`).",
    in_rstmon: &[
        Sign {
            fact: "kernel_reason=INVALID_SYN",
            says: "a second SYN during the handshake; other names say what they are",
        },
        Sign {
            fact: "state=…",
            says: "the state that it met",
        },
        Sign {
            fact: "trigger=S seq=… len=0",
            says: "the segment itself",
        },
    ],
    in_tcpdump: "The segment, and our RST: `[R]` with its ack as seq, or `[R.]` with `seq 0` \
        where it had no ACK.",
    in_counters: "`TcpOutRsts`; `TcpExtEmbryonicRsts` and `TcpAttemptFails` for a bad SYN during \
        the handshake.",
    origins: &[
        "A client that starts again with a new sequence number before the first try is over.",
        "Two clients behind one NAT that share a port.",
        "Scanners and fuzzers.",
    ],
    remedies: &[Remedy {
        advice: "Record the peer, and look at the segment before the RST.",
        lines: &["tcpdump -nSi any -w peer.pcap 'host PEER and tcp port PORT'"],
    }],
    lookalikes: &[
        Lookalike {
            cause: Cause::AcceptQueueOverflow,
            difference: "the kernel says INVALID_SYN there, too; its trigger is an ACK",
        },
        Lookalike {
            cause: Cause::BadHandshakeAck,
            difference: "an ACK, not a SYN, did not fit",
        },
        Lookalike {
            cause: Cause::Undiagnosed,
            difference: "no rule applied at all",
        },
    ],
    references: &[
        "RFC 9293 3.10.7",
        "Linux include/net/rstreason.h; net/ipv4/tcp_minisocks.c: tcp_check_req",
    ],
};
