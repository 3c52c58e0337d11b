//! Programs of this machine that scenarios use, because users do: `nft`, `ss`.

use std::io::{self, ErrorKind, Read};
use std::process::{Child, Command, Stdio};

use crate::error::{Doing, LabError};
use crate::truth::Owner;
use crate::wait::wait_until;

/// Where programs of administrators are when root's path is the short one.
const DIRECTORIES: &[&str] = &["", "/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"];

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Who it was.
    pub(crate) identity: Owner,
    /// Whether it said that all went well.
    pub(crate) is_success: bool,
    /// The first line of its standard error.
    pub(crate) complaint: Option<String>,
}

/// Runs a program in the calling thread's namespace, to its end. Without the program the scenario is
/// skipped.
pub(crate) fn run(name: &'static str, args: &[&str]) -> Result<Ended, LabError> {
    let mut child = start(name, args)?;
    let identity = Owner {
        pid: child.id(),
        comms: vec![name.to_owned()],
    };
    let mut status = None;
    let waited = wait_until(&format!("{name} to end"), || {
        status = child.try_wait().doing(format!("wait for {name}"))?;
        Ok(status.is_some())
    });
    if waited.is_err() {
        // It must not outlive the scenario; that it cannot be ended changes nothing.
        let _ = child.kill();
        let _ = child.wait();
    }
    waited?;
    let mut said = String::new();
    child
        .stderr
        .take()
        .ok_or_else(|| io::Error::other("no pipe"))
        .and_then(|mut stderr| stderr.read_to_string(&mut said))
        .doing(format!("read what {name} said"))?;
    Ok(Ended {
        identity,
        is_success: status.is_some_and(|status| status.success()),
        complaint: said.lines().next().map(str::to_owned),
    })
}

fn start(name: &str, args: &[&str]) -> Result<Child, LabError> {
    for directory in DIRECTORIES {
        let path = format!("{directory}{name}");
        let started = Command::new(&path)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        match started {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                return Err(LabError::Skipped {
                    reason: format!("cannot run {path}: {error}"),
                });
            }
            Ok(child) => return Ok(child),
        }
    }
    Err(LabError::Skipped {
        reason: format!("the program {name} is not installed"),
    })
}
