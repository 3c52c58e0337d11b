//! Resets that a proxy hands on: received from upstream, sent downstream by the same process.
//!
//! Read and written by `diagnose::engine` only. It adds a fact to the verdict and changes none: the
//! proxy did close its downstream connection as the verdict says; why is found upstream. Bounded:
//! the process whose reset is oldest goes first.

use crate::event::model::{Event, Kind, Role};
use lru::LruCache;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;

/// Processes remembered, besides the newest.
const MAX_PROCESSES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);

/// A proxy that hands a reset on does so in the same turn of its event loop; this is a busy one's.
const TURN_NS: u64 = 100_000_000;

/// A reset that a process received as a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Upstream {
    /// Its event.
    pub(super) seq_no: u64,
    /// Who it came from.
    pub(super) peer: SocketAddr,
    mono_ns: u64,
    local: (IpAddr, u16),
}

/// The last reset that each process received as a client.
#[derive(Debug)]
pub(super) struct Proxies {
    /// That of the process that received one last: the next is often of the same process.
    newest: Option<(u32, Upstream)>,
    /// Those of the processes before. What is here of the newest one, too, is older and not looked at.
    received: LruCache<u32, Upstream>,
}

impl Proxies {
    pub(super) fn new() -> Self {
        Self {
            newest: None,
            received: LruCache::new(MAX_PROCESSES),
        }
    }

    /// The reset that `event` may be handing on: sent as a server, by a process that received one
    /// as a client a moment ago.
    pub(super) fn upstream_of(&self, event: &Event) -> Option<Upstream> {
        if event.kind != Kind::Sent || event.role != Some(Role::Server) {
            return None;
        }
        let pid = event.owner.as_ref()?.pid;
        let upstream = match &self.newest {
            Some((newest, upstream)) if *newest == pid => upstream,
            _ => self.received.peek(&pid)?,
        };
        let ago_ns = event.mono_ns.checked_sub(upstream.mono_ns)?;
        // Of either end: a process may be its own client.
        let ends = [
            (event.local_addr, event.local_port),
            (event.remote_addr, event.remote_port),
        ];
        let same_connection = ends.contains(&upstream.local);
        (ago_ns <= TURN_NS && !same_connection).then_some(*upstream)
    }

    /// Remembers a reset that a process received as a client.
    pub(super) fn remember(&mut self, event: &Event) {
        let Some(owner) = &event.owner else {
            return;
        };
        if event.kind != Kind::Received || event.role != Some(Role::Client) {
            return;
        }
        let upstream = Upstream {
            seq_no: event.seq_no,
            peer: SocketAddr::new(event.remote_addr, event.remote_port),
            mono_ns: event.mono_ns,
            local: (event.local_addr, event.local_port),
        };
        match &mut self.newest {
            // Overwritten, not replaced: reading back what was written a moment ago would stall.
            Some((pid, newest)) if *pid == owner.pid => *newest = upstream,
            newest => {
                if let Some((pid, before)) = newest.replace((owner.pid, upstream)) {
                    self.received.put(pid, before);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::model::Process;
    use crate::sink::samples;

    fn event(pid: u32, kind: Kind, role: Role, at_ns: u64) -> Event {
        Event {
            kind,
            role: Some(role),
            mono_ns: at_ns,
            local_port: if role == Role::Client { 40_000 } else { 443 },
            owner: Some(Process {
                pid,
                comm: "envoy".into(),
            }),
            ..samples::bare()
        }
    }

    fn upstream_of(sent: &Event) -> Option<u64> {
        let mut proxies = Proxies::new();
        let received = event(7, Kind::Received, Role::Client, 1_000);
        proxies.remember(&Event {
            seq_no: 5,
            ..received
        });
        proxies.upstream_of(sent).map(|upstream| upstream.seq_no)
    }

    #[test]
    fn a_reset_sent_at_once_by_the_same_process_is_handed_on() {
        let sent = |pid, role, at_ns| event(pid, Kind::Sent, role, at_ns);
        assert_eq!(upstream_of(&sent(7, Role::Server, 2_000)), Some(5));
        assert_eq!(upstream_of(&sent(8, Role::Server, 2_000)), None);
        assert_eq!(upstream_of(&sent(7, Role::Client, 2_000)), None);
        assert_eq!(upstream_of(&sent(7, Role::Server, 1_001 + TURN_NS)), None);
        assert_eq!(upstream_of(&sent(7, Role::Server, 999)), None);
        // The other end of the very connection, of a process that is its own client.
        let own = Event {
            remote_addr: sent(7, Role::Client, 0).local_addr,
            remote_port: 40_000,
            ..sent(7, Role::Server, 2_000)
        };
        assert_eq!(upstream_of(&own), None);
    }

    #[test]
    fn each_process_has_its_own_whoever_received_one_since() {
        let mut proxies = Proxies::new();
        for (seq_no, pid) in [(1, 7), (2, 8), (3, 7), (4, 9)] {
            let received = event(pid, Kind::Received, Role::Client, 1_000);
            proxies.remember(&Event { seq_no, ..received });
        }
        let upstream_of = |pid| {
            let sent = event(pid, Kind::Sent, Role::Server, 2_000);
            proxies.upstream_of(&sent).map(|upstream| upstream.seq_no)
        };
        assert_eq!(
            [7, 8, 9, 6].map(upstream_of),
            [Some(3), Some(2), Some(4), None]
        );
    }

    #[test]
    fn memory_is_bounded() {
        let mut proxies = Proxies::new();
        for pid in 0..10_000 {
            proxies.remember(&event(pid, Kind::Received, Role::Client, 1));
        }
        assert_eq!(proxies.received.len(), MAX_PROCESSES.get());
    }
}
