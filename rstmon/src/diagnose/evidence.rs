//! How a fact that a rule used is written: `name=value`, one string a fact (contract, §2).
//!
//! Used by the rules. A fact that the event does not know adds nothing, so a rule may name all it
//! would use and the list tells what it had.

use super::baseline::SendOrder;
use super::idle_timers::{Keeper, LearnedTimer, known_timers};
use super::signatures::PayloadMeaning;
use crate::event::facts::Facts;
use crate::event::model::{Event, ProcessEnd, Segment, SocketState};
use rstmon_common::wire::tcp_flag;

/// Facts collected for one verdict.
#[derive(Clone, Debug)]
#[must_use]
pub struct Evidence<'a> {
    event: &'a Event,
    facts: Facts,
}

impl<'a> Evidence<'a> {
    /// No facts yet about `event`.
    pub const fn of(event: &'a Event) -> Self {
        Self {
            event,
            facts: Facts::new(),
        }
    }

    /// The facts.
    #[must_use]
    pub fn into_facts(self) -> Facts {
        self.facts
    }

    /// A fact in the caller's words.
    pub fn fact(mut self, fact: impl AsRef<str>) -> Self {
        self.facts.push(fact.as_ref());
        self
    }

    /// `name=value`, if there is a value.
    pub fn value(mut self, name: &str, value: Option<impl std::fmt::Display>) -> Self {
        if let Some(value) = value {
            self.facts.push_value(name, value);
        }
        self
    }

    /// The same of a word that needs no formatting, so it is copied.
    fn word(mut self, name: &str, word: Option<&str>) -> Self {
        if let Some(word) = word {
            push_all(self.facts.begin(), [name, "=", word]);
        }
        self
    }

    /// The kernel's reset reason.
    pub fn kernel_reason(self) -> Self {
        let reason = self.event.kernel_reason.as_deref();
        self.word("kernel_reason", reason)
    }

    /// The kernel's drop reason.
    pub fn drop_reason(self) -> Self {
        let reason = self.event.drop_reason.as_deref();
        self.word("drop_reason", reason)
    }

    /// The status with which the owner was exiting of its own accord.
    pub fn exit(self) -> Self {
        let status = match self.event.owner_end {
            Some(ProcessEnd::Exited { status }) => Some(status),
            _ => None,
        };
        self.value("process_exit", status)
    }

    /// State before the reset.
    pub fn state(self) -> Self {
        let state = self.event.state.map(SocketState::name);
        self.word("state", state)
    }

    /// The segment that a sent RST answers.
    pub fn trigger(mut self) -> Self {
        if let Some(trigger) = &self.event.trigger {
            describe("trigger", trigger, self.facts.begin());
        }
        self
    }

    /// The RST itself, with the fields that only a seen one has.
    pub fn rst(mut self) -> Self {
        if let Some(rst) = &self.event.rst {
            describe("rst", rst, self.facts.begin());
            let window = rst.window;
            let (mptcp, said) = (self.event.mptcp_reset_reason, self.payload_meaning());
            return self
                .value("rst_window", window)
                .ttl()
                .value("mptcp_reset_reason", mptcp)
                .value("rst_payload", said);
        }
        self
    }

    /// What the RST carries, where it means something.
    fn payload_meaning(&self) -> Option<PayloadMeaning> {
        PayloadMeaning::parse(self.event.payload.as_deref()?)
    }

    /// TTL of the RST next to the one that the handshake showed.
    fn ttl(mut self) -> Self {
        if let Some(rst) = self.event.rst.and_then(|rst| rst.ttl) {
            let text = self.facts.begin();
            push_number(text, "rst_ttl=", u32::from(rst));
            if let Some(handshake) = self.event.handshake_ttl {
                push_number(text, " handshake_ttl=", u32::from(handshake));
            }
        }
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

    /// The order of our last data and the peer's FIN.
    pub fn send_order(self) -> Self {
        let socket = self.event.socket;
        let order = SendOrder::of(self.event);
        let word = order.map(|order| match order {
            SendOrder::BeforeFin => "before-fin",
            SendOrder::SameTick => "with-fin",
            SendOrder::AfterFin => "after-fin",
        });
        self.word("data_sent", word)
            .value("data_sent_ago_ms", socket.and_then(|it| it.since_sent_ms))
            .value("fin_heard_ago_ms", socket.and_then(|it| it.since_heard_ms))
    }

    /// The idle timers that the connection may have run into: what resets have taught, and the known
    /// ones of this keeper that end after `idle_ms`.
    pub(super) fn idle_timers(
        mut self,
        keeper: Keeper,
        idle_ms: Option<u64>,
        learned: Option<LearnedTimer>,
    ) -> Self {
        if let Some(timer) = learned {
            let (agreeing, remembered) = (timer.agreeing, timer.remembered);
            let seconds = render_seconds(timer.idle_ms);
            self.facts.push_value(
                "learned_timer",
                format_args!("{seconds} resets={agreeing}/{remembered}"),
            );
        }
        for timer in idle_ms
            .into_iter()
            .flat_map(|idle| known_timers(idle, keeper))
        {
            self.facts.push_value(
                "known_timer",
                format_args!("{}s {} ({})", timer.seconds, timer.name, timer.setting),
            );
        }
        self
    }
}

/// The acknowledgment number means something with ACK only (RFC 9293, 3.1).
fn describe(name: &str, segment: &Segment, text: &mut String) {
    push_all(text, [name, "="]);
    text.extend(segment.flags.letters());
    push_number(text, " seq=", segment.seq);
    if segment.flags.has(tcp_flag::ACK) {
        push_number(text, " ack=", segment.ack);
    }
    push_number(text, " len=", segment.len);
}

fn push_all<const N: usize>(text: &mut String, parts: [&str; N]) {
    for part in parts {
        text.push_str(part);
    }
}

fn push_number(text: &mut String, name: &str, number: u32) {
    push_all(text, [name, itoa::Buffer::new().format(number)]);
}

/// Milliseconds as seconds, to the tenth.
pub(super) fn render_seconds(ms: u64) -> String {
    let tenths = (ms + 50) / 100;
    match tenths % 10 {
        0 => format!("{}s", tenths / 10),
        tenth => format!("{}.{tenth}s", tenths / 10),
    }
}
