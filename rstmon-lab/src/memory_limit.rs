//! A cgroup with very little memory, for the process that is to run out of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Doing, LabError};

/// Where the hierarchy of version 2 is mounted: alone, or beside those of version 1.
const HIERARCHIES: &[&str] = &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// Enough for a shell that does nothing.
const LIMIT: &str = "16M";

/// Removed with the value, which must outlive its processes.
#[derive(Debug)]
pub(crate) struct MemoryLimit {
    directory: PathBuf,
}

impl MemoryLimit {
    /// Makes one. `number` tells it from those of other runs. Where it would take more than a new
    /// cgroup, it is not run.
    pub(crate) fn make(number: u32) -> Result<Self, LabError> {
        let directory = hierarchy()?.join(format!("rstmon-lab-{number}"));
        fs::create_dir(&directory).doing(format!("make {}", directory.display()))?;
        let limit = Self { directory };
        limit.write("memory.max", LIMIT)?;
        match limit.write("memory.swap.max", "0") {
            // A kernel that counts no swap.
            Err(LabError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            outcome => outcome?,
        }
        Ok(limit)
    }

    /// Puts a process under the limit.
    pub(crate) fn admit(&self, pid: u32) -> Result<(), LabError> {
        self.write("cgroup.procs", &pid.to_string())
    }

    fn write(&self, file: &str, value: &str) -> Result<(), LabError> {
        write(&self.directory.join(file), value)
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // Nothing else is to be done about one that stays; it is empty.
        let _ = fs::remove_dir(&self.directory);
    }
}

fn write(path: &Path, value: &str) -> Result<(), LabError> {
    fs::write(path, value).doing(format!("write {value} to {}", path.display()))
}

/// The root of version 2, if it limits memory.
fn hierarchy() -> Result<PathBuf, LabError> {
    let not_run = |reason: &str| LabError::NotRun {
        reason: reason.to_owned(),
    };
    let names_memory = |path: PathBuf| {
        fs::read_to_string(path)
            .is_ok_and(|names| names.split_whitespace().any(|it| it == "memory"))
    };
    let root = HIERARCHIES
        .iter()
        .map(PathBuf::from)
        .find(|root| names_memory(root.join("cgroup.controllers")))
        .ok_or_else(|| not_run("no cgroup hierarchy of version 2 limits memory here"))?;
    let enabled = root.join("cgroup.subtree_control");
    if !names_memory(enabled.clone()) && write(&enabled, "+memory").is_err() {
        return Err(not_run(
            "the memory controller cannot be enabled for new cgroups here",
        ));
    }
    Ok(root)
}
