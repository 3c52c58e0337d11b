//! What each cause means, how it is recognised, and what to do: the pages of `rstmon explain` and
//! of docs/causes.md.
//!
//! Called by `cmd::explain`. Every cause has a page, or this does not compile; what a page says of
//! evidence is what the rules of [`super::rules`] emit, which a test compares. [`text`] and
//! [`markdown`] draw the same pages.
//!
//! * [`page`]: what a page holds.
//! * `close`, `host`, `answer`: causes of sent resets, by who begins them: an application that
//!   closes, the host itself, a segment that arrived.
//! * `peer`, `quiet`, `stranger`: causes of received ones: the peer's doing, time's, or somebody else's.
//! * `topics`: answers to questions that no single cause answers.

mod answer;
mod close;
mod host;
pub mod markdown;
pub mod page;
mod peer;
mod quiet;
mod stranger;
pub mod text;
mod topics;

use crate::event::model::Cause;
use page::{CausePage, Direction, Page, Topic};

/// The page of a cause.
#[must_use]
pub const fn page_of(cause: Cause) -> &'static CausePage {
    match cause {
        Cause::PortClosed => &answer::PORT_CLOSED,
        Cause::StaleSegment => &answer::STALE_SEGMENT,
        Cause::SegmentAfterClose => &answer::SEGMENT_AFTER_CLOSE,
        Cause::BadHandshakeAck => &answer::BAD_HANDSHAKE_ACK,
        Cause::CloseUnreadData => &close::CLOSE_UNREAD_DATA,
        Cause::DataAfterClose => &close::DATA_AFTER_CLOSE,
        Cause::LingerAbort => &close::LINGER_ABORT,
        Cause::Linger2Abort => &close::LINGER2_ABORT,
        Cause::ProcessKilled => &close::PROCESS_KILLED,
        Cause::Disconnect => &close::DISCONNECT,
        Cause::ListenerClosed => &close::LISTENER_CLOSED,
        Cause::AcceptQueueOverflow => &host::ACCEPT_QUEUE_OVERFLOW,
        Cause::KeepaliveTimeout => &host::KEEPALIVE_TIMEOUT,
        Cause::UserTimeout => &host::USER_TIMEOUT,
        Cause::FinWait2Timeout => &host::FIN_WAIT2_TIMEOUT,
        Cause::OutOfMemory => &host::OUT_OF_MEMORY,
        Cause::SocketDestroyed => &host::SOCKET_DESTROYED,
        Cause::FirewallReject => &host::FIREWALL_REJECT,
        Cause::TimeWaitHit => &answer::TIME_WAIT_HIT,
        Cause::Paws => &answer::PAWS,
        Cause::Mptcp => &answer::MPTCP,
        Cause::InvalidSegment => &answer::INVALID_SEGMENT,
        Cause::ConnectionRefused => &peer::CONNECTION_REFUSED,
        Cause::HandshakeAborted => &peer::HANDSHAKE_ABORTED,
        Cause::PeerAborted => &peer::PEER_ABORTED,
        Cause::PeerGone => &peer::PEER_GONE,
        Cause::IdleTimeout => &quiet::IDLE_TIMEOUT,
        Cause::KeepaliveRace => &quiet::KEEPALIVE_RACE,
        Cause::PeerDataAfterClose => &peer::PEER_DATA_AFTER_CLOSE,
        Cause::MiddleboxReset => &stranger::MIDDLEBOX_RESET,
        Cause::ForgedSuspect => &stranger::FORGED_SUSPECT,
        Cause::BlindReset => &stranger::BLIND_RESET,
        Cause::TimeWaitAssassination => &stranger::TIME_WAIT_ASSASSINATION,
        Cause::StrayReset => &stranger::STRAY_RESET,
        Cause::MptcpReceived => &stranger::MPTCP_RECEIVED,
        Cause::Undiagnosed => &stranger::UNDIAGNOSED,
    }
}

/// The topics, in the order of the list.
#[must_use]
pub const fn topics() -> &'static [Topic] {
    topics::TOPICS
}

/// The causes of one direction, in the order of the list.
pub fn causes_of(direction: Direction) -> impl Iterator<Item = (Cause, &'static CausePage)> {
    Cause::ALL
        .iter()
        .map(|&cause| (cause, page_of(cause)))
        .filter(move |(_, page)| page.direction == direction)
}

/// All pages, in the order of the list.
pub fn pages() -> impl Iterator<Item = Page> {
    let causes = Direction::ALL.into_iter().flat_map(causes_of);
    causes
        .map(|(cause, page)| Page::Cause(cause, page))
        .chain(topics().iter().map(Page::Topic))
}

/// The page with this id.
#[must_use]
pub fn find_page(id: &str) -> Option<Page> {
    pages().find(|page| page.id() == id)
}

/// At most this many suggestions.
const MAX_SUGGESTIONS: usize = 3;

/// The ids that somebody who wrote `written` most likely meant, nearest first: a slip of the
/// keyboard, or a part of an id.
#[must_use]
pub fn nearest_ids(written: &str) -> Vec<&'static str> {
    let written: String = written.chars().take(64).collect();
    let written = written.to_ascii_lowercase().replace(['_', ' '], "-");
    let allowed = (written.chars().count() / 3).max(1);
    let mut near: Vec<(usize, &str)> = pages()
        .filter_map(|page| {
            let id = page.id();
            let distance = strsim::damerau_levenshtein(&written, id);
            let is_part = written.len() > 2 && id.contains(&written);
            (distance <= allowed || is_part).then_some((distance, id))
        })
        .collect();
    near.sort_by_key(|(distance, _)| *distance);
    near.into_iter()
        .map(|(_, id)| id)
        .take(MAX_SUGGESTIONS)
        .collect()
}

#[cfg(test)]
mod tests;
