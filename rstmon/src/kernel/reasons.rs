//! Names of the kernel's numbered reasons, which change from release to release.
//!
//! Filled from the running kernel's BTF, stored in recordings, read by `event::decode`. A number
//! that the kernel did not name has no name here either.

use crate::kernel::btf::Btf;
use rstmon_common::config::DROP_REASONS;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const DROP_REASON_WORDS: usize = (DROP_REASONS / u64::BITS) as usize;

/// What TCP's own reasons begin with. Only the files `net/ipv[46]/tcp*.c` give them, so all
/// of them count, also those that a later kernel adds.
const TCP_REASON: &str = "TCP_";

/// The other reasons with which `tcp_v4_rcv`, `tcp_v6_rcv` and what they call drop a segment.
///
/// Not here, on purpose: reasons given before TCP (`NETFILTER_DROP`, `IP_*`), which are no answer of
/// TCP to a RST; those of copies of the packet (`QUEUE_PURGE`, `PACKET_SOCK_ERROR`,
/// `SOCKET_RCVBUFF`); `PKT_TOO_SMALL`, which IP gives too, before there is a transport header to
/// read; `PROTO_MEM`, since the memory of a RST is never charged.
const OTHER_RESET_DROPS: &[&str] = &[
    "NOT_SPECIFIED",
    "NO_SOCKET",
    "SOCKET_FILTER",
    "SOCKET_BACKLOG",
    "XFRM_POLICY",
    // `sk_filter_trim_cap`, which called all its refusals SOCKET_FILTER before.
    "SECURITY_HOOK",
    "PFMEMALLOC",
    "PSP_INPUT",
];

/// Enumerators that bound or mask the numbers and are no reasons.
const NO_REASONS: &[&str] = &["MAX", "SUBSYS_MASK"];

/// Names by number, without the prefixes `SK_RST_REASON_` and `SKB_DROP_REASON_`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonNames {
    /// `enum sk_rst_reason`; empty before Linux 6.10.
    pub rst: BTreeMap<u32, String>,
    /// `enum skb_drop_reason`; empty before Linux 5.17.
    pub drop: BTreeMap<u32, String>,
}

impl ReasonNames {
    /// The names that a kernel's BTF gives.
    #[must_use]
    pub fn from_btf(btf: &Btf) -> Self {
        Self {
            rst: names_of(btf, "sk_rst_reason", "SK_RST_REASON_"),
            drop: names_of(btf, "skb_drop_reason", "SKB_DROP_REASON_"),
        }
    }

    /// Name of a number of `enum sk_rst_reason`.
    #[must_use]
    pub fn rst_name(&self, number: u32) -> Option<&str> {
        self.rst.get(&number).map(String::as_str)
    }

    /// Name of a number of `enum skb_drop_reason`.
    #[must_use]
    pub fn drop_name(&self, number: u32) -> Option<&str> {
        self.drop.get(&number).map(String::as_str)
    }

    /// Number of a name of `enum sk_rst_reason`, on this kernel.
    #[must_use]
    pub fn rst_number(&self, name: &str) -> Option<u32> {
        number_of(&self.rst, name)
    }

    /// Number of a name of `enum skb_drop_reason`, on this kernel.
    #[must_use]
    pub fn drop_number(&self, name: &str) -> Option<u32> {
        number_of(&self.drop, name)
    }

    /// The reasons with which a RST that reached TCP on this host may be dropped: bit `n % 64` of word
    /// `n / 64` is reason `n`. All zero on a kernel without drop reasons.
    #[must_use]
    pub fn drop_reason_bitmap(&self) -> [u64; DROP_REASON_WORDS] {
        let mut words = [0; DROP_REASON_WORDS];
        for (&number, name) in &self.drop {
            if may_drop_reset(name)
                && let Some(word) = words.get_mut((number / u64::BITS) as usize)
            {
                *word |= 1 << (number % u64::BITS);
            }
        }
        words
    }
}

fn number_of(names: &BTreeMap<u32, String>, name: &str) -> Option<u32> {
    names
        .iter()
        .find(|(_, known)| *known == name)
        .map(|(number, _)| *number)
}

fn names_of(btf: &Btf, name: &str, prefix: &str) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    for (number, enumerator) in btf.enum_values(name).unwrap_or_default() {
        // `SKB_NOT_DROPPED_YET` and `SKB_CONSUMED` go without the prefix and stay as they are.
        let stripped = enumerator.strip_prefix(prefix).unwrap_or(enumerator);
        if let Ok(number) = u32::try_from(number)
            && !NO_REASONS.contains(&stripped)
        {
            names.entry(number).or_insert_with(|| stripped.to_owned());
        }
    }
    names
}

fn may_drop_reset(name: &str) -> bool {
    name.starts_with(TCP_REASON) || OTHER_RESET_DROPS.contains(&name)
}
