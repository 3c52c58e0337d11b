//! The words of an event that have one fixed spelling (contract, §2 and §3).
//!
//! Everybody takes them from `event::model`. A spelling never changes once it was released.

use rstmon_common::wire;
use serde::{Serialize, Serializer};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Declares an enum whose values have one fixed spelling: in JSON, in text, in filters, in labels.
macro_rules! named_enum {
    ($(#[$meta:meta])* $name:ident { $( $(#[$doc:meta])* $variant:ident = $text:literal, )+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $( $(#[$doc])* $variant, )+ }

        impl $name {
            /// All values, in the order of declaration.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// The fixed spelling.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $text, )+ }
            }

            /// The value of a spelling.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.name() == name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(self.name()) }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::from_name(&name).ok_or_else(|| {
                    serde::de::Error::custom(format_args!(
                        "{name:?} is no {}", stringify!($name)
                    ))
                })
            }
        }
    };
}

pub(super) use named_enum;

named_enum! {
    /// What happened, seen from this host.
    Kind {
        /// This host sent the RST.
        Sent = "sent",
        /// A RST tore a socket here down.
        Received = "received",
        /// A RST arrived and was not obeyed.
        Rejected = "rejected",
        /// A RST arrived for no socket, a request socket that survived, or TIME-WAIT.
        Stray = "stray",
    }
}

impl Kind {
    /// The kind of a number of the wire record, `wire::KIND_*`.
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Self> {
        match number {
            wire::KIND_SENT => Some(Self::Sent),
            wire::KIND_RECEIVED => Some(Self::Received),
            wire::KIND_REJECTED => Some(Self::Rejected),
            wire::KIND_STRAY => Some(Self::Stray),
            _ => None,
        }
    }

    /// The way of the RST, between the local end on the left and the remote one; without `unicode` in
    /// two characters of ASCII.
    #[must_use]
    pub const fn arrow(self, unicode: bool) -> &'static str {
        match (self, unicode) {
            (Self::Sent, true) => "→",
            (Self::Received, true) => "←",
            (Self::Rejected, true) => "↚",
            (Self::Stray, true) => "⇠",
            (Self::Sent, false) => "->",
            (Self::Received, false) => "<-",
            (Self::Rejected, false) => "x-",
            (Self::Stray, false) => "?-",
        }
    }

    /// What it means, to people.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Sent => "this host sent the RST",
            Self::Received => "a RST tore a socket here down",
            Self::Rejected => "a RST arrived for a socket and was not obeyed",
            Self::Stray => "a RST arrived for no connection, or for TIME-WAIT",
        }
    }
}

named_enum! {
    /// Why. The ids never change.
    Cause {
        /// A SYN came for a port nobody listens on.
        PortClosed = "port-closed",
        /// A segment came for a connection this host does not have.
        StaleSegment = "stale-segment",
        /// The same, and this host itself closed or reset it a short while ago.
        SegmentAfterClose = "segment-after-close",
        /// An unacceptable ACK in LISTEN, SYN-SENT or SYN-RECEIVED.
        BadHandshakeAck = "bad-handshake-ack",
        /// The application closed with received data unread (RFC 1122, 4.2.2.13).
        CloseUnreadData = "close-unread-data",
        /// Data came after the application had closed the socket (RFC 1122, 4.2.2.13).
        DataAfterClose = "data-after-close",
        /// Closed with SO_LINGER on and zero seconds.
        LingerAbort = "linger-abort",
        /// Closed with TCP_LINGER2 below zero.
        Linger2Abort = "linger2-abort",
        /// The process died holding the socket.
        ProcessKilled = "process-killed",
        /// connect(AF_UNSPEC) on a live connection.
        Disconnect = "disconnect",
        /// A listener was closed with connections waiting in its accept queue.
        ListenerClosed = "listener-closed",
        /// The accept queue was full and tcp_abort_on_overflow is on.
        AcceptQueueOverflow = "accept-queue-overflow",
        /// Keepalive probes went unanswered.
        KeepaliveTimeout = "keepalive-timeout",
        /// TCP_USER_TIMEOUT ran out.
        UserTimeout = "user-timeout",
        /// An orphan in FIN-WAIT-2 ran out of time.
        FinWait2Timeout = "fin-wait2-timeout",
        /// Too many orphans or out of TCP memory.
        OutOfMemory = "out-of-memory",
        /// `ss -K`, SOCK_DESTROY or a BPF program destroyed the socket.
        SocketDestroyed = "socket-destroyed",
        /// A netfilter rule rejected with a TCP reset.
        FirewallReject = "firewall-reject",
        /// A segment that TIME-WAIT does not accept.
        TimeWaitHit = "time-wait-hit",
        /// Timestamps said the segment is old (RFC 7323).
        Paws = "paws",
        /// An MPTCP reason.
        Mptcp = "mptcp",
        /// Any other segment that the protocol answers with a reset.
        InvalidSegment = "invalid-segment",
        /// Our SYN was answered with a RST.
        ConnectionRefused = "connection-refused",
        /// The client reset a connection not yet accepted.
        HandshakeAborted = "handshake-aborted",
        /// The peer's live socket reset it.
        PeerAborted = "peer-aborted",
        /// The peer has no such connection.
        PeerGone = "peer-gone",
        /// A reset after an idle time.
        IdleTimeout = "idle-timeout",
        /// The peer closed an idle connection while our next request was on its way.
        KeepaliveRace = "keepalive-race",
        /// Our data reached a peer that had closed its socket.
        PeerDataAfterClose = "peer-data-after-close",
        /// The RST names its author.
        MiddleboxReset = "middlebox-reset",
        /// The RST does not fit the peer that the handshake showed.
        ForgedSuspect = "forged-suspect",
        /// Out of window or inexact: not obeyed.
        BlindReset = "blind-reset",
        /// A RST hit TIME-WAIT.
        TimeWaitAssassination = "time-wait-assassination",
        /// A RST for no connection of ours.
        StrayReset = "stray-reset",
        /// A RST with an MPTCP reason.
        MptcpReceived = "mptcp-received",
        /// Counted, not explained.
        Undiagnosed = "undiagnosed",
    }
}

named_enum! {
    /// Who began it.
    Initiator {
        /// An application on this host.
        LocalApp = "local-app",
        /// This host's TCP.
        LocalKernel = "local-kernel",
        /// This host's netfilter.
        LocalFirewall = "local-firewall",
        /// Somebody who administers this host.
        LocalAdmin = "local-admin",
        /// The peer's application.
        PeerApp = "peer-app",
        /// The peer's TCP.
        PeerKernel = "peer-kernel",
        /// Something between.
        Middlebox = "middlebox",
        /// Not known.
        Unknown = "unknown",
    }
}

named_enum! {
    /// How far the verdict can be trusted.
    Confidence {
        /// The kernel said so, or the evidence admits no other reading.
        Certain = "certain",
        /// The usual reading of the evidence.
        Likely = "likely",
        /// One reading among others.
        Guess = "guess",
    }
}

named_enum! {
    /// State of the socket before the reset.
    SocketState {
        /// No socket.
        None = "none",
        /// LISTEN.
        Listen = "listen",
        /// SYN-SENT.
        SynSent = "syn-sent",
        /// SYN-RECEIVED, a request socket's included.
        SynRecv = "syn-recv",
        /// ESTABLISHED.
        Established = "established",
        /// FIN-WAIT-1.
        FinWait1 = "fin-wait-1",
        /// FIN-WAIT-2, a timewait socket's that stands for it included.
        FinWait2 = "fin-wait-2",
        /// CLOSE-WAIT.
        CloseWait = "close-wait",
        /// CLOSING.
        Closing = "closing",
        /// LAST-ACK.
        LastAck = "last-ack",
        /// TIME-WAIT.
        TimeWait = "time-wait",
        /// CLOSED.
        Closed = "closed",
    }
}

impl SocketState {
    /// The state of a number of the wire record, `wire::tcp_state`; absent if it says that none is
    /// known.
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            wire::tcp_state::NONE => Self::None,
            wire::tcp_state::ESTABLISHED => Self::Established,
            wire::tcp_state::SYN_SENT => Self::SynSent,
            wire::tcp_state::SYN_RECV | wire::tcp_state::NEW_SYN_RECV => Self::SynRecv,
            wire::tcp_state::FIN_WAIT1 => Self::FinWait1,
            wire::tcp_state::FIN_WAIT2 => Self::FinWait2,
            wire::tcp_state::TIME_WAIT => Self::TimeWait,
            wire::tcp_state::CLOSE => Self::Closed,
            wire::tcp_state::CLOSE_WAIT => Self::CloseWait,
            wire::tcp_state::LAST_ACK => Self::LastAck,
            wire::tcp_state::LISTEN => Self::Listen,
            wire::tcp_state::CLOSING => Self::Closing,
            _ => return None,
        })
    }
}

named_enum! {
    /// Which end of the connection this host is.
    Role {
        /// This host opened it.
        Client = "client",
        /// The peer opened it.
        Server = "server",
    }
}

named_enum! {
    /// Address family of the connection.
    Family {
        /// IPv4, also as v4-mapped IPv6.
        Ipv4 = "ipv4",
        /// IPv6.
        Ipv6 = "ipv6",
    }
}

impl Family {
    /// The family of a number of the wire record; 0, where no end could be read, is counted as IPv4.
    #[must_use]
    pub const fn from_wire(number: u16) -> Self {
        match number {
            wire::AF_INET6 => Self::Ipv6,
            _ => Self::Ipv4,
        }
    }

    /// The address that stands for one that is not known.
    #[must_use]
    pub const fn unspecified(self) -> IpAddr {
        match self {
            Self::Ipv4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::Ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}
