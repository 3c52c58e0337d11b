//! Pages of the received resets of connections that were idle.

use super::page::{CausePage, Direction, Harm, Lookalike, Remedy, Sign};
use crate::event::model::Cause;

pub(super) const IDLE_TIMEOUT: CausePage = CausePage {
    title: "the peer or a box forgot an idle connection",
    direction: Direction::Received,
    meaning: "Nothing was sent for a while, a timer somewhere ran out and the connection was \
        forgotten. What came next was answered with a RST, or the timer itself sent one.",
    who: "`middlebox` if the RST came another way than the handshake, `peer-kernel` if it came the \
        same way and had something to answer, else `unknown`.",
    harm: Harm::Harmful,
    harm_detail: "The request after the pause fails. It hits quiet services, at night, and looks \
        random; pools of idle connections suffer most.",
    mechanism: "Balancers, NAT and firewalls keep a table of connections with an idle timer (RFC \
        5382 5 asks for 2 h 4 min at least; few obey). Once the entry is gone, a device drops \
        silently, or answers with a RST. TCP itself has no idle timeout.",
    in_rstmon: &[
        Sign {
            fact: "idle_ms=N",
            says: "since the last data: the timer, if it always comes out the same. Where only a \
                keepalive probe or a FIN of ours was out, it is this host's own, and no timer is \
                named",
        },
        Sign {
            fact: "peer_heard_ago_ms=N",
            says: "the peer had answered keepalive probes since: it is this silence that counts",
        },
        Sign {
            fact: "learned_timer=307s resets=4/5",
            says: "4 of the last 5 resets of this service, each at another moment, came after the \
                same pause",
        },
        Sign {
            fact: "known_timer=350s AWS NLB (tcp.idle_timeout.seconds)",
            says: "a default that is near, and its setting",
        },
        Sign {
            fact: "avoid=SO_KEEPALIVE with TCP_KEEPIDLE or net.ipv4.tcp_keepalive_time=175",
            says: "half of the timer: the value to set here",
        },
        Sign {
            fact: "rst_ttl=255 handshake_ttl=52",
            says: "another way: a box sent it (probe mode)",
        },
    ],
    in_tcpdump: "Silence, our data, and at once `Flags [R]` with seq equal to our ack, `win 0`. \
        Or, with nothing sent, a RST when the timer ends.",
    in_counters: "`TcpEstabResets`. Silent boxes give `TcpExtTCPTimeouts` and, in the end, \
        `TcpExtTCPAbortOnTimeout`.",
    origins: &[
        "AWS Global Accelerator 340 s; NLB and NAT gateway 350 s, the NLB's configurable (60 to \
         6000 s) for TCP listeners.",
        "Azure Load Balancer 240 s by default (4 to 100 min); it resets only with TCP reset on.",
        "IPVS 900 s: Docker Swarm services, kube-proxy in IPVS mode.",
        "F5 BIG-IP 300 s, Cisco ASA and FortiGate 3600 s, Google Cloud 600 s.",
        "conntrack of a NAT host: 5 days, 1 day where kube-proxy sets it, or far less where it was \
         tuned.",
    ],
    remedies: &[
        Remedy {
            advice: "Keep it alive: probe at half of the timer. Works only where the program sets \
                SO_KEEPALIVE.",
            lines: &[
                "sysctl -w net.ipv4.tcp_keepalive_time=120",
                "proxy_socket_keepalive on;                  # nginx, to upstreams",
                "option srvtcpka                             # haproxy",
                "upstream_connection_options: { tcp_keepalive: { keepalive_time: 120 } }",
                "                                            # envoy",
            ],
        },
        Remedy {
            advice: "Pools: let idle connections go before the timer does. Go, Node:",
            lines: &[
                "http.Transport{IdleConnTimeout: 90 * time.Second}",
                "new http.Agent({ keepAlive: true, timeout: 60000 })",
            ],
        },
        Remedy {
            advice: "Or lengthen the timer. AWS NLB, Azure, IPVS:",
            lines: &[
                "aws elbv2 modify-listener-attributes --listener-arn ARN \\",
                "  --attributes Key=tcp.idle_timeout.seconds,Value=3600",
                "az network lb rule update -g GROUP --lb-name LB -n RULE \\",
                "  --idle-timeout 30 --enable-tcp-reset true",
                "ipvsadm --set 7200 120 300",
            ],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::KeepaliveRace,
            difference: "the peer closed with a FIN that our request crossed",
        },
        Lookalike {
            cause: Cause::PeerGone,
            difference: "no long pause: a restart or a failover",
        },
        Lookalike {
            cause: Cause::KeepaliveTimeout,
            difference: "our own probes went unanswered; no RST came",
        },
    ],
    references: &[
        "RFC 5382 5; RFC 9293 3.5.1; RFC 1122 4.2.3.6",
        "AWS: Network Load Balancers, connection idle timeout",
        "Microsoft: Load Balancer TCP reset and idle timeout",
        "rstmon explain session-timeout",
    ],
};

pub(super) const KEEPALIVE_RACE: CausePage = CausePage {
    title: "the peer closed as our next request was on its way",
    direction: Direction::Received,
    meaning: "The server's idle timer closed a kept-alive connection just as the client used it \
        again. The request met a closed socket and was answered with a RST.",
    who: "The peer's application (`peer-app`), whose idle timer is shorter than ours.",
    harm: Harm::Harmful,
    harm_detail: "One request fails, at random: the 502 that cannot be reproduced. It was not \
        processed, but the client cannot know that, so only idempotent ones are repeated.",
    mechanism: "RFC 9112 9.5 and RFC 9293 3.6.1. The FIN and our data cross; data after close \
        gets a RST (RFC 1122 4.2.2.13), whose seq is the ack of that data. Where rstmon sees the \
        RST and that number is one short of RCV.NXT, we had not seen the FIN when we sent; else it \
        compares when our data went out with when the FIN was heard (`tcp_event_data_sent()`, `tcp_ack()`).",
    in_rstmon: &[
        Sign {
            fact: "state=close-wait",
            says: "the peer's FIN had arrived; `last-ack`: we had closed since",
        },
        Sign {
            fact: "data_sent=before-fin",
            says: "our request left before the FIN was heard; `with-fin`: in the same clock tick",
        },
        Sign {
            fact: "idle_ms=5001",
            says: "from the last data received to our last data: the peer's idle timer, if we sent \
                nothing in between that it acknowledged, which leaves no trace; hence never certain",
        },
        Sign {
            fact: "data_sent_ago_ms=N",
            says: "and `fin_heard_ago_ms`: the two times compared",
        },
        Sign {
            fact: "known_timer=5s Node.js http (server.keepAliveTimeout)",
            says: "a default that is near; `learned_timer` where resets agree on one",
        },
        Sign {
            fact: "data_received_ago_ms=N",
            says: "data came with the FIN, most likely a TLS close_notify, and hides how long it had \
                been quiet before: a guess. So it is where rstmon does not know who opened the \
                connection",
        },
        Sign {
            fact: "avoid=keep idle connections for less than 5s",
            says: "what the client should do",
        },
    ],
    in_tcpdump: "A pause; `Flags [F.]` from the peer and our `Flags [P.]` within a round trip; \
        then `Flags [R]` from the peer.",
    in_counters: "`TcpEstabResets` (from CLOSE-WAIT). At the peer: `TcpExtTCPAbortOnData` or \
        `TcpOutRsts`.",
    origins: &[
        "Node.js behind an AWS ALB: 5 s keepAliveTimeout against 60 s of the balancer.",
        "gunicorn 2 s, uvicorn 5 s, Apache httpd 5 s behind nginx (60 s) or HAProxy.",
        "A Go client (IdleConnTimeout 90 s) with a server of 75 s (nginx).",
        "Any balancer whose idle timeout is longer than the backend's.",
    ],
    remedies: &[
        Remedy {
            advice: "The rule: whoever sends requests gives up first. Make the server's timer the \
                longer one. Node, gunicorn, nginx, Go:",
            lines: &[
                "server.keepAliveTimeout = 65000; server.headersTimeout = 66000;",
                "gunicorn --keep-alive 75",
                "keepalive_timeout 75s;",
                "http.Server{IdleTimeout: 75 * time.Second}",
            ],
        },
        Remedy {
            advice: "Or the client's shorter. nginx upstream block, HAProxy, Envoy cluster, Go:",
            lines: &[
                "keepalive_timeout 4s;",
                "pool-purge-delay 3s",
                "common_http_protocol_options: { idle_timeout: 4s }",
                "http.Transport{IdleConnTimeout: 4 * time.Second}",
            ],
        },
        Remedy {
            advice: "AWS ALB: its timer, then the backend's above it.",
            lines: &[
                "aws elbv2 modify-load-balancer-attributes --load-balancer-arn ARN \\",
                "  --attributes Key=idle_timeout.timeout_seconds,Value=60",
            ],
        },
        Remedy {
            advice: "And repeat idempotent requests: the race can be made rare, never impossible.",
            lines: &[
                "proxy_next_upstream error timeout;    # nginx",
                "retry-on conn-failure empty-response  # haproxy",
                "retry_on: reset                       # envoy",
            ],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::PeerDataAfterClose,
            difference: "our data left after the FIN was heard, or without a pause before",
        },
        Lookalike {
            cause: Cause::IdleTimeout,
            difference: "no FIN: the connection was forgotten",
        },
    ],
    references: &[
        "RFC 9112 9.5; RFC 1122 4.2.2.13",
        "nodejs/node issue 27363",
        "AWS re:Post: troubleshoot 502 of an Application Load Balancer",
    ],
};
