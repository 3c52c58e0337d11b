//! Pages of the resets that arrive from somebody else than the peer, or for no connection, and of
//! those that nothing explains.

use super::page::{CausePage, Direction, Harm, Lookalike, Remedy, Sign};
use crate::event::model::Cause;

pub(super) const MIDDLEBOX_RESET: CausePage = CausePage {
    title: "a device on the way reset it and says so",
    direction: Direction::Received,
    meaning: "A load balancer, proxy or firewall reset the connection and says so in the RST \
        itself: in its payload or in its window field. What it says is its own reason.",
    who: "The device (`middlebox`); `unknown` where a diagnostic payload may be the peer's own.",
    harm: Harm::Depends,
    harm_detail: "As harmful as the reason it gives: a policy, an idle timer, no server behind it.",
    mechanism: "RFC 1122 4.2.2.12 allows text in a RST. F5 BIG-IP writes its reset cause there; \
        NetScaler puts a code in the window field; an IETF draft defines a diagnostic payload. \
        Needs probe mode: the RST must be seen.",
    in_rstmon: &[
        Sign {
            fact: "rst_payload=F5 BIG-IP \"No flow found for ACK\" at 0x2409a71:704",
            says: "certain; `from its other side`: the reset began at the other connection of the \
                device",
        },
        Sign {
            fact: "netscaler=idle timeout",
            says: "the window holds a NetScaler code, and the RST is bare or does not fit the peer",
        },
        Sign {
            fact: "rst_payload=diagnostic code 14 \"connection timeout\"",
            says: "the IETF draft; some codes only boxes give",
        },
        Sign {
            fact: "rst_window=8211",
            says: "the code as it came",
        },
        Sign {
            fact: "idle_ms=N",
            says: "since the last data; compare with the device's timer",
        },
    ],
    in_tcpdump: "A RST with a length: `tcpdump -A 'tcp[tcpflags] & tcp-rst != 0'` shows \
        `BIG-IP: [0x…:704] No flow found for ACK`. NetScaler: `win 8196` to `win 9845`.",
    in_counters: "`TcpEstabResets`. The device has its own: `tmsh show net rst-cause`, `nsconmsg`.",
    origins: &[
        "\"No flow found for ACK\", \"packet for no connection\": the device forgot an idle \
         connection or failed over.",
        "\"No local listener\", \"Port denied\": the virtual server is not there.",
        "\"Policy action\", \"policy with action RESET\", \"ACL denies\": somebody configured it.",
        "\"TCP RST from remote system\", \"RST of the other side passed on\": ask the server \
         behind.",
    ],
    remedies: &[
        Remedy {
            advice: "BIG-IP: turn the cause on where it is missing, and look for the counts.",
            lines: &[
                "tmsh modify sys db tm.rstcause.pkt value enable",
                "tmsh modify sys db tm.rstcause.log value enable",
                "tmsh show net rst-cause",
            ],
        },
        Remedy {
            advice: "Idle timers: keepalive below them, as for `idle-timeout`.",
            lines: &["sysctl -w net.ipv4.tcp_keepalive_time=120"],
        },
        Remedy {
            advice: "Otherwise give the text, the time and the ports to whoever runs the device.",
            lines: &["rstmon trace -o jsonl 'cause middlebox-reset' | jq -c '[.time,.evidence]'"],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::ForgedSuspect,
            difference: "the RST pretends to be the peer's",
        },
        Lookalike {
            cause: Cause::IdleTimeout,
            difference: "a device forgot the connection, too, but does not say so",
        },
    ],
    references: &[
        "RFC 1122 4.2.2.12; draft-boucadair-tcpm-rst-diagnostic-payload",
        "F5 K13223: reset causes; Citrix CTX200852: window codes",
    ],
};

pub(super) const FORGED_SUSPECT: CausePage = CausePage {
    title: "the RST does not fit the peer of the handshake",
    direction: Direction::Received,
    meaning: "Somebody between here and the peer seems to have sent this RST in the peer's name. \
        rstmon compares it with the handshake and with what came before and after, and lists every \
        sign.",
    who: "A box on the way (`middlebox`): a censor, an intrusion prevention system, a \"traffic \
        manager\", an attacker who can see the packets.",
    harm: Harm::Harmful,
    harm_detail: "A connection that neither end wanted to end is cut. The verdict is never more \
        than likely: a proxy that answers the handshake and then lets the server speak looks the \
        same.",
    mechanism: "A RST is obeyed if its seq is exactly the next one expected (RFC 5961 3.2); \
        whoever sees the traffic can write one. What cannot be forged well: the number of hops \
        (TTL), the peer's clock (RFC 7323), an answer before the question has arrived. All \
        but a peer that goes on need probe mode; in tracepoint mode from Linux 5.18 on, RSTs that \
        were dropped still show a second RST and a burst. Two signs that studies name are not \
        used. A refusal that comes sooner than the peer could answer: rstmon times no connection \
        that ends in order, so it has nothing to compare with. Several peers with one clock: a \
        transparent proxy shows it, and need not reset.",
    in_rstmon: &[
        Sign {
            fact: "sign=ttl rst_hops=5 handshake_hops=12",
            says: "another distance: strong; weak for a forgotten connection, whose balancer may \
                answer",
        },
        Sign {
            fact: "sign=timestamps rst=… newest=…",
            says: "another clock: strong. `missing`, `never negotiated`: weak",
        },
        Sign {
            fact: "sign=impossible-ack sent_ago_us<… min_rtt_us=…",
            says: "it acknowledges data that cannot have arrived yet: decisive",
        },
        Sign {
            fact: "sign=peer-went-on after its RST",
            says: "the peer goes on as if nothing had happened: decisive",
        },
        Sign {
            fact: "sign=second-rst seq_ahead=… after_ms=…",
            says: "a second RST, aimed further ahead: strong",
        },
        Sign {
            fact: "sign=second-rst ack_ahead=… after_ms=…",
            says: "two RSTs that acknowledge different things: strong",
        },
        Sign {
            fact: "sign=burst with windows counted up rsts=3",
            says: "RSTs with one seq and windows n, n+1, n+2: decisive; two of them: strong",
        },
        Sign {
            fact: "sign=second-rst ack-field filled in one of two bare RSTs",
            says: "a field without meaning, filled once and empty once: strong",
        },
        Sign {
            fact: "sign=out-of-window-attempts count=3",
            says: "others missed before this one hit: strong from three on",
        },
        Sign {
            fact: "sign=ip-id rst=… handshake=…",
            says: "weak, like `sign=bare-with-window` and `sign=unprovoked`: nothing of ours was \
                out, not even an ACK of data that had just come",
        },
    ],
    in_tcpdump: "`tcpdump -v` shows `ttl`, `id` and `TS val`: compare the RST with other segments \
        of the peer. Look for segments from the peer after the RST.",
    in_counters: "`TcpEstabResets`; `TcpExtTCPChallengeACK` for those that missed.",
    origins: &[
        "National or corporate filters: after a TLS ClientHello or an HTTP Host line.",
        "Intrusion prevention with \"reset both\".",
        "An access network that shapes peer-to-peer traffic.",
        "An attacker on the path, `tcpkill`.",
    ],
    remedies: &[
        Remedy {
            advice: "Prove it at both ends: a RST that arrived here and was never sent there is \
                forged. With rstmon on both: see `both-ends`. Else capture:",
            lines: &["tcpdump -nvSi any -w here.pcap 'host PEER and tcp port 443'"],
        },
        Remedy {
            advice: "Where is it? Its TTL tells the distance: hops are 64, 128 or 255 less \
                rst_ttl.",
            lines: &["traceroute -T -p 443 PEER"],
        },
        Remedy {
            advice: "TLS does not help: the RST is below it. A tunnel does (WireGuard, IPsec, \
                QUIC), and between routers TCP-AO (RFC 5925).",
            lines: &[],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::PeerAborted,
            difference: "everything fits the peer; less than two signs stay evidence there",
        },
        Lookalike {
            cause: Cause::BlindReset,
            difference: "the RST missed and was not obeyed",
        },
        Lookalike {
            cause: Cause::MiddleboxReset,
            difference: "the author names himself",
        },
    ],
    references: &[
        "RFC 5961; RFC 7323; RFC 9293 3.5.2",
        "Weaver, Sommer, Paxson: Detecting Forged TCP Reset Packets, NDSS 2009",
    ],
};

pub(super) const BLIND_RESET: CausePage = CausePage {
    title: "a RST that missed; the connection lives",
    direction: Direction::Received,
    meaning: "A RST came for a live connection, but its sequence number is not the one expected. \
        The kernel did not obey: in the window it sent a challenge ACK, outside it dropped the \
        RST.",
    who: "`unknown`: a late RST of the peer's own, or somebody who guesses.",
    harm: Harm::Benign,
    harm_detail: "Nothing was lost. If the peer is really gone, it answers the challenge ACK with \
        an exact RST, which then shows as received. Alarming only in numbers: an attack, or a \
        forger who is too slow.",
    mechanism: "RFC 5961 3.2, RFC 9293 3.10.7.4. Linux: `tcp_validate_incoming()`, \
        `tcp_send_challenge_ack()`. In SYN-SENT a RST must acknowledge our SYN.",
    in_rstmon: &[
        Sign {
            fact: "drop_reason=TCP_RESET",
            says: "in the window, not exact: challenge ACK sent",
        },
        Sign {
            fact: "drop_reason=TCP_INVALID_SEQUENCE",
            says: "outside the window; TCP_OLD_SEQUENCE: before it (INVALID_SEQUENCE on older \
                kernels; none below Linux 5.17)",
        },
        Sign {
            fact: "rcv_nxt=N",
            says: "the number that would have been obeyed; compare with seq in `rst=`",
        },
        Sign {
            fact: "in_window=true",
            says: "whether it lay in the window; not told of a number before `rcv_nxt` where the \
                kernel gives no reason",
        },
    ],
    in_tcpdump: "`Flags [R]` or `[R.]` from the peer's address; our `Flags [.]` in answer if it \
        lay in the window. The connection goes on.",
    in_counters: "`TcpExtTCPChallengeACK`; no reset counter moves.",
    origins: &[
        "A RST that a lost or reordered segment should have preceded.",
        "A blind attack against long-lived connections (BGP, tunnels).",
        "A forger whose RST came after the peer's data.",
    ],
    remedies: &[
        Remedy {
            advice: "Single ones: nothing. Keep the protection strong: let challenge ACKs through.",
            lines: &["sysctl net.ipv4.tcp_challenge_ack_limit net.ipv4.tcp_invalid_ratelimit"],
        },
        Remedy {
            advice: "In numbers: who, and which connections?",
            lines: &["rstmon trace -o jsonl 'cause blind-reset' | jq -r '.remote_addr // empty'"],
        },
        Remedy {
            advice: "BGP and the like: TCP-AO or TCP-MD5, and the TTL check of RFC 5082 \
                (IP_MINTTL).",
            lines: &[],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::ForgedSuspect,
            difference: "obeyed, and strange",
        },
        Lookalike {
            cause: Cause::StrayReset,
            difference: "no connection was found",
        },
    ],
    references: &[
        "RFC 5961 3.2; RFC 9293 3.10.7.4; RFC 5082",
        "Linux net/ipv4/tcp_input.c: tcp_validate_incoming",
    ],
};

pub(super) const TIME_WAIT_ASSASSINATION: CausePage = CausePage {
    title: "a RST hit TIME-WAIT",
    direction: Direction::Received,
    meaning: "The application had closed, and a timewait socket stood for the connection, when a RST \
        came for it. In TIME-WAIT the kernel then drops that socket early unless \
        `net.ipv4.tcp_rfc1337` is 1; in FIN-WAIT-2, where the peer had not closed yet, wherever \
        it is in the window.",
    who: "`peer-app` where the RST has ACK: the peer closed with unread data or SO_LINGER 0 after \
        our FIN. `peer-kernel` where it is bare: a host that does not know the connection. Else \
        `unknown`.",
    harm: Harm::Depends,
    harm_detail: "In TIME-WAIT both ends had closed and the data had been exchanged: benign. In \
        theory, old duplicates can then disturb a new connection with the same ports; timestamps \
        prevent it. In FIN-WAIT-2 the peer aborted in place of closing: it had acknowledged all that \
        we sent, but may not have read it.",
    mechanism: "RFC 1337. Linux: `tcp_timewait_state_process()`, whose branch for FIN-WAIT-2 obeys a \
        RST before `tcp_rfc1337` is asked. The kernel drops the segment in any case and does not tell \
        whether the timewait socket survived.",
    in_rstmon: &[
        Sign {
            fact: "state=time-wait",
            says: "certain; `fin-wait-2`: the timewait socket stood for that, and is gone",
        },
        Sign {
            fact: "closed_ago_ms=N",
            says: "when the connection ended; before Linux 6.11 this is the evidence, and a guess",
        },
        Sign {
            fact: "drop_reason=NOT_SPECIFIED",
            says: "the kernel names no reason here",
        },
        Sign {
            fact: "rst=R. seq=… ack=… len=0",
            says: "the RST; with ACK it is the peer's own close",
        },
    ],
    in_tcpdump: "Our `Flags [F.]`, the peer's ACK, then `Flags [R]` or `[R.]` from the peer.",
    in_counters: "None; tw in /proc/net/sockstat goes down.",
    origins: &[
        "A peer that aborts in place of closing after our FIN: unread data there.",
        "TLS clients that reset after a close_notify.",
        "A box that resets when it removes a flow.",
    ],
    remedies: &[
        Remedy {
            advice: "Nothing, as a rule. To protect TIME-WAIT (nothing protects FIN-WAIT-2):",
            lines: &["sysctl -w net.ipv4.tcp_rfc1337=1"],
        },
        Remedy {
            advice: "The peer's side shows why it aborted: `close-unread-data` or `linger-abort`. From \
                FIN-WAIT-2 look there for what it left unread; better, read to the end before \
                `close()`.",
            lines: &[],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::TimeWaitHit,
            difference: "a SYN hit it, and this host answered with a RST",
        },
        Lookalike {
            cause: Cause::StrayReset,
            difference: "there was no timewait socket, or the RST did not have its number",
        },
    ],
    references: &[
        "RFC 1337; tcp(7): tcp_rfc1337",
        "Linux net/ipv4/tcp_minisocks.c: tcp_timewait_state_process",
    ],
};

pub(super) const STRAY_RESET: CausePage = CausePage {
    title: "a RST came for no connection of ours",
    direction: Direction::Received,
    meaning: "A RST arrived, and there is no connection that it could reset. The kernel ignores \
        it.",
    who: "`unknown`.",
    harm: Harm::Benign,
    harm_detail: "Nothing was reset. In numbers it tells a story: somebody forges this host's \
        address (backscatter), or a NAT delivers to the wrong host.",
    mechanism: "RFC 9293 3.10.7.1 and 3.10.7.2: without a connection, and in LISTEN, a RST is \
        ignored. Linux: no socket in `tcp_v4_rcv()`, or `tcp_rcv_state_process()` of a listener.",
    in_rstmon: &[
        Sign {
            fact: "drop_reason=NO_SOCKET",
            says: "no socket was found (Linux 5.17 and later); `TCP_CLOSE`: one that another RST \
                was just ending",
        },
        Sign {
            fact: "state=none",
            says: "no socket; `listen`: only a listener, or, with the reason TCP_FLAGS, a request \
                socket that it hides (likely)",
        },
        Sign {
            fact: "rst=R seq=… len=0",
            says: "bare: an answer to a segment with our address. `R.` with seq 0: to a SYN",
        },
    ],
    in_tcpdump: "`Flags [R]` or `[R.]` from the other host, no answer of ours.",
    in_counters: "None: received RSTs have no counter in Linux.",
    origins: &[
        "A second RST for a connection that the first has ended; very common.",
        "Backscatter: somebody sends SYNs in the name of this host.",
        "A connect that was given up here before the refusal came.",
        "Programs with a TCP of their own: scanners, user-space stacks, DPDK.",
    ],
    remedies: &[
        Remedy {
            advice: "After another event with the same ports: nothing.",
            lines: &["rstmon trace 'rport 443 and kind in (received, stray)'"],
        },
        Remedy {
            advice: "Many from many addresses: backscatter; tell the provider. Drop them cheaply:",
            lines: &["nft insert rule inet filter input ct state invalid tcp flags rst drop"],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::BlindReset,
            difference: "there is a connection; the number did not fit",
        },
        Lookalike {
            cause: Cause::HandshakeAborted,
            difference: "it ended a handshake",
        },
        Lookalike {
            cause: Cause::TimeWaitAssassination,
            difference: "a timewait socket was there, and the number fitted",
        },
    ],
    references: &[
        "RFC 9293 3.10.7.1 and 3.10.7.2",
        "Linux net/ipv4/tcp_ipv4.c: tcp_v4_rcv (no_tcp_socket)",
    ],
};

pub(super) const MPTCP_RECEIVED: CausePage = CausePage {
    title: "the peer reset an MPTCP subflow and says why",
    direction: Direction::Received,
    meaning: "A RST with the option MP_TCPRST arrived. It ends one subflow; other subflows of the \
        connection may live on.",
    who: "The peer's MPTCP (`peer-kernel`); `middlebox` where it says that a middlebox interferes.",
    harm: Harm::Depends,
    harm_detail: "A refused join is a missed optimization. The last subflow's reset is a reset of \
        the connection.",
    mechanism: "RFC 8684 3.6. Linux: `mptcp_established_options_rst()` writes the option, \
        `tcp_reset()` hands the RST to MPTCP. Needs probe mode: the RST must be seen.",
    in_rstmon: &[
        Sign {
            fact: "mptcp_reason=administratively prohibited",
            says: "the peer's reason, one of the seven of RFC 8684",
        },
        Sign {
            fact: "state=syn-sent",
            says: "a join was refused; `established`: a subflow was aborted",
        },
        Sign {
            fact: "mptcp_reset_reason=3",
            says: "the same as a number",
        },
    ],
    in_tcpdump: "`Flags [R.]` or `[R]` with the option `mptcp … reset`.",
    in_counters: "`MPTcpExtMPRstRx`, `MPTcpExtMPFastcloseRx`; `TcpEstabResets` for the subflow.",
    origins: &[
        "Joins at a server that accepts no further subflows (`subflows` limit, firewall).",
        "A balancer that sends the join to another server than the first subflow.",
        "A middlebox that changes payload or strips options.",
    ],
    remedies: &[
        Remedy {
            advice: "On the peer, allow subflows:",
            lines: &["ip mptcp limits set subflow 2 add_addr_accepted 2"],
        },
        Remedy {
            advice: "Interference on one path only: take its endpoint out.",
            lines: &["ip mptcp endpoint show", "ip mptcp endpoint delete id ID"],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::Mptcp,
            difference: "the other direction",
        },
        Lookalike {
            cause: Cause::PeerAborted,
            difference: "no MPTCP reason, or in tracepoint mode, where it cannot be seen",
        },
    ],
    references: &[
        "RFC 8684 3.6",
        "Linux net/mptcp/options.c: mptcp_established_options_rst; ip-mptcp(8)",
    ],
};

pub(super) const UNDIAGNOSED: CausePage = CausePage {
    title: "counted, not explained",
    direction: Direction::Either,
    meaning: "rstmon saw this reset and no rule explains it, or it was only counted because its \
        event was lost. It is never hidden: the sum over all causes equals the exact count.",
    who: "`unknown`.",
    harm: Harm::Depends,
    harm_detail: "Not known. Many of them mean that this kernel tells little, or that a rule is \
        missing.",
    mechanism: "The evidence lists what was known. Old kernels give no reason (before Linux 6.10) \
        and no drop reason (before 5.17); without BTF, classic mode sees little more than the \
        addresses.",
    in_rstmon: &[
        Sign {
            fact: "kernel_reason=…",
            says: "if there is one, it names what no rule knows: please report it; or, in classic \
                mode, what only the segment or the socket would tell apart",
        },
        Sign {
            fact: "drop_reason=…",
            says: "a RST dropped for another reason: checksum, filter, authentication",
        },
        Sign {
            fact: "state=…",
            says: "with `trigger=` and `rst=`, what there is to think about",
        },
    ],
    in_tcpdump: "Any RST.",
    in_counters: "Any. The end record of `trace` tells events lost, by stage.",
    origins: &[
        "An old kernel, classic mode, or probes that the host refuses.",
        "A storm: more resets than the budget for events; they are counted all the same.",
        "A new kernel with a reason that this version does not know.",
    ],
    remedies: &[
        Remedy {
            advice: "See what this kernel cannot give, and what to do about it.",
            lines: &["rstmon check"],
        },
        Remedy {
            advice: "Record some, and report them together with that output.",
            lines: &["rstmon trace -w resets.rstmon -c 100 'cause undiagnosed'"],
        },
    ],
    lookalikes: &[Lookalike {
        cause: Cause::InvalidSegment,
        difference: "the kernel gave a reason for answering a segment, with no cause of its own",
    }],
    references: &["rstmon check", "rstmon explain counters"],
};
