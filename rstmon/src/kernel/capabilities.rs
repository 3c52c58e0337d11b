//! What this process is allowed to do, and whether that is enough.
//!
//! `facts` reads the set, the commands call [`require_privilege`] before they touch BPF. Pure.

use std::fmt;
use thiserror::Error;

/// Exit code of a command that lacks a privilege (contract, section 1).
pub const EXIT_NO_PRIVILEGE: u8 = 3;

/// A capability that rstmon asks for, by its number in `include/uapi/linux/capability.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Capability {
    /// Read files of root: tracefs belongs to root alone.
    DacReadSearch = 2,
    /// Enter network namespaces.
    NetAdmin = 12,
    /// Look into the file descriptors of other users' processes.
    SysPtrace = 19,
    /// Everything that BPF and PERFMON allow, and much more.
    SysAdmin = 21,
    /// Raise `RLIMIT_MEMLOCK`.
    SysResource = 24,
    /// Attach tracing programs and read kernel memory from them (since 5.8).
    Perfmon = 38,
    /// Load BPF programs and make maps (since 5.8).
    Bpf = 39,
}

impl Capability {
    /// All that rstmon asks for.
    pub const ALL: &'static [Self] = &[
        Self::DacReadSearch,
        Self::NetAdmin,
        Self::SysPtrace,
        Self::SysAdmin,
        Self::SysResource,
        Self::Perfmon,
        Self::Bpf,
    ];

    /// The kernel's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysResource => "CAP_SYS_RESOURCE",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }

    /// What rstmon wants it for.
    #[must_use]
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::DacReadSearch => "read tracefs for classic mode, where not root",
            Self::NetAdmin => "not needed to capture; `rstmon lab` makes namespaces with it",
            Self::SysPtrace => "find the owners of sockets that existed before the start",
            Self::SysAdmin => "stands for CAP_BPF and CAP_PERFMON",
            Self::SysResource => "raise RLIMIT_MEMLOCK on kernels before 5.11",
            Self::Perfmon => "attach tracing programs and read kernel memory from them",
            Self::Bpf => "load BPF programs and make maps",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of capabilities, a bit for each number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// None at all.
    pub const EMPTY: Self = Self(0);
    /// Every capability there could be.
    pub const ALL: Self = Self(u64::MAX);

    /// From the hexadecimal digits of a `Cap*` line of `/proc/PID/status`.
    #[must_use]
    pub fn parse(digits: &str) -> Option<Self> {
        u64::from_str_radix(digits.trim(), 16).ok().map(Self)
    }

    /// With one more.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability as u8)
    }

    /// Whether it holds one.
    #[must_use]
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & (1 << capability as u8) != 0
    }

    /// Whether BPF tracing programs may be loaded and attached with it.
    #[must_use]
    pub const fn allows_tracing(self) -> bool {
        self.has(Capability::SysAdmin)
            || (self.has(Capability::Bpf) && self.has(Capability::Perfmon))
    }
}

/// Who this process is to the kernel. `None`: could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privilege {
    /// Effective user id.
    pub effective_uid: Option<u32>,
    /// Effective capabilities.
    pub capabilities: Option<CapabilitySet>,
    /// Number of the last capability that this kernel knows.
    pub last_capability: Option<u8>,
    /// Whether it runs in the initial user namespace. Elsewhere its capabilities do not count for
    /// BPF, not even those of root.
    pub in_initial_user_namespace: Option<bool>,
}

impl Privilege {
    /// Whether a capability is held; where the set could not be read, root is taken to hold it.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        match self.capabilities {
            Some(set) => set.has(capability),
            None => self.effective_uid == Some(0),
        }
    }

    fn knows(&self, capability: Capability) -> bool {
        self.last_capability
            .is_none_or(|last| last >= capability as u8)
    }
}

/// Why this process may not capture.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PrivilegeError {
    /// Capabilities are missing.
    #[error(
        "cannot load BPF programs as uid {uid}: {} missing; {remedy}",
        list(missing)
    )]
    Missing {
        /// Effective user id, or `unknown`.
        uid: String,
        /// The least that is missing.
        missing: Vec<Capability>,
        /// What to do about it.
        remedy: String,
    },
    /// The process has its capabilities only in a user namespace of its own.
    #[error(
        "cannot load BPF programs in a user namespace (a rootless container?): CAP_BPF and \
         CAP_PERFMON, or CAP_SYS_ADMIN, are missing in the initial one; {remedy}"
    )]
    UserNamespace {
        /// What to do about it.
        remedy: String,
    },
}

impl PrivilegeError {
    /// Exit code of the command.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        EXIT_NO_PRIVILEGE
    }

    /// The capabilities that are missing, by name.
    #[must_use]
    pub fn missing(&self) -> Vec<Capability> {
        match self {
            Self::Missing { missing, .. } => missing.clone(),
            Self::UserNamespace { .. } => vec![Capability::Bpf, Capability::Perfmon],
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &str {
        match self {
            Self::Missing { remedy, .. } | Self::UserNamespace { remedy } => remedy,
        }
    }
}

fn list(capabilities: &[Capability]) -> String {
    let names: Vec<_> = capabilities.iter().map(|one| one.name()).collect();
    match names.as_slice() {
        [one] => format!("{one} is"),
        _ => format!("{} are", names.join(" and ")),
    }
}

/// Whether this process may load and attach what rstmon needs.
pub fn require_privilege(privilege: &Privilege) -> Result<(), PrivilegeError> {
    if privilege.in_initial_user_namespace == Some(false) {
        return Err(PrivilegeError::UserNamespace {
            remedy: "run it as root of the host, or in a container with host privileges".to_owned(),
        });
    }
    let missing = missing_for_tracing(privilege);
    if missing.is_empty() {
        return Ok(());
    }
    Err(PrivilegeError::Missing {
        uid: privilege
            .effective_uid
            .map_or_else(|| "unknown".to_owned(), |uid| uid.to_string()),
        remedy: remedy_for(privilege, &missing),
        missing,
    })
}

/// The least that is missing; empty if tracing is allowed.
fn missing_for_tracing(privilege: &Privilege) -> Vec<Capability> {
    let allowed = match privilege.capabilities {
        Some(set) => set.allows_tracing(),
        None => privilege.effective_uid == Some(0),
    };
    if allowed {
        return Vec::new();
    }
    if !privilege.knows(Capability::Bpf) {
        return vec![Capability::SysAdmin];
    }
    [Capability::Bpf, Capability::Perfmon]
        .into_iter()
        .filter(|&capability| !privilege.has(capability))
        .collect()
}

/// What has to be given in all: `setcap`, the options of a container and the settings of a unit take the
/// place of what was given before, so what is missing alone would cost what is there.
fn wanted(privilege: &Privilege, missing: &[Capability]) -> Vec<Capability> {
    let needed: &[Capability] = if missing.contains(&Capability::SysAdmin) {
        &[Capability::SysAdmin]
    } else {
        &[Capability::Bpf, Capability::Perfmon]
    };
    let held = Capability::ALL.iter().copied();
    let held = held.filter(|it| !needed.contains(it) && privilege.has(*it));
    needed.iter().copied().chain(held).collect()
}

fn remedy_for(privilege: &Privilege, missing: &[Capability]) -> String {
    let wanted = wanted(privilege, missing);
    let names: Vec<_> = wanted.iter().map(|one| one.name()).collect();
    if privilege.effective_uid == Some(0) {
        let added: Vec<_> = names
            .iter()
            .map(|name| format!("--cap-add {}", name.trim_start_matches("CAP_")))
            .collect();
        return format!(
            "give them back to this root: in a container with `{}`, in a systemd unit with \
             `CapabilityBoundingSet={}`",
            added.join(" "),
            names.join(" ")
        );
    }
    let file_capabilities = names.join(",").to_lowercase();
    format!(
        "run it with `sudo`, or give them to the binary with `sudo setcap {file_capabilities}=ep \
         $(command -v rstmon)`, or in a systemd unit with `AmbientCapabilities={}`",
        names.join(" ")
    )
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a failed test panics"
    )]
    use super::*;

    const fn privilege_of(uid: u32, capabilities: CapabilitySet) -> Privilege {
        Privilege {
            effective_uid: Some(uid),
            capabilities: Some(capabilities),
            last_capability: Some(40),
            in_initial_user_namespace: Some(true),
        }
    }

    #[test]
    fn the_line_of_proc_status_is_read_bit_by_bit() {
        let set = CapabilitySet::parse("000000c000000000").unwrap();
        assert!(set.has(Capability::Bpf) && set.has(Capability::Perfmon));
        assert!(!set.has(Capability::SysAdmin));
        assert_eq!(CapabilitySet::parse("xyz"), None);
        assert_eq!(CapabilitySet::parse(""), None);
        assert_eq!(CapabilitySet::parse("1000001fffeffffff"), None);
    }

    #[test]
    fn root_sys_admin_and_the_two_new_capabilities_are_each_enough() {
        let bpf = CapabilitySet::EMPTY.with(Capability::Bpf);
        for set in [
            CapabilitySet::ALL,
            CapabilitySet::EMPTY.with(Capability::SysAdmin),
            bpf.with(Capability::Perfmon),
        ] {
            assert_eq!(require_privilege(&privilege_of(1000, set)), Ok(()));
        }
        let mut unread = privilege_of(0, CapabilitySet::EMPTY);
        unread.capabilities = None;
        assert_eq!(require_privilege(&unread), Ok(()));
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_do() {
        let error = require_privilege(&privilege_of(1000, CapabilitySet::EMPTY)).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.exit_code(), 3);
        assert!(
            text.contains("CAP_BPF and CAP_PERFMON are missing"),
            "{text}"
        );
        assert!(
            text.contains("sudo setcap cap_bpf,cap_perfmon=ep"),
            "{text}"
        );
        assert!(
            text.contains("AmbientCapabilities=CAP_BPF CAP_PERFMON"),
            "{text}"
        );

        let only_bpf = CapabilitySet::EMPTY.with(Capability::Bpf);
        let error = require_privilege(&privilege_of(1000, only_bpf)).unwrap_err();
        assert_eq!(error.missing(), [Capability::Perfmon]);
        assert!(error.to_string().contains("CAP_PERFMON is missing"));
    }

    /// `setcap` replaces: what is missing alone would make the other the next to be missing.
    #[test]
    fn the_remedy_keeps_what_is_there() {
        let set = |held: &[Capability]| {
            held.iter()
                .fold(CapabilitySet::EMPTY, |set, one| set.with(*one))
        };
        let both = "setcap cap_bpf,cap_perfmon=ep";
        let old = "setcap cap_sys_admin,cap_sys_ptrace=ep";
        for (held, last, expected) in [
            (&[Capability::Bpf][..], 40, both),
            (&[Capability::Perfmon], 40, both),
            (
                &[Capability::Bpf, Capability::DacReadSearch],
                40,
                "setcap cap_bpf,cap_perfmon,cap_dac_read_search=ep",
            ),
            (&[Capability::SysPtrace], 37, old),
        ] {
            let mut privilege = privilege_of(1000, set(held));
            privilege.last_capability = Some(last);
            let error = require_privilege(&privilege).unwrap_err();
            assert!(error.remedy().contains(expected), "{held:?}: {error}");
        }
        let error = require_privilege(&privilege_of(0, set(&[Capability::Bpf]))).unwrap_err();
        let whole = "CapabilityBoundingSet=CAP_BPF CAP_PERFMON`";
        assert!(error.remedy().contains(whole), "{error}");
    }

    #[test]
    fn a_kernel_that_does_not_know_cap_bpf_is_asked_for_sys_admin() {
        let mut privilege = privilege_of(1000, CapabilitySet::EMPTY);
        privilege.last_capability = Some(37);
        let error = require_privilege(&privilege).unwrap_err();
        assert_eq!(error.missing(), [Capability::SysAdmin]);
    }

    #[test]
    fn root_of_a_container_is_told_about_the_container() {
        let error = require_privilege(&privilege_of(0, CapabilitySet::EMPTY)).unwrap_err();
        assert!(error.remedy().contains("--cap-add BPF --cap-add PERFMON"));

        let mut rootless = privilege_of(0, CapabilitySet::ALL);
        rootless.in_initial_user_namespace = Some(false);
        let error = require_privilege(&rootless).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains("user namespace"));
    }
}
