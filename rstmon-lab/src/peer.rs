//! The fake peer: the far end of the TUN device, without a TCP of its own. It sends any segment a
//! scenario asks for, and remembers every RST that this host's TCP or firewall sent it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Doing, LabError, NoTun};
use crate::segment::{Segment, TTL, flag};
use crate::wait::PATIENCE;

/// Beyond the MTU of the TUN device.
const PACKET_MAX: usize = 4096;

/// Between two looks at the clock while nothing comes.
const POLL_MS: u16 = 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct FakePeer {
    tun: Result<File, NoTun>,
    unread: Vec<Segment>,
    resets: Vec<Segment>,
}

impl FakePeer {
    /// Without a TUN device, each scenario that turns to the peer is skipped.
    pub(crate) const fn new(tun: Result<File, NoTun>) -> Self {
        Self {
            tun,
            unread: Vec::new(),
            resets: Vec::new(),
        }
    }

    /// An error where there is no peer.
    pub(crate) fn require(&self) -> Result<&File, LabError> {
        self.tun.as_ref().map_err(NoTun::to_error)
    }

    /// Hands a segment to this host. The kernel has mostly dealt with it by the return.
    pub(crate) fn send(&mut self, segment: &Segment) -> Result<(), LabError> {
        let packet = segment
            .to_packet()
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
            .doing("build a segment of the fake peer")?;
        self.require()?
            .write_all(&packet)
            .doing("send a segment of the fake peer")
    }

    /// The first segment not yet taken that `is_it`; those before it are dropped. `what` completes
    /// "waited for …".
    pub(crate) fn receive(
        &mut self,
        what: &str,
        is_it: impl Fn(&Segment) -> bool,
    ) -> Result<Segment, LabError> {
        self.require()?;
        let start = Instant::now();
        loop {
            self.read_waiting()?;
            if let Some(at) = self.unread.iter().position(&is_it) {
                let segment = self.unread.swap_remove(at);
                self.unread.clear();
                return Ok(segment);
            }
            if start.elapsed() > PATIENCE {
                return Err(LabError::NotSeen {
                    what: what.to_owned(),
                    waited: PATIENCE,
                });
            }
            self.wait_readable()?;
        }
    }

    /// Every RST seen until now, in order.
    pub(crate) fn resets(&mut self) -> Result<&[Segment], LabError> {
        self.read_waiting()?;
        Ok(&self.resets)
    }

    fn wait_readable(&self) -> Result<(), LabError> {
        let mut waiting = [PollFd::new(self.require()?.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waiting, PollTimeout::from(POLL_MS)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno).doing("wait for a segment to the fake peer"),
        }
    }

    fn read_waiting(&mut self) -> Result<(), LabError> {
        let Ok(tun) = &mut self.tun else {
            return Ok(());
        };
        let mut packet = [0; PACKET_MAX];
        loop {
            let length = match tun.read(&mut packet) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).doing("read a segment to the fake peer"),
            };
            let Some(segment) = packet.get(..length).and_then(Segment::parse_packet) else {
                continue;
            };
            if segment.has(flag::RST) {
                self.resets.push(segment.clone());
            }
            self.unread.push(segment);
        }
    }
}

/// The fake peer's end of one connection: just enough memory to build the next segment.
#[derive(Clone, Debug)]
pub(crate) struct FakeEnd {
    /// The fake peer's address and port.
    pub(crate) fake: SocketAddr,
    /// This host's.
    pub(crate) local: SocketAddr,
    /// The next sequence number of the fake peer.
    pub(crate) snd_nxt: u32,
    /// The next sequence number expected from this host.
    pub(crate) rcv_nxt: u32,
}

impl FakeEnd {
    /// The next segment in order, with these flags and no payload.
    pub(crate) const fn segment(&self, flags: u8) -> Segment {
        Segment {
            from: self.fake,
            to: self.local,
            flags,
            seq: self.snd_nxt,
            ack: if flags & flag::ACK == 0 {
                0
            } else {
                self.rcv_nxt
            },
            window: 64_000,
            ttl: TTL,
            options: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// The next data segment in order.
    pub(crate) fn data(&self, payload: &[u8]) -> Segment {
        Segment {
            payload: payload.to_vec(),
            ..self.segment(flag::PSH | flag::ACK)
        }
    }

    /// Whether `segment` belongs to this connection.
    pub(crate) fn owns(&self, segment: &Segment) -> bool {
        segment.from == self.local && segment.to == self.fake
    }
}
