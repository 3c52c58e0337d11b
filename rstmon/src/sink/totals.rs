//! What a run saw, wrote and lost.
//!
//! Counted by the commands; ends `-o jsonl`, the text output and a recording.

use crate::event::model::Cause;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Numbers by a fixed name, in the order of the names.
pub type Counts = BTreeMap<Cow<'static, str>, u64>;

/// Totals of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Events that reached user space.
    pub seen: u64,
    /// Events written out.
    pub written: u64,
    /// Events that the filter did not want, in the kernel or here.
    pub filtered: u64,
    /// Events lost, by stage. A stage that lost nothing is there with 0; without any, what was lost is
    /// not known.
    pub lost: Counts,
    /// Every reset that the kernel side counted, by kind: exact, whatever was filtered or lost.
    pub kernel_counts: Counts,
    /// Events written out, by cause.
    pub causes: Counts,
    /// What was left out or taken back without losing an event, by name: look-ups given up, records
    /// that were no reset. None is there with 0.
    #[serde(skip_serializing_if = "Counts::is_empty")]
    pub notes: Counts,
}

impl Totals {
    /// Counts an event that was written out.
    pub fn count_written(&mut self, cause: Cause) {
        self.written += 1;
        *self.causes.entry(Cow::Borrowed(cause.name())).or_default() += 1;
    }

    /// Takes back an event that was counted as written: the reader did not take it. `stage` lost it.
    pub fn count_unwritten(&mut self, cause: Cause, stage: &'static str) {
        self.written = self.written.saturating_sub(1);
        if let Some(count) = self.causes.get_mut(cause.name()) {
            *count = count.saturating_sub(1);
        }
        *self.lost.entry(Cow::Borrowed(stage)).or_default() += 1;
    }

    /// Notes how often something was left out without losing an event.
    pub fn note(&mut self, name: &'static str, count: u64) {
        if count > 0 {
            self.notes.insert(Cow::Borrowed(name), count);
        }
    }

    /// What was lost and counted since `earlier`, of the same run; the rest is left at nothing.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            lost: growth(&self.lost, &earlier.lost),
            kernel_counts: growth(&self.kernel_counts, &earlier.kernel_counts),
            ..Self::default()
        }
    }

    /// What was lost is not known: the end of the recording, which tells it, was not read.
    pub fn forget_lost(&mut self) {
        self.lost.clear();
    }

    /// Whether it is known what was lost.
    #[must_use]
    pub fn is_lost_known(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Events lost at all stages.
    #[must_use]
    pub fn lost_in_all(&self) -> u64 {
        self.lost
            .values()
            .fold(0, |sum, lost| sum.saturating_add(*lost))
    }
}

/// How much each number has grown.
fn growth(now: &Counts, earlier: &Counts) -> Counts {
    let before = |name| earlier.get(name).copied().unwrap_or_default();
    now.iter()
        .map(|(name, count)| (name.clone(), count.saturating_sub(before(name))))
        .collect()
}
