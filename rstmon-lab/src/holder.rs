//! A process beside the lab's own that holds a socket of a scenario until it ends, one way or
//! another. Used by the scenarios of processes that die.
//!
//! It is a shell whose standard output is the socket, so that it holds it without knowing, and that
//! waits until it is told to go on. Whatever becomes of the scenario, it is ended and waited for.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Doing, LabError};
use crate::socket::Endpoint;
use crate::truth::Owner;
use crate::wait::wait_until;

/// Name of the program, and so of the process.
const SHELL: &str = "sh";

/// See the module.
#[derive(Debug)]
pub(crate) struct Holder {
    child: Child,
}

impl Holder {
    /// Starts a process that holds `endpoint`, alone, and that runs `script` once it is told to.
    pub(crate) fn start(endpoint: Endpoint, script: &str) -> Result<Self, LabError> {
        let child = Command::new(SHELL)
            .args(["-c", &format!("read x; {script}")])
            .stdin(Stdio::piped())
            .stdout(endpoint.into_fd())
            .stderr(Stdio::null())
            .spawn()
            .doing("start a process that holds a socket")?;
        Ok(Self { child })
    }

    /// Who it is.
    pub(crate) fn identity(&self) -> Owner {
        Owner {
            pid: self.child.id(),
            comms: vec![SHELL.to_owned()],
        }
    }

    /// Lets it run its script.
    pub(crate) fn go(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Sends it `signal`.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), LabError> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).doing(format!("send {signal} to the holder of a socket"))
    }

    /// Waits until it has ended, by `signal`.
    pub(crate) fn wait_killed(&mut self, signal: Signal) -> Result<(), LabError> {
        self.wait(
            &format!("the holder of a socket to die of {signal}"),
            |it| it.signal() == Some(signal as i32),
        )
    }

    /// Waits until it has ended by itself, without an error.
    pub(crate) fn wait_exited(&mut self) -> Result<(), LabError> {
        self.wait("the holder of a socket to exit", |it| it.success())
    }

    fn wait(&mut self, what: &str, is_it: impl Fn(ExitStatus) -> bool) -> Result<(), LabError> {
        wait_until(what, || {
            let status = self.child.try_wait().doing(what)?;
            Ok(status.is_some_and(&is_it))
        })
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Of a process that has ended and was waited for, both are refused or repeat what is known.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
