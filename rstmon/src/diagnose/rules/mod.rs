//! The rules, one file a cause or close family, and [`RULES`], which orders them.
//!
//! A rule is a pure function from a [`Case`] to a [`Finding`] if the evidence it needs is there.
//! Each works from the kernel's reason where there is one (Linux 6.10 and later, complete from
//! 6.12), and from fields where there is none, with less confidence where they prove less. To add a
//! cause: a file here, a row in [`RULES`], a test in it for the plain case, the near miss and the
//! old kernel.

use super::baseline::{self, Place, Way};
use super::evidence::Evidence;
use super::flows::{END_MEMORY_MS, FlowPast};
use super::forgery::{Sign, just_before};
use super::idle_timers::LearnedTimer;
use crate::event::model::{
    Cause, Confidence, Event, Initiator, Kind, Process, RecentClose, Segment, SocketFacts,
    SocketState,
};
use rstmon_common::wire::tcp_flag;

mod abort;
mod blind_reset;
mod close_unread_data;
mod connection_refused;
mod data_after_close;
mod firewall_reject;
mod forged_suspect;
mod handshake;
mod idle_timeout;
mod invalid_segment;
mod keepalive_race;
mod kernel_gave_up;
mod middlebox_reset;
mod mptcp_received;
mod no_socket;
mod peer_aborted;
mod peer_data_after_close;
mod peer_gone;
mod process_killed;
mod stray;
mod time_wait;

/// One cause and how it is recognised.
#[derive(Debug)]
pub struct Rule {
    /// The cause that it finds.
    pub cause: Cause,
    /// The finding, if the evidence is there.
    pub judge: for<'a> fn(&Case<'a>) -> Option<Finding<'a>>,
}

/// What a rule found.
#[derive(Debug)]
pub struct Finding<'a> {
    /// Who began it.
    pub initiator: Initiator,
    /// How sure.
    pub confidence: Confidence,
    /// The facts used.
    pub evidence: Evidence<'a>,
}

/// All rules. The first that finds something decides, so a special case stands before the general
/// one; `diagnose::tests` holds the conflicts.
pub const RULES: &[Rule] = &[
    // Who sent it is told by the hook, or by the hook's event just before.
    firewall_reject::RULE,
    invalid_segment::MPTCP,
    // A full queue is no memory of a former connection, which the next rules go by at a listener.
    handshake::ACCEPT_QUEUE_OVERFLOW,
    // How a process ended says why it closed; what the close led to comes after.
    process_killed::RULE,
    // Of this host's own accord.
    close_unread_data::RULE,
    abort::LINGER_ABORT,
    kernel_gave_up::LINGER2_ABORT,
    kernel_gave_up::OUT_OF_MEMORY,
    // The case of a keepalive timeout that the application bounded itself.
    kernel_gave_up::USER_TIMEOUT,
    kernel_gave_up::KEEPALIVE_TIMEOUT,
    kernel_gave_up::FIN_WAIT2_TIMEOUT,
    abort::LISTENER_CLOSED,
    abort::DISCONNECT,
    abort::SOCKET_DESTROYED,
    // In answer to a segment.
    handshake::PAWS,
    no_socket::PORT_CLOSED,
    // A listener refuses what is left of old connections as it refuses a bad handshake.
    no_socket::SEGMENT_AFTER_CLOSE,
    no_socket::STALE_SEGMENT,
    handshake::BAD_HANDSHAKE_ACK,
    time_wait::TIME_WAIT_HIT,
    data_after_close::RULE,
    invalid_segment::RULE,
    // Received: what the RST itself says of its author goes before what its shape suggests, and who
    // names himself before who hides. A forged one has the shape of a genuine one.
    mptcp_received::RULE,
    middlebox_reset::RULE,
    forged_suspect::RULE,
    // While opening, no rule of an established connection applies.
    connection_refused::RULE,
    handshake::HANDSHAKE_ABORTED,
    // After the peer's FIN: the race is the case of data after close that was sent before.
    keepalive_race::RULE,
    peer_data_after_close::RULE,
    // A quiet connection: the timer is the case of a peer that is gone, and a RST that was not seen
    // tells less than a timer. A live socket's RST is left to `peer-aborted`, the rest to `peer-gone`.
    idle_timeout::RULE,
    peer_aborted::RULE,
    peer_gone::RULE,
    // Arrived and not obeyed.
    time_wait::TIME_WAIT_ASSASSINATION,
    stray::RULE,
    blind_reset::RULE,
];

/// An event and what is remembered that concerns it.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The event.
    pub event: &'a Event,
    /// Its flow's past.
    pub past: &'a FlowPast,
    /// What does not fit the peer that the handshake showed.
    pub(super) signs: &'a [Sign],
    /// The idle timer that its service gave away.
    pub timer: Option<LearnedTimer>,
}

impl<'a> Case<'a> {
    /// Facts about this event, none yet.
    const fn evidence(&self) -> Evidence<'a> {
        Evidence::of(self.event)
    }

    fn is_kind(&self, kind: Kind) -> bool {
        self.event.kind == kind
    }

    /// Sent with no segment to answer.
    fn is_active(&self) -> bool {
        self.is_kind(Kind::Sent) && self.event.active
    }

    /// Sent in answer to a segment.
    fn is_passive(&self) -> bool {
        self.is_kind(Kind::Sent) && !self.event.active
    }

    /// The kernel's reason, if it says anything: `NOT_SPECIFIED` is what kernels before 6.12 give
    /// every active reset.
    fn reason(&self) -> Option<&'a str> {
        let reason = self.event.kernel_reason.as_deref();
        reason.filter(|name| !["NOT_SPECIFIED", "ERROR"].contains(name))
    }

    fn has_reason(&self, name: &str) -> bool {
        self.reason() == Some(name)
    }

    /// Whether the reason is `name`, or the kernel gave none and fields must tell.
    fn may_have_reason(&self, name: &str) -> bool {
        self.reason().is_none_or(|reason| reason == name)
    }

    fn is_state(&self, state: SocketState) -> bool {
        self.event.state == Some(state)
    }

    fn is_state_of(&self, states: &[SocketState]) -> bool {
        self.event
            .state
            .is_some_and(|state| states.contains(&state))
    }

    const fn socket(&self) -> Option<&'a SocketFacts> {
        self.event.socket.as_ref()
    }

    /// Whether a property of the socket is known and holds.
    fn socket_is(&self, property: impl FnOnce(&SocketFacts) -> bool) -> bool {
        self.socket().is_some_and(property)
    }

    /// Whether the socket was CLOSED already when it reset: `close()` and `connect(AF_UNSPEC)` set
    /// the state first, all others reset first.
    fn is_closed_at_hook(&self) -> bool {
        self.socket_is(|socket| socket.state_at_hook == Some(SocketState::Closed))
            || self.is_state(SocketState::Closed)
    }

    /// Whether a timer may have reset the socket: that of an orphan, or one that waits for an answer.
    fn may_be_a_timers(&self) -> bool {
        self.socket_is(|socket| socket.dead || socket.probes_out != 0 || socket.retransmits != 0)
    }

    /// Whether both directions are shut down: the first thing that `__tcp_close` does.
    fn is_shut_down(&self) -> bool {
        self.socket_is(|socket| socket.shutdown_receive && socket.shutdown_send)
    }

    /// The tuple's former connection, if it is not so long ago that the tuple has likely been used
    /// again since.
    fn recent_close(&self) -> Option<&'a RecentClose> {
        let close = self.event.recent_close.as_ref();
        close.filter(|close| close.ago_ms <= END_MEMORY_MS)
    }

    /// The segment that a sent RST answers, if it has all of `with` and none of `without`.
    fn trigger(&self, with: u8, without: u8) -> Option<&'a Segment> {
        let trigger = self.event.trigger.as_ref();
        trigger.filter(|segment| segment.flags.has(with) && segment.flags.0 & without == 0)
    }

    fn trigger_is_syn(&self) -> bool {
        self.trigger(tcp_flag::SYN, tcp_flag::ACK).is_some()
    }

    /// Who sent the owner the signal that ended it.
    pub(super) fn killer(&self) -> Option<Process> {
        self.event
            .killer
            .as_ref()
            .map(|killer| killer.process.clone())
    }

    /// The task that ran, if it is not the socket's owner.
    pub(super) fn foreign_task(&self) -> Option<Process> {
        let current = self.event.current.as_ref().filter(|task| task.pid != 0)?;
        let owner = self.event.owner.as_ref()?;
        (owner.pid != current.pid).then(|| current.clone())
    }

    /// Whether the task that ran is the socket's owner.
    fn is_by_owner(&self) -> bool {
        let (current, owner) = (self.event.current.as_ref(), self.event.owner.as_ref());
        current
            .zip(owner)
            .is_some_and(|(current, owner)| current.pid == owner.pid)
    }

    /// Whether something of ours waits for an answer.
    fn has_something_out(&self) -> bool {
        baseline::has_something_out(self.event)
    }

    /// Of a RST with ACK the peer's application, which closed; of a bare one its host, which answers.
    fn by_shape_of_rst(&self) -> Initiator {
        match baseline::is_bare(self.event) {
            Some(false) => Initiator::PeerApp,
            Some(true) => Initiator::PeerKernel,
            None => Initiator::Unknown,
        }
    }

    /// The peer's `initiator`, unless the RST came another way than the handshake.
    fn unless_from_elsewhere(&self, initiator: Initiator) -> Initiator {
        match Way::of(self.event) {
            Some(Way::Other) => Initiator::Middlebox,
            _ => initiator,
        }
    }

    /// How long ago a live socket's RST came that was ahead of what had arrived, where the one at hand
    /// is the answer to the challenge ACK for that (RFC 5961, 3.2): the peer, whose socket is gone by
    /// now, answers with a bare one that is exact.
    fn challenged_abort(&self) -> Option<u64> {
        let (ago_ms, before) = just_before(self.past)?;
        let socket = self.socket()?;
        let (next, end) = (socket.rcv_nxt?, socket.rcv_window_end?);
        let was_ahead =
            before.rst.seq != next && Place::between(before.rst.seq, next, end) == Place::Within;
        let answers = self.is_kind(Kind::Received) && baseline::is_bare(self.event)?;
        (answers && was_ahead && baseline::is_of_live_socket(&before.rst)).then_some(ago_ms)
    }

    /// A finding of `Certain` with a kernel reason behind it, else of what fields can say.
    fn finding(
        &self,
        initiator: Initiator,
        without_reason: Confidence,
        evidence: Evidence<'a>,
    ) -> Finding<'a> {
        let confidence = match self.reason() {
            Some(_) => Confidence::Certain,
            None => without_reason,
        };
        Finding {
            initiator,
            confidence,
            evidence,
        }
    }
}
