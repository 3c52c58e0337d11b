//! The other end of the control socket: what `rstmon trace` and `rstmon top` have in common as clients.

use super::socket::{ClientRequest, PROTOCOL, Want};
use crate::cmd::exit::Failure;
use crate::filter::Filter;
use std::io;
use std::path::Path;
use std::time::Duration;

/// The line that asks.
pub fn request_line(want: Want, filter: &Filter, interval: Duration) -> io::Result<Vec<u8>> {
    let request = ClientRequest {
        rstmon: PROTOCOL,
        want,
        filter: filter.to_string(),
        every_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
    };
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    Ok(line)
}

/// The outcome of writing to an agent, where one that has let this client go is none: why is to be read.
pub fn unless_let_go(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Says that an agent cannot be asked, and what to do.
#[must_use]
pub fn cannot_ask(socket: &Path, error: &io::Error) -> Failure {
    let message = format!(
        "cannot ask the agent at {}: {error}; is `rstmon agent` running, and are you root or in its \
         socket's group?",
        socket.display()
    );
    if error.kind() == io::ErrorKind::PermissionDenied {
        Failure::privilege(message)
    } else {
        Failure::run_time(message)
    }
}
