//! A sysctl of the whole machine, changed for a moment. Only for scenarios whose user agreed to it.
//!
//! Should the lab die meanwhile, also of SIGKILL, a process of its own puts the former value back: it
//! waits until the lab lets go of a pipe. A lock on the setting, which that process holds on to, keeps
//! labs beside each other from taking the changed value for the former one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::error::{Doing, LabError};
use crate::wait::wait_until;

/// The network namespace of the process, which its threads leave for their own.
const PROCESS_NAMESPACE: &str = "/proc/self/ns/net";

/// `$0` is the file, `$1` the value.
const KEEPER: &str = "trap '' HUP INT TERM; read x; echo $1 > $0";

/// A setting and its former value, which it has again when this is dropped.
#[derive(Debug)]
pub(crate) struct GlobalSetting {
    path: String,
    /// Belongs to the machine's namespace, whoever writes to it.
    file: File,
    former: String,
    keeper: Child,
}

impl GlobalSetting {
    /// Takes hold of the sysctl with this path below `/proc/sys/net`, once no other lab has it.
    pub(crate) fn hold(name: &str) -> Result<Self, LabError> {
        let path = format!("/proc/sys/net/{name}");
        thread::spawn(move || {
            let namespace =
                File::open(PROCESS_NAMESPACE).doing(format!("open {PROCESS_NAMESPACE}"))?;
            setns(namespace, CloneFlags::CLONE_NEWNET).doing("go back to the machine's network")?;
            Self::hold_here(path)
        })
        .join()
        .map_err(|_| LabError::ThreadDied {
            scenario: "a global setting",
        })?
    }

    fn hold_here(path: String) -> Result<Self, LabError> {
        let mut file = open_locked(&path)?;
        let mut former = String::new();
        file.read_to_string(&mut former)
            .doing(format!("read {path}"))?;
        let former = former.trim().to_owned();
        let lock = file.try_clone().doing(format!("keep {path} open"))?;
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, &path, &former])
            .stdin(Stdio::piped())
            .stdout(lock)
            .stderr(Stdio::null())
            // What ends the lab from the keyboard must not end this one first.
            .process_group(0)
            .spawn()
            .doing(format!("start the keeper of {path}"))?;
        Ok(Self {
            path,
            file,
            former,
            keeper,
        })
    }

    /// Does `action` while the setting has `value`, and no longer.
    pub(crate) fn with_value(&self, value: &str, action: impl FnOnce()) -> Result<(), LabError> {
        self.write(value)?;
        action();
        self.write(&self.former)
    }

    fn write(&self, value: &str) -> Result<(), LabError> {
        self.file
            .write_all_at(value.as_bytes(), 0)
            .doing(format!("write {value} to {}", self.path))
    }
}

impl Drop for GlobalSetting {
    fn drop(&mut self) {
        // Ends the keeper, which writes the former value again.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// The lock lasts as long as any copy of the descriptor is open.
fn open_locked(path: &str) -> Result<File, LabError> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use std::fs;

    /// A file in place of the sysctl. Writing does not cut it, so values are of one length.
    fn held() -> (tempfile::TempDir, String, GlobalSetting) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("setting").display().to_string();
        fs::write(&path, "4096\n").unwrap();
        let setting = GlobalSetting::hold_here(path.clone()).unwrap();
        (directory, path, setting)
    }

    #[test]
    fn the_value_holds_as_long_as_the_action() {
        let (_directory, path, setting) = held();
        setting
            .with_value("0000", || {
                assert_eq!(fs::read_to_string(&path).unwrap(), "0000\n");
            })
            .unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "4096\n");
    }

    #[test]
    fn whoever_lets_go_of_the_pipe_leaves_the_former_value() {
        let (_directory, path, setting) = held();
        setting.write("0000").unwrap();
        drop(setting);
        assert_eq!(fs::read_to_string(&path).unwrap(), "4096\n");
    }

    #[test]
    fn only_one_holds_it() {
        let (_directory, path, setting) = held();
        let other = File::open(&path).unwrap();
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        drop(setting);
        wait_until("the lock", || Ok(other.try_lock().is_ok())).unwrap();
    }
}
