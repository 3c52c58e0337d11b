//! The places in the kernel that rstmon can attach to, declared once.
//!
//! `facts` asks the kernel about each, `probe_plan` chooses among them, `bpf` loads the programs by
//! the names given here, `check` prints them.

use rstmon_common::wire;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// What kind of place a hook is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A tracepoint, in this group of tracefs.
    Tracepoint {
        /// The directory below `events`.
        group: &'static str,
    },
    /// A function, which may live in a module of this name.
    Function {
        /// The module, where the kernel may be built so.
        module: Option<&'static str>,
    },
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Variant {
    /// Raw tracepoint whose arguments the verifier knows the types of, by the kernel's own BTF: their
    /// members are loaded directly.
    BtfTracepoint,
    /// Raw tracepoint: gets the tracepoint's arguments.
    RawTracepoint,
    /// Classic tracepoint: gets the record that tracefs describes.
    ClassicTracepoint,
    /// Trampoline at the function's entry.
    Fentry,
    /// Breakpoint or ftrace call at the function's entry.
    Kprobe,
}

impl Variant {
    /// The fixed spelling.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BtfTracepoint => "tp_btf",
            Self::RawTracepoint => "raw_tp",
            Self::ClassicTracepoint => "tp",
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
        }
    }
}

/// A word that is no way into a function.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown variant `{found}`; give fentry or kprobe")]
pub struct UnknownProbe {
    /// The word.
    found: String,
}

impl FromStr for Variant {
    type Err = UnknownProbe;

    /// Those of functions: of tracepoints the mode says which.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Fentry, Self::Kprobe]
            .into_iter()
            .find(|variant| variant.name() == text)
            .ok_or_else(|| UnknownProbe {
                found: text.to_owned(),
            })
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

macro_rules! hooks {
    ($( $(#[$doc:meta])* $variant:ident = $name:literal, $number:expr, $place:expr; )+) => {
        /// A place in the kernel that rstmon can attach to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Hook { $( $(#[$doc])* $variant, )+ }

        impl Hook {
            /// All hooks: tracepoints first, then functions.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// The kernel's name of the tracepoint or function.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }

            /// `wire::HOOK_*`; `None` if no event comes from there.
            #[must_use]
            pub const fn number(self) -> Option<u8> {
                match self { $( Self::$variant => $number, )+ }
            }

            /// What kind of place it is.
            #[must_use]
            pub const fn place(self) -> Place {
                match self { $( Self::$variant => $place, )+ }
            }
        }
    };
}

const BUILT_IN: Place = Place::Function { module: None };
const IPV6: Place = Place::Function {
    module: Some("ipv6"),
};
const REJECT_IPV4: Place = Place::Function {
    module: Some("nf_reject_ipv4"),
};
const REJECT_IPV6: Place = Place::Function {
    module: Some("nf_reject_ipv6"),
};
const TCP: Place = Place::Tracepoint { group: "tcp" };

hooks! {
    /// The host's TCP sends a RST; before 6.10 only those of full sockets.
    TcpSendReset = "tcp_send_reset", Some(wire::HOOK_TCP_SEND_RESET), TCP;
    /// TCP tears a socket down as after a RST, whether or not one came.
    TcpReceiveReset = "tcp_receive_reset", Some(wire::HOOK_TCP_RECEIVE_RESET), TCP;
    /// The kernel drops a packet.
    KfreeSkb = "kfree_skb", Some(wire::HOOK_KFREE_SKB), Place::Tracepoint { group: "skb" };
    /// A socket changes its TCP state.
    InetSockSetState = "inet_sock_set_state", None, Place::Tracepoint { group: "sock" };
    /// A process is sent a signal.
    SignalGenerate = "signal_generate", None, Place::Tracepoint { group: "signal" };
    /// TCP answers an IPv4 segment with a RST.
    TcpV4SendReset = "tcp_v4_send_reset", Some(wire::HOOK_TCP_V4_SEND_RESET), BUILT_IN;
    /// TCP answers an IPv6 segment with a RST.
    TcpV6SendReset = "tcp_v6_send_reset", Some(wire::HOOK_TCP_V6_SEND_RESET), IPV6;
    /// TCP tears a socket down, with the segment at hand.
    TcpReset = "tcp_reset", Some(wire::HOOK_TCP_RESET), BUILT_IN;
    /// A segment is judged against its socket's window (RFC 9293, 3.10.7.4).
    TcpValidateIncoming =
        "tcp_validate_incoming", Some(wire::HOOK_TCP_VALIDATE_INCOMING), BUILT_IN;
    /// A segment arrives in a state other than ESTABLISHED and TIME-WAIT.
    TcpRcvStateProcess =
        "tcp_rcv_state_process", Some(wire::HOOK_TCP_RCV_STATE_PROCESS), BUILT_IN;
    /// A handshake's request socket is given up.
    InetCskReqskQueueDrop = "inet_csk_reqsk_queue_drop", None, BUILT_IN;
    /// A connection becomes established, with the handshake's last segment at hand.
    TcpInitTransfer = "tcp_init_transfer", None, BUILT_IN;
    /// A netfilter rule of the families ip and inet rejects with a RST over IPv4.
    NfSendReset = "nf_send_reset", Some(wire::HOOK_NF_SEND_RESET), REJECT_IPV4;
    /// The same over IPv6.
    NfSendReset6 = "nf_send_reset6", Some(wire::HOOK_NF_SEND_RESET6), REJECT_IPV6;
    /// A netfilter rule of the families netdev and bridge rejects with a RST over IPv4.
    NfRejectSkbV4 = "nf_reject_skb_v4_tcp_reset", Some(wire::HOOK_NF_REJECT_SKB_V4), REJECT_IPV4;
    /// The same over IPv6.
    NfRejectSkbV6 = "nf_reject_skb_v6_tcp_reset", Some(wire::HOOK_NF_REJECT_SKB_V6), REJECT_IPV6;
}

impl Hook {
    /// The hook of a number of the wire record.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|hook| hook.number() == Some(number))
    }

    /// What it is attached to for, in words for the user.
    #[must_use]
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::TcpSendReset => "resets that TCP sends",
            Self::TcpReceiveReset => "resets that tear a socket down",
            Self::KfreeSkb => "resets that are dropped: refused ones and strays",
            Self::InetSockSetState => "owner, age and former state of connections",
            Self::SignalGenerate => "who killed a process that held a connection",
            Self::TcpV4SendReset => "resets sent without a full socket, IPv4",
            Self::TcpV6SendReset => "resets sent without a full socket, IPv6",
            Self::TcpReset => "the segment of resets that tear a socket down",
            Self::TcpValidateIncoming => "resets refused by a connection",
            Self::TcpRcvStateProcess => "resets refused in the handshake and while closing",
            Self::InetCskReqskQueueDrop => "resets that end a handshake",
            Self::TcpInitTransfer => "TTL, IP id and timestamps of handshakes",
            Self::NfSendReset => "netfilter rejects, IPv4",
            Self::NfSendReset6 => "netfilter rejects, IPv6",
            Self::NfRejectSkbV4 => "netfilter rejects on ingress and bridges, IPv4",
            Self::NfRejectSkbV6 => "netfilter rejects on ingress and bridges, IPv6",
        }
    }

    /// Whether it is a function.
    #[must_use]
    pub const fn is_function(self) -> bool {
        matches!(self.place(), Place::Function { .. })
    }

    /// The group in tracefs, of a tracepoint.
    #[must_use]
    pub const fn tracefs_group(self) -> Option<&'static str> {
        match self.place() {
            Place::Tracepoint { group } => Some(group),
            Place::Function { .. } => None,
        }
    }

    /// The module that may hold it.
    #[must_use]
    pub const fn module(self) -> Option<&'static str> {
        match self.place() {
            Place::Function { module } => module,
            Place::Tracepoint { .. } => None,
        }
    }

    /// The variants that there is a program of, preferred ones first. Functions that live in a
    /// module on distribution kernels have no trampoline: their BTF is not the kernel's own.
    #[must_use]
    pub const fn variants(self) -> &'static [Variant] {
        match self {
            // Not by their BTF: of what may be null, no member may be loaded there.
            Self::TcpSendReset => &[Variant::RawTracepoint, Variant::ClassicTracepoint],
            Self::SignalGenerate => &[Variant::RawTracepoint],
            Self::TcpReceiveReset | Self::InetSockSetState => &[
                Variant::BtfTracepoint,
                Variant::RawTracepoint,
                Variant::ClassicTracepoint,
            ],
            Self::KfreeSkb => &[Variant::BtfTracepoint, Variant::RawTracepoint],
            Self::TcpV4SendReset
            | Self::TcpV6SendReset
            | Self::TcpReset
            | Self::TcpValidateIncoming
            | Self::TcpRcvStateProcess
            | Self::InetCskReqskQueueDrop
            | Self::TcpInitTransfer => &[Variant::Fentry, Variant::Kprobe],
            Self::NfSendReset | Self::NfSendReset6 | Self::NfRejectSkbV4 | Self::NfRejectSkbV6 => {
                &[Variant::Kprobe]
            }
        }
    }

    /// Name of the program in the object file: `kprobe_tcp_reset`.
    #[must_use]
    pub fn program_name(self, variant: Variant) -> String {
        format!("{variant}_{self}")
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_and_names_are_unique_and_read_back() {
        let names: BTreeSet<_> = Hook::ALL.iter().map(|hook| hook.name()).collect();
        assert_eq!(names.len(), Hook::ALL.len());
        for hook in Hook::ALL {
            if let Some(number) = hook.number() {
                assert_eq!(Hook::from_number(number), Some(*hook), "{hook}");
            }
        }
        assert_eq!(Hook::from_number(0), None);
        assert_eq!(Hook::from_number(u8::MAX), None);
    }

    #[test]
    fn every_number_of_the_wire_record_has_its_hook() {
        for number in wire::HOOK_TCP_SEND_RESET..=wire::HOOK_NF_REJECT_SKB_V6 {
            assert!(Hook::from_number(number).is_some(), "hook {number}");
        }
    }

    #[test]
    fn only_ways_into_functions_are_asked_for_by_name() {
        assert_eq!("fentry".parse(), Ok(Variant::Fentry));
        assert_eq!("kprobe".parse(), Ok(Variant::Kprobe));
        for wrong in ["raw_tp", "tp", ""] {
            assert!(wrong.parse::<Variant>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn tracepoints_whose_objects_may_be_null_are_not_entered_by_their_btf() {
        // `sk` and `skb` of the one, `info` of the other, which may also be `SEND_SIG_PRIV`.
        for hook in [Hook::TcpSendReset, Hook::SignalGenerate] {
            assert!(!hook.variants().contains(&Variant::BtfTracepoint), "{hook}");
        }
    }

    #[test]
    fn program_names_begin_with_the_variant() {
        let name = |hook: Hook, variant| hook.program_name(variant);
        assert_eq!(
            name(Hook::TcpSendReset, Variant::RawTracepoint),
            "raw_tp_tcp_send_reset"
        );
        assert_eq!(
            name(Hook::TcpReceiveReset, Variant::ClassicTracepoint),
            "tp_tcp_receive_reset"
        );
        assert_eq!(
            name(Hook::TcpV4SendReset, Variant::Fentry),
            "fentry_tcp_v4_send_reset"
        );
        assert_eq!(
            name(Hook::NfRejectSkbV6, Variant::Kprobe),
            "kprobe_nf_reject_skb_v6_tcp_reset"
        );
    }
}
