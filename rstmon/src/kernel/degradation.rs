//! What could not be had, as values: what is not seen because of it, why, and what to do.
//!
//! Made by `probe_plan` (and by `bpf`, where attaching fails in spite of the plan); shown by
//! `check`, in the start record, in the status bar of `top` and as a metric. The ids never change.

use crate::event::capture::DegradationReport;
use crate::kernel::capabilities::Capability;
use crate::kernel::hook::{Hook, Place};

/// Something that this kernel, or this process on it, could not be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Degradation {
    /// Classic tracepoints in place of raw ones.
    ClassicMode {
        /// Why nothing better.
        reason: String,
    },
    /// Resets that netfilter rules send are not seen.
    FirewallRejectsUnseen {
        /// Why no kprobe.
        reason: String,
    },
    /// Of a received reset that was obeyed, the segment is not seen.
    ReceivedSegmentUnseen {
        /// Why `tcp_reset` is not probed.
        reason: String,
    },
    /// What the peer's handshake looked like is not known.
    HandshakeUnseen {
        /// Why `tcp_init_transfer` is not probed.
        reason: String,
    },
    /// Resets sent for no full socket are deduced from drops.
    SocketlessResetsDeduced {
        /// Why they are not seen themselves.
        reason: String,
    },
    /// Resets sent for no full socket are not seen.
    SocketlessResetsUnseen {
        /// Why.
        reason: String,
    },
    /// Not every reset that arrives and is not obeyed is seen.
    RejectedResetsPartly {
        /// Why.
        reason: String,
    },
    /// The kernel does not say why it sends a reset.
    NoKernelReason,
    /// One hook of the plan cannot be had.
    HookUnavailable {
        /// Which.
        hook: Hook,
        /// Why.
        reason: String,
    },
    /// Fields that this kernel does not have.
    FieldsAbsent {
        /// Rows of the layout table.
        names: Vec<&'static str>,
    },
    /// Owners of sockets that existed before the start are not found.
    OwnersNotSeeded,
    /// BPF memory may not fit into `RLIMIT_MEMLOCK`.
    MemlockLow {
        /// The hard limit.
        limit_bytes: u64,
    },
    /// Sockets' cgroups are not to be had.
    CgroupsUnseen,
    /// The kernel interprets BPF programs.
    NoJit,
}

const ALLOW_PROBES: &str = "use a kernel with CONFIG_KPROBE_EVENTS that lets root attach probes, \
     and leave `--mode` at auto";

impl Degradation {
    /// Stable kebab-case id.
    #[must_use]
    pub const fn id(&self) -> &'static str {
        match self {
            Self::ClassicMode { .. } => "classic-mode",
            Self::FirewallRejectsUnseen { .. } => "firewall-rejects-unseen",
            Self::ReceivedSegmentUnseen { .. } => "received-segment-unseen",
            Self::HandshakeUnseen { .. } => "handshake-unseen",
            Self::SocketlessResetsDeduced { .. } => "socketless-resets-deduced",
            Self::SocketlessResetsUnseen { .. } => "socketless-resets-unseen",
            Self::RejectedResetsPartly { .. } => "rejected-resets-partly",
            Self::NoKernelReason => "no-kernel-reason",
            Self::HookUnavailable { .. } => "hook-unavailable",
            Self::FieldsAbsent { .. } => "fields-absent",
            Self::OwnersNotSeeded => "owners-not-seeded",
            Self::MemlockLow { .. } => "memlock-low",
            Self::CgroupsUnseen => "cgroups-unseen",
            Self::NoJit => "bpf-jit-off",
        }
    }

    /// What the user does not see because of it.
    #[must_use]
    pub fn effect(&self) -> String {
        let text = match self {
            Self::ClassicMode { .. } => {
                "only addresses, ports, states and owners are known, and of what a listener \
                 answers its own alone: no numbers of the connection, no segments or handshakes, \
                 no netfilter rejects, no refused or stray resets"
            }
            Self::FirewallRejectsUnseen { .. } => {
                "resets that netfilter rules send (reject with tcp reset) are not seen"
            }
            Self::ReceivedSegmentUnseen { .. } => {
                "sequence number, flags, window and TTL of resets that were obeyed are not \
                 known, so forgers and middleboxes are not told from the peer"
            }
            Self::HandshakeUnseen { .. } => {
                "TTL, IP id and timestamps of the peer's handshake are not known, so resets are \
                 not compared with them"
            }
            Self::SocketlessResetsDeduced { .. } => {
                "resets sent without a socket (closed port, unknown connection) are deduced from \
                 the dropped segment; those sent from TIME-WAIT are not seen"
            }
            Self::SocketlessResetsUnseen { .. } => {
                "resets sent without a full socket (closed port, unknown connection, TIME-WAIT) \
                 are not seen"
            }
            Self::RejectedResetsPartly { .. } => {
                "resets that TCP refuses (out of window, inexact, in LISTEN or SYN-SENT) are not \
                 all seen"
            }
            Self::NoKernelReason => {
                "kernel_reason is absent: causes are told apart by the socket's fields alone"
            }
            Self::HookUnavailable { hook, .. } => return format!("not seen: {}", hook.purpose()),
            Self::FieldsAbsent { names } => {
                return format!("events lack what these fields tell: {}", names.join(", "));
            }
            Self::OwnersNotSeeded => {
                "connections of other users that existed before the start have no pid and comm"
            }
            Self::MemlockLow { .. } => {
                "loading may fail with EPERM where the kernel charges BPF maps to RLIMIT_MEMLOCK \
                 (before 5.11)"
            }
            Self::CgroupsUnseen => {
                "the cgroup of sockets is not known; container and unit are those of an owner that \
                 still runs"
            }
            Self::NoJit => "programs are interpreted: each reset costs several times as much",
        };
        text.to_owned()
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::ClassicMode { reason }
            | Self::FirewallRejectsUnseen { reason }
            | Self::ReceivedSegmentUnseen { reason }
            | Self::HandshakeUnseen { reason }
            | Self::SocketlessResetsDeduced { reason }
            | Self::SocketlessResetsUnseen { reason }
            | Self::RejectedResetsPartly { reason } => reason.clone(),
            Self::NoKernelReason => {
                "the tracepoint tcp_send_reset of this kernel has no argument `reason`".to_owned()
            }
            Self::HookUnavailable { hook, reason } => format!("{hook}: {reason}"),
            Self::FieldsAbsent { .. } => {
                "the kernel's BTF has them not at all, or not in the width that is read".to_owned()
            }
            Self::OwnersNotSeeded => format!("{} is missing", Capability::SysPtrace),
            Self::MemlockLow { limit_bytes } => format!(
                "RLIMIT_MEMLOCK cannot be raised beyond {limit_bytes} bytes without {}",
                Capability::SysResource
            ),
            Self::CgroupsUnseen => {
                "only cgroup version 1 is mounted; a socket's cgroup is one of version 2".to_owned()
            }
            Self::NoJit => "net.core.bpf_jit_enable is 0".to_owned(),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::ClassicMode { .. } => "leave `--mode` at auto; where the kernel has no BTF, \
                give that of this very kernel with `--btf FILE` (made by `pahole -J` from its \
                vmlinux, or from BTFHub), or use a kernel with CONFIG_DEBUG_INFO_BTF=y"
                .to_owned(),
            Self::FirewallRejectsUnseen { .. }
            | Self::ReceivedSegmentUnseen { .. }
            | Self::HandshakeUnseen { .. } => ALLOW_PROBES.to_owned(),
            Self::SocketlessResetsDeduced { .. } | Self::SocketlessResetsUnseen { .. } => {
                format!("{ALLOW_PROBES}; or use Linux 6.10 or later")
            }
            Self::RejectedResetsPartly { .. } => {
                format!("{ALLOW_PROBES}; or use Linux 5.18 or later")
            }
            Self::NoKernelReason => "none needed; Linux 6.10 and later give it".to_owned(),
            Self::HookUnavailable { hook, .. } => remedy_of(*hook),
            Self::FieldsAbsent { .. } => {
                "none needed; `rstmon check` says of each field why".to_owned()
            }
            Self::OwnersNotSeeded => {
                format!("run it as root, or give it {}", Capability::SysPtrace)
            }
            Self::MemlockLow { .. } => format!(
                "run it as root, give it {}, or raise the limit (`ulimit -l unlimited`, systemd: \
                 `LimitMEMLOCK=infinity`)",
                Capability::SysResource
            ),
            Self::CgroupsUnseen => {
                "mount cgroup2 (with systemd, boot with systemd.unified_cgroup_hierarchy=1)"
                    .to_owned()
            }
            Self::NoJit => "run `sysctl net.core.bpf_jit_enable=1`".to_owned(),
        }
    }

    /// As the start record, recordings and `check` carry it.
    #[must_use]
    pub fn report(&self) -> DegradationReport {
        DegradationReport {
            id: self.id().to_owned(),
            effect: self.effect(),
            reason: self.reason(),
            remedy: self.remedy(),
        }
    }
}

/// What brings a hook back.
fn remedy_of(hook: Hook) -> String {
    let own = match hook.place() {
        Place::Tracepoint { group } => format!(
            "use a kernel that has the tracepoint ({} or later; \
             /sys/kernel/tracing/events/{group}/{hook} shows it)",
            match hook {
                Hook::KfreeSkb => "Linux 5.17 for its drop reasons",
                _ => "Linux 5.8",
            }
        ),
        Place::Function {
            module: Some(module),
        } => {
            let absent = match hook {
                Hook::NfRejectSkbV4 | Hook::NfRejectSkbV6 => "; kernels before 5.11 do not",
                _ => "",
            };
            format!(
                "run `modprobe {module}` and start rstmon again; `grep -w {hook} /proc/kallsyms` \
                 tells whether this kernel has the function at all{absent}"
            )
        }
        Place::Function { module: None } => format!(
            "use a kernel that neither inlines nor forbids to probe the function: `grep -w {hook} \
             /proc/kallsyms` finds it, /sys/kernel/debug/kprobes/blacklist does not list it"
        ),
    };
    format!(
        "{own}; if the reason names the verifier, report it with what `rstmon trace --ebpf-log \
         error` prints"
    )
}

impl From<&Degradation> for DegradationReport {
    fn from(degradation: &Degradation) -> Self {
        degradation.report()
    }
}

#[cfg(test)]
mod tests {
    use super::Degradation;
    use crate::kernel::hook::Hook;
    use std::collections::BTreeSet;

    #[test]
    fn each_lost_hook_has_a_remedy_of_its_own() {
        let remedies: BTreeSet<String> = Hook::ALL
            .iter()
            .map(|&hook| {
                let reason = "ENOENT".to_owned();
                Degradation::HookUnavailable { hook, reason }.remedy()
            })
            .collect();
        assert_eq!(remedies.len(), Hook::ALL.len());
        let of_module = Degradation::HookUnavailable {
            hook: Hook::NfSendReset,
            reason: String::new(),
        };
        assert!(of_module.remedy().contains("modprobe nf_reject_ipv4"));
    }
}
