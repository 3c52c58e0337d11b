//! Which kinds and initiators a cause is expected with, so that their series exist, at zero, from the
//! start. What a rule makes beyond these is counted all the same.

use crate::event::model::{Cause, Initiator, Kind};

/// The expected combinations.
pub fn known_combinations() -> impl Iterator<Item = (Kind, Cause, Initiator)> {
    Cause::ALL.iter().flat_map(|&cause| {
        let (kinds, initiators) = expected(cause);
        let pairs = kinds
            .iter()
            .flat_map(|&kind| initiators.iter().map(move |&initiator| (kind, initiator)));
        pairs.map(move |(kind, initiator)| (kind, cause, initiator))
    })
}

/// Kinds and initiators of a cause.
#[must_use]
pub const fn expected(cause: Cause) -> (&'static [Kind], &'static [Initiator]) {
    use Initiator::{
        LocalAdmin, LocalApp, LocalFirewall, LocalKernel, Middlebox, PeerApp, PeerKernel, Unknown,
    };
    use Kind::{Received, Rejected, Sent, Stray};
    match cause {
        Cause::StaleSegment | Cause::BadHandshakeAck | Cause::TimeWaitHit | Cause::Paws => {
            (&[Sent], &[Unknown])
        }
        Cause::CloseUnreadData
        | Cause::DataAfterClose
        | Cause::LingerAbort
        | Cause::Linger2Abort
        | Cause::Disconnect
        | Cause::ListenerClosed
        | Cause::AcceptQueueOverflow => (&[Sent], &[LocalApp]),
        Cause::SegmentAfterClose | Cause::ProcessKilled => {
            (&[Sent], &[LocalAdmin, LocalApp, LocalKernel, Unknown])
        }
        Cause::PortClosed
        | Cause::KeepaliveTimeout
        | Cause::UserTimeout
        | Cause::FinWait2Timeout
        | Cause::OutOfMemory => (&[Sent], &[LocalKernel]),
        Cause::Mptcp => (&[Sent], &[LocalApp, LocalKernel]),
        Cause::InvalidSegment => (&[Sent], &[LocalKernel, Unknown]),
        Cause::SocketDestroyed => (&[Sent], &[LocalAdmin]),
        Cause::FirewallReject => (&[Sent, Received], &[LocalFirewall]),
        Cause::ConnectionRefused => (&[Received], &[LocalFirewall, PeerKernel, Unknown]),
        Cause::PeerGone | Cause::MptcpReceived => (&[Received], &[Middlebox, PeerKernel]),
        Cause::HandshakeAborted => (&[Received, Stray], &[PeerApp, PeerKernel, Unknown]),
        Cause::PeerAborted | Cause::KeepaliveRace => (&[Received], &[PeerApp]),
        Cause::PeerDataAfterClose => (&[Received], &[Middlebox, PeerApp]),
        Cause::IdleTimeout => (&[Received], &[Middlebox, PeerKernel, Unknown]),
        Cause::MiddleboxReset => (&[Received], &[Middlebox, Unknown]),
        Cause::ForgedSuspect => (&[Received, Stray], &[Middlebox]),
        Cause::BlindReset | Cause::StrayReset => (&[Rejected, Stray], &[Unknown]),
        Cause::TimeWaitAssassination => (&[Stray], &[PeerApp, PeerKernel, Unknown]),
        Cause::Undiagnosed => (&[Sent, Received, Rejected, Stray], &[Unknown]),
    }
}
