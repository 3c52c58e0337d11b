//! The real sockets of scenarios: this host's TCP.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::error::{Doing, LabError};
use crate::wait::wait_until;

/// A TCP socket of this host. Never blocks.
#[derive(Debug)]
pub(crate) struct Endpoint {
    socket: Socket,
}

impl Endpoint {
    /// Listens on `address`; port 0 lets the kernel choose.
    pub(crate) fn listen(address: SocketAddr, backlog: i32) -> Result<Self, LabError> {
        Self::new(address, Protocol::TCP)?.listening(address, backlog)
    }

    /// The same for Multipath TCP (RFC 8684), which plain TCP can connect to, too.
    pub(crate) fn listen_mptcp(address: SocketAddr, backlog: i32) -> Result<Self, LabError> {
        Self::new(address, Protocol::MPTCP)?.listening(address, backlog)
    }

    fn listening(self, address: SocketAddr, backlog: i32) -> Result<Self, LabError> {
        let doing = format!("listen on {address}");
        self.socket
            .bind(&SockAddr::from(address))
            .doing(doing.clone())?;
        self.socket.listen(backlog).doing(doing)?;
        Ok(self)
    }

    /// Begins to connect; what comes of it shows later.
    pub(crate) fn connect(remote: SocketAddr) -> Result<Self, LabError> {
        Self::new(remote, Protocol::TCP)?.connecting(remote)
    }

    /// The same for Multipath TCP (RFC 8684).
    pub(crate) fn connect_mptcp(remote: SocketAddr) -> Result<Self, LabError> {
        Self::new(remote, Protocol::MPTCP)?.connecting(remote)
    }

    fn connecting(self, remote: SocketAddr) -> Result<Self, LabError> {
        match self.socket.connect(&SockAddr::from(remote)) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => {
                Err(error).doing(format!("connect to {remote}"))
            }
            _ => Ok(self),
        }
    }

    fn new(address: SocketAddr, protocol: Protocol) -> Result<Self, LabError> {
        let domain = Domain::for_address(address);
        let socket =
            Socket::new(domain, Type::STREAM, Some(protocol)).doing("make a TCP socket")?;
        socket
            .set_nonblocking(true)
            .doing("make a socket non-blocking")?;
        Ok(Self { socket })
    }

    /// Takes the next connection from a listener's queue.
    pub(crate) fn accept(&self) -> Result<Self, LabError> {
        let mut accepted = None;
        wait_until("a connection to accept", || match self.socket.accept() {
            Ok((socket, _)) => {
                socket
                    .set_nonblocking(true)
                    .doing("make a socket non-blocking")?;
                accepted = Some(Self { socket });
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error).doing("accept a connection"),
        })?;
        accepted
            .ok_or_else(|| io::Error::other("no connection"))
            .doing("accept a connection")
    }

    /// This end's address.
    pub(crate) fn local(&self) -> Result<SocketAddr, LabError> {
        let address = self
            .socket
            .local_addr()
            .doing("ask for a socket's address")?;
        address
            .as_socket()
            .ok_or_else(|| io::Error::other("not an IP address"))
            .doing("ask for a socket's address")
    }

    /// Writes, and expects the kernel to take it.
    pub(crate) fn write(&self, payload: &[u8]) -> Result<(), LabError> {
        self.socket
            .send_with_flags(payload, libc::MSG_NOSIGNAL)
            .map(|_| ())
            .doing("write to a socket")
    }

    /// Waits for and reads exactly `length` bytes, more than none.
    pub(crate) fn read(&self, length: usize) -> Result<(), LabError> {
        let mut left = length;
        wait_until("data to read", || {
            let mut buffer = [MaybeUninit::uninit(); 1024];
            let end = left.min(buffer.len());
            match self.socket.recv(&mut buffer[..end]) {
                Ok(0) => Err(io::Error::from(io::ErrorKind::UnexpectedEof)).doing("read a socket"),
                Ok(read) => {
                    left -= read;
                    Ok(left == 0)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                Err(error) => Err(error).doing("read a socket"),
            }
        })
    }

    /// Waits until `length` bytes are there, and leaves them unread.
    pub(crate) fn wait_unread(&self, length: usize) -> Result<(), LabError> {
        wait_until("unread data", || {
            let mut buffer = [MaybeUninit::uninit(); 1024];
            match self.socket.peek(&mut buffer) {
                Ok(there) => Ok(there == length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                Err(error) => Err(error).doing("look at a socket's data"),
            }
        })
    }

    /// Waits until the peer's FIN is there and all before it read.
    pub(crate) fn wait_end(&self) -> Result<(), LabError> {
        wait_until("the peer's FIN", || {
            let mut buffer = [MaybeUninit::uninit(); 1024];
            match self.socket.recv(&mut buffer) {
                Ok(read) => Ok(read == 0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                Err(error) => Err(error).doing("read a socket"),
            }
        })
    }

    /// Waits for the socket's error and takes it. `expected` is an errno.
    pub(crate) fn wait_error(&self, expected: i32) -> Result<(), LabError> {
        let what = format!("the error {}", io::Error::from_raw_os_error(expected));
        wait_until(&what, || {
            let error = self.socket.take_error().doing("ask for a socket's error")?;
            match error.and_then(|error| error.raw_os_error()) {
                None => Ok(false),
                Some(errno) if errno == expected => Ok(true),
                Some(errno) => Err(io::Error::from_raw_os_error(errno)).doing(what.clone()),
            }
        })
    }

    /// Sends a FIN and refuses to read, or only the former.
    pub(crate) fn shutdown(&self, how: std::net::Shutdown) -> Result<(), LabError> {
        self.socket.shutdown(how).doing("shut a socket down")
    }

    /// `SO_LINGER` on with zero seconds.
    pub(crate) fn set_linger_zero(&self) -> Result<(), LabError> {
        self.socket
            .set_linger(Some(Duration::ZERO))
            .doing("set SO_LINGER")
    }

    /// Keepalive after one second of silence, given up after this many probes, one a second.
    pub(crate) fn set_short_keepalive(&self, probes: u32) -> Result<(), LabError> {
        let second = Duration::from_secs(1);
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(second)
            .with_interval(second)
            .with_retries(probes);
        self.socket
            .set_tcp_keepalive(&keepalive)
            .doing("set the keepalive timers")
    }

    /// `TCP_USER_TIMEOUT`: how long the peer may leave something unanswered.
    pub(crate) fn set_user_timeout(&self, timeout: Duration) -> Result<(), LabError> {
        self.socket
            .set_tcp_user_timeout(Some(timeout))
            .doing("set TCP_USER_TIMEOUT")
    }

    /// `TCP_LINGER2`: seconds that an orphan stays in FIN-WAIT-2; below zero, none.
    pub(crate) fn set_linger2(&self, seconds: i32) -> Result<(), LabError> {
        self.set_tcp_option(libc::TCP_LINGER2, seconds)
            .doing("set TCP_LINGER2")
    }

    /// The descriptor itself, for another process.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.socket.into()
    }

    /// Closes without a word to the peer: `TCP_REPAIR`, then close. This is what a host restart looks
    /// like from outside.
    pub(crate) fn vanish(self) -> Result<(), LabError> {
        self.set_tcp_option(libc::TCP_REPAIR, 1)
            .doing("set TCP_REPAIR")
    }

    /// `connect(AF_UNSPEC)`: drops the connection and keeps the socket.
    pub(crate) fn disconnect(&self) -> Result<(), LabError> {
        let unspecified = libc::sockaddr {
            sa_family: libc::AF_UNSPEC as libc::sa_family_t,
            sa_data: [0; 14],
        };
        // SAFETY: the descriptor is open, and the address a whole sockaddr of the length given.
        let result = unsafe {
            libc::connect(
                self.socket.as_raw_fd(),
                &raw const unspecified,
                size_of::<libc::sockaddr>() as libc::socklen_t,
            )
        };
        nix::errno::Errno::result(result)
            .map(|_| ())
            .doing("disconnect a socket")
    }

    fn set_tcp_option(&self, option: i32, value: i32) -> io::Result<()> {
        // SAFETY: the descriptor is open, and the value an int of the length given.
        let result = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                option,
                (&raw const value).cast(),
                size_of::<i32>() as libc::socklen_t,
            )
        };
        nix::errno::Errno::result(result)
            .map(|_| ())
            .map_err(io::Error::from)
    }
}
