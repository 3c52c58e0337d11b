//! The filter language: which events are wanted.
//!
//! Used by `trace`, `top` and the agent's clients. An expression is read once ([`Filter::parse`]),
//! asked for every event ([`Filter::matches`]), and what the kernel can decide of it is handed to
//! the probes ([`Filter::pushdown`]). Pure: no I/O, no clock.
//!
//! ```text
//! kind sent and cause in (port-closed, stale-segment) and not host 10.0.0.0/8
//! comm 'ngin*' and (port 80,443 or lport 8000-8100)
//! ```
//!
//! * `kind`, `cause`, `state` take the names that events show; `state` also the spellings of `ss`.
//! * `port`, `host`, `net` mean either end. `lport`, `rport`, `local host`, `remote net` … mean this
//!   host's end and the other end; `sport` and `dport` are the same two, as `ss` uses them.
//! * `src port`, `src host`, `src net` and `dst …` are the RST's own source and destination, as
//!   `tcpdump` uses them: for a sent RST the source is this host, otherwise the peer.
//! * `comm` and `cgroup` take `*` and `?`. A `cgroup` that begins with `/` means that cgroup and
//!   what lies below it, a number its id, another word one component of the path.
//! * `container` is a name, an id or at least 12 digits of its beginning; `pod` a name, a uid or
//!   `NAMESPACE/NAME`; `unit` takes a service without `.service` too. All three and `namespace`, the
//!   pod's, take `*` and `?`; `runtime` takes the names that events show.
//! * `pid` and `comm` are those of the socket's owner.
//!
//! What an event does not know matches no test: `pid 1` is false for an event without owner and
//! `not pid 1` is true for it.
//!
//! What always holds: parsing never panics and never recurses deeper than its limit, and the text
//! that [`Filter`] displays parses to an equal filter.

mod error;
mod expr;
pub mod guide;
mod lex;
mod matching;
mod parse;
mod pattern;
mod pushdown;
mod show;
mod values;

#[cfg(test)]
mod tests;

pub use error::FilterError;
pub use pushdown::Pushdown;
#[cfg(test)]
use values::field_names;

use crate::event::model::Event;
use expr::Expr;
use std::fmt;
use std::str::FromStr;

/// A parsed expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    expr: Expr,
}

impl Filter {
    /// The filter that every event passes.
    #[must_use]
    pub const fn all() -> Self {
        Self { expr: Expr::All }
    }

    /// Reads an expression. An empty one, or one of blanks, wants every event.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parse::parse_expression(text).map(|expr| Self { expr })
    }

    /// Whether the event is wanted.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.expr.matches(event)
    }

    /// Whether every event is wanted, as far as the expression's form tells.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.expr == Expr::All
    }

    /// What the kernel can decide: conditions that every matching event meets.
    #[must_use]
    pub fn pushdown(&self) -> Pushdown {
        pushdown::necessary(&self.expr)
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self::all()
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Filter {
    /// The expression in its plain spelling; empty if every event is wanted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return Ok(());
        }
        self.expr.fmt(f)
    }
}
