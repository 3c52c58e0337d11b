//! Listening addresses. Called by `cmd::agent` before it says that it is ready, so that an address
//! that cannot be had ends the start.

use super::passwords::PasswordGate;
use super::reload::LiveConfig;
use super::{Counters, WebError, WebServer, WebSettings};
use libsystemd::activation::{IsType, receive_descriptors};
use std::io::{Error, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::sync::Arc;

/// Takes the addresses and reads the web configuration.
///
/// Without an address it succeeds: the server then answers nobody.
pub fn bind(settings: &WebSettings) -> Result<WebServer, WebError> {
    let counters = Arc::new(Counters::default());
    let config = LiveConfig::read(settings.config_file.as_deref(), Arc::clone(&counters))?;
    let listeners = if settings.are_sockets_passed {
        passed_sockets()?
    } else {
        let addresses = settings.listen_addresses.iter();
        addresses.map(|it| listen(it)).collect::<Result<_, _>>()?
    };
    Ok(WebServer {
        listeners,
        config,
        gate: PasswordGate::new()?,
        counters,
        max_requests: settings.max_requests,
    })
}

fn listen(address: &str) -> Result<TcpListener, WebError> {
    let addresses = resolve_address(address)?;
    let bound = TcpListener::bind(&*addresses).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|source| WebError::Listen {
        address: address.to_owned(),
        advice: advice(&source),
        source,
    })
}

/// The sockets that systemd hands over (sd_listen_fds(3)), all of them listening for TCP.
fn passed_sockets() -> Result<Vec<TcpListener>, WebError> {
    let wrong = |reason: String| WebError::Passed { reason };
    // The variables stay: the agent starts no program that would take the sockets for its own.
    let passed = receive_descriptors(false).map_err(|error| wrong(error.to_string()))?;
    if passed.is_empty() {
        return Err(wrong("systemd handed no socket over".to_owned()));
    }
    let listeners = passed.into_iter().map(|descriptor| {
        if !descriptor.is_inet() {
            return Err(wrong("a socket is not of TCP".to_owned()));
        }
        // SAFETY: it was made for this process, and nobody else knows its number.
        let listener = unsafe { TcpListener::from_raw_fd(descriptor.into_raw_fd()) };
        listener
            .set_nonblocking(true)
            .map_err(|error| wrong(error.to_string()))?;
        Ok(listener)
    });
    listeners.collect()
}

/// The addresses to try, in order: the first that can be had is used.
fn resolve_address(address: &str) -> Result<Vec<SocketAddr>, WebError> {
    let wrong = |reason: String| WebError::Address {
        address: address.to_owned(),
        reason,
    };
    if let Some(port) = address.strip_prefix(':') {
        let port: u16 = port
            .parse()
            .map_err(|error| wrong(format!("port {port:?}: {error}")))?;
        // A dual-stack socket, or IPv4 where this host has no IPv6.
        return Ok(vec![
            (Ipv6Addr::UNSPECIFIED, port).into(),
            (Ipv4Addr::UNSPECIFIED, port).into(),
        ]);
    }
    let resolved = address.to_socket_addrs();
    let resolved: Vec<SocketAddr> = resolved
        .map_err(|error| wrong(error.to_string()))?
        .collect();
    if resolved.is_empty() {
        return Err(wrong("the name has no address".to_owned()));
    }
    Ok(resolved)
}

fn advice(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => {
            "another program has it (`ss -ltnp` tells which, perhaps another agent): end that, or choose \
             another with --web.listen-address"
        }
        ErrorKind::AddrNotAvailable => {
            "no interface of this host has that address: choose one of `ip address`, or `:PORT` for all, \
             with --web.listen-address"
        }
        ErrorKind::PermissionDenied => {
            "ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE: choose a higher \
             one with --web.listen-address"
        }
        _ => "choose another with --web.listen-address",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;

    #[test]
    fn a_port_alone_is_every_address() {
        let addresses = resolve_address(":19435").unwrap();
        let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["[::]:19435", "0.0.0.0:19435"]);
    }

    #[test]
    fn addresses_of_both_families_are_read() {
        for address in ["127.0.0.1:1", "[::1]:2"] {
            let resolved = resolve_address(address).unwrap();
            assert_eq!(resolved[0].to_string(), address);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_by_name() {
        for address in ["", ":", ":99999", "127.0.0.1", "::1:x", ":-1"] {
            let message = resolve_address(address).unwrap_err().to_string();
            assert!(message.contains(&format!("{address:?}")), "{message}");
        }
    }
}
