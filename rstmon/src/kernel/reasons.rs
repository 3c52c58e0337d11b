//! Names of the kernel's numbered reasons, which change from release to release.
//!
//! Filled from the running kernel's BTF, stored in recordings, read by `event::decode`. A number
//! that the kernel did not name has no name here either.

use crate::kernel::btf::Btf;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
        let _ = btf;
        Self::default()
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

    /// The drop reasons that an arriving RST can meet in TCP, a bit for each number.
    #[must_use]
    pub fn drop_reason_bitmap(&self) -> [u64; 4] {
        [0; 4]
    }
}

fn number_of(names: &BTreeMap<u32, String>, name: &str) -> Option<u32> {
    names
        .iter()
        .find(|(_, known)| *known == name)
        .map(|(number, _)| *number)
}
