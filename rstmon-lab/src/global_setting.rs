//! A sysctl of the whole machine, changed for a moment. Only for scenarios whose user agreed to it.
//!
//! The former value is put back by a process of its own, which waits until the lab is done with it or
//! has died, also of SIGKILL. A lock on the setting, which that process holds on to, keeps labs beside
//! each other from taking the changed value for the former one.

use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::error::{Doing, LabError};
use crate::wait::wait_until;

/// The network namespace of the process, which its threads leave for their own.
const PROCESS_NAMESPACE: &str = "/proc/self/ns/net";

/// `$0` is the file, `$1` the value. Says when it is set.
const KEEPER: &str = "trap '' HUP INT TERM; read old < $0 && echo $1 > $0 && echo set; \
                      exec 1>&-; read x; echo $old > $0";

/// Keeps the setting changed.
#[derive(Debug)]
pub(crate) struct GlobalSetting {
    keeper: Child,
}

impl GlobalSetting {
    /// Sets the sysctl with this path below `/proc/sys/net`, once no other lab has changed it.
    pub(crate) fn set(name: &str, value: &str) -> Result<Self, LabError> {
        let (path, value) = (format!("/proc/sys/net/{name}"), value.to_owned());
        thread::spawn(move || {
            let namespace =
                File::open(PROCESS_NAMESPACE).doing(format!("open {PROCESS_NAMESPACE}"))?;
            setns(namespace, CloneFlags::CLONE_NEWNET).doing("go back to the machine's network")?;
            Self::start(&path, &value)
        })
        .join()
        .map_err(|_| LabError::ThreadDied {
            scenario: "a global setting",
        })?
    }

    fn start(path: &str, value: &str) -> Result<Self, LabError> {
        let lock = lock(path)?;
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, path, value])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(lock)
            // What ends the lab from the keyboard must not end this one first.
            .process_group(0)
            .spawn()
            .doing(format!("start the keeper of {path}"))?;
        let mut said = String::new();
        let stdout = keeper.stdout.take();
        let setting = Self { keeper };
        // The keeper closes its end in any case, so this comes to an end.
        stdout
            .ok_or_else(|| io::Error::other("no pipe"))
            .and_then(|mut stdout| stdout.read_to_string(&mut said))
            .doing(format!("hear from the keeper of {path}"))?;
        if said.trim() == "set" {
            return Ok(setting);
        }
        Err(io::Error::from(io::ErrorKind::PermissionDenied)).doing(format!("set {path}"))
    }
}

impl Drop for GlobalSetting {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // It ends at once; what it could not put back, nobody can.
        let _ = self.keeper.wait();
    }
}

/// A descriptor that holds the lock as long as a copy of it is open anywhere.
fn lock(path: &str) -> Result<File, LabError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(LabError::NotRun {
                reason: format!("{path} is not to be had in this network namespace"),
            });
        }
        opened => opened.doing(format!("open {path}"))?,
    };
    wait_until(
        &format!("other labs to be done with {path}"),
        || match file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error).doing(format!("lock {path}")),
        },
    )?;
    Ok(file)
}
