//! The topics: answers to questions that no single cause answers.

use super::page::{Section, Topic};

pub(super) const TOPICS: &[Topic] = &[
    COMMON,
    HARMLESS,
    SESSION_TIMEOUT,
    LOST_FIN,
    HALF_CLOSE,
    SHAPES,
    COUNTERS,
    BOTH_ENDS,
];

const COMMON: Topic = Topic {
    id: "common",
    title: "which causes are the most common?",
    answer: "On most servers: clients that leave, closes that cross data, and ports that nobody \
        serves. Count your own before you believe any list; five minutes are enough.",
    sections: &[
        Section {
            heading: "Count them here",
            text: "Runs for five minutes and sorts the causes by how often they came.",
            points: &[],
            lines: &[
                "rstmon trace --duration 5m -o jsonl | jq -r '.cause // empty' \\",
                "  | sort | uniq -c | sort -rn",
            ],
        },
        Section {
            heading: "What a web server usually shows",
            text: "",
            points: &[
                "`data-after-close`, `segment-after-close`: TLS close_notify after a close. \
                 Harmless.",
                "`peer-aborted`, `peer-data-after-close`: browsers and apps that leave. Harmless.",
                "`port-closed`: scanners. Harmless, unless one port stands out.",
                "`close-unread-data`: an answer given before the request body was read. Look at \
                 it.",
                "`linger-abort`: health checks; or a server set up to abort. Look at who.",
            ],
            lines: &[],
        },
        Section {
            heading: "What a client, a proxy or a pool usually shows",
            text: "",
            points: &[
                "`keepalive-race`: the 502 that cannot be reproduced. Mend the timers.",
                "`idle-timeout`: a balancer or NAT forgot the connection. Set keepalive.",
                "`connection-refused`: the service is not there, or not yet.",
                "`peer-gone`: restarts and failovers.",
            ],
            lines: &[],
        },
        Section {
            heading: "What should make you get up",
            text: "",
            points: &[
                "`process-killed`: crashes and OOM kills.",
                "`out-of-memory`: TCP memory or orphans at their limit.",
                "`accept-queue-overflow`, `listener-closed`: clients lose finished connections.",
                "`stale-segment` in numbers: packets led astray (NAT, balancer).",
                "`forged-suspect`: somebody cuts connections on the way.",
            ],
            lines: &[],
        },
    ],
    see: &[
        "harmless",
        "keepalive-race",
        "idle-timeout",
        "close-unread-data",
    ],
    references: &[],
};

const HARMLESS: Topic = Topic {
    id: "harmless",
    title: "is a RST harmful at all?",
    answer: "By itself, no: it is how TCP says \"there is no such connection\" or \"I stop here\". \
        It does harm when data was still wanted: on its way, unread, or about to be asked for.",
    sections: &[
        Section {
            heading: "Benign, as a rule",
            text: "",
            points: &[
                "Health checks of balancers that connect and abort: `linger-abort`, \
                 `handshake-aborted`, `peer-aborted` at fixed intervals from a few addresses.",
                "Port scans: `port-closed`, `handshake-aborted`, `bad-handshake-ack`.",
                "Browsers that close tabs, cancelled downloads: `peer-aborted`, \
                 `peer-data-after-close`.",
                "TLS close_notify that meets a closed socket (a segment of 24 or 31 bytes): \
                 `data-after-close`, then `segment-after-close` for the FIN.",
                "Happy Eyeballs: `connection-refused` on IPv6, then IPv4 works, or the other way.",
                "The echo of another reset: `segment-after-close`, `stray-reset`.",
                "RSTs that were not obeyed: `blind-reset`.",
            ],
            lines: &[],
        },
        Section {
            heading: "Harmful, as a rule",
            text: "",
            points: &[
                "`unacked_bytes` above zero: something we sent may not have been read.",
                "`unread_bytes` above zero: something we were sent was not read.",
                "A RST just after a request and before its answer: `keepalive-race`, \
                 `idle-timeout`, `peer-gone`.",
                "A RST right behind a response: it can overtake the reader. On many systems the \
                 receiver throws away what it has not read yet when a RST arrives.",
            ],
            lines: &[],
        },
        Section {
            heading: "Hide the benign ones",
            text: "What is left deserves a look.",
            points: &[],
            lines: &[
                "rstmon trace 'not cause in (port-closed, segment-after-close, stray-reset,",
                "  handshake-aborted, blind-reset)",
                "  and not (cause time-wait-assassination and state time-wait)'",
            ],
        },
    ],
    see: &["common", "data-after-close", "linger-abort", "port-closed"],
    references: &[
        "RFC 9293 3.5.2",
        "RFC 1122 4.2.2.13",
        "RFC 8305 (Happy Eyeballs)",
    ],
};

const SESSION_TIMEOUT: Topic = Topic {
    id: "session-timeout",
    title: "why a reset, not a retransmission, after a timeout?",
    answer: "Because nothing was lost. A retransmission repairs loss between two ends that both \
        know the connection; after a timeout one of them has forgotten it, and sending again \
        cannot bring it back. The forgetful side answers \"no such connection\": a RST.",
    sections: &[
        Section {
            heading: "What happens on the wire",
            text: "TCP has no session timeout of its own; a server, a firewall, a NAT or a \
                balancer keeps the timer. What you see depends on how it forgets.",
            points: &[
                "It drops silently: your data is retransmitted, with growing pauses, up to \
                 `net.ipv4.tcp_retries2` (15, about 15 minutes), then ETIMEDOUT. No RST at all. \
                 Azure without TCP reset, many firewalls.",
                "It answers your next segment with a RST: one round trip, ECONNRESET. AWS NLB and \
                 NAT gateway, IPVS (the director's own TCP answers), a host that restarted. See \
                 `idle-timeout`, `peer-gone`.",
                "It resets both ends when the timer ends: Azure with TCP reset, some firewalls.",
                "It is the server's application, and it closes with a FIN: your socket is in \
                 CLOSE-WAIT. Write to it, and you get the RST. See `keepalive-race`, \
                 `peer-data-after-close`.",
            ],
            lines: &[],
        },
        Section {
            heading: "Why the RST is right",
            text: "RFC 9293 3.5.2: to a segment that belongs to no connection, the answer is a \
                RST. It tells you at once what 15 minutes of retransmission would tell you in the \
                end.",
            points: &[],
            lines: &[],
        },
        Section {
            heading: "And when this host's own timer ends",
            text: "",
            points: &[
                "Keepalive used up: Linux sends a RST as a courtesy. See `keepalive-timeout`, \
                 `user-timeout`.",
                "Retransmissions used up: no RST is sent; the program sees ETIMEDOUT and \
                 `TcpExtTCPAbortOnTimeout` goes up. If the peer comes back, its next segment is a \
                 `stale-segment`.",
            ],
            lines: &[],
        },
        Section {
            heading: "What to do",
            text: "Use the connection, or let it go, before the shortest timer on the way does. \
                rstmon learns the timer from resets and prints it (`learned_timer`, `avoid`).",
            points: &[],
            lines: &[
                "rstmon trace 'cause in (idle-timeout, keepalive-race)'",
                "sysctl -w net.ipv4.tcp_keepalive_time=120   # where SO_KEEPALIVE is set",
            ],
        },
    ],
    see: &[
        "idle-timeout",
        "keepalive-race",
        "peer-gone",
        "keepalive-timeout",
    ],
    references: &[
        "RFC 9293 3.5.1, 3.5.2, 3.8.3; RFC 1122 4.2.3.5, 4.2.3.6",
        "tcp(7): tcp_retries2",
    ],
};

const LOST_FIN: Topic = Topic {
    id: "lost-fin",
    title: "our FIN was lost, an old segment comes: a RST?",
    answer: "No. While this host still has the connection, in FIN-WAIT-1, FIN-WAIT-2, CLOSING, \
        LAST-ACK or TIME-WAIT, an old segment is answered with a duplicate ACK, and our FIN is \
        retransmitted. A RST is due only for new data after `close()`, or once the socket is gone.",
    sections: &[
        Section {
            heading: "Step by step",
            text: "",
            points: &[
                "We close: FIN-WAIT-1, FIN sent and lost.",
                "The peer knows nothing of it and retransmits data that we have acknowledged.",
                "Its seq is below RCV.NXT, so the segment is not acceptable: we send an ACK and \
                 drop it (RFC 9293 3.10.7.4, first check).",
                "Our retransmission timer sends the FIN again. The peer acknowledges it and \
                 closes.",
                "No RST in either direction.",
            ],
            lines: &[],
        },
        Section {
            heading: "When a RST does come",
            text: "",
            points: &[
                "The peer sends new data after our `close()`: RFC 1122 4.2.2.13, \
                 `data-after-close`. After `shutdown(SHUT_WR)` new data is welcome and no RST is \
                 sent.",
                "The FIN was never acknowledged and the orphan was given up \
                 (`net.ipv4.tcp_orphan_retries`), without a word: any later segment finds no \
                 socket, `segment-after-close` or `stale-segment`.",
                "FIN-WAIT-2 ran out (`net.ipv4.tcp_fin_timeout`, 60 s): the same.",
                "We were in LAST-ACK and our FIN has been acknowledged: the socket is gone at \
                 once, and a late segment gets a RST, `segment-after-close`.",
                "A SYN meets what is left of the connection in FIN-WAIT-2: `time-wait-hit`.",
            ],
            lines: &[],
        },
        Section {
            heading: "See it",
            text: "The lab makes each of these happen, with a peer that loses our FIN.",
            points: &[],
            lines: &[
                "rstmon lab lost-fin-old-segment-fin-wait-1",
                "rstmon lab lost-fin-old-segment-fin-wait-2",
                "rstmon lab segment-after-close-last-ack",
            ],
        },
    ],
    see: &[
        "half-close",
        "data-after-close",
        "segment-after-close",
        "stale-segment",
    ],
    references: &[
        "RFC 9293 3.10.7.4 and 3.6",
        "Linux net/ipv4/tcp_input.c: tcp_validate_incoming, tcp_rcv_state_process",
        "Linux net/ipv4/tcp_minisocks.c: tcp_timewait_state_process",
    ],
};

const HALF_CLOSE: Topic = Topic {
    id: "half-close",
    title: "the half-duplex close of RFC 1122 4.2.2.13",
    answer: "A host may implement `close()` so that it ends both directions for the application, \
        though TCP closes only one. Linux does. Then there is nobody to read what the peer still \
        sends, and the RFC asks for a RST, to show that data was lost.",
    sections: &[
        Section {
            heading: "The two rules",
            text: "",
            points: &[
                "`close()` with received data unread: send a RST at once. See `close-unread-data`.",
                "New data arrives after `close()`: send a RST. See `data-after-close`.",
            ],
            lines: &[],
        },
        Section {
            heading: "close() is not shutdown()",
            text: "A FIN looks the same on the wire whichever call sent it. Only what happens next \
                tells them apart.",
            points: &[
                "`shutdown(SHUT_WR)`: \"I send no more\". The peer may go on; no RST.",
                "`shutdown(SHUT_RD)`: nothing on the wire; on Linux data that comes is still \
                 accepted; no RST.",
                "`shutdown(SHUT_RDWR)`: a FIN; on Linux data that comes then is answered with a \
                 RST.",
                "`close()`: a FIN if all was read and nothing comes, else a RST. With another \
                 process or a child holding the socket, nothing happens until the last one \
                 closes.",
            ],
            lines: &[],
        },
        Section {
            heading: "A close that loses nothing",
            text: "Known as lingering close. nginx and Apache do it; Go's server waits a moment \
                in place of reading.",
            points: &[],
            lines: &[
                "shutdown(fd, SHUT_WR);            // our FIN, after the last byte",
                "while (read(fd, buf, n) > 0) {}   // until the peer's FIN, within limits",
                "close(fd);",
            ],
        },
        Section {
            heading: "What it is not",
            text: "SO_LINGER with a time above zero makes `close()` wait for the acknowledgment of \
                what was sent; it does not read what arrives. SO_LINGER with zero is an abort: \
                `linger-abort`.",
            points: &[],
            lines: &[],
        },
        Section {
            heading: "Why rstmon does not show a received reset here",
            text: "To answer data after close, the Linux kernel calls `tcp_reset()` on its own \
                socket, and the tracepoint `tcp_receive_reset` fires though no RST came. rstmon \
                takes that back and shows the RST that was sent.",
            points: &[],
            lines: &[],
        },
    ],
    see: &[
        "close-unread-data",
        "data-after-close",
        "peer-data-after-close",
        "lost-fin",
    ],
    references: &[
        "RFC 1122 4.2.2.13; RFC 9293 3.6.1; RFC 2525 2.17",
        "shutdown(2), close(2), socket(7): SO_LINGER",
    ],
};

const SHAPES: Topic = Topic {
    id: "shapes",
    title: "what the shape of a RST tells, in tcpdump",
    answer: "Who sent it. A host that has the connection sends RST with ACK, its window and \
        timestamps. A host that has not can only echo what it was sent.",
    sections: &[
        Section {
            heading: "The three shapes of Linux",
            text: "",
            points: &[
                "Live socket: `[R.]`, seq is the next one, a real `win`, TS if negotiated, the \
                 TTL of the connection. The peer aborted.",
                "No socket, answering a segment with ACK: `[R]`, seq equal to that ack, `win 0`, \
                 no options, `id 0`, DF. The peer has no such connection.",
                "No socket, answering a SYN: `[R.]`, `seq 0`, ack one above the SYN, `win 0`. \
                 Refused.",
            ],
            lines: &[],
        },
        Section {
            heading: "What does not fit",
            text: "Other systems differ: some send no timestamps in a RST, some draw IP IDs at \
                random. One oddity proves nothing. rstmon weighs them, see `forged-suspect`.",
            points: &[
                "A TTL other than that of the peer's other segments: somebody nearer or farther.",
                "A payload: a device that says its reason, see `middlebox-reset`.",
                "More segments of the peer after its RST: the RST was not its own.",
            ],
            lines: &[],
        },
        Section {
            heading: "Look",
            text: "-S prints absolute numbers, -v TTL and IP ID.",
            points: &[],
            lines: &[
                "tcpdump -nvSi any 'tcp[tcpflags] & tcp-rst != 0'",
                "tcpdump -nvSi any 'ip6 and ip6[6] == 6 and ip6[53] & 4 != 0'   # IPv6",
            ],
        },
    ],
    see: &[
        "peer-aborted",
        "peer-gone",
        "connection-refused",
        "forged-suspect",
    ],
    references: &[
        "RFC 9293 3.5.2 and 3.10.7.1",
        "Linux net/ipv4/tcp_output.c: tcp_send_active_reset; tcp_ipv4.c: tcp_v4_send_reset",
    ],
};

const COUNTERS: Topic = Topic {
    id: "counters",
    title: "which of the kernel's counters count resets?",
    answer: "`TcpOutRsts` counts every RST that TCP sends. Nothing counts those received. The \
        others count ends of connections, and overlap.",
    sections: &[
        Section {
            heading: "Read them",
            text: "They are kept for each network namespace: look inside the container's.",
            points: &[],
            lines: &[
                "nstat -az TcpOutRsts TcpEstabResets TcpAttemptFails 'TcpExtTCPAbort*'",
                "nsenter -t PID -n nstat -az 'Tcp*'",
            ],
        },
        Section {
            heading: "What they mean",
            text: "",
            points: &[
                "`TcpOutRsts`: RSTs sent by TCP. Not those of netfilter, raw sockets or XDP.",
                "`TcpEstabResets`: connections that went from ESTABLISHED or CLOSE-WAIT straight \
                 to CLOSED: resets sent and received, and timeouts.",
                "`TcpAttemptFails`: connects that failed, and handshakes that were reset.",
                "`TcpExtEmbryonicRsts`: requests dropped in SYN-RECEIVED, by a RST or a bad \
                 segment.",
                "`TcpExtTCPAbortOnClose`: `close-unread-data`.",
                "`TcpExtTCPAbortOnData`: `data-after-close`, and `linger-abort` as well.",
                "`TcpExtTCPAbortOnLinger`: `linger2-abort`, not SO_LINGER.",
                "`TcpExtTCPAbortOnMemory`: `out-of-memory`.",
                "`TcpExtTCPAbortOnTimeout`: `keepalive-timeout`, `user-timeout`, and \
                 retransmissions used up, which send no RST.",
                "`TcpExtTCPAbortFailed`: a RST was due and there was no memory for it.",
                "`TcpExtTCPChallengeACK`: RSTs and SYNs that were challenged: `blind-reset`.",
                "`TcpExtListenOverflows`: the accept queue was full; `accept-queue-overflow` if \
                 tcp_abort_on_overflow is on.",
            ],
            lines: &[],
        },
    ],
    see: &["firewall-reject", "undiagnosed", "common"],
    references: &["nstat(8); Linux Documentation/networking/snmp_counter.rst"],
};

const BOTH_ENDS: Topic = Topic {
    id: "both-ends",
    title: "how do I join the events of two hosts?",
    answer: "By `community_id`, which is the same at both ends of a connection, and the time. The end \
        that sent the RST knows why and who; the end that received it knows what it cost. A RST that \
        one end received and the other never sent is somebody else's.",
    sections: &[
        Section {
            heading: "Record on both hosts",
            text: "Any log of events will do, also that of `rstmon agent --events-file`.",
            points: &[],
            lines: &["rstmon trace -o jsonl > $(hostname).jsonl"],
        },
        Section {
            heading: "Who reset it, and why: DuckDB",
            text: "One row for each RST received, with what its sender says of it. An empty `why` \
                where the peer was watched all the time: its host did not send it.",
            points: &[],
            lines: &[
                "CREATE VIEW event AS SELECT * FROM",
                "  read_json('*.jsonl', format = 'newline_delimited',",
                "            union_by_name = true, sample_size = -1)",
                "  WHERE schema = 'rstmon.event/1';",
                "SELECT r.time, r.host, r.comm, r.cause AS looks_like, s.host AS by_host,",
                "       s.cause AS why, s.comm AS who",
                "FROM event r LEFT JOIN event s",
                "   ON s.kind = 'sent' AND s.host <> r.host",
                "  AND s.community_id = r.community_id",
                "  AND coalesce(s.rst_seq = r.rst_seq, true)",
                "  AND s.time::TIMESTAMPTZ BETWEEN",
                "      r.time::TIMESTAMPTZ - INTERVAL 2 SECOND AND",
                "      r.time::TIMESTAMPTZ + INTERVAL 2 SECOND",
                "WHERE r.kind = 'received' ORDER BY r.time;",
            ],
        },
        Section {
            heading: "Cut from outside: DuckDB or ClickHouse",
            text: "Both ends received a RST and neither sent one, but for answers to segments that \
                came after it. That is proof, if the connection ran between these two hosts and no \
                event was lost (`lost` in the end records). In ClickHouse `file('*.jsonl', JSONEachRow)` takes the place of `event`.",
            points: &[],
            lines: &[
                "SELECT community_id, min(time), count(*) FROM event",
                "WHERE schema = 'rstmon.event/1' GROUP BY community_id",
                "HAVING count(DISTINCT CASE WHEN kind = 'received' THEN host END) = 2",
                "   AND count(CASE WHEN kind = 'sent' AND cause NOT IN",
                "       ('stale-segment', 'segment-after-close') THEN 1 END) = 0;",
            ],
        },
        Section {
            heading: "What to mind",
            text: "",
            points: &[
                "Address translation between the two gives the connection two ids. Then only \
                 `rst_seq` and the time are left, and a proxy or a balancer that ends connections \
                 changes those, too.",
                "`rst_seq` of a received RST is known in probe mode only, that of a RST sent by \
                 `close()` only while the peer's window has not shrunk.",
                "Ports are used again: keep the clocks together (NTP), and the limit of time short.",
                "A RST that netfilter or a raw socket sent is in the log of its host only in probe \
                 mode, or not at all.",
            ],
            lines: &[],
        },
    ],
    see: &["forged-suspect", "peer-aborted", "shapes"],
    references: &[
        "Community ID 1.0 (flow hashing)",
        "DuckDB: read_json; ClickHouse: file, JSONEachRow",
    ],
};
