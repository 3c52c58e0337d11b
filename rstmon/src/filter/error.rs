//! What is wrong with an expression, and where.
//!
//! Shown by the commands as it is: the expression, a line of carets below the fault, and what to
//! write instead.

use std::fmt;
use std::ops::Range;

/// An expression that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    expression: String,
    /// Characters, not bytes, from the start of the expression.
    columns: Range<usize>,
    message: String,
    help: Option<String>,
}

impl FilterError {
    /// `span` is in bytes of `expression`; it may be empty, as at the expression's end.
    pub(super) fn new(expression: &str, span: Range<usize>, fault: Fault) -> Self {
        let column = |byte: usize| {
            expression
                .char_indices()
                .take_while(|(start, _)| *start < byte)
                .count()
        };
        Self {
            columns: column(span.start)..column(span.end),
            // A newline or an escape sequence would tear the carets away from what they point at.
            expression: expression
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect(),
            message: fault.message.chars().flat_map(visible).collect(),
            help: fault.help,
        }
    }

    /// First column of the fault, in characters, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.columns.start + 1
    }

    /// What is wrong, without place and help.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to write instead, where that is known.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

fn visible(c: char) -> impl Iterator<Item = char> {
    let (escaped, plain) = if c.is_control() {
        (Some(c.escape_default()), None)
    } else {
        (None, Some(c))
    };
    escaped.into_iter().flatten().chain(plain)
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.columns;
        writeln!(
            f,
            "cannot read the filter at column {}: {}",
            self.column(),
            self.message
        )?;
        writeln!(f, "  {}", self.expression)?;
        let carets = "^".repeat(end.saturating_sub(start).max(1));
        write!(f, "  {:start$}{carets}", "")?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FilterError {}

/// What is wrong with one word, before its place is known.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    message: String,
    help: Option<String>,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Help that names the candidates nearest to what was written, or says `all`.
    pub(super) fn suggest(self, written: &str, candidates: &[&str], all: &str) -> Self {
        match did_you_mean(written, candidates) {
            Some(question) => self.help(question),
            None => self.help(all),
        }
    }
}

/// At most this many candidates are named.
const MAX_SUGGESTIONS: usize = 3;

/// Asks whether the candidates nearest to `written` were meant: those that it is a part of, else
/// the one that a slip of the keyboard could have turned into it. `None`: nothing is near.
pub(super) fn did_you_mean(written: &str, candidates: &[&str]) -> Option<String> {
    let written: String = written.chars().take(64).collect();
    let written = written.to_ascii_lowercase();
    let length = written.chars().count();
    let mut ranked: Vec<(usize, &str)> = candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&written, candidate), *candidate))
        .collect();
    ranked.sort_by_key(|(distance, _)| *distance);
    let mut near: Vec<&str> = ranked
        .iter()
        .filter(|(_, candidate)| length > 2 && candidate.contains(&written))
        .map(|(_, candidate)| *candidate)
        .take(MAX_SUGGESTIONS)
        .collect();
    if near.is_empty() {
        let slip = |(distance, _): &&(usize, &str)| *distance <= (length / 3).max(1);
        near.extend(ranked.first().filter(slip).map(|(_, candidate)| *candidate));
    }
    (!near.is_empty()).then(|| format!("did you mean `{}`?", near.join("` or `")))
}
