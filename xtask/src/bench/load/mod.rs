//! The loads that the bench puts on the host, each a rate a second. Called once per observer and
//! round by `run_bench`.
//!
//! [`DECLARED`] says what there is. What a load starts ends with its [`Load`]; every load is bounded
//! in time, and all of its traffic stays on loopback.

mod drive;
mod flood;
mod http;
mod mass_reset;
mod ports;
mod storm;

use super::Workshop;
use super::statistics::as_number;
use clap::ValueEnum;
use http::{Asking, Nginx, Site};
use serde::Serialize;
use std::time::Duration;

pub(super) use flood::{Limits, run_flood};
#[cfg(test)]
pub(super) use ports::ClosedPort;

/// Refused connections a second of a paced storm; each is one reset sent and one received.
const PACED_REFUSED: u32 = 75_000;
/// Most SYNs of one measurement of a flood.
const MOST_SYNS: u32 = 20_000_000;

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    /// Connections to a closed port of loopback, as fast as two threads can
    Storm,
    /// A SYN flood from raw sockets onto a closed port of loopback
    Flood,
    /// Ten thousand open connections reset at once
    Mass,
    /// HTTP requests on connections that stay open
    Keepalive,
    /// HTTP requests, each on a connection of its own
    Connections,
    /// HTTP requests to a proxy whose application resets 1 % of them
    Proxy,
}

/// A load, as it is declared.
#[derive(Debug)]
struct Declaration {
    workload: Workload,
    /// What the tables call it.
    title: &'static str,
    /// Unit of its rate.
    unit: &'static str,
    /// What it does, in a sentence.
    about: &'static str,
    /// Resets, sent and received, of each thing that is counted; none where resets are not what
    /// the load is about.
    resets_of_each: Option<u64>,
}

/// Every load, in the order of the report and of [`Workload`].
const DECLARED: [Declaration; 6] = [
    Declaration {
        workload: Workload::Storm,
        title: "refused connections",
        unit: "refused/s",
        about: "two threads connect to a closed port, over and over",
        resets_of_each: Some(2),
    },
    Declaration {
        workload: Workload::Flood,
        title: "SYN flood",
        unit: "answered/s",
        about: "raw sockets send SYNs to a closed port, each from another address and port; \
                counted are the resets that answer them",
        resets_of_each: Some(2),
    },
    Declaration {
        workload: Workload::Mass,
        title: "10,000 connections at once",
        unit: "reset/s",
        about: "10,000 open connections are closed at once with SO_LINGER 0; the time runs until \
                the last is reset",
        resets_of_each: Some(2),
    },
    Declaration {
        workload: Workload::Keepalive,
        title: "HTTP keep-alive",
        unit: "requests/s",
        about: "wrk asks nginx on 32 connections that stay open",
        resets_of_each: None,
    },
    Declaration {
        workload: Workload::Connections,
        title: "HTTP connection per request",
        unit: "requests/s",
        about: "wrk asks nginx, each request on a connection of its own, which is opened and \
                closed without a reset",
        resets_of_each: None,
    },
    Declaration {
        workload: Workload::Proxy,
        title: "HTTP proxy, 1 % resets",
        unit: "requests/s",
        about: "wrk asks nginx, which hands on to an application that resets the connection \
                instead of answering one request in a hundred",
        resets_of_each: None,
    },
];

impl Workload {
    /// Every kind, in the order of the report.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        DECLARED.iter().map(|declared| declared.workload)
    }

    fn declared(self) -> &'static Declaration {
        &DECLARED[self as usize]
    }

    /// What is counted.
    pub(super) fn unit(self) -> &'static str {
        self.declared().unit
    }

    /// What the tables call it.
    pub(super) fn title(self) -> &'static str {
        self.declared().title
    }

    /// What it does, in a sentence.
    pub(super) fn about(self) -> &'static str {
        self.declared().about
    }

    /// Resets, sent and received, of each thing that is counted, of a load that is about resets.
    pub(super) fn resets_of_each(self) -> Option<u64> {
        self.declared().resets_of_each
    }
}

/// What was done in one measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Work {
    /// Connections that were refused or reset, or requests that were answered.
    pub(super) count: u64,
    /// The same a second.
    pub(super) rate: f64,
}

impl Work {
    fn over(count: u64, time: Duration) -> Self {
        Self {
            count,
            rate: as_number(count) / time.as_secs_f64(),
        }
    }
}

/// How hard a load drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Pace {
    /// As fast as it goes.
    Full,
    /// A storm of 150,000 resets a second, sent and received: what two cores make beside their other
    /// work, and what the promise that nothing is lost is about.
    Paced,
}

/// A load, ready to run.
#[derive(Debug)]
pub(super) struct Load {
    /// Its kind.
    pub(super) workload: Workload,
    source: Source,
}

/// What makes the load.
#[derive(Debug)]
enum Source {
    Storm,
    Flood,
    Mass,
    Http(Nginx, Asking),
}

impl Load {
    /// Starts what the load needs. It ends when dropped.
    pub(super) fn prepare(workload: Workload, shop: &Workshop) -> anyhow::Result<Self> {
        let http = |site, asking| Ok(Source::Http(Nginx::start(site, shop)?, asking));
        let source: anyhow::Result<Source> = match workload {
            Workload::Storm => Ok(Source::Storm),
            Workload::Flood => Ok(Source::Flood),
            Workload::Mass => Ok(Source::Mass),
            Workload::Keepalive => http(Site::Plain, Asking::Keepalive),
            Workload::Connections => http(Site::Plain, Asking::ConnectionEach),
            Workload::Proxy => http(Site::Proxy, Asking::Keepalive),
        };
        Ok(Self {
            workload,
            source: source?,
        })
    }

    /// Runs for the time of one measurement, as fast as it goes.
    pub(super) fn run(&self, shop: &Workshop) -> anyhow::Result<Work> {
        self.run_at(Pace::Full, shop)
    }

    /// Runs for the time of one measurement. Only a storm can be paced.
    pub(super) fn run_at(&self, pace: Pace, shop: &Workshop) -> anyhow::Result<Work> {
        let (duration, interrupt) = (shop.duration(), &shop.interrupt);
        match &self.source {
            Source::Storm => {
                let rate = (pace == Pace::Paced).then_some(PACED_REFUSED);
                storm::run_storm(duration, rate, interrupt)
            }
            Source::Flood => {
                let limits = Limits {
                    duration,
                    syns: MOST_SYNS,
                    rate: None,
                };
                run_flood(limits, interrupt)
            }
            Source::Mass => {
                mass_reset::run_mass_reset(duration, mass_reset::CONNECTIONS, interrupt)
            }
            Source::Http(nginx, asking) => nginx.run_wrk(*asking, shop.seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DECLARED, Workload};
    use clap::ValueEnum;

    #[test]
    fn every_load_is_declared_in_its_place() {
        assert_eq!(Workload::value_variants().len(), DECLARED.len());
        for (index, declared) in DECLARED.iter().enumerate() {
            assert_eq!(declared.workload as usize, index, "{}", declared.title);
        }
    }
}
