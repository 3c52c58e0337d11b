//! The devices of a scenario's namespace: loopback, a TUN whose other end is the fake peer, and, for
//! frames, a bridge whose only port is a TAP.
//!
//! Plain ioctls (netdevice(7)): no netlink and no external program. Giving an address its prefix
//! length brings the connected route, which is all that scenarios need.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use socket2::{Domain, Socket, Type};

use crate::error::{Doing, LabError, NoTun};
use crate::wait::wait_until;

mod ioctl {
    /// `SIOCBRADDBR` of include/uapi/linux/sockios.h.
    const ADD_BRIDGE: libc::c_ulong = 0x89a0;
    /// `SIOCBRADDIF`.
    const ADD_PORT: libc::c_ulong = 0x89a2;

    nix::ioctl_write_ptr_bad!(set_flags, libc::SIOCSIFFLAGS, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_address, libc::SIOCSIFADDR, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_netmask, libc::SIOCSIFNETMASK, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_address6, libc::SIOCSIFADDR, libc::in6_ifreq);
    nix::ioctl_write_ptr_bad!(attach_tun, libc::TUNSETIFF, libc::ifreq);
    nix::ioctl_write_ptr_bad!(add_bridge, ADD_BRIDGE, libc::c_char);
    nix::ioctl_write_ptr_bad!(add_port, ADD_PORT, libc::ifreq);
}

const TUN_PATH: &str = "/dev/net/tun";
const TUN_NAME: &str = "rstlab0";
const TAP_NAME: &str = "rstlab1";
const BRIDGE_NAME: &str = "rstlab2";
/// On loopback a datagram is there at once, or lost.
const ECHO_TIMEOUT: Duration = Duration::from_millis(20);

/// Brings the loopback device of the calling thread's namespace up.
pub(crate) fn bring_loopback_up() -> Result<(), LabError> {
    bring_up("lo")
}

/// A TUN device of the calling thread's namespace, up, with this host's addresses. It goes away
/// when the file is closed. Reads and writes are whole IP packets; reads do not block. The inner
/// error: there is no such device here.
pub(crate) fn create_tun(
    address: Ipv4Addr,
    address6: Option<Ipv6Addr>,
) -> Result<Result<File, NoTun>, LabError> {
    let tun = match open_device(TUN_NAME, libc::IFF_TUN) {
        Ok(tun) => tun,
        Err(error) => return Ok(Err(error)),
    };
    set_ipv4(TUN_NAME, address, Ipv4Addr::new(255, 255, 0, 0))?;
    bring_up(TUN_NAME)?;
    if let Some(address6) = address6 {
        set_ipv6(TUN_NAME, address6, 64)?;
        wait_until("the IPv6 address to become usable", || {
            Ok(reaches_itself(address6).is_ok())
        })?;
    }
    Ok(Ok(tun))
}

/// Whether a datagram to this host's own address arrives. A worker of the kernel's ends the time in
/// which the address is tentative, and only then lays the route to it (`addrconf_dad_begin`): in
/// between it can be bound, and what comes for it is dropped.
fn reaches_itself(address: Ipv6Addr) -> io::Result<()> {
    let socket = UdpSocket::bind((address, 0))?;
    socket.set_read_timeout(Some(ECHO_TIMEOUT))?;
    socket.send_to(b"?", socket.local_addr()?)?;
    socket.recv(&mut [0]).map(drop)
}

/// A TAP device of the calling thread's namespace, up, the only port of a bridge. Reads and writes are
/// whole frames; else as [`create_tun`].
pub(crate) fn create_bridged_tap() -> Result<Result<File, NoTun>, LabError> {
    let tap = match open_device(TAP_NAME, libc::IFF_TAP) {
        Ok(tap) => tap,
        Err(error) => return Ok(Err(error)),
    };
    let mut request = named_request(BRIDGE_NAME);
    let socket = control_socket(Domain::IPV4)?;
    // SAFETY: the descriptor is open, and the kernel copies IFNAMSIZ bytes, which `ifr_name` has.
    match unsafe { ioctl::add_bridge(socket.as_raw_fd(), request.ifr_name.as_ptr()) } {
        Ok(_) => {}
        Err(Errno::ENOPKG | Errno::EOPNOTSUPP) => {
            return Err(LabError::NotRun {
                reason: "this kernel has no bridges".to_owned(),
            });
        }
        Err(errno) => return Err(errno).doing(format!("make the bridge {BRIDGE_NAME}")),
    }
    // A port that joins a running bridge forwards at once.
    bring_up(BRIDGE_NAME)?;
    bring_up(TAP_NAME)?;
    let doing = format!("make {TAP_NAME} a port of {BRIDGE_NAME}");
    let index = if_nametoindex(TAP_NAME).doing(doing.clone())?;
    request.ifr_ifru.ifru_ifindex = index.cast_signed();
    // SAFETY: the descriptor is open and the request a whole ifreq that outlives the call.
    unsafe { ioctl::add_port(socket.as_raw_fd(), &raw const request) }.doing(doing)?;
    Ok(Ok(tap))
}

fn open_device(name: &str, kind: libc::c_int) -> Result<File, NoTun> {
    let tun = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(TUN_PATH)
        .map_err(|source| NoTun { source })?;
    let mut request = named_request(name);
    request.ifr_ifru.ifru_flags = (kind | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the descriptor is open and the request a whole ifreq that outlives the call.
    unsafe { ioctl::attach_tun(tun.as_raw_fd(), &raw const request) }.map_err(|errno| NoTun {
        source: errno.into(),
    })?;
    Ok(tun)
}

fn bring_up(name: &str) -> Result<(), LabError> {
    let mut request = named_request(name);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let socket = control_socket(Domain::IPV4)?;
    // SAFETY: the descriptor is open and the request a whole ifreq that outlives the call.
    unsafe { ioctl::set_flags(socket.as_raw_fd(), &raw const request) }
        .doing(format!("bring {name} up"))?;
    Ok(())
}

fn set_ipv4(name: &str, address: Ipv4Addr, netmask: Ipv4Addr) -> Result<(), LabError> {
    let socket = control_socket(Domain::IPV4)?;
    let request = address_request(name, address);
    // SAFETY: the descriptor is open and the request a whole ifreq that outlives the call.
    unsafe { ioctl::set_address(socket.as_raw_fd(), &raw const request) }
        .doing(format!("give {name} the address {address}"))?;
    let request = address_request(name, netmask);
    // SAFETY: the descriptor is open and the request a whole ifreq that outlives the call.
    unsafe { ioctl::set_netmask(socket.as_raw_fd(), &raw const request) }
        .doing(format!("give {name} the netmask {netmask}"))?;
    Ok(())
}

fn set_ipv6(name: &str, address: Ipv6Addr, prefix_length: u32) -> Result<(), LabError> {
    let doing = format!("give {name} the address {address}");
    let index = if_nametoindex(name).doing(doing.clone())?;
    let request = libc::in6_ifreq {
        ifr6_addr: libc::in6_addr {
            s6_addr: address.octets(),
        },
        ifr6_prefixlen: prefix_length,
        ifr6_ifindex: index.cast_signed(),
    };
    let socket = control_socket(Domain::IPV6)?;
    // SAFETY: the descriptor is open and the request a whole in6_ifreq that outlives the call.
    unsafe { ioctl::set_address6(socket.as_raw_fd(), &raw const request) }.doing(doing)?;
    Ok(())
}

fn control_socket(domain: Domain) -> Result<Socket, LabError> {
    Socket::new(domain, Type::DGRAM, None).doing("make a socket to configure devices with")
}

fn named_request(name: &str) -> libc::ifreq {
    // SAFETY: ifreq is plain integers and byte arrays, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request
}

fn address_request(name: &str, address: Ipv4Addr) -> libc::ifreq {
    let mut request = named_request(name);
    // A sockaddr_in in the bytes of the sockaddr: two bytes of port, then the address.
    let mut data: [libc::c_char; 14] = [0; 14];
    for (to, from) in data.iter_mut().skip(2).zip(address.octets()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_addr = libc::sockaddr {
        sa_family: libc::AF_INET as libc::sa_family_t,
        sa_data: data,
    };
    request
}

/// Whether this kernel has IPv6 for the calling thread's namespace.
pub(crate) fn has_ipv6() -> bool {
    Socket::new(Domain::IPV6, Type::STREAM, None)
        .map(|_| ())
        .or_else(|error: io::Error| match error.raw_os_error() {
            Some(libc::EAFNOSUPPORT) => Err(error),
            _ => Ok(()),
        })
        .is_ok()
}
