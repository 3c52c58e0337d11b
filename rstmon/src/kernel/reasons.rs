//! Names of the kernel's numbered reasons, which change from release to release.
//!
//! Filled from the running kernel's BTF, stored in recordings, read by `event::decode`. A number
//! that the kernel did not name has no name here either.

use crate::kernel::btf::Btf;
use rstmon_common::config::DROP_REASONS;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

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

/// Names by number, without the prefixes `SK_RST_REASON_` and `SKB_DROP_REASON_`. Shared: every event
/// holds one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonNames {
    /// `enum sk_rst_reason`; empty before Linux 6.10.
    pub rst: BTreeMap<u32, Arc<str>>,
    /// `enum skb_drop_reason`; empty before Linux 5.17.
    pub drop: BTreeMap<u32, Arc<str>>,
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
        self.rst.get(&number).map(AsRef::as_ref)
    }

    /// Name of a number of `enum skb_drop_reason`.
    #[must_use]
    pub fn drop_name(&self, number: u32) -> Option<&str> {
        self.drop.get(&number).map(AsRef::as_ref)
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
    /// `n / 64` is reason `n`. All zero on a kernel without drop reasons. Numbers from [`DROP_REASONS`] on
    /// are those of subsystems, never TCP's.
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

fn number_of(names: &BTreeMap<u32, Arc<str>>, name: &str) -> Option<u32> {
    names
        .iter()
        .find(|(_, known)| known.as_ref() == name)
        .map(|(number, _)| *number)
}

fn names_of(btf: &Btf, name: &str, prefix: &str) -> BTreeMap<u32, Arc<str>> {
    let mut names = BTreeMap::new();
    for (number, enumerator) in btf.enum_values(name).unwrap_or_default() {
        // `SKB_NOT_DROPPED_YET` and `SKB_CONSUMED` go without the prefix and stay as they are.
        let stripped = enumerator.strip_prefix(prefix).unwrap_or(enumerator);
        if let Ok(number) = u32::try_from(number)
            && !NO_REASONS.contains(&stripped)
        {
            names.entry(number).or_insert_with(|| stripped.into());
        }
    }
    names
}

fn may_drop_reset(name: &str) -> bool {
    name.starts_with(TCP_REASON) || OTHER_RESET_DROPS.contains(&name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use crate::kernel::btf::fixtures::{Builder, read_running_kernel};

    fn is_set(bitmap: [u64; DROP_REASON_WORDS], number: u32) -> bool {
        bitmap[(number / 64) as usize] >> (number % 64) & 1 == 1
    }

    #[test]
    fn names_come_without_prefix_and_bounds() {
        let mut b = Builder::new();
        b.enumeration(
            "sk_rst_reason",
            false,
            &[("SK_RST_REASON_NOT_SPECIFIED", 0), ("SK_RST_REASON_MAX", 1)],
        );
        b.enumeration(
            "skb_drop_reason",
            false,
            &[
                ("SKB_NOT_DROPPED_YET", 0),
                ("SKB_DROP_REASON_NO_SOCKET", 3),
                (
                    "SKB_DROP_REASON_SUBSYS_MASK",
                    0xffff_u32.cast_signed() << 16,
                ),
            ],
        );
        let names = ReasonNames::from_btf(&b.parse());
        assert_eq!(names.rst_name(0), Some("NOT_SPECIFIED"));
        assert_eq!(names.rst_name(1), None);
        assert_eq!(names.rst_number("NOT_SPECIFIED"), Some(0));
        assert_eq!(names.drop_name(0), Some("SKB_NOT_DROPPED_YET"));
        assert_eq!(names.drop_name(3), Some("NO_SOCKET"));
        assert_eq!(names.drop_number("NO_SOCKET"), Some(3));
        assert_eq!(names.drop_number("QUEUE_PURGE"), None);
        assert_eq!(names.drop.len(), 2);
    }

    #[test]
    fn a_kernel_without_the_enums_has_no_names_and_an_empty_bitmap() {
        let names = ReasonNames::from_btf(&Builder::new().parse());
        assert_eq!(names, ReasonNames::default());
        assert_eq!(names.drop_reason_bitmap(), [0; DROP_REASON_WORDS]);
    }

    #[test]
    fn the_bitmap_holds_what_tcp_gives_and_nothing_else() {
        let mut b = Builder::new();
        b.enumeration(
            "skb_drop_reason",
            false,
            &[
                ("SKB_NOT_DROPPED_YET", 0),
                ("SKB_CONSUMED", 1),
                ("SKB_DROP_REASON_NO_SOCKET", 63),
                ("SKB_DROP_REASON_TCP_RESET", 64),
                ("SKB_DROP_REASON_TCP_OF_A_LATER_KERNEL", 255),
                ("SKB_DROP_REASON_TCP_BEYOND", 256),
                ("SKB_DROP_REASON_QUEUE_PURGE", 104),
                ("SKB_DROP_REASON_PACKET_SOCK_ERROR", 106),
                ("SKB_DROP_REASON_NETFILTER_DROP", 12),
                ("SKB_DROP_REASON_IP_RPFILTER", 16),
            ],
        );
        let bitmap = ReasonNames::from_btf(&b.parse()).drop_reason_bitmap();
        assert_eq!(bitmap, [1 << 63, 1, 0, 1 << 63]);
    }

    #[test]
    fn the_running_kernel_names_what_drops_a_reset() {
        let Some(btf) = read_running_kernel() else {
            return;
        };
        let names = ReasonNames::from_btf(&btf);
        // Kernels before 5.17 have no drop reasons; there is nothing to hold against them.
        let Some(not_specified) = names.drop_number("NOT_SPECIFIED") else {
            return;
        };
        let bitmap = names.drop_reason_bitmap();
        assert!(is_set(bitmap, not_specified));
        for wanted in ["NO_SOCKET", "TCP_CSUM", "SOCKET_FILTER"] {
            assert!(
                is_set(bitmap, names.drop_number(wanted).unwrap()),
                "{wanted}"
            );
        }
        for unwanted in [
            "QUEUE_PURGE",
            "PACKET_SOCK_ERROR",
            "NETFILTER_DROP",
            "IP_RPFILTER",
        ] {
            if let Some(number) = names.drop_number(unwanted) {
                assert!(!is_set(bitmap, number), "{unwanted}");
            }
        }
    }
}
