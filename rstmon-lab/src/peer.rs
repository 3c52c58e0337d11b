//! The fake peer: the far end of a TUN or TAP device, without a TCP of its own. It sends any segment a
//! scenario asks for, and remembers every RST that this host's TCP or firewall sent it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Instant;

use etherparse::{EtherType, Ethernet2Header};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Doing, LabError, NoTun};
use crate::segment::{Segment, TTL, flag};
use crate::wait::PATIENCE;

/// Beyond the MTU of the device.
const PACKET_MAX: usize = 4096;

/// The fake peer's own, locally administered.
const FAKE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
/// Of whom it turns to: nobody's.
const OTHER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];

/// Between two looks at the clock while nothing comes.
const POLL_MS: u16 = 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct FakePeer {
    device: Result<File, NoTun>,
    carries: Carries,
    unread: Vec<Segment>,
    resets: Vec<Segment>,
}

/// What goes over the device.
#[derive(Clone, Copy, Debug)]
enum Carries {
    /// IP packets: a TUN.
    Packets,
    /// Ethernet frames: a TAP.
    Frames,
}

impl Carries {
    /// What to write for an IP packet from the fake peer.
    fn wrap(self, packet: Vec<u8>, is_ipv6: bool) -> Vec<u8> {
        match self {
            Self::Packets => packet,
            Self::Frames => {
                let header = Ethernet2Header {
                    source: FAKE_MAC,
                    destination: OTHER_MAC,
                    ether_type: if is_ipv6 {
                        EtherType::IPV6
                    } else {
                        EtherType::IPV4
                    },
                };
                [&header.to_bytes()[..], &packet].concat()
            }
        }
    }

    /// The IP packet in what was read.
    fn packet_in(self, read: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Packets => Some(read),
            Self::Frames => read.get(Ethernet2Header::LEN..),
        }
    }
}

impl FakePeer {
    /// Behind a TUN. Without one, each scenario that turns to the peer is skipped.
    pub(crate) const fn behind_tun(tun: Result<File, NoTun>) -> Self {
        Self::new(tun, Carries::Packets)
    }

    /// Behind a TAP.
    pub(crate) const fn behind_tap(tap: Result<File, NoTun>) -> Self {
        Self::new(tap, Carries::Frames)
    }

    const fn new(device: Result<File, NoTun>, carries: Carries) -> Self {
        Self {
            device,
            carries,
            unread: Vec::new(),
            resets: Vec::new(),
        }
    }

    /// An error where there is no peer.
    pub(crate) fn require(&self) -> Result<&File, LabError> {
        self.device.as_ref().map_err(NoTun::to_error)
    }

    /// Hands a segment to this host. The kernel has mostly dealt with it by the return.
    pub(crate) fn send(&mut self, segment: &Segment) -> Result<(), LabError> {
        let packet = segment
            .to_packet()
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
            .doing("build a segment of the fake peer")?;
        let packet = self.carries.wrap(packet, segment.to.is_ipv6());
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
        let carries = self.carries;
        let Ok(device) = &mut self.device else {
            return Ok(());
        };
        let mut packet = [0; PACKET_MAX];
        loop {
            let length = match device.read(&mut packet) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).doing("read a segment to the fake peer"),
            };
            let packet = packet
                .get(..length)
                .and_then(|read| carries.packet_in(read));
            let Some(segment) = packet.and_then(Segment::parse_packet) else {
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
