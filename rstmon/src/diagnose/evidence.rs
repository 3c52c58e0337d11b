//! How a fact that a rule used is written: `name=value`, one string a fact (contract, §2).
//!
//! Used by the rules. A fact that the event does not know adds nothing, so a rule may name all it
//! would use and the list tells what it had.

use crate::event::model::{Event, Segment};
use rstmon_common::wire::tcp_flag;

/// Facts collected for one verdict.
#[derive(Clone, Debug)]
#[must_use]
pub struct Evidence<'a> {
    event: &'a Event,
    facts: Vec<String>,
}

impl<'a> Evidence<'a> {
    /// No facts yet about `event`.
    pub const fn of(event: &'a Event) -> Self {
        Self {
            event,
            facts: Vec::new(),
        }
    }

    /// The strings.
    #[must_use]
    pub fn into_facts(self) -> Vec<String> {
        self.facts
    }

    /// A fact in the caller's words.
    pub fn fact(mut self, fact: impl Into<String>) -> Self {
        self.facts.push(fact.into());
        self
    }

    /// `name=value`, if there is a value.
    pub fn value(mut self, name: &str, value: Option<impl std::fmt::Display>) -> Self {
        self.facts
            .extend(value.map(|value| format!("{name}={value}")));
        self
    }

    /// The kernel's reset reason.
    pub fn kernel_reason(self) -> Self {
        let reason = self.event.kernel_reason.as_deref();
        self.value("kernel_reason", reason)
    }

    /// The kernel's drop reason.
    pub fn drop_reason(self) -> Self {
        let reason = self.event.drop_reason.as_deref();
        self.value("drop_reason", reason)
    }

    /// State before the reset.
    pub fn state(self) -> Self {
        let state = self.event.state;
        self.value("state", state)
    }

    /// The segment that a sent RST answers.
    pub fn trigger(mut self) -> Self {
        let trigger = self.event.trigger.as_ref();
        self.facts
            .extend(trigger.map(|segment| describe("trigger", segment)));
        self
    }

    /// The RST itself, with the fields that only a seen one has.
    pub fn rst(mut self) -> Self {
        if let Some(rst) = &self.event.rst {
            self.facts.push(describe("rst", rst));
            let window = rst.window;
            return self.value("rst_window", window).ttl();
        }
        self
    }

    /// TTL of the RST next to the one that the handshake showed.
    fn ttl(mut self) -> Self {
        let rst = self.event.rst.and_then(|rst| rst.ttl);
        self.facts.extend(match (rst, self.event.handshake_ttl) {
            (Some(rst), Some(handshake)) => {
                Some(format!("rst_ttl={rst} handshake_ttl={handshake}"))
            }
            (Some(rst), None) => Some(format!("rst_ttl={rst}")),
            (None, _) => None,
        });
        self
    }

    /// Bytes received and not read.
    pub fn unread(self) -> Self {
        let bytes = self.event.connection.unread_bytes;
        self.value("unread_bytes", bytes)
    }

    /// Bytes sent and not acknowledged.
    pub fn unacked(self) -> Self {
        let bytes = self.event.connection.unacked_bytes;
        self.value("unacked_bytes", bytes)
    }

    /// Time since the last data.
    pub fn idle(self) -> Self {
        let idle = self.event.connection.idle_ms;
        self.value("idle_ms", idle)
    }
}

/// The acknowledgment number means something with ACK only (RFC 9293, 3.1).
fn describe(name: &str, segment: &Segment) -> String {
    let Segment {
        flags, seq, len, ..
    } = segment;
    if flags.has(tcp_flag::ACK) {
        format!("{name}={flags} seq={seq} ack={} len={len}", segment.ack)
    } else {
        format!("{name}={flags} seq={seq} len={len}")
    }
}
