//! What the kernel can decide of a filter.
//!
//! Called once at start; the result goes into the programs' frozen configuration. It is sound:
//! every event that the filter matches passes it. It is not exact, so user space filters again.

use super::expr::{Expr, Span, Test};
use crate::event::model::Kind;
use rstmon_common::config::{FILTER_PORTS, ProbeConfig};
use rstmon_common::wire;

/// Conditions that every matching event meets. The default asks nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pushdown {
    /// Bit `1 << wire::KIND_*` for each kind that can match; absent: any.
    pub kinds: Option<u8>,
    /// One end has one of these ports, sorted; empty: any. At most [`FILTER_PORTS`].
    pub ports: Vec<u16>,
    /// The owner's process id, not 0. An event whose owner the kernel side does not know must pass:
    /// user space may find the owner out.
    pub pid: Option<u32>,
    /// The network namespace, not 0.
    pub netns: Option<u32>,
}

impl Pushdown {
    /// Whether the kernel is asked nothing.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Writes the conditions into the configuration of the programs.
    pub fn apply(&self, config: &mut ProbeConfig) {
        config.filter_kinds = self.kinds.unwrap_or(u8::MAX);
        config.filter_pid = self.pid.unwrap_or(0);
        config.filter_netns = self.netns.unwrap_or(0);
        config.filter_ports = [0; FILTER_PORTS];
        config.filter_port_count = 0;
        // Some of the ports would keep back events that match; then none must be asked for.
        if self.ports.len() <= FILTER_PORTS {
            for (slot, port) in config.filter_ports.iter_mut().zip(&self.ports) {
                *slot = *port;
                config.filter_port_count += 1;
            }
        }
    }

    /// What holds if both hold. Of two port lists the shorter is kept: one end may meet the one
    /// and the other end the other, so their common ports would be too few.
    fn and(self, other: Self) -> Self {
        let kinds = match (self.kinds, other.kinds) {
            (Some(a), Some(b)) => Some(a & b),
            (a, b) => a.or(b),
        };
        let ports = match (self.ports.len(), other.ports.len()) {
            (0, _) => other.ports,
            (mine, theirs) if theirs > 0 && theirs < mine => other.ports,
            _ => self.ports,
        };
        Self {
            kinds,
            ports,
            pid: self.pid.or(other.pid),
            netns: self.netns.or(other.netns),
        }
    }

    /// What holds if one of them holds.
    fn or(self, other: Self) -> Self {
        let ports = if self.ports.is_empty() || other.ports.is_empty() {
            Vec::new()
        } else {
            few_ports(self.ports.into_iter().chain(other.ports))
        };
        Self {
            kinds: self.kinds.zip(other.kinds).map(|(a, b)| a | b),
            ports,
            pid: self.pid.filter(|_| self.pid == other.pid),
            netns: self.netns.filter(|_| self.netns == other.netns),
        }
    }
}

/// The conditions that follow from an expression.
pub(super) fn necessary(expr: &Expr) -> Pushdown {
    of_expr(expr, true)
}

/// The conditions that follow from the expression being `wanted`, true or false.
fn of_expr(expr: &Expr, wanted: bool) -> Pushdown {
    match expr {
        Expr::All => Pushdown::default(),
        Expr::Not(inner) => of_expr(inner, !wanted),
        Expr::Test(test) => of_test(test, wanted),
        // De Morgan: a chain of `or` is false if all of its parts are.
        Expr::And(parts) | Expr::Or(parts) => {
            let all_hold = matches!(expr, Expr::And(_)) == wanted;
            let join = if all_hold {
                Pushdown::and
            } else {
                Pushdown::or
            };
            parts
                .iter()
                .map(|part| of_expr(part, wanted))
                .reduce(join)
                .unwrap_or_default()
        }
    }
}

/// Only the kind is always known, so only its test says something when it fails.
fn of_test(test: &Test, wanted: bool) -> Pushdown {
    let nothing = Pushdown::default();
    match test {
        Test::Kind(kinds) => {
            let mask = |kinds: &[Kind]| kinds.iter().fold(0, |mask, kind| mask | kind_bit(*kind));
            let asked = mask(kinds);
            let kinds = if wanted {
                asked
            } else {
                mask(Kind::ALL) & !asked
            };
            Pushdown {
                kinds: Some(kinds),
                ..nothing
            }
        }
        _ if !wanted => nothing,
        Test::Port(_, spans) => {
            let count = spans
                .iter()
                .fold(0u64, |count, span| count.saturating_add(span.len()));
            if count > FILTER_PORTS as u64 {
                return nothing;
            }
            let ports = spans.iter().flat_map(|span| span.first..=span.last);
            Pushdown {
                ports: few_ports(ports.map(|port| port as u16)),
                ..nothing
            }
        }
        Test::Pid(spans) => Pushdown {
            pid: only_number(spans),
            ..nothing
        },
        Test::Netns(spans) => Pushdown {
            netns: only_number(spans),
            ..nothing
        },
        _ => nothing,
    }
}

/// The kernel takes 0 for "any", so 0 is not asked for.
fn only_number(spans: &[Span]) -> Option<u32> {
    match spans {
        [span] if span.len() == 1 && span.first != 0 => Some(span.first),
        _ => None,
    }
}

/// Sorted, each once; none if they are more than the kernel can hold.
fn few_ports(ports: impl Iterator<Item = u16>) -> Vec<u16> {
    let mut ports: Vec<u16> = ports.collect();
    ports.sort_unstable();
    ports.dedup();
    if ports.len() > FILTER_PORTS {
        ports.clear();
    }
    ports
}

/// The bit of a kind in [`Pushdown::kinds`].
fn kind_bit(kind: Kind) -> u8 {
    1 << match kind {
        Kind::Sent => wire::KIND_SENT,
        Kind::Received => wire::KIND_RECEIVED,
        Kind::Rejected => wire::KIND_REJECTED,
        Kind::Stray => wire::KIND_STRAY,
    }
}
