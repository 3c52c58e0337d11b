//! Pages of the received resets that the peer brings about.

use super::page::{CausePage, Direction, Harm, Lookalike, Remedy, Sign};
use crate::event::model::Cause;

pub(super) const CONNECTION_REFUSED: CausePage = CausePage {
    title: "our SYN was answered with a RST",
    direction: Direction::Received,
    meaning: "A program on this host tried to connect and was refused. `connect()` failed with \
        ECONNREFUSED.",
    who: "The peer's TCP, where nobody listens (`peer-kernel`); this host's own firewall where its \
        reject was seen just before (`local-firewall`). A firewall on the way looks like the peer, \
        unless its RST has a number or a window of its own (`unknown`).",
    harm: Harm::Depends,
    harm_detail: "Benign from readiness checks, service discovery, and Happy Eyeballs that tries \
        the next address. Harmful when the service should be up.",
    mechanism: "RFC 9293 3.10.7.3. Linux: `tcp_rcv_synsent_state_process()` accepts a RST that \
        acknowledges our SYN, then `tcp_reset()`.",
    in_rstmon: &[
        Sign {
            fact: "state=syn-sent",
            says: "nothing but a RST can end this state so; the verdict is certain, unless the RST \
                has another seq than 0 or a window, which a host without the socket does not have",
        },
        Sign {
            fact: "local_firewall_reject_ago_ms=N",
            says: "a rule of this host refused it",
        },
        Sign {
            fact: "rst_ttl=N",
            says: "compare with the TTL of good connections to that peer: another one means a box \
                on the way refused (probe mode)",
        },
        Sign {
            fact: "rst=R. seq=0 ack=… len=0",
            says: "the shape of a refusal",
        },
    ],
    in_tcpdump: "Our `Flags [S]`, answered by `Flags [R.]`, `seq 0`, ack one above our seq, `win \
        0`.",
    in_counters: "`TcpAttemptFails` and `TcpActiveOpens`; nothing counts received RSTs.",
    origins: &[
        "The service is down, starting, or listens on another address, port or family.",
        "A wrong port, an old DNS record, a container that is gone.",
        "A firewall with `reject with tcp reset`.",
        "A client that starts before the server (containers of one pod, systemd units).",
    ],
    remedies: &[
        Remedy {
            advice: "On the peer: is there a listener? rstmon there shows `port-closed` or \
                `firewall-reject`.",
            lines: &["ss -ltnp 'sport = :5432'"],
        },
        Remedy {
            advice: "A firewall or the host? Compare hops of the refused and of an open port.",
            lines: &["tcptraceroute PEER 5432; tcptraceroute PEER 22"],
        },
        Remedy {
            advice: "Order of start: retry with back-off. HAProxy and Envoy:",
            lines: &[
                "retry-on conn-failure             # haproxy",
                "retry_on: connect-failure         # envoy",
            ],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::PortClosed,
            difference: "the same, seen where the RST was sent",
        },
        Lookalike {
            cause: Cause::HandshakeAborted,
            difference: "the peer opened, and reset before we accepted",
        },
    ],
    references: &[
        "RFC 9293 3.10.7.3 and 3.5.2; connect(2): ECONNREFUSED",
        "Linux net/ipv4/tcp_input.c: tcp_rcv_synsent_state_process",
    ],
};

pub(super) const HANDSHAKE_ABORTED: CausePage = CausePage {
    title: "the client reset before the handshake was over",
    direction: Direction::Received,
    meaning: "A client sent a SYN, got our SYN-ACK and answered with a RST. The application here \
        never saw the connection.",
    who: "The client: `peer-app` where the RST has ACK (it closed), `peer-kernel` where it is bare \
        (it knows of no such SYN), `unknown` where the RST was not seen.",
    harm: Harm::Benign,
    harm_detail: "Nothing was exchanged. Port scanners do it, and so do some health checks. In \
        great numbers: a SYN scan, or a flood with forged addresses whose owners answer.",
    mechanism: "RFC 9293 3.10.7.4 (SYN-RECEIVED). Linux: `tcp_check_req()` drops the request \
        socket; from 7.0 only for an exact sequence number. A full socket in SYN-RECEIVED goes \
        through `tcp_reset()`.",
    in_rstmon: &[
        Sign {
            fact: "state=syn-recv",
            says: "not accepted yet. `kind` is `received`; `stray` where nothing says whether the \
                request survived it",
        },
        Sign {
            fact: "drop_reason=NOT_SPECIFIED",
            says: "the kernel names no reason for a request that it dropped",
        },
        Sign {
            fact: "rst=R seq=… len=0",
            says: "bare: the client's host knows nothing of the SYN. `R.`: it closed",
        },
    ],
    in_tcpdump: "`Flags [S]`, our `Flags [S.]`, then `Flags [R]` from the client.",
    in_counters: "`TcpExtEmbryonicRsts`, `TcpAttemptFails`.",
    origins: &[
        "Half-open port scans (`nmap -sS`, masscan, zmap): a raw socket sends the SYN, the host's \
         own TCP answers the SYN-ACK with a RST.",
        "Layer-4 health checks that never finish the handshake (LVS, some appliances).",
        "A client that gave up while our SYN-ACK was on its way.",
        "SYNs with forged addresses.",
    ],
    remedies: &[
        Remedy {
            advice: "Health checks and scans: nothing. Leave them out:",
            lines: &["rstmon trace 'not cause handshake-aborted'"],
        },
        Remedy {
            advice: "A flood: see that cookies are on, and limit per source.",
            lines: &[
                "sysctl net.ipv4.tcp_syncookies",
                "nstat -az | grep -i syncookies",
            ],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::StrayReset,
            difference: "no request socket was found, either",
        },
        Lookalike {
            cause: Cause::PeerAborted,
            difference: "the handshake was complete",
        },
        Lookalike {
            cause: Cause::BlindReset,
            difference: "the RST did not fit, and the request lives on",
        },
    ],
    references: &[
        "RFC 9293 3.10.7.4",
        "Linux net/ipv4/tcp_minisocks.c: tcp_check_req",
    ],
};

pub(super) const PEER_ABORTED: CausePage = CausePage {
    title: "the peer's live socket reset the connection",
    direction: Direction::Received,
    meaning: "The peer's host had the connection and aborted it: its application closed with \
        unread data, used SO_LINGER 0, was killed, or its kernel gave up. The reason is on the \
        other side.",
    who: "The peer's application (`peer-app`).",
    harm: Harm::Depends,
    harm_detail: "ECONNRESET here; what the peer had not read is lost. Benign from browsers \
        closing tabs, cancelled downloads, health checks, proxies that pass an abort on.",
    mechanism: "RFC 9293 3.10.4, 3.10.5. A live Linux socket sends RST with ACK, its real window \
        and timestamps (`tcp_send_active_reset()`); a host without the socket can only send a \
        bare RST. Here: `tcp_validate_incoming()`, `tcp_reset()`.",
    in_rstmon: &[
        Sign {
            fact: "rst=R. seq=… ack=… len=0",
            says: "RST with ACK: it knows our sequence number (probe mode)",
        },
        Sign {
            fact: "rst_window=N",
            says: "above zero: a live socket; its size is what the peer could still take",
        },
        Sign {
            fact: "rst_ttl=64 handshake_ttl=64",
            says: "it came the way the handshake came; with timestamps, and without a `sign=`, the \
                verdict is certain",
        },
        Sign {
            fact: "challenged_rst_ago_ms=N",
            says: "bare, but the answer to our challenge ACK (RFC 5961 3.2): the abort itself had \
                come before, ahead of data that was lost",
        },
        Sign {
            fact: "unacked_bytes=N",
            says: "what we had sent and the peer had not acknowledged. Where the RST was not \
                seen, 0 is the evidence: there was nothing to answer",
        },
        Sign {
            fact: "idle_ms=N",
            says: "long: perhaps a timer of the peer's; `known_timer`, `learned_timer` name it",
        },
    ],
    in_tcpdump: "`Flags [R.]` from the peer, seq exactly the next, a real `win`, `TS val` where \
        negotiated.",
    in_counters: "`TcpEstabResets` (from ESTABLISHED or CLOSE-WAIT only).",
    origins: &[
        "A browser tab closed, a download cancelled, an app put to sleep.",
        "A server that answers early and does not read the rest of an upload.",
        "A peer process killed, out of memory or crashed.",
        "A proxy that turns a reset of its other side into one of its own.",
        "Windows peers: closing a socket with data pending resets it, too.",
    ],
    remedies: &[
        Remedy {
            advice: "Ask the peer's side: rstmon there says `close-unread-data`, `linger-abort`, \
                `process-killed` … How to join the two: `both-ends`.",
            lines: &["rstmon trace -o jsonl 'cause peer-aborted' | jq -c '[.time,.community_id]'"],
        },
        Remedy {
            advice: "A proxy as the peer: its log names the other side (HAProxy termination state \
                SD or CD, Envoy response flag UC, nginx \"upstream prematurely closed\").",
            lines: &[],
        },
        Remedy {
            advice: "Make idempotent requests safe to repeat.",
            lines: &[
                "proxy_next_upstream error timeout;    # nginx",
                "retry-on conn-failure empty-response  # haproxy",
                "retry_on: reset,connect-failure       # envoy",
            ],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::PeerGone,
            difference: "a bare RST: the peer has no such socket",
        },
        Lookalike {
            cause: Cause::ForgedSuspect,
            difference: "same shape, but TTL, timestamps or timing do not fit",
        },
        Lookalike {
            cause: Cause::MiddleboxReset,
            difference: "the RST names a device",
        },
    ],
    references: &[
        "RFC 9293 3.10.4 and 3.10.5; RFC 1122 4.2.2.13",
        "Linux net/ipv4/tcp_output.c: tcp_send_active_reset; net/ipv4/tcp_input.c: tcp_reset",
        "rstmon explain shapes",
    ],
};

pub(super) const PEER_GONE: CausePage = CausePage {
    title: "the peer has no such connection any more",
    direction: Direction::Received,
    meaning: "We sent something on a connection that the peer's host does not know, and it \
        answered with a RST. It was in use a short while ago: a restart, a crash, a balancer that \
        chose another backend.",
    who: "The peer's TCP (`peer-kernel`), as it must; `middlebox` where the RST came another way than \
        the handshake: a balancer answers in the peer's place.",
    harm: Harm::Harmful,
    harm_detail: "What we sent last was not processed; what was sent before may have been. Repeat \
        only what is idempotent.",
    mechanism: "RFC 9293 3.5.1 (half-open connections) and 3.5.2: without a connection, the answer \
        to a segment with ACK is a RST whose seq is that ack, with no ACK of its own.",
    in_rstmon: &[
        Sign {
            fact: "rst=R seq=… len=0",
            says: "bare: a host without the socket (probe mode)",
        },
        Sign {
            fact: "rst_window=0",
            says: "it has no window to offer",
        },
        Sign {
            fact: "unacked_bytes=N",
            says: "what it answers: above zero, or a FIN, makes the verdict likely",
        },
        Sign {
            fact: "probes_out=N",
            says: "it answers a keepalive or window probe",
        },
        Sign {
            fact: "idle_ms=N",
            says: "short; after a long time it is `idle-timeout`",
        },
    ],
    in_tcpdump: "Our data, a FIN or a probe; a round trip later `Flags [R]`, seq equal to our ack, \
        `win 0`, no options.",
    in_counters: "`TcpEstabResets` (from ESTABLISHED or CLOSE-WAIT only). At the peer: \
        `TcpOutRsts`.",
    origins: &[
        "The peer's host or VM restarted without closing (power, kernel panic, live migration).",
        "A failover: the address moved to a host that does not have the connections.",
        "A layer-4 balancer changed its mind: backend removed, hash changed, no stickiness.",
        "The peer's kernel gave up retransmitting, which sends no RST (`net.ipv4.tcp_retries2`).",
        "A peer that restarted and opens with the same ports: its SYN, our challenge ACK, and in \
         answer to that a bare RST, which is exact.",
    ],
    remedies: &[
        Remedy {
            advice: "Did the peer restart at that time?",
            lines: &[
                "last -x reboot | head      # on the peer",
                "kubectl get pods -o wide   # age, restarts",
            ],
        },
        Remedy {
            advice: "Balancer: drain before removal; keep flows where they are.",
            lines: &[
                "aws elbv2 modify-target-group-attributes --target-group-arn ARN \\",
                "  --attributes Key=deregistration_delay.timeout_seconds,Value=300",
            ],
        },
        Remedy {
            advice: "Learn of it before the next request does: keepalive, and a check on checkout \
                in connection pools.",
            lines: &[
                "keepalives_idle=60 keepalives_interval=10   # libpq",
                "tcpKeepAlive=true   # JDBC",
            ],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::IdleTimeout,
            difference: "the connection had been idle; a timer forgot it",
        },
        Lookalike {
            cause: Cause::PeerDataAfterClose,
            difference: "the peer had said goodbye with a FIN",
        },
        Lookalike {
            cause: Cause::StaleSegment,
            difference: "the same, seen at the other end",
        },
    ],
    references: &[
        "RFC 9293 3.5.1 and 3.5.2",
        "Linux net/ipv4/tcp_ipv4.c: tcp_v4_send_reset",
    ],
};

pub(super) const PEER_DATA_AFTER_CLOSE: CausePage = CausePage {
    title: "our data reached a peer that had closed",
    direction: Direction::Received,
    meaning: "The peer closed (its FIN had come), we went on sending, and its TCP answered with a \
        RST. The next write fails with EPIPE or ECONNRESET.",
    who: "The peer's application closed (`peer-app`); ours wrote on without noticing. `middlebox` \
        where the RST came another way than the handshake: a balancer answers in the peer's place.",
    harm: Harm::Depends,
    harm_detail: "What we sent is lost. Benign where nobody wanted it: a TLS close_notify, the \
        rest of a download that was cancelled.",
    mechanism: "RFC 1122 4.2.2.13: a FIN may mean \"I send no more\" or \"I am gone\"; only the \
        RST tells. Here: CLOSE-WAIT, LAST-ACK or CLOSING, `tcp_reset()` sets EPIPE in CLOSE-WAIT.",
    in_rstmon: &[
        Sign {
            fact: "state=close-wait",
            says: "the peer's FIN had arrived; `last-ack`: we had closed as well; `closing`: at the \
                same time",
        },
        Sign {
            fact: "unacked_bytes=N",
            says: "what the RST answers; 24 or 31 is most likely a TLS close_notify",
        },
        Sign {
            fact: "data_sent=after-fin",
            says: "we wrote although the FIN had been heard",
        },
        Sign {
            fact: "fin_heard_ago_ms=N",
            says: "60000 or more: the connection may have been forgotten since, so likely at most",
        },
        Sign {
            fact: "rst=R seq=… len=0",
            says: "bare: the answer to a segment (probe mode)",
        },
    ],
    in_tcpdump: "`Flags [F.]` from the peer, our `Flags [P.]`, then `Flags [R]` from the peer with \
        seq equal to our ack, `win 0`.",
    in_counters: "`TcpEstabResets` (from CLOSE-WAIT only). At the peer: `TcpExtTCPAbortOnData`.",
    origins: &[
        "A client closes its tab while the server streams.",
        "A server rejects an upload and closes; the client goes on sending.",
        "TLS: our close_notify in answer to the peer's FIN.",
        "A program that writes twice without reading in between, and so never sees the end of \
         file.",
    ],
    remedies: &[
        Remedy {
            advice: "Read before you write again: end of file from the peer says that it has \
                closed. Watch for EPOLLRDHUP while streaming.",
            lines: &[],
        },
        Remedy {
            advice: "Server that closes early: let it linger, see `close-unread-data`.",
            lines: &["lingering_close always;   # nginx"],
        },
        Remedy {
            advice: "Clients that leave in mid-download: expected. nginx logs status 499.",
            lines: &[],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::KeepaliveRace,
            difference: "our data left before the FIN was heard, after a pause",
        },
        Lookalike {
            cause: Cause::PeerAborted,
            difference: "a RST with ACK: the peer still had its socket",
        },
        Lookalike {
            cause: Cause::DataAfterClose,
            difference: "the same, seen at the other end",
        },
    ],
    references: &[
        "RFC 1122 4.2.2.13; RFC 9293 3.6.1",
        "Linux net/ipv4/tcp_input.c: tcp_reset",
        "rstmon explain half-close",
    ],
};
