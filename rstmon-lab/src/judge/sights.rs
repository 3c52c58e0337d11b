//! What a capture can see on this kernel, and so what an event of it must show.

use serde::Serialize;

use crate::truth::{Expectation, Kind, Needs};

/// The capture's mode, as the start record names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Kprobes or fentry besides the raw tracepoints.
    Probe,
    /// Raw tracepoints alone.
    Tracepoint,
    /// Tracepoints by their format files, no BTF.
    Classic,
}

/// What the capture that is judged can see on this kernel.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about one capture"
)]
pub struct Sights {
    /// The mode.
    pub mode: Mode,
    /// RSTs that this host sends for no socket.
    pub sees_socketless_sent: bool,
    /// The segment of a RST that tears a socket down.
    pub sees_segment_of_received: bool,
    /// RSTs that netfilter sends for packets.
    pub sees_firewall: bool,
    /// RSTs that netfilter sends for frames.
    pub sees_frame_firewall: bool,
    /// RSTs that are dropped.
    pub sees_dropped: bool,
    /// The kernel's reason for a drop.
    pub has_drop_reason: bool,
    /// The socket that a dropped RST was for.
    pub names_receiver_of_dropped: bool,
    /// Which handshake a dropped RST has ended.
    pub tells_ended_handshakes: bool,
    /// That socket where it refuses the RST itself, by a probe.
    pub sees_refusals: bool,
    /// The kernel's reason for a sent RST.
    pub has_kernel_reason: bool,
    /// The process that owns a socket.
    pub sees_owner: bool,
}

impl Sights {
    /// Why an event with these needs may be missing; `None` if it must be there.
    pub(super) const fn blind_to(self, needs: Needs) -> Option<&'static str> {
        match needs {
            Needs::Socketless if !self.sees_socketless_sent => {
                Some("this capture does not see RSTs sent for no socket")
            }
            Needs::Timewait if !self.sees_timewait() => {
                Some("this capture does not see RSTs sent by timewait sockets")
            }
            Needs::Firewall if !self.sees_firewall => {
                Some("this capture does not see RSTs sent by netfilter")
            }
            Needs::FrameFirewall if !self.sees_frame_firewall => {
                Some("this capture does not see RSTs sent by netfilter for frames")
            }
            Needs::Dropped if !self.sees_dropped => {
                Some("this capture does not see RSTs that the kernel drops")
            }
            Needs::Nothing
            | Needs::Socketless
            | Needs::Timewait
            | Needs::Firewall
            | Needs::FrameFirewall
            | Needs::Dropped => None,
        }
    }

    /// Without probes, kernels that give no reason pass timewait sockets over in silence.
    const fn sees_timewait(self) -> bool {
        let by_tracepoint = self.sees_socketless_sent && self.has_kernel_reason;
        by_tracepoint || (self.sees_socketless_sent && matches!(self.mode, Mode::Probe))
    }

    /// Whether the numbers and flags of the RST must be there: where the hook reads the segment, or
    /// the socket or segment that a sent one follows from.
    pub(super) fn must_show_rst(self, expected: &Expectation) -> bool {
        let is_deduced = !self.has_kernel_reason && self.mode == Mode::Tracepoint;
        match expected.needs {
            Needs::Dropped => true,
            Needs::Firewall | Needs::FrameFirewall => false,
            Needs::Socketless | Needs::Timewait => self.mode != Mode::Classic && !is_deduced,
            Needs::Nothing if expected.kinds.contains(&Kind::Sent) => self.mode != Mode::Classic,
            Needs::Nothing => self.sees_segment_of_received,
        }
    }

    /// Whether the state must be there. That a dropped RST found no socket is the kernel's reason for
    /// dropping it; whose socket another one was for, not every kernel tells.
    pub(super) fn must_show_state(self, expected: &Expectation) -> bool {
        let found_none = expected.states == ["none"];
        let was_refused = expected.kinds == [Kind::Rejected];
        let ends_handshake = expected.kinds.first() == Some(&Kind::Received);
        expected.needs != Needs::Dropped
            || self.names_receiver_of_dropped
            || (found_none && self.has_drop_reason)
            || (was_refused && self.sees_refusals)
            || (ends_handshake && self.tells_ended_handshakes)
    }

    /// Whether it must be there which end this host is: where there is a full socket, or a listener.
    pub(super) fn must_show_role(self, expected: &Expectation) -> bool {
        match expected.needs {
            Needs::Nothing => true,
            Needs::Dropped => self.must_show_state(expected),
            Needs::Socketless | Needs::Timewait | Needs::Firewall | Needs::FrameFirewall => false,
        }
    }

    /// Whether the owner must be there, of a socket that has one.
    pub(super) fn must_show_owner(self, expected: &Expectation) -> bool {
        let is_known = expected.needs != Needs::Dropped || self.must_show_state(expected);
        expected.is_owned && self.sees_owner && is_known
    }

    /// Whether the reason for a drop must be there. Where a probe judges before the drop, it gives none.
    pub(super) fn must_show_drop_reason(self, expected: &Expectation) -> bool {
        expected.needs == Needs::Dropped && self.has_drop_reason && !self.sees_refusals
    }

    /// Whether the reason for a sent RST must be there. netfilter gives none.
    pub(super) fn must_show_kernel_reason(self, expected: &Expectation) -> bool {
        expected.is_counted() && self.has_kernel_reason
    }
}
