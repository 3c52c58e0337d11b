//! What must be known of the host and the run to read its raw records, here or elsewhere.
//!
//! Made once by the live capture when its hooks are attached; the header of a recording; the source
//! of the start line of `-o jsonl`; the context of `event::decode`.

use crate::kernel::reasons::ReasonNames;
use serde::{Deserialize, Serialize};

/// Facts of one capture. Nothing in it changes while the capture runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CaptureFacts {
    /// Version of rstmon that captured.
    pub version: String,
    /// `wire::ABI` of the raw records.
    pub abi: u16,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Host name.
    pub host: String,
    /// `uname -r`.
    pub kernel: String,
    /// `probe`, `tracepoint` or `classic`.
    pub mode: String,
    /// Every hook of the plan.
    pub hooks: Vec<HookReport>,
    /// What could not be had.
    pub degradations: Vec<DegradationReport>,
    /// Names of the kernel's reasons.
    pub reasons: ReasonNames,
    /// Wall clock minus monotonic clock at start, nanoseconds.
    pub realtime_offset_ns: i64,
    /// Jiffies in a second, where it could be found out.
    pub hz: Option<u32>,
}

/// One hook as it was attached, or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookReport {
    /// The kernel's name of the tracepoint or function.
    pub hook: String,
    /// `tp_btf`, `raw_tp`, `tp`, `fentry`, `kprobe`; absent if nothing attached.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub variant: Option<String>,
    /// Whether it is attached now.
    pub attached: bool,
    /// Whether it is not attached because the module that it is in is not loaded: what it would see
    /// cannot happen before that comes, and then it is attached.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub awaits_module: bool,
}

/// Something that this kernel, or this process on it, could not be given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DegradationReport {
    /// Stable kebab-case id.
    pub id: String,
    /// What the user does not see because of it.
    pub effect: String,
    /// Why.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}
