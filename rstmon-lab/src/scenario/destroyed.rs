//! Sockets that somebody destroys from outside: the program `ss`, and the request it makes of the
//! kernel.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use super::Scenario;
use crate::error::{Doing, LabError};
use crate::peer::FakeEnd;
use crate::program;
use crate::stage::Stage;
use crate::truth::{Expectation, Kind, Owner};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "socket-destroyed",
        title: "ss -K on a live connection",
        play: by_ss,
    },
    Scenario {
        id: "socket-destroyed-own",
        title: "SOCK_DESTROY by the socket's own process",
        play: by_itself,
    },
];

fn destroyed(end: &FakeEnd) -> Expectation {
    Expectation::new(Kind::Sent, "socket-destroyed", end.local, end.fake)
        .state(&["established"])
        .owned("client")
        .initiator("local-admin")
        .rst_aborting(end.rcv_nxt, end.snd_nxt)
}

fn by_ss(stage: &mut Stage) -> Result<(), LabError> {
    let (client, end) = stage.client()?;
    let ss = run_ss(&format!("sport = :{}", end.local.port()))?;
    client.wait_error(libc::ECONNABORTED)?;
    stage.expect(destroyed(&end).actor(ss));
    Ok(())
}

/// Nobody else acts: without a reason it is told by what cannot have been.
fn by_itself(stage: &mut Stage) -> Result<(), LabError> {
    let (client, end) = stage.client()?;
    destroy(&end)?;
    client.wait_error(libc::ECONNABORTED)?;
    stage.expect(destroyed(&end));
    Ok(())
}

fn no_destroy() -> LabError {
    LabError::NotRun {
        reason: "this kernel destroys no sockets (CONFIG_INET_DIAG_DESTROY)".to_owned(),
    }
}

/// Destroys the sockets that `filter` finds, in the calling thread's namespace. Who did it.
fn run_ss(filter: &str) -> Result<Owner, LabError> {
    let ss = program::run("ss", &["-K", "-H", "-t", "-n", filter])?;
    match ss.complaint {
        None if ss.is_success => Ok(ss.identity),
        Some(said) if said.contains("not supported") => Err(no_destroy()),
        said => Err(LabError::Skipped {
            reason: format!(
                "ss did not destroy the socket: {}",
                said.unwrap_or_else(|| "no message".to_owned())
            ),
        }),
    }
}

/// `SOCK_DESTROY` of `include/uapi/linux/sock_diag.h`.
const SOCK_DESTROY: u16 = 21;
/// Lengths of `nlmsghdr` and of `inet_diag_req_v2`.
const HEADER_LEN: usize = 16;
const REQUEST_LEN: usize = 56;

/// Asks the kernel, by netlink, to destroy this host's end.
fn destroy(end: &FakeEnd) -> Result<(), LabError> {
    let doing = "destroy a socket";
    let netlink = Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::RAW,
        Some(Protocol::from(libc::NETLINK_SOCK_DIAG)),
    )
    .doing("make a netlink socket")?;
    netlink
        .send(&destroy_request(end.local, end.fake))
        .doing(doing)?;
    let mut answer = [0; 64];
    // The kernel has answered by the time that send(2) returns.
    let length = io::Read::read(&mut &netlink, &mut answer).doing(doing)?;
    // An acknowledgment: the header, then an errno below zero, or zero.
    let errno = answer
        .get(..length)
        .and_then(|answer| answer.get(HEADER_LEN..HEADER_LEN + 4)?.try_into().ok())
        .map(i32::from_ne_bytes);
    match errno {
        Some(0) => Ok(()),
        Some(errno) if errno == -libc::EOPNOTSUPP => Err(no_destroy()),
        Some(errno) => Err(io::Error::from_raw_os_error(-errno)).doing(doing),
        None => Err(io::Error::from(ErrorKind::InvalidData)).doing(doing),
    }
}

/// A header, then family, protocol, extensions, padding, states, and the socket: ports and addresses
/// in network order, interface, and a cookie of which all bits ask for none.
fn destroy_request(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let family = if local.is_ipv6() {
        libc::AF_INET6
    } else {
        libc::AF_INET
    };
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK;
    let mut message = Vec::with_capacity(HEADER_LEN + REQUEST_LEN);
    message.extend(((HEADER_LEN + REQUEST_LEN) as u32).to_ne_bytes());
    message.extend(SOCK_DESTROY.to_ne_bytes());
    message.extend((flags.cast_unsigned() as u16).to_ne_bytes());
    message.extend([0; 8]);
    message.extend([family, libc::IPPROTO_TCP].map(|it| it.cast_unsigned() as u8));
    message.extend([0; 2]);
    message.extend(u32::MAX.to_ne_bytes());
    message.extend(local.port().to_be_bytes());
    message.extend(remote.port().to_be_bytes());
    message.extend(address_field(local.ip()));
    message.extend(address_field(remote.ip()));
    message.extend([0; 4]);
    message.extend([0xff; 8]);
    message
}

/// IPv4 takes the first of four words.
fn address_field(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let mut field = [0; 16];
            field[..4].copy_from_slice(&v4.octets());
            field
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}
