//! Names of the kernel's numbered reasons, which change from release to release.
//!
//! Filled from the running kernel's BTF, stored in recordings, read by `event::decode`. A number
//! that the kernel did not name has no name here either.

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
