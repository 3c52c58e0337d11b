//! What the agent gives up once its hooks are attached.
//!
//! Capabilities that are still used: BPF and PERFMON, for hooks whose module comes later; SYS_PTRACE
//! and DAC_READ_SEARCH, to find out about other users' processes; SYS_ADMIN, to look into network
//! namespaces that only a name holds, and in place of BPF before Linux 5.8. No new privileges, ever.
//! System calls that only somebody else would make: see `system_calls`. Called before any other
//! thread is started, so that all have it.
//!
//! Landlock is not used: it keeps a process from looking into processes outside of its domain, and
//! with that from telling who owns a socket.

use super::notice::warn;
use super::system_calls::refuse_system_calls;
use crate::kernel::capabilities::Capability;
use caps::{CapSet, CapsHashSet};

/// Those that stay.
const KEPT: [Capability; 5] = [
    Capability::Bpf,
    Capability::Perfmon,
    Capability::SysPtrace,
    Capability::DacReadSearch,
    Capability::SysAdmin,
];

/// Gives up the rest. What cannot be given up is said, and the agent goes on.
pub fn drop_privileges() {
    if let Err(error) = keep_only(&KEPT) {
        warn(&format!("cannot drop capabilities: {error}"));
    }
    if let Err(error) = nix::sys::prctl::set_no_new_privs() {
        warn(&format!("cannot set no_new_privs: {error}"));
    }
    if let Err(error) = refuse_system_calls() {
        warn(&format!("cannot refuse system calls (seccomp): {error}"));
    }
}

fn keep_only(kept: &[Capability]) -> Result<(), caps::errors::CapsError> {
    let held = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = held
        .into_iter()
        .filter(|it| kept.iter().any(|kept| kept.name() == it.to_string()))
        .collect();
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new())?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)
}
