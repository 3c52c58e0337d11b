//! What a scenario plays on: its namespace with loopback and fake peer, shorthands for connections,
//! and the list of what it expects. Made and closed by [`crate::Lab::run`] only.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use crate::device;
use crate::error::{Doing, LabError};
use crate::netns::{
    KernelState, Namespace, has_socket, has_socket_in, read_out_rsts, write_sysctl,
};
use crate::peer::{FakeEnd, FakePeer};
use crate::segment::{Segment, flag};
use crate::socket::Endpoint;
use crate::truth::{Expectation, Family, Observation, Owner, Rst, WireReset};
use crate::wait::{PATIENCE, wait_until};

const LOCAL4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const LOCAL6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
/// A host on the fake peer's side that this host would forward to.
const NEIGHBOUR4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const NEIGHBOUR6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);

/// Where this host listens, in the scenarios that listen.
pub(crate) const SERVICE_PORT: u16 = 7080;
/// A port of this host that nobody listens on.
pub(crate) const CLOSED_PORT: u16 = 7009;
/// Where the fake peer answers, when this host connects to it.
pub(crate) const FAKE_SERVICE_PORT: u16 = 443;
/// The first port that the fake peer connects from.
const FAKE_FIRST_PORT: u16 = 45_001;

/// The fake peer's initial sequence number: near the end, so that numbers wrap in every scenario
/// that sends more than a few bytes.
const FAKE_ISN: u32 = u32::MAX - 2;

/// After all that is expected: how long the unexpected may come late.
const GRACE: Duration = Duration::from_millis(30);

/// See the module.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) peer: FakePeer,
    family: Family,
    namespace: Namespace,
    started_mono_ns: u64,
    out_rsts_before: u64,
    fake_number: u16,
    next_fake_port: u16,
    may_set_globals: bool,
    expectations: Vec<Expectation>,
}

/// What tells this run's fake peer from those of all others, of this process and of those beside it:
/// part of its address. Old kernels drop some RSTs without a hint to the namespace, the number of a
/// namespace is soon given to another, and what was learnt of a peer must not be taken for the next
/// one's.
fn next_fake_number() -> u16 {
    static RUNS: AtomicU16 = AtomicU16::new(0);
    /// Processes that start one after another get numbers this far apart.
    const APART: u32 = 4_099;
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let first = std::process::id().wrapping_mul(APART) as u16;
    // The first block is this host's own, the last address that of broadcasts.
    first.wrapping_add(run) % FAKE_NUMBERS + FIRST_FAKE_NUMBER
}

/// See [`next_fake_number`].
const FIRST_FAKE_NUMBER: u16 = 0x0100;
const FAKE_NUMBERS: u16 = u16::MAX - FIRST_FAKE_NUMBER;

impl Stage {
    /// Moves the calling thread into a namespace of its own and sets it up.
    pub(crate) fn set_up(family: Family, may_set_globals: bool) -> Result<Self, LabError> {
        if family == Family::Ipv6 && !device::has_ipv6() {
            return Err(LabError::Skipped {
                reason: "this kernel has no IPv6".to_owned(),
            });
        }
        let namespace = Namespace::enter_new()?;
        let started_mono_ns = read_monotonic_ns()?;
        if family == Family::Ipv6 {
            // An address must be usable at once, and nobody asks for routers here.
            write_sysctl("ipv6/conf/default/disable_ipv6", "0")?;
            write_sysctl("ipv6/conf/all/disable_ipv6", "0")?;
            write_sysctl("ipv6/conf/default/accept_dad", "0")?;
            write_sysctl("ipv6/conf/default/router_solicitations", "0")?;
        }
        // Each segment gets its answer: the limits on answers are not what is looked at.
        write_sysctl("ipv4/tcp_invalid_ratelimit", "0")?;
        device::bring_loopback_up()?;
        let tun = device::create_tun(LOCAL4, (family == Family::Ipv6).then_some(LOCAL6))?;
        Ok(Self {
            peer: FakePeer::behind_tun(tun),
            family,
            namespace,
            started_mono_ns,
            out_rsts_before: read_out_rsts()?,
            fake_number: next_fake_number(),
            next_fake_port: FAKE_FIRST_PORT,
            may_set_globals,
            expectations: Vec::new(),
        })
    }

    /// States an event that must be seen.
    pub(crate) fn expect(&mut self, expectation: Expectation) {
        self.expectations.push(expectation);
    }

    /// Refuses to go on where nobody agreed to `what`, a change that the whole machine sees.
    pub(crate) fn require_globals(&self, what: &str) -> Result<(), LabError> {
        if self.may_set_globals {
            return Ok(());
        }
        Err(LabError::NotRun {
            reason: format!("it changes {what} for the whole machine; agree with --global"),
        })
    }

    /// A number that no other run has at this time.
    pub(crate) const fn number(&self) -> u32 {
        self.namespace.inode()
    }

    /// This host's address towards the fake peer, with `port`.
    pub(crate) fn local(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.pick(LOCAL4.into(), LOCAL6.into()), port)
    }

    /// Loopback, with `port`.
    pub(crate) fn loopback(&self, port: u16) -> SocketAddr {
        let addresses = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
        SocketAddr::new(self.pick(addresses.0, addresses.1), port)
    }

    fn fake(&self, port: u16) -> SocketAddr {
        let [high, low] = self.fake_number.to_be_bytes();
        let v4 = Ipv4Addr::new(10, 77, high, low);
        let v6 = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, self.fake_number);
        SocketAddr::new(self.pick(v4.into(), v6.into()), port)
    }

    const fn pick(&self, ipv4: IpAddr, ipv6: IpAddr) -> IpAddr {
        match self.family {
            Family::Ipv4 => ipv4,
            Family::Ipv6 => ipv6,
        }
    }

    /// An end of the fake peer that talks to `local_port`, about which this host knows nothing yet.
    pub(crate) fn stranger(&mut self, local_port: u16) -> FakeEnd {
        let port = self.next_fake_port;
        self.next_fake_port += 1;
        FakeEnd {
            fake: self.fake(port),
            local: self.local(local_port),
            snd_nxt: FAKE_ISN,
            rcv_nxt: 0x1234_5678,
        }
    }

    /// The same, to a host that can be reached through this one. This host forwards from now on.
    pub(crate) fn stranger_to_neighbour(&mut self, port: u16) -> Result<FakeEnd, LabError> {
        write_sysctl("ipv4/ip_forward", "1")?;
        if self.family == Family::Ipv6 {
            write_sysctl("ipv6/conf/all/forwarding", "1")?;
        }
        let neighbour = self.pick(NEIGHBOUR4.into(), NEIGHBOUR6.into());
        let mut end = self.stranger(port);
        end.local = SocketAddr::new(neighbour, port);
        Ok(end)
    }

    /// Moves the fake peer to the only port of a bridge, behind which is nobody but the firewall.
    pub(crate) fn bridge_peer(&mut self) -> Result<(), LabError> {
        self.peer.require()?;
        self.peer = FakePeer::behind_tap(device::create_bridged_tap()?);
        Ok(())
    }

    /// A listener towards the fake peer.
    pub(crate) fn listener(&self, backlog: i32) -> Result<Endpoint, LabError> {
        self.peer.require()?;
        Endpoint::listen(self.local(SERVICE_PORT), backlog)
    }

    /// The fake peer's SYN, and the answer to it: this host is then in SYN-RECEIVED.
    pub(crate) fn half_open(&mut self) -> Result<FakeEnd, LabError> {
        let mut end = self.stranger(SERVICE_PORT);
        self.peer.send(&end.segment(flag::SYN))?;
        end.snd_nxt = end.snd_nxt.wrapping_add(1);
        let answer = self.receive(&end, "the SYN-ACK", |s| s.has(flag::SYN | flag::ACK))?;
        end.rcv_nxt = answer.end_seq();
        Ok(end)
    }

    /// An established connection that the fake peer opened and nobody has accepted.
    pub(crate) fn unaccepted(&mut self) -> Result<FakeEnd, LabError> {
        let end = self.half_open()?;
        self.peer.send(&end.segment(flag::ACK))?;
        wait_state(&end, KernelState::Established)?;
        Ok(end)
    }

    /// An established and accepted connection that the fake peer opened: this host is the server.
    pub(crate) fn server(&mut self) -> Result<(Endpoint, FakeEnd), LabError> {
        let listener = self.listener(8)?;
        let end = self.unaccepted()?;
        Ok((listener.accept()?, end))
    }

    /// Connects to the fake peer, whatever comes of it.
    pub(crate) fn connect(&self) -> Result<(Endpoint, FakeEnd), LabError> {
        self.peer.require()?;
        let fake = self.fake(FAKE_SERVICE_PORT);
        let endpoint = Endpoint::connect(fake)?;
        let end = FakeEnd {
            fake,
            local: endpoint.local()?,
            snd_nxt: FAKE_ISN,
            rcv_nxt: 0,
        };
        Ok((endpoint, end))
    }

    /// This host's SYN to the fake peer: this host is then in SYN-SENT.
    pub(crate) fn connecting(&mut self) -> Result<(Endpoint, FakeEnd), LabError> {
        let (endpoint, mut end) = self.connect()?;
        let syn = self.receive(&end, "the SYN", |s| s.has(flag::SYN))?;
        end.rcv_nxt = syn.end_seq();
        Ok((endpoint, end))
    }

    /// An established connection that this host opened to the fake peer: this host is the client.
    pub(crate) fn client(&mut self) -> Result<(Endpoint, FakeEnd), LabError> {
        let (endpoint, mut end) = self.connecting()?;
        self.peer.send(&end.segment(flag::SYN | flag::ACK))?;
        end.snd_nxt = end.snd_nxt.wrapping_add(1);
        self.receive(&end, "the ACK of the SYN-ACK", |s| s.flags == flag::ACK)?;
        wait_state(&end, KernelState::Established)?;
        Ok((endpoint, end))
    }

    /// Both ends of an established loopback connection: client, server.
    pub(crate) fn loopback_pair(&self) -> Result<(Endpoint, Endpoint), LabError> {
        let address = self.loopback(SERVICE_PORT);
        let listener = Endpoint::listen(address, 8)?;
        let client = Endpoint::connect(address)?;
        Ok((client, listener.accept()?))
    }

    /// The next segment of this connection that `is_it`.
    pub(crate) fn receive(
        &mut self,
        end: &FakeEnd,
        what: &str,
        is_it: impl Fn(&Segment) -> bool,
    ) -> Result<Segment, LabError> {
        self.peer
            .receive(what, |segment| end.owns(segment) && is_it(segment))
    }

    /// The fake peer sends data in order, this host's socket takes it, and the fake peer sees that.
    pub(crate) fn deliver(
        &mut self,
        endpoint: &Endpoint,
        end: &mut FakeEnd,
        payload: &[u8],
    ) -> Result<Segment, LabError> {
        let data = end.data(payload);
        self.peer.send(&data)?;
        endpoint.read(payload.len())?;
        end.snd_nxt = data.end_seq();
        Ok(data)
    }

    /// This host's socket sends data, which the fake peer sees and leaves unanswered.
    pub(crate) fn emit(
        &mut self,
        endpoint: &Endpoint,
        end: &mut FakeEnd,
        payload: &[u8],
    ) -> Result<Segment, LabError> {
        endpoint.write(payload)?;
        let data = self.receive(end, "this host's data", |s| s.payload == payload)?;
        end.rcv_nxt = data.end_seq();
        Ok(data)
    }

    /// Waits for this host's FIN and leaves it unanswered; `end` then acknowledges it in whatever
    /// it sends next.
    pub(crate) fn receive_fin(&mut self, end: &mut FakeEnd) -> Result<Segment, LabError> {
        let fin = self.receive(end, "this host's FIN", |s| s.has(flag::FIN))?;
        end.rcv_nxt = fin.end_seq();
        Ok(fin)
    }

    /// Acknowledges all, and waits until this host is in `state`.
    pub(crate) fn acknowledge(
        &mut self,
        end: &FakeEnd,
        state: KernelState,
    ) -> Result<(), LabError> {
        self.peer.send(&end.segment(flag::ACK))?;
        wait_state(end, state)
    }

    /// Waits until all RSTs that are expected have been counted and seen, a moment more for those
    /// that are not, and ends the run. What is missing then is a finding, no error.
    pub(crate) fn finish(mut self, scenario: &'static str) -> Result<Observation, LabError> {
        let counted = self.expectations.iter().filter(|e| e.is_counted()).count() as u64;
        let on_wire = self.expectations.iter().filter(|e| e.is_on_wire()).count();
        let start = Instant::now();
        while start.elapsed() < PATIENCE
            && (self.out_rsts_delta()? < counted || self.peer.resets()?.len() < on_wire)
        {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(GRACE);
        let wire_resets = self.peer.resets()?.iter().map(wire_reset).collect();
        Ok(Observation {
            scenario,
            family: self.family,
            netns: self.namespace.inode(),
            started_mono_ns: self.started_mono_ns,
            ended_mono_ns: read_monotonic_ns()?,
            owner: own_identity()?,
            wire_resets,
            out_rsts_delta: self.out_rsts_delta()?,
            expectations: self.expectations,
            _namespace: Arc::new(self.namespace),
        })
    }

    fn out_rsts_delta(&self) -> Result<u64, LabError> {
        Ok(read_out_rsts()?.saturating_sub(self.out_rsts_before))
    }
}

/// Waits until this host's end is in `state`.
pub(crate) fn wait_state(end: &FakeEnd, state: KernelState) -> Result<(), LabError> {
    wait_state_of(end.local.port(), end.fake.port(), state)
}

/// The same by ports, for loopback.
pub(crate) fn wait_state_of(
    local_port: u16,
    remote_port: u16,
    state: KernelState,
) -> Result<(), LabError> {
    wait_until(&format!("the socket to be in {state:?}"), || {
        has_socket_in(local_port, remote_port, state)
    })
}

/// Waits until this host has no socket for the connection.
pub(crate) fn wait_gone(local_port: u16, remote_port: u16) -> Result<(), LabError> {
    wait_until("the socket to be gone", || {
        Ok(!has_socket(local_port, remote_port)?)
    })
}

fn wire_reset(segment: &Segment) -> WireReset {
    WireReset {
        local: segment.from,
        remote: segment.to,
        rst: Rst::of(segment),
    }
}

fn read_monotonic_ns() -> Result<u64, LabError> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).doing("read the monotonic clock")?;
    Ok(u64::try_from(Duration::from(now).as_nanos()).unwrap_or(u64::MAX))
}

/// The lab's own process.
pub(crate) fn own_identity() -> Result<Owner, LabError> {
    let mut comms = Vec::new();
    for path in ["/proc/self/comm", "/proc/thread-self/comm"] {
        let comm = fs::read_to_string(path).doing(format!("read {path}"))?;
        let comm = comm.trim_end_matches('\n').to_owned();
        if !comms.contains(&comm) {
            comms.push(comm);
        }
    }
    Ok(Owner {
        pid: std::process::id(),
        comms,
    })
}
