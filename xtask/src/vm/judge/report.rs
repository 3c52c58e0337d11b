//! What came of one kernel: lines for people, and the sums.

use crate::vm::target::Target;

/// See the module.
#[derive(Debug)]
pub(in crate::vm) struct Report {
    target: Target,
    pub(in crate::vm) lines: Vec<String>,
    pub(in crate::vm) passed: usize,
    pub(in crate::vm) failed: usize,
}

impl Report {
    pub(super) const fn of(target: Target) -> Self {
        Self {
            target,
            lines: Vec::new(),
            passed: 0,
            failed: 0,
        }
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
