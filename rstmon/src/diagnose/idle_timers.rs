//! Idle timers: the known ones, and those that the resets of a destination give away.
//!
//! Used by the engine (to remember) and by the rules of quiet connections. The learned timers are a
//! bounded memory of idle times per service; the only clock is that of the events, so a recording
//! teaches the same.

use super::baseline::answers_probe_or_fin;
use crate::event::model::{Cause, Event, Kind, Role, SocketState};
use lru::LruCache;
use std::net::IpAddr;
use std::num::NonZeroUsize;

/// Services remembered; about 120 bytes each.
const MAX_SERVICES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);

/// Idle times remembered a service, the newest.
const SAMPLES: usize = 8;

/// As many resets after the same idle time, at as many moments, are a timer.
const MIN_CLUSTER: usize = 3;

/// Resets of a service within this time are one moment: connections that were used together and are
/// all forgotten at once, by a restart as well as by a timer, have the same idle time.
const MOMENT_NS: u64 = 1_000_000_000;

/// Shorter pauses are the rhythm of a program, not a timer.
const MIN_IDLE_MS: u64 = 1_000;

/// Idle times this far apart may come from one timer: a tenth of it, which is the way and the
/// peer's own granularity, of long ones no more than two seconds or a hundredth.
pub(super) const fn tolerance_ms(idle_ms: u64) -> u64 {
    let of_short = if idle_ms / 10 < 2_000 {
        idle_ms / 10
    } else {
        2_000
    };
    if idle_ms / 100 > of_short {
        idle_ms / 100
    } else {
        of_short
    }
}

/// Who keeps a timer, and so whether its end is a FIN or silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeper {
    /// A server that closes with a FIN.
    Server,
    /// A box on the way, which forgets or resets.
    Middlebox,
}

/// A timer that is known.
#[derive(Debug)]
pub(super) struct KnownTimer {
    /// Its default.
    pub(super) seconds: u64,
    /// Whose it is.
    pub(super) keeper: Keeper,
    /// Where it is found.
    pub(super) name: &'static str,
    /// Its own setting.
    pub(super) setting: &'static str,
}

/// Defaults from the vendors' documentation, ascending.
const KNOWN: &[KnownTimer] = &[
    server(2, "gunicorn", "--keep-alive"),
    server(5, "Node.js http", "server.keepAliveTimeout"),
    server(5, "Apache httpd", "KeepAliveTimeout"),
    server(5, "uvicorn", "--timeout-keep-alive"),
    server(20, "Tomcat", "keepAliveTimeout, or else connectionTimeout"),
    server(30, "Jetty", "idleTimeout"),
    server(60, "AWS ALB", "idle_timeout.timeout_seconds"),
    server(75, "nginx", "keepalive_timeout"),
    server(120, "IIS", "connectionTimeout"),
    server(130, "Kestrel", "KeepAliveTimeout"),
    middlebox(240, "Azure Load Balancer", "idleTimeoutInMinutes"),
    middlebox(
        300,
        "F5 BIG-IP",
        "idle-timeout of the tcp or fastL4 profile",
    ),
    middlebox(340, "AWS Global Accelerator", "none"),
    middlebox(350, "AWS NLB", "tcp.idle_timeout.seconds"),
    middlebox(350, "AWS NAT gateway", "none"),
    middlebox(600, "Google Cloud VPC", "none"),
    server(610, "Google Cloud load balancer", "httpKeepAliveTimeoutSec"),
    middlebox(900, "IPVS", "ipvsadm --set"),
    server(3_600, "Envoy", "idle_timeout"),
    middlebox(3_600, "Cisco ASA", "timeout conn"),
    middlebox(3_600, "FortiGate", "session-ttl"),
    server(28_800, "MySQL", "wait_timeout"),
    middlebox(
        86_400,
        "kube-proxy conntrack",
        "conntrack.tcpEstablishedTimeout",
    ),
    middlebox(
        432_000,
        "netfilter conntrack",
        "net.netfilter.nf_conntrack_tcp_timeout_established",
    ),
];

const fn server(seconds: u64, name: &'static str, setting: &'static str) -> KnownTimer {
    KnownTimer {
        seconds,
        keeper: Keeper::Server,
        name,
        setting,
    }
}

const fn middlebox(seconds: u64, name: &'static str, setting: &'static str) -> KnownTimer {
    KnownTimer {
        seconds,
        keeper: Keeper::Middlebox,
        name,
        setting,
    }
}

/// The known timers that end where this idle time ends.
pub(super) fn known_timers(
    idle_ms: u64,
    keeper: Keeper,
) -> impl Iterator<Item = &'static KnownTimer> {
    KNOWN.iter().filter(move |timer| {
        let timer_ms = timer.seconds * 1_000;
        timer.keeper == keeper && idle_ms.abs_diff(timer_ms) <= tolerance_ms(timer_ms)
    })
}

/// A timer that resets have given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnedTimer {
    /// Its value: the median of the idle times that agree.
    pub idle_ms: u64,
    /// Resets that agree, each of another moment, the one at hand included.
    pub agreeing: usize,
    /// Resets remembered of this service, one a moment, the one at hand included.
    pub remembered: usize,
}

/// The service at one end of a connection, with the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Service {
    peer: IpAddr,
    port: u16,
    is_local: bool,
    /// The same address in another namespace is another host.
    netns: Option<u32>,
}

impl Service {
    fn of(event: &Event) -> Self {
        let is_local = event.role == Some(Role::Server);
        Self {
            peer: event.remote_addr,
            port: if is_local {
                event.local_port
            } else {
                event.remote_port
            },
            is_local,
            netns: event.netns,
        }
    }
}

/// One idle time of a service.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    /// When the reset came, monotonic nanoseconds.
    at_ns: u64,
    idle_ms: u64,
}

/// The newest idle times of a service, one a moment; the oldest makes room.
#[derive(Clone, Copy, Debug, Default)]
struct Samples {
    newest: [Sample; SAMPLES],
    count: usize,
    next: usize,
}

impl Samples {
    /// Those of other moments than this.
    fn before(&self, now_ns: u64) -> impl Iterator<Item = u64> {
        let known = self.newest.into_iter().take(self.count);
        known
            .filter(move |sample| sample.at_ns.abs_diff(now_ns) > MOMENT_NS)
            .map(|sample| sample.idle_ms)
    }

    /// Keeps the first of a moment.
    fn push(&mut self, sample: Sample) {
        if self.before(sample.at_ns).count() < self.count {
            return;
        }
        if let Some(place) = self.newest.get_mut(self.next) {
            *place = sample;
        }
        self.next = (self.next + 1) % SAMPLES;
        self.count = (self.count + 1).min(SAMPLES);
    }
}

/// Idle times of resets, by service.
#[derive(Debug)]
pub(super) struct IdleHistory {
    table: LruCache<Service, Samples>,
}

impl IdleHistory {
    pub(super) fn new() -> Self {
        Self {
            table: LruCache::new(MAX_SERVICES),
        }
    }

    /// The timer that the event and those before it agree on. Besides their number, they must be
    /// the greater part of what is remembered: idle times at random agree now and then.
    pub(super) fn timer_of(&self, event: &Event) -> Option<LearnedTimer> {
        let idle_ms = sample_of(event)?;
        let samples = self.table.peek(&Service::of(event))?;
        let before = || samples.before(event.mono_ns);
        let near = tolerance_ms(idle_ms);
        let mut agreeing = [idle_ms; SAMPLES + 1];
        let mut count = 1;
        for (place, sample) in agreeing
            .iter_mut()
            .skip(1)
            .zip(before().filter(|it| it.abs_diff(idle_ms) <= near))
        {
            *place = sample;
            count += 1;
        }
        let remembered = before().count() + 1;
        let agreeing = agreeing.get_mut(..count)?;
        agreeing.sort_unstable();
        (count >= MIN_CLUSTER && 2 * count > remembered).then_some(LearnedTimer {
            idle_ms: *agreeing.get(count / 2)?,
            agreeing: count,
            remembered,
        })
    }

    /// Remembers a diagnosed event, if its idle time may be a timer's.
    pub(super) fn remember(&mut self, event: &Event) {
        let by_timer = matches!(
            event.verdict.cause,
            Cause::IdleTimeout
                | Cause::KeepaliveRace
                | Cause::MiddleboxReset
                | Cause::PeerAborted
                | Cause::PeerGone
        );
        if let Some(idle_ms) = sample_of(event).filter(|_| by_timer) {
            self.table
                .get_or_insert_mut(Service::of(event), Samples::default)
                .push(Sample {
                    at_ns: event.mono_ns,
                    idle_ms,
                });
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}

/// The event's idle time, if it is a reset of a connection after one, and not after one of this
/// host's choice.
fn sample_of(event: &Event) -> Option<u64> {
    let opening = matches!(
        event.state,
        None | Some(SocketState::SynSent | SocketState::SynRecv)
    );
    let idle_ms = event.connection.idle_ms?;
    let by_reset = event.kind == Kind::Received && !opening && !answers_probe_or_fin(event);
    (by_reset && idle_ms >= MIN_IDLE_MS).then_some(idle_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_timers_are_found_within_their_tolerance() {
        assert!(KNOWN.is_sorted_by_key(|timer| timer.seconds));
        let names = |idle_ms, keeper| -> Vec<&str> {
            known_timers(idle_ms, keeper)
                .map(|timer| timer.name)
                .collect()
        };
        assert_eq!(
            names(5_400, Keeper::Server),
            ["Node.js http", "Apache httpd", "uvicorn"]
        );
        assert_eq!(names(346_500, Keeper::Middlebox).len(), 2);
        assert_eq!(
            names(340_500, Keeper::Middlebox),
            ["AWS Global Accelerator"]
        );
        assert_eq!(
            names(86_400_000, Keeper::Middlebox),
            ["kube-proxy conntrack"]
        );
        for (idle_ms, keeper) in [
            (5_600, Keeper::Server),
            (346_400, Keeper::Middlebox),
            (350_000, Keeper::Server),
            (0, Keeper::Server),
        ] {
            assert!(names(idle_ms, keeper).is_empty(), "{idle_ms}");
        }
    }

    #[test]
    fn the_newest_samples_are_kept() {
        let mut samples = Samples::default();
        for idle_ms in 1..=11 {
            let at_ns = idle_ms * 2 * MOMENT_NS;
            samples.push(Sample { at_ns, idle_ms });
            // One more of the same moment.
            let at_ns = at_ns + MOMENT_NS;
            samples.push(Sample { at_ns, idle_ms: 99 });
        }
        let mut kept: Vec<u64> = samples.before(u64::MAX).collect();
        kept.sort_unstable();
        assert_eq!(kept, (4..=11).collect::<Vec<_>>());
        assert_eq!(samples.before(11 * 2 * MOMENT_NS).count(), SAMPLES - 1);
    }
}
