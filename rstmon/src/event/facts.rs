//! The facts that a verdict rests on, as they are printed: `name=value` (contract, §2).
//!
//! Collected by `diagnose::evidence`, read by the sinks. One text for all facts of an event, so that
//! a verdict costs one allocation however many facts it has. A line end separates two facts; none
//! holds one, because names from outside are one line (`event::printable`).

use std::fmt::{self, Write as _};

/// Between two facts.
const SEPARATOR: char = '\n';

/// Room for the facts of nearly every verdict, bytes.
const USUAL_LEN: usize = 192;

/// Facts in the order in which they were used.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Facts {
    text: String,
}

impl Clone for Facts {
    fn clone(&self) -> Self {
        Self {
            text: self.text.clone(),
        }
    }

    /// In the memory that there is, which the derived one would not use.
    fn clone_from(&mut self, source: &Self) {
        self.text.clone_from(&source.text);
    }
}

impl Facts {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            text: String::new(),
        }
    }

    /// Adds a fact as it stands.
    pub fn push(&mut self, fact: &str) {
        self.begin().push_str(fact);
    }

    /// Adds `name=value`.
    pub fn push_value(&mut self, name: &str, value: impl fmt::Display) {
        let text = self.begin();
        text.push_str(name);
        text.push('=');
        // Writing to a String cannot fail.
        let _ = write!(text, "{value}");
    }

    /// Begins a fact: what is written to the text until the next one is begun.
    pub(crate) fn begin(&mut self) -> &mut String {
        if self.text.is_empty() {
            self.text.reserve(USUAL_LEN);
        } else {
            self.text.push(SEPARATOR);
        }
        &mut self.text
    }

    /// The facts, one by one.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        // No text is no fact, where `split` gives one that is empty.
        self.text.split(SEPARATOR).filter(|_| !self.text.is_empty())
    }

    /// Whether `fact` is one of them.
    #[must_use]
    pub fn contains(&self, fact: &str) -> bool {
        self.iter().any(|known| known == fact)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

impl<T: AsRef<str>> FromIterator<T> for Facts {
    fn from_iter<I: IntoIterator<Item = T>>(facts: I) -> Self {
        let mut collected = Self::new();
        for fact in facts {
            collected.push(fact.as_ref());
        }
        collected
    }
}

impl<const N: usize> PartialEq<[&str; N]> for Facts {
    fn eq(&self, facts: &[&str; N]) -> bool {
        self.iter().eq(facts.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::Facts;

    #[test]
    fn facts_come_out_as_they_went_in() {
        let mut facts = Facts::new();
        assert!(facts.is_empty());
        assert_eq!(facts, []);
        facts.push("orphan=true");
        facts.push_value("idle_ms", 307_000);
        assert_eq!(facts, ["orphan=true", "idle_ms=307000"]);
        assert_eq!(facts, facts.iter().collect::<Facts>());
        assert!(facts.contains("idle_ms=307000") && !facts.contains("idle_ms"));
    }
}
