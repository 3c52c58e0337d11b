//! Pages of the resets that this host itself, its administrator or its firewall sends.

use super::page::{CausePage, Direction, Harm, Lookalike, Remedy, Sign};
use crate::event::model::Cause;

pub(super) const ACCEPT_QUEUE_OVERFLOW: CausePage = CausePage {
    title: "accept queue full, tcp_abort_on_overflow is on",
    direction: Direction::Sent,
    meaning: "A client finished its handshake, but the application accepts too slowly and its \
        queue is full. Because `net.ipv4.tcp_abort_on_overflow` is 1, the client gets a RST in \
        place of being left to try again.",
    who: "The listening application (`local-app`): it is too slow, or its backlog too small.",
    harm: Harm::Harmful,
    harm_detail: "Clients get ECONNRESET right after connecting. With the sysctl at 0, the \
        default, a short burst would pass unnoticed, since the client's ACK is dropped and comes \
        again.",
    mechanism: "Linux: at the last ACK of the handshake `tcp_v4_syn_recv_sock()` or \
        `tcp_v6_syn_recv_sock()` finds `sk_acceptq_is_full()`; `tcp_check_req()` sees only that no \
        child came and resets, for which it borrows the reason INVALID_SYN. The limit is the smaller \
        of `listen()`'s backlog and `net.core.somaxconn`.",
    in_rstmon: &[
        Sign {
            fact: "backlog=N",
            says: "connections that wait in the queue",
        },
        Sign {
            fact: "backlog_limit=N",
            says: "its limit; the queue is full when more than that wait: certain then, with the \
                reason; else the child may have failed for want of memory",
        },
        Sign {
            fact: "kernel_reason=INVALID_SYN",
            says: "with a trigger that is an ACK and no SYN (Linux 6.10 and later)",
        },
        Sign {
            fact: "trigger=. seq=… ack=… len=0",
            says: "the ACK that ended the handshake",
        },
    ],
    in_tcpdump: "SYN, SYN-ACK, ACK; then our `Flags [R]`, whose seq is the ack of that ACK, `win 0`.",
    in_counters: "`TcpExtListenOverflows` and `TcpExtListenDrops` (overflows also with the sysctl \
        at 0), `TcpExtEmbryonicRsts`, `TcpOutRsts`.",
    origins: &[
        "A traffic peak, with a backlog of 128 (`net.core.somaxconn` before Linux 5.4).",
        "An application whose accept loop is blocked: garbage collection, a full thread pool.",
        "Somebody set the sysctl to 1 following an old tuning guide.",
    ],
    remedies: &[
        Remedy {
            advice: "Turn it off: the kernel then gives the application time.",
            lines: &["sysctl -w net.ipv4.tcp_abort_on_overflow=0"],
        },
        Remedy {
            advice: "See the queue (Recv-Q waits, Send-Q is the limit), raise it, restart the \
                listener.",
            lines: &[
                "ss -ltn 'sport = :443'",
                "sysctl -w net.core.somaxconn=4096",
            ],
        },
        Remedy {
            advice: "nginx, HAProxy, Node:",
            lines: &[
                "listen 443 ssl backlog=4096;                      # nginx",
                "bind :443 backlog 4096                            # haproxy",
                "server.listen({ port: 443, backlog: 4096 })       // node",
            ],
        },
        Remedy {
            advice: "A queue that stays full wants more workers, not a longer queue.",
            lines: &[],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::BadHandshakeAck,
            difference: "the ACK fits no handshake; the queue is not full",
        },
        Lookalike {
            cause: Cause::ListenerClosed,
            difference: "the listener went away with a queue that need not be full",
        },
    ],
    references: &[
        "Linux net/ipv4/tcp_minisocks.c: tcp_check_req; listen(2)",
        "Linux Documentation/networking/ip-sysctl.rst: tcp_abort_on_overflow",
    ],
};

pub(super) const KEEPALIVE_TIMEOUT: CausePage = CausePage {
    title: "keepalive probes went unanswered",
    direction: Direction::Sent,
    meaning: "The connection was idle, this host probed whether the peer was still there, and \
        nothing came back. It gave the connection up and sent a RST in case somebody listens.",
    who: "This host's TCP (`local-kernel`), because the application asked for SO_KEEPALIVE.",
    harm: Harm::Depends,
    harm_detail: "The connection was dead already; this is how you learn of it. Harmful only when \
        the path was merely slow or a firewall ate the probes.",
    mechanism: "RFC 1122 4.2.3.6, RFC 9293 3.8.4. Linux: `tcp_keepalive_timer()` after \
        TCP_KEEPIDLE (7200 s) and TCP_KEEPCNT (9) probes TCP_KEEPINTVL (75 s) apart; the \
        application sees ETIMEDOUT. Data that goes unacknowledged is another timer, which ends \
        without a RST.",
    in_rstmon: &[
        Sign {
            fact: "kernel_reason=TCP_KEEPALIVE_TIMEOUT",
            says: "the kernel says so itself, from Linux 6.12 on",
        },
        Sign {
            fact: "probes_out=N",
            says: "probes that were not answered",
        },
        Sign {
            fact: "idle_ms=N",
            says: "since the last data: the idle time before the first probe, and all intervals",
        },
    ],
    in_tcpdump: "`Flags [.]` with `length 0` and a seq one below the next, KEEPCNT times, no \
        answer; then `Flags [R.]`.",
    in_counters: "`TcpExtTCPKeepAlive` counts probes, `TcpExtTCPAbortOnTimeout` the end; \
        `TcpOutRsts`, `TcpEstabResets`.",
    origins: &[
        "The peer lost power or its network: a phone, a laptop put to sleep, a dead VM.",
        "A firewall or NAT forgot the connection and drops without a word: the probes came too \
         late.",
        "An address moved to another host that does not answer.",
    ],
    remedies: &[
        Remedy {
            advice: "If a box on the way forgets idle connections, probe before it does, at half \
                its timer at most (350 s AWS NLB, 240 s Azure).",
            lines: &[
                "sysctl -w net.ipv4.tcp_keepalive_time=120",
                "sysctl -w net.ipv4.tcp_keepalive_intvl=20",
                "sysctl -w net.ipv4.tcp_keepalive_probes=6",
            ],
        },
        Remedy {
            advice: "The sysctls apply only where a program sets SO_KEEPALIVE. Per service:",
            lines: &[
                "listen 443 ssl so_keepalive=2m:20s:6;             # nginx",
                "proxy_socket_keepalive on;                        # nginx, upstream",
                "option clitcpka                                   # haproxy",
                "tcp_keepalives_idle = 120                         # postgresql.conf",
            ],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::UserTimeout,
            difference: "TCP_USER_TIMEOUT bounded it; the number of probes did not count",
        },
        Lookalike {
            cause: Cause::IdleTimeout,
            difference: "a RST arrived; here nothing did",
        },
    ],
    references: &[
        "RFC 1122 4.2.3.6; RFC 9293 3.8.4; tcp(7)",
        "Linux net/ipv4/tcp_timer.c: tcp_keepalive_timer",
    ],
};

pub(super) const USER_TIMEOUT: CausePage = CausePage {
    title: "TCP_USER_TIMEOUT ran out",
    direction: Direction::Sent,
    meaning: "The application set a limit on how long the peer may stay silent. Keepalive probed, \
        the limit passed, and this host reset the connection.",
    who: "This host's TCP (`local-kernel`), within the bound that the application set.",
    harm: Harm::Depends,
    harm_detail: "As intended, if the limit is longer than any pause of the path. A limit of a few \
        seconds kills connections during a short outage or a failover.",
    mechanism: "RFC 5482, RFC 9293 3.8.3. Linux: `tcp_keepalive_timer()` with `icsk_user_timeout`, \
        once one probe is out. With unacknowledged data the same limit ends in ETIMEDOUT and sends \
        no RST (`tcp_write_timeout()`); such an end is no reset, and rstmon does not show it.",
    in_rstmon: &[
        Sign {
            fact: "user_timeout_ms=N",
            says: "the limit that the application set",
        },
        Sign {
            fact: "kernel_reason=TCP_KEEPALIVE_TIMEOUT",
            says: "from Linux 6.12: the same timer",
        },
        Sign {
            fact: "probes_out=N",
            says: "probes that were not answered, at least one",
        },
        Sign {
            fact: "idle_ms=N",
            says: "since the last data",
        },
    ],
    in_tcpdump: "One or more keepalive probes (`length 0`, seq one below the next) without an \
        answer, then `Flags [R.]`.",
    in_counters: "`TcpExtTCPAbortOnTimeout`, `TcpExtTCPKeepAlive`, `TcpOutRsts`.",
    origins: &[
        "gRPC, whose keepalive timeout sets it; so does all that is built on it.",
        "PostgreSQL's libpq (`tcp_user_timeout`), HAProxy (`tcp-ut`), Envoy socket options.",
    ],
    remedies: &[
        Remedy {
            advice: "Set the limit above the longest outage that should be survived. It counts in \
                milliseconds.",
            lines: &[
                "setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &(unsigned){30000}, 4);",
                "bind :443 tcp-ut 30s                              # haproxy",
            ],
        },
        Remedy {
            advice: "See the keepalive timer of a live connection, and its probes:",
            lines: &["ss -tno dst ADDRESS"],
        },
    ],
    lookalikes: &[Lookalike {
        cause: Cause::KeepaliveTimeout,
        difference: "no limit was set: the probes were used up",
    }],
    references: &[
        "RFC 5482; RFC 9293 3.8.3; tcp(7): TCP_USER_TIMEOUT",
        "Linux net/ipv4/tcp_timer.c: tcp_keepalive_timer, tcp_write_timeout",
    ],
};

pub(super) const FIN_WAIT2_TIMEOUT: CausePage = CausePage {
    title: "an orphan in FIN-WAIT-2 ran out of time",
    direction: Direction::Sent,
    meaning: "This host closed, the peer acknowledged the FIN and then never closed its own side. \
        After a while the kernel gives the orphan up with a RST.",
    who: "This host's TCP (`local-kernel`); at fault is a peer that does not close.",
    harm: Harm::Benign,
    harm_detail: "The application here was done. The peer loses a connection that nobody serves.",
    mechanism: "Linux: `tcp_keepalive_timer()` on an orphan in FIN-WAIT-2. It is rare: mostly the \
        kernel puts a timewait socket in the orphan's place, and that ends after \
        `net.ipv4.tcp_fin_timeout` without a word; the peer's next segment is then \
        `segment-after-close`. RFC 9293 knows no such timer.",
    in_rstmon: &[
        Sign {
            fact: "orphan=true",
            says: "no process holds the socket any more",
        },
        Sign {
            fact: "state=fin-wait-2",
            says: "our FIN was acknowledged, the peer's never came",
        },
        Sign {
            fact: "kernel_reason=TCP_STATE",
            says: "from Linux 6.12; `ss -K` gives the same, so the verdict is never certain",
        },
    ],
    in_tcpdump: "Our `Flags [F.]`, its ACK, silence for up to tcp_fin_timeout, our `Flags [R.]`.",
    in_counters: "`TcpOutRsts` only. Before: `ss -tan state fin-wait-2`.",
    origins: &[
        "A peer that leaks connections in CLOSE-WAIT: it never calls `close()`.",
        "A peer that vanished after acknowledging the FIN.",
    ],
    remedies: &[
        Remedy {
            advice: "Mend the peer: sockets in CLOSE-WAIT that grow in number are a leak there.",
            lines: &["ss -tanp state close-wait   # on the peer"],
        },
        Remedy {
            advice: "How long this host waits (seconds):",
            lines: &["sysctl net.ipv4.tcp_fin_timeout"],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::Linger2Abort,
            difference: "TCP_LINGER2 below zero: there was no time to begin with",
        },
        Lookalike {
            cause: Cause::SocketDestroyed,
            difference: "`ss -K` on an orphan looks the same to the kernel",
        },
        Lookalike {
            cause: Cause::DataAfterClose,
            difference: "the peer did send, and that was answered",
        },
    ],
    references: &[
        "tcp(7): tcp_fin_timeout, TCP_LINGER2",
        "Linux net/ipv4/tcp_timer.c: tcp_keepalive_timer",
    ],
};

pub(super) const OUT_OF_MEMORY: CausePage = CausePage {
    title: "too many orphans, or out of TCP memory",
    direction: Direction::Sent,
    meaning: "A closed socket still had something to do (send, wait for an ACK), but the host has \
        too many of those or no TCP memory left. The kernel resets it to free it.",
    who: "This host's TCP (`local-kernel`).",
    harm: Harm::Harmful,
    harm_detail: "Unsent data is lost: truncated responses. The host is out of resources, and the \
        next symptom is worse.",
    mechanism: "Linux: `tcp_check_oom()` in `__tcp_close()` and in the timers of orphans \
        (`tcp_out_of_resources()`), against `net.ipv4.tcp_max_orphans` and the third number of \
        `net.ipv4.tcp_mem` (pages).",
    in_rstmon: &[
        Sign {
            fact: "kernel_reason=TCP_ABORT_ON_MEMORY",
            says: "the kernel says so itself, from Linux 6.12 on; before, the verdict is a guess",
        },
        Sign {
            fact: "orphan=true",
            says: "no process holds the socket any more",
        },
        Sign {
            fact: "state=…",
            says: "what the socket was doing when it was given up",
        },
    ],
    in_tcpdump: "`Flags [R.]` from this host soon after its last data; many connections at once.",
    in_counters: "`TcpExtTCPAbortOnMemory`, `TcpOutRsts`; `TcpExtTCPMemoryPressures` as a warning. \
        The kernel log: \"too many orphaned sockets\" or \"out of memory -- consider tuning \
        tcp_mem\".",
    origins: &[
        "Many slow clients, each closed with a full send buffer.",
        "A denial of service that opens, requests and never reads.",
        "Huge socket buffers times many connections.",
        "tcp_max_orphans or tcp_mem set low.",
    ],
    remedies: &[
        Remedy {
            advice: "Look (pages for mem, sockets for orphan):",
            lines: &[
                "cat /proc/net/sockstat",
                "sysctl net.ipv4.tcp_mem net.ipv4.tcp_max_orphans",
                "dmesg | grep -E 'orphaned|tcp_mem'",
            ],
        },
        Remedy {
            advice: "Shorten the life of orphans, or allow more of them.",
            lines: &[
                "sysctl -w net.ipv4.tcp_orphan_retries=3",
                "sysctl -w net.ipv4.tcp_max_orphans=262144",
            ],
        },
        Remedy {
            advice: "Limit send buffers and slow clients in the server.",
            lines: &["send_timeout 30s;   # nginx"],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::ProcessKilled,
            difference: "the OOM killer chose a process; here no process died",
        },
        Lookalike {
            cause: Cause::FinWait2Timeout,
            difference: "a timer ended a single orphan; nothing was short",
        },
    ],
    references: &[
        "Linux net/ipv4/tcp.c: tcp_check_oom; net/ipv4/tcp_timer.c: tcp_out_of_resources",
        "tcp(7): tcp_max_orphans, tcp_mem",
    ],
};

pub(super) const SOCKET_DESTROYED: CausePage = CausePage {
    title: "the socket was destroyed: ss -K, SOCK_DESTROY, BPF",
    direction: Direction::Sent,
    meaning: "A privileged program told the kernel to kill this connection under its owner. The \
        owner sees ECONNABORTED, the peer a RST.",
    who: "Whoever administers this host (`local-admin`): `actor_pid` and `actor_comm` name the \
        program where it is not the owner.",
    harm: Harm::Depends,
    harm_detail: "Intended by somebody. Expected from service meshes and network managers that \
        remove a dead backend; alarming if nobody knows of it.",
    mechanism: "Linux: `tcp_abort()`, reached through netlink's SOCK_DESTROY \
        (CONFIG_INET_DIAG_DESTROY) or the BPF function `bpf_sock_destroy()` (Linux 6.5).",
    in_rstmon: &[
        Sign {
            fact: "kernel_reason=TCP_STATE",
            says: "from Linux 6.12, on a socket that is not CLOSED yet",
        },
        Sign {
            fact: "sk_err=ECONNABORTED",
            says: "set before the RST, on kernels up to Linux 6.9 (not in all of them)",
        },
        Sign {
            fact: "orphan=false probes_out=0 retransmits=0",
            says: "where the kernel gives no reason: no timer that rstmon knows of resets such a \
                socket, and it is none of MPTCP's",
        },
        Sign {
            fact: "current=ss",
            says: "the program that ran, and is not the owner",
        },
        Sign {
            fact: "state=established",
            says: "the state that it was in; nothing had been closed",
        },
    ],
    in_tcpdump: "`Flags [R.]` from this host out of the blue: the same as SO_LINGER 0.",
    in_counters: "`TcpOutRsts`, `TcpEstabResets`; none of the TCPAbort counters.",
    origins: &[
        "An operator with `ss -K`.",
        "Cilium's socket load balancer, after a backend was removed.",
        "Android, when a network goes away.",
        "Scripts that drain a host.",
    ],
    remedies: &[
        Remedy {
            advice: "Find out who: the event names the program. To see every call:",
            lines: &["bpftrace -e 'kprobe:tcp_abort { printf(\"%s %d\\n\", comm, pid); }'"],
        },
        Remedy {
            advice: "Cilium: expected on removal of a backend; let clients reconnect, or see",
            lines: &["cilium-dbg service list"],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::LingerAbort,
            difference: "the owner closed it; the same kernel reason",
        },
        Lookalike {
            cause: Cause::FinWait2Timeout,
            difference: "an orphan in FIN-WAIT-2, by its timer",
        },
        Lookalike {
            cause: Cause::ProcessKilled,
            difference: "the process died; here it lives and sees ECONNABORTED",
        },
    ],
    references: &[
        "ss(8): -K; Linux net/ipv4/tcp.c: tcp_abort",
        "Linux net/core/filter.c: bpf_sock_destroy",
    ],
};

pub(super) const FIREWALL_REJECT: CausePage = CausePage {
    title: "a netfilter rule rejected with a TCP reset",
    direction: Direction::Sent,
    meaning: "An iptables or nftables rule with `reject with tcp reset` matched a segment and \
        answered it in the name of the destination. No socket was asked.",
    who: "This host's firewall (`local-firewall`): whoever wrote the rule.",
    harm: Harm::Depends,
    harm_detail: "A rule does what it says. Harmful when it hits connections that were \
        established: a rule set reloaded without `ct state established accept`, or conntrack that \
        lost them.",
    mechanism: "Linux: `nf_send_reset()`, `nf_send_reset6()` (INPUT, FORWARD, OUTPUT) and \
        `nf_reject_skb_v4_tcp_reset()`, `nf_reject_skb_v6_tcp_reset()` (netdev, bridge). The TCP \
        stack knows nothing of these resets. rstmon needs probes for them: in tracepoint mode it \
        sees them only where they arrive.",
    in_rstmon: &[
        Sign {
            fact: "hook=netfilter",
            says: "the firewall's own function was seen sending it: certain",
        },
        Sign {
            fact: "local_firewall_reject_ago_ms=N",
            says: "a socket here received the RST that this host's firewall had just sent",
        },
        Sign {
            fact: "trigger=S seq=… len=0",
            says: "the segment that was rejected: a SYN, or data of a live connection",
        },
    ],
    in_tcpdump: "The rejected segment, and at once a RST with swapped addresses: `[R.]` for a SYN, \
        with `win 0`. For a packet in transit it seems to come from a host that never saw it.",
    in_counters: "Not in `TcpOutRsts`: netfilter does not count there. `nft list ruleset` and \
        `iptables -vnL` show the rule's own counter.",
    origins: &[
        "`reject with tcp reset` in nftables, `-j REJECT --reject-with tcp-reset` in iptables, \
         `ufw reject`.",
        "A rule set reloaded with live connections, or `conntrack -F`.",
        "An ident (113) reject, so that mail servers do not wait.",
    ],
    remedies: &[
        Remedy {
            advice: "Find the rule:",
            lines: &[
                "nft list ruleset | grep -n 'tcp reset'",
                "iptables-save -c | grep tcp-reset",
                "nft monitor trace   # after: nft add rule … meta nftrace set 1",
            ],
        },
        Remedy {
            advice: "Let established connections pass before any reject.",
            lines: &["nft insert rule inet filter input ct state established,related accept"],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::PortClosed,
            difference: "no rule: the port has no listener. From afar the two look alike",
        },
        Lookalike {
            cause: Cause::ConnectionRefused,
            difference: "the same RST, seen by the program on this host that tried to connect",
        },
    ],
    references: &[
        "nft(8): reject; iptables-extensions(8): REJECT",
        "Linux net/ipv4/netfilter/nf_reject_ipv4.c: nf_send_reset",
    ],
};
