//! Pages of the resets that an application of this host brings about by closing.

use super::page::{CausePage, Direction, Harm, Lookalike, Remedy, Sign};
use crate::event::model::Cause;

pub(super) const CLOSE_UNREAD_DATA: CausePage = CausePage {
    title: "the application closed with received data unread",
    direction: Direction::Sent,
    meaning: "The application called `close()` (or exited) while bytes from the peer were still \
        in the receive buffer. TCP cannot pretend that they were delivered, so it sends a RST in \
        place of a FIN.",
    who: "The application that owns the socket (`local-app`): `pid` and `comm` name it.",
    harm: Harm::Depends,
    harm_detail: "The bytes are lost, and the RST can destroy data of yours that the peer has \
        received but not yet read: a response cut short. It is benign where nobody wanted the \
        rest, as with a TLS close_notify that nobody reads, or a download that a user cancelled.",
    mechanism: "RFC 1122 4.2.2.13: a host that closes with unread data SHOULD send a RST to show \
        that data was lost (RFC 2525 2.17 calls the lack of it a bug). Linux: `__tcp_close()` \
        finds the receive queue not empty and calls `tcp_send_active_reset()`. A socket that was \
        only `shutdown()` is not affected.",
    in_rstmon: &[
        Sign {
            fact: "kernel_reason=TCP_ABORT_ON_CLOSE",
            says: "the kernel says so itself, from Linux 6.12 on; before, the fields below tell",
        },
        Sign {
            fact: "unread_bytes=N",
            says: "how much was left unread; N tells a stray newline from a request body",
        },
        Sign {
            fact: "state=close-wait",
            says: "the peer had already sent its FIN; `established`: it was still open",
        },
        Sign {
            fact: "process_exit=N",
            says: "the close was part of an ordinary exit with that status",
        },
        Sign {
            fact: "propagated_from=PEER",
            says: "a moment before, the same process had received a reset from that peer as a client \
                (`propagated_from_seq_no` is its event): a proxy that hands it on, so look there first",
        },
    ],
    in_tcpdump: "Data from the peer, acknowledged; then `Flags [R.]` from this host, with a real \
        window and, where negotiated, timestamps. No FIN before it, unless `shutdown(SHUT_WR)` came \
        before the close.",
    in_counters: "`TcpExtTCPAbortOnClose` and `TcpOutRsts` go up; `TcpEstabResets` too.",
    origins: &[
        "A server answers early (401, 413, 502) and closes without reading the request body.",
        "An HTTP client drops a response without reading it to its end, so its connection cannot \
         be reused: Go without draining `resp.Body`, Node with `response.destroy()`.",
        "A TLS library closes right after its own close_notify and never reads the peer's.",
        "A health check reads the status line and closes.",
        "A server writes its answer and closes while the client has pipelined more.",
    ],
    remedies: &[
        Remedy {
            advice: "In your own program: send, `shutdown(SHUT_WR)`, read to the end with a time \
                limit, then close.",
            lines: &[],
        },
        Remedy {
            advice: "Go client: read the rest, within a limit, before closing.",
            lines: &["io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))"],
        },
        Remedy {
            advice: "nginx: keep lingering close on (the default), and give big uploads longer.",
            lines: &[
                "lingering_close on;",
                "lingering_time 30s;",
                "lingering_timeout 5s;",
            ],
        },
        Remedy {
            advice: "Envoy: leave `delayed_close_timeout` of the HTTP connection manager above \
                zero (default 1 s).",
            lines: &["delayed_close_timeout: 1s"],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::LingerAbort,
            difference: "closed on purpose with SO_LINGER 0; the kernel tests unread data first, \
                so a socket with both is shown here",
        },
        Lookalike {
            cause: Cause::DataAfterClose,
            difference: "the data came after the close; here it was there before",
        },
        Lookalike {
            cause: Cause::ProcessKilled,
            difference: "the close was not the program's will: a signal ended it",
        },
    ],
    references: &[
        "RFC 1122 4.2.2.13; RFC 2525 2.17; RFC 9293 3.6.1",
        "Linux net/ipv4/tcp.c: __tcp_close",
        "nginx: ngx_http_core_module, lingering_close",
    ],
};

pub(super) const DATA_AFTER_CLOSE: CausePage = CausePage {
    title: "data came after the application had closed",
    direction: Direction::Sent,
    meaning: "This host closed first (its FIN was out), and then the peer sent new data. Nobody is \
        left to read it, so TCP answers with a RST.",
    who: "The application here that closed while the peer was still sending (`local-app`).",
    harm: Harm::Depends,
    harm_detail: "The peer gets ECONNRESET or EPIPE, and that data is lost. Benign and very \
        common: a TLS peer answers your FIN with its own close_notify, a record of 24 or 31 bytes \
        as a rule that nobody needs. Harmful when it was a request or the rest of an upload.",
    mechanism: "RFC 1122 4.2.2.13, the half-duplex close: after `close()`, new data is answered \
        with a RST. Linux: `tcp_rcv_state_process()` in FIN-WAIT-1, FIN-WAIT-2, CLOSING or \
        LAST-ACK with the receiving side shut down; once the socket has become a timewait socket \
        that stands for FIN-WAIT-2, `tcp_timewait_state_process()`. The kernel calls \
        `tcp_reset()` on itself for this; rstmon does not report that as a received RST.",
    in_rstmon: &[
        Sign {
            fact: "kernel_reason=TCP_ABORT_ON_DATA",
            says: "a full socket answered (Linux 6.10 and later)",
        },
        Sign {
            fact: "kernel_reason=TCP_TIMEWAIT_SOCKET",
            says: "a timewait socket in FIN-WAIT-2 answered; which of the two is a matter of \
                timing",
        },
        Sign {
            fact: "timewait_socket=true",
            says: "the same, by the socket itself",
        },
        Sign {
            fact: "trigger=P. seq=… ack=… len=24",
            says: "the segment that came; `len` of 24 or 31 is most likely a TLS close_notify",
        },
        Sign {
            fact: "state=fin-wait-2",
            says: "our FIN was acknowledged; `fin-wait-1`: not yet",
        },
    ],
    in_tcpdump: "Our `Flags [F.]`, then `Flags [P.]` with data from the peer, then our `Flags \
        [R]` without ACK, whose seq is the ack of that data segment, `win 0`. Often a second RST \
        for the peer's FIN, shown as `segment-after-close`.",
    in_counters: "`TcpExtTCPAbortOnData` for a full socket, nothing of its own for a timewait \
        socket; `TcpOutRsts` in either case. (Linux counts SO_LINGER 0 in `TcpExtTCPAbortOnData`, \
        too.)",
    origins: &[
        "TLS close: the peer's close_notify crosses your FIN. Every `curl https://…` may do it.",
        "A server closes after its answer while the client still uploads.",
        "A browser tab is closed in mid-download: the server goes on sending.",
        "A proxy closes an idle connection just as a request comes: at the other end that is \
         `keepalive-race`.",
    ],
    remedies: &[
        Remedy {
            advice: "Use `shutdown(SHUT_WR)` and read until end of file before `close()`. After \
                `shutdown(SHUT_WR)` alone the peer may go on sending.",
            lines: &[],
        },
        Remedy {
            advice: "TLS: nothing to do where the trigger is only a close_notify. To be rid of \
                it, read the peer's close_notify before closing (OpenSSL: call `SSL_shutdown()` \
                twice).",
            lines: &[],
        },
        Remedy {
            advice: "nginx in front of uploads:",
            lines: &["lingering_close always;", "lingering_time 60s;"],
        },
        Remedy {
            advice: "If the trigger is a request, it is a keepalive race seen from the server: let \
                the server keep idle connections longer than its clients do. See `keepalive-race`.",
            lines: &[],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::CloseUnreadData,
            difference: "the data was there before the close",
        },
        Lookalike {
            cause: Cause::SegmentAfterClose,
            difference: "the socket was gone altogether when the segment came",
        },
        Lookalike {
            cause: Cause::TimeWaitHit,
            difference: "a SYN, not data, met the timewait socket",
        },
    ],
    references: &[
        "RFC 1122 4.2.2.13; RFC 9293 3.6.1 and 3.10.7.4",
        "Linux net/ipv4/tcp_input.c: tcp_rcv_state_process",
        "Linux net/ipv4/tcp_minisocks.c: tcp_timewait_state_process",
        "rstmon explain half-close",
    ],
};

pub(super) const LINGER_ABORT: CausePage = CausePage {
    title: "closed with SO_LINGER on and zero seconds",
    direction: Direction::Sent,
    meaning: "The application asked for it: SO_LINGER with a time of zero turns `close()` into a \
        RST. Whatever was still to be sent is thrown away, and no TIME-WAIT remains.",
    who: "The application that owns the socket (`local-app`).",
    harm: Harm::Depends,
    harm_detail: "Harmful when data was still on its way (`unacked_bytes` above zero): the peer \
        may never see it. Benign from health checks, load generators and proxies that pass a \
        peer's abort on.",
    mechanism: "RFC 9293 3.10.5, the ABORT call. Linux: `__tcp_close()` sees SOCK_LINGER with \
        `sk_lingertime` 0 and calls `tcp_disconnect()`, which sends the RST where the state asks \
        for one (ESTABLISHED, SYN-RECEIVED, FIN-WAIT-1, FIN-WAIT-2 or CLOSE-WAIT).",
    in_rstmon: &[
        Sign {
            fact: "so_linger=0s",
            says: "the option was set: this is what decides",
        },
        Sign {
            fact: "kernel_reason=TCP_STATE",
            says: "from Linux 6.12; the same word stands for four other causes, so it decides \
                nothing",
        },
        Sign {
            fact: "unacked_bytes=N",
            says: "what the peer had not acknowledged: possibly lost",
        },
        Sign {
            fact: "process_exit=N",
            says: "the close was part of an ordinary exit with that status",
        },
    ],
    in_tcpdump: "`Flags [R.]` from this host out of the blue, with a real window and timestamps; \
        no FIN before it, unless `shutdown(SHUT_WR)` came before the close.",
    in_counters: "`TcpOutRsts`, `TcpEstabResets`, and, misleadingly, `TcpExtTCPAbortOnData`.",
    origins: &[
        "Go `conn.SetLinger(0)`, Java `setSoLinger(true, 0)`, Node `socket.resetAndDestroy()`.",
        "nginx `reset_timedout_connection on`, also for `return 444`.",
        "HAProxy `option nolinger`, and its `tcp-check connect` without `linger`.",
        "Envoy, where it passes an abort of the other side on.",
        "Health checks, port checks and load generators that want no TIME-WAIT.",
    ],
    remedies: &[
        Remedy {
            advice: "Not wanted: find who sets the option, and take it out. Too many TIME-WAIT \
                sockets on a client are better cured by connection reuse.",
            lines: &["strace -f -e trace=setsockopt -p PID 2>&1 | grep SO_LINGER"],
        },
        Remedy {
            advice: "nginx:",
            lines: &["reset_timedout_connection off;"],
        },
        Remedy {
            advice: "HAProxy: take `option nolinger` out; for checks write",
            lines: &["tcp-check connect linger"],
        },
        Remedy {
            advice: "Health checks of your own: leave them as they are, and leave them out here.",
            lines: &["rstmon trace 'not (cause linger-abort and comm haproxy)'"],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::CloseUnreadData,
            difference: "a socket with unread data is shown there, whatever its SO_LINGER says",
        },
        Lookalike {
            cause: Cause::Disconnect,
            difference: "the socket was not closed: `connect(AF_UNSPEC)`",
        },
        Lookalike {
            cause: Cause::SocketDestroyed,
            difference: "somebody else's doing: `ss -K`; the same kernel reason",
        },
    ],
    references: &[
        "RFC 9293 3.10.5; socket(7): SO_LINGER",
        "Linux net/ipv4/tcp.c: __tcp_close, tcp_disconnect, tcp_need_reset",
    ],
};

pub(super) const LINGER2_ABORT: CausePage = CausePage {
    title: "closed with TCP_LINGER2 below zero",
    direction: Direction::Sent,
    meaning: "The application set TCP_LINGER2 to a negative number: no waiting in FIN-WAIT-2 after \
        `close()`. So the kernel resets the connection as soon as its own FIN is acknowledged.",
    who: "The application that owned the socket (`local-app`).",
    harm: Harm::Depends,
    harm_detail: "What was sent has arrived, FIN included. The peer can no longer answer: whatever \
        it still sends is lost.",
    mechanism: "tcp(7). Linux: `__tcp_close()` in FIN-WAIT-2 with `linger2` below zero, and \
        `tcp_rcv_state_process()` when the peer acknowledges the FIN of a socket already closed.",
    in_rstmon: &[
        Sign {
            fact: "tcp_linger2=negative",
            says: "the option, read from the socket",
        },
        Sign {
            fact: "kernel_reason=TCP_ABORT_ON_LINGER",
            says: "in `close()`, from Linux 6.12 (it means TCP_LINGER2, not SO_LINGER)",
        },
        Sign {
            fact: "kernel_reason=TCP_ABORT_ON_DATA",
            says: "at the acknowledgment of the FIN, with a trigger that carries no data",
        },
        Sign {
            fact: "state=fin-wait-2",
            says: "our FIN was acknowledged; `fin-wait-1`: that acknowledgment triggered the RST",
        },
    ],
    in_tcpdump: "Our `Flags [F.]`, the peer's `Flags [.]`, then our RST: `[R.]` from `close()`, \
        `[R]` with `win 0` in answer to the acknowledgment.",
    in_counters: "`TcpExtTCPAbortOnLinger` in `close()`, `TcpExtTCPAbortOnData` at the \
        acknowledgment; `TcpOutRsts` in either case.",
    origins: &["Programs written to get rid of FIN-WAIT-2 sockets at once; rare."],
    remedies: &[
        Remedy {
            advice: "Set no TCP_LINGER2, or one above zero (seconds). The default is \
                `net.ipv4.tcp_fin_timeout`.",
            lines: &["sysctl net.ipv4.tcp_fin_timeout"],
        },
        Remedy {
            advice: "Find who sets it:",
            lines: &["strace -f -e trace=setsockopt -p PID 2>&1 | grep LINGER2"],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::FinWait2Timeout,
            difference: "the time in FIN-WAIT-2 ran out; here there was none to begin with",
        },
        Lookalike {
            cause: Cause::DataAfterClose,
            difference: "the trigger carries data",
        },
    ],
    references: &[
        "tcp(7): TCP_LINGER2",
        "Linux net/ipv4/tcp.c: __tcp_close; net/ipv4/tcp_input.c: tcp_rcv_state_process",
    ],
};

pub(super) const PROCESS_KILLED: CausePage = CausePage {
    title: "the process died holding the socket",
    direction: Direction::Sent,
    meaning: "A signal, a crash or the OOM killer ended the process, and the kernel closed its \
        sockets for it. Unread data, SO_LINGER 0 or whatever the peer sent afterwards then led to \
        the RST.",
    who: "`local-kernel` for an OOM kill, `local-admin` where another process sent the signal \
        (`actor_pid`, `actor_comm`), `local-app` for a signal that a program raises by its own doing \
        (SIGSEGV, SIGABRT, SIGPIPE …), `unknown` for any other whose sender was not seen.",
    harm: Harm::Harmful,
    harm_detail: "Requests in flight are lost, on every connection that the process had. Expected \
        only where you stopped it yourself.",
    mechanism: "`do_exit()` closes all descriptors (`exit_files()`); TCP then does what it does \
        for any `close()`. Without unread data and without SO_LINGER 0 that is an orderly FIN and \
        no RST, until the peer sends more (RFC 1122 4.2.2.13).",
    in_rstmon: &[
        Sign {
            fact: "signal=SIGKILL",
            says: "what ended the process",
        },
        Sign {
            fact: "oom_kill=yes",
            says: "the kernel had chosen it to free memory",
        },
        Sign {
            fact: "core_dumped=yes",
            says: "it crashed",
        },
        Sign {
            fact: "signal_from_pid=N",
            says: "who sent the signal; `actor_comm` is its name",
        },
        Sign {
            fact: "kernel_reason=TCP_ABORT_ON_CLOSE",
            says: "there was unread data; other reasons tell what else the close led to",
        },
        Sign {
            fact: "unread_bytes=N",
            says: "what the dead process had not read",
        },
        Sign {
            fact: "state=none",
            says: "or `listen`: a late segment found only the memory of its connection, of five \
                minutes at most; hence likely, as the ports can be in use again",
        },
    ],
    in_tcpdump: "`[R.]` on many connections of one process in the same millisecond, or `[F.]` \
        first and `[R]` for each later segment of the peers.",
    in_counters: "`TcpExtTCPAbortOnClose` (unread data), `TcpOutRsts`. OOM kills: `oom_kill` in \
        /proc/vmstat and in memory.events of the cgroup.",
    origins: &[
        "A memory limit of a container (OOMKilled, exit status 137).",
        "systemd or the kubelet: SIGKILL after the stop timeout or the grace period.",
        "A segmentation fault, an abort, a failed assertion.",
        "`kill -9`, a deployment script, a supervisor's watchdog.",
    ],
    remedies: &[
        Remedy {
            advice: "See what the kernel and the supervisor say:",
            lines: &[
                "journalctl -k -g 'Killed process|segfault'",
                "coredumpctl list",
            ],
        },
        Remedy {
            advice: "Container out of memory: raise the limit or find the leak.",
            lines: &[
                "kubectl get pod POD -o yaml | grep -A3 lastState",
                "cat /sys/fs/cgroup/PATH/memory.events",
            ],
        },
        Remedy {
            advice: "Killed while stopping: let it drain. Handle SIGTERM, stop accepting, finish, \
                and give it the time.",
            lines: &[
                "TimeoutStopSec=90                  # systemd unit",
                "terminationGracePeriodSeconds: 90  # Kubernetes pod",
            ],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::CloseUnreadData,
            difference: "the process closed or exited of its own accord (`process_exit`)",
        },
        Lookalike {
            cause: Cause::SocketDestroyed,
            difference: "only the socket was killed, the process lives",
        },
        Lookalike {
            cause: Cause::StaleSegment,
            difference: "the host lost the connection without a trace of a dead process",
        },
    ],
    references: &[
        "Linux kernel/exit.c: do_exit; net/ipv4/tcp.c: __tcp_close",
        "RFC 1122 4.2.2.13; signal(7)",
    ],
};

pub(super) const DISCONNECT: CausePage = CausePage {
    title: "connect(AF_UNSPEC) on a live connection",
    direction: Direction::Sent,
    meaning: "`connect()` with the address family AF_UNSPEC dissolves the connection and keeps the \
        socket for another. On a connection that lives, that is a RST.",
    who: "The application that owns the socket (`local-app`).",
    harm: Harm::Depends,
    harm_detail: "The peer sees an abort; unsent data is gone. A program that does it usually \
        means it.",
    mechanism: "connect(2). Linux: `inet_stream_connect()` with AF_UNSPEC calls \
        `tcp_disconnect()`, which resets in states that ask for it, and in CLOSING or LAST-ACK \
        with data unsent.",
    in_rstmon: &[
        Sign {
            fact: "closed=no",
            says: "the socket still has its file, and no `close()` came before",
        },
        Sign {
            fact: "kernel_reason=TCP_STATE",
            says: "from Linux 6.12",
        },
        Sign {
            fact: "kernel_reason=TCP_DISCONNECT_WITH_DATA",
            says: "from Linux 6.12, in CLOSING or LAST-ACK with data unsent",
        },
    ],
    in_tcpdump: "`Flags [R.]` from this host, mostly with no FIN before it (`shutdown(SHUT_WR)` sends \
        one): the same as SO_LINGER 0.",
    in_counters: "`TcpOutRsts`, `TcpEstabResets`; none of the TCPAbort counters.",
    origins: &[
        "Connection pools and libraries that reuse one descriptor; rare.",
        "Security tests and fuzzers.",
    ],
    remedies: &[Remedy {
        advice: "Find the call, and close the socket in place of reusing it.",
        lines: &["strace -f -e trace=connect -p PID 2>&1 | grep AF_UNSPEC"],
    }],
    lookalikes: &[
        Lookalike {
            cause: Cause::LingerAbort,
            difference: "the socket was closed, with SO_LINGER 0",
        },
        Lookalike {
            cause: Cause::ListenerClosed,
            difference: "the connection had no file yet: nobody had accepted it",
        },
    ],
    references: &[
        "connect(2): AF_UNSPEC; RFC 9293 3.10.5",
        "Linux net/ipv4/af_inet.c: inet_stream_connect; net/ipv4/tcp.c: tcp_disconnect",
    ],
};

pub(super) const LISTENER_CLOSED: CausePage = CausePage {
    title: "a listener closed with connections in its queue",
    direction: Direction::Sent,
    meaning: "Clients had finished their handshake and waited to be accepted when the listening \
        socket was closed. Each of them gets a RST, though it believed to be connected.",
    who: "The application that closed the listener (`local-app`): a restart, a reload, a crash.",
    harm: Harm::Harmful,
    harm_detail: "Clients lose connections, and often the request that they had already sent. Each \
        restart does it again.",
    mechanism: "Linux: `inet_csk_listen_stop()` walks the accept queue, and `inet_child_forget()` \
        disconnects each child. With SO_REUSEPORT every listener has a queue of its own, so \
        closing one of several loses what waits in it, unless `net.ipv4.tcp_migrate_req` is 1 \
        (Linux 5.14).",
    in_rstmon: &[
        Sign {
            fact: "accepted=no",
            says: "the connection never had a file: nobody accepted it",
        },
        Sign {
            fact: "kernel_reason=TCP_STATE",
            says: "from Linux 6.12",
        },
        Sign {
            fact: "state=established",
            says: "the handshake was complete; `close-wait`: the client had already closed",
        },
    ],
    in_tcpdump: "SYN, SYN-ACK, ACK, often the request; then `Flags [R.]` from this host, on \
        several connections at once.",
    in_counters: "`TcpOutRsts`, `TcpEstabResets`. Before: Recv-Q of the listener in `ss -ltn`.",
    origins: &[
        "A restart that stops the old process before the new one listens.",
        "Reload with SO_REUSEPORT: workers come and go (nginx `reuseport`, HAProxy, Envoy).",
        "A process that died with a full accept queue.",
    ],
    remedies: &[
        Remedy {
            advice: "With SO_REUSEPORT, let the kernel move the queue to a listener that stays:",
            lines: &["sysctl -w net.ipv4.tcp_migrate_req=1"],
        },
        Remedy {
            advice: "Hand the listening socket on over a restart: systemd socket activation, or \
                HAProxy with the master-worker mode and `expose-fd listeners`.",
            lines: &["stats socket /run/haproxy.sock mode 600 level admin expose-fd listeners"],
        },
        Remedy {
            advice: "Take the host out of the balancer first, wait, then stop. Kubernetes:",
            lines: &["lifecycle: { preStop: { exec: { command: [sleep, \"15\"] } } }"],
        },
        Remedy {
            advice: "Accept faster: an empty queue loses nothing.",
            lines: &["ss -ltn   # Recv-Q waits, Send-Q is the limit"],
        },
    ],
    lookalikes: &[
        Lookalike {
            cause: Cause::AcceptQueueOverflow,
            difference: "the listener lives; its queue is full",
        },
        Lookalike {
            cause: Cause::Disconnect,
            difference: "the connection had been accepted",
        },
        Lookalike {
            cause: Cause::PortClosed,
            difference: "the SYN came after the listener had gone",
        },
    ],
    references: &[
        "Linux net/ipv4/inet_connection_sock.c: inet_csk_listen_stop, inet_child_forget",
        "Linux Documentation/networking/ip-sysctl.rst: tcp_migrate_req",
    ],
};
