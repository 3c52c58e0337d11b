//! Many refused connections in a private namespace, as fast as this machine makes them: the load of
//! exact-count and throughput tests.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::device;
use crate::error::{Doing, LabError};
use crate::netns::{Namespace, read_out_rsts};

const CLOSED_PORT: u16 = 9;

/// What a storm did. Keeps its network namespace, and so its number, alive.
#[derive(Clone, Debug, Serialize)]
pub struct StormTruth {
    /// Connects begun.
    pub attempted: u64,
    /// Connects that ended with ECONNREFUSED.
    pub refused: u64,
    /// How much the kernel's `Tcp: OutRsts` grew.
    pub out_rsts_delta: u64,
    /// Number of the network namespace.
    pub netns: u32,
    /// From the first connect to the last answer, nanoseconds.
    pub elapsed_ns: u64,
    #[serde(skip)]
    _namespace: Arc<Namespace>,
}

/// Makes `count` connects to a closed loopback port from `threads` threads (at least one).
pub fn refused_connections(count: u64, threads: usize) -> Result<StormTruth, LabError> {
    thread::spawn(move || run(count, threads.max(1)))
        .join()
        .map_err(|_| LabError::ThreadDied { scenario: "storm" })?
}

fn run(count: u64, threads: usize) -> Result<StormTruth, LabError> {
    let namespace = Namespace::enter_new()?;
    device::bring_loopback_up()?;
    let before = read_out_rsts()?;
    let start = Instant::now();
    // Threads inherit the namespace of the thread that makes them.
    let workers: Vec<_> = split(count, threads)
        .map(|share| thread::spawn(move || refuse(share)))
        .collect();
    let mut refused = 0;
    for worker in workers {
        refused += worker
            .join()
            .map_err(|_| LabError::ThreadDied { scenario: "storm" })??;
    }
    let elapsed = start.elapsed();
    Ok(StormTruth {
        attempted: count,
        refused,
        out_rsts_delta: read_out_rsts()?.saturating_sub(before),
        netns: namespace.inode(),
        elapsed_ns: nanoseconds(elapsed),
        _namespace: Arc::new(namespace),
    })
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn split(count: u64, threads: usize) -> impl Iterator<Item = u64> {
    let threads = threads as u64;
    (0..threads).map(move |n| count / threads + u64::from(n < count % threads))
}

/// On loopback the answer is there before a blocking connect would sleep, so blocking costs nothing
/// and leaves no answer uncollected. A refused socket leaves no TIME-WAIT, so ports do not run out.
fn refuse(count: u64) -> Result<u64, LabError> {
    let closed = SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, CLOSED_PORT)));
    let mut refused = 0;
    for _ in 0..count {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))
            .doing("make a socket of the storm")?;
        match socket.connect(&closed) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => refused += 1,
            Err(error) => return Err(error).doing("connect in the storm"),
            Ok(()) => {}
        }
    }
    Ok(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        assert_eq!(split(10, 3).collect::<Vec<_>>(), [4, 3, 3]);
        assert_eq!(split(0, 2).sum::<u64>(), 0);
        assert_eq!(split(1, 4).sum::<u64>(), 1);
    }
}
