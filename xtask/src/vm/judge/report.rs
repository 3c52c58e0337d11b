//! What came of one kernel: lines for people, the sums, and what it gave.

use crate::vm::results::KernelResult;
use crate::vm::runs::{RUNS, Run};
use crate::vm::target::Target;

/// See the module.
#[derive(Debug)]
pub(in crate::vm) struct Report {
    target: Target,
    pub(in crate::vm) lines: Vec<String>,
    pub(in crate::vm) passed: usize,
    pub(in crate::vm) failed: usize,
    /// What the guest showed so far.
    pub(super) result: KernelResult,
}

impl Report {
    pub(super) fn of(target: Target) -> Self {
        Self {
            target,
            lines: Vec::new(),
            passed: 0,
            failed: 0,
            result: KernelResult::default(),
        }
    }

    /// What the kernel gave; an error says why that is not to be kept. Facts are those of a run of
    /// everything: of a part, the rest would be of other programs. What failed is to be mended, not to
    /// stand in the place of what was once good.
    pub(in crate::vm) fn recordable(&self, runs: &[&Run]) -> Result<&KernelResult, String> {
        let made = &self.result.made;
        if self.failed > 0 {
            return Err(format!("{} failed", self.failed));
        }
        if runs.len() < RUNS.len() {
            return Err("not all of it was run".to_owned());
        }
        let known = [
            &made.debian,
            &made.day,
            &made.programs,
            &self.result.release,
        ];
        if known.into_iter().any(String::is_empty) {
            return Err("its console does not tell how it was made".to_owned());
        }
        Ok(&self.result)
    }

    /// A result that has a line of its own.
    pub(super) fn add(&mut self, name: &str, failure: Option<&str>) {
        let word = failure.map_or_else(|| "ok".to_owned(), |why| format!("FAILED: {why}"));
        self.lines
            .push(format!("test vm {} {name} ... {word}", self.target));
        if failure.is_some() {
            self.failed += 1;
        } else {
            self.passed += 1;
        }
    }

    /// One of many results that are as declared.
    pub(super) const fn pass(&mut self) {
        self.passed += 1;
    }

    /// Something to read below the result before.
    pub(super) fn remark(&mut self, text: &str) {
        self.lines.push(format!("     {text}"));
    }
}
