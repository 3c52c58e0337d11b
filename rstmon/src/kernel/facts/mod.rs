//! What the running kernel is and what it lets this process do: plain data.
//!
//! Read once at start by [`read_kernel_facts`], made by hand in tests. Whatever decides (the probe
//! plan, the privilege check, `check`) takes it as a value. Each fact is found out on its own:
//! one that cannot be had says why, and the others are there all the same.

mod read;

pub use read::{DEFAULT_BTF, read_kernel_facts, read_privilege};

use crate::kernel::btf::Btf;
use crate::kernel::capabilities::Privilege;
use crate::kernel::hook::{Hook, Place, Variant};
use crate::kernel::layout::{FieldOutcome, ResolvedLayout, resolve_layout};
use crate::kernel::reasons::ReasonNames;
use crate::kernel::symbols::Symbols;
use crate::kernel::tracefs::TracefsFacts;
use rstmon_common::layout::{KernelLayout, Need};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Whether something works here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Support {
    /// Nobody asked.
    #[default]
    NotAsked,
    /// It works.
    Works,
    /// It does not, and why.
    Refused(String),
}

impl Support {
    /// Why it does not work; `None` if it does or nobody asked.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Refused(reason) => Some(reason),
            Self::NotAsked | Self::Works => None,
        }
    }
}

impl From<Result<(), String>> for Support {
    fn from(answer: Result<(), String>) -> Self {
        match answer {
            Ok(()) => Self::Works,
            Err(reason) => Self::Refused(reason),
        }
    }
}

/// What the kernel answered when tiny programs and maps were loaded and attached. Asked by `bpf`,
/// because it needs bpf(2); the rest of the facts is read from files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeSupport {
    /// Programs at function entries by trampoline.
    pub fentry: Support,
    /// Programs at function entries by breakpoint.
    pub kprobe: Support,
    /// Raw tracepoint programs.
    pub raw_tracepoint: Support,
    /// Ring buffer maps (5.8 and later).
    pub ring_buffer: Support,
    /// Why nothing could be asked: maps could not be created, which says nothing of the kernel.
    pub obstacle: Option<Obstacle>,
}

/// What kept maps and programs from being created at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// EPERM or EACCES: seccomp, a security module, or before 5.11 `RLIMIT_MEMLOCK`.
    NotPermitted(String),
    /// Anything else, as want of memory.
    Failed(String),
}

/// State of kernel lockdown (`/sys/kernel/security/lockdown`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lockdown {
    /// Not built, off, or securityfs is not mounted.
    #[default]
    None,
    /// The kernel may not be changed; reading it is allowed.
    Integrity,
    /// The kernel may not be read either: BPF tracing gets nothing.
    Confidentiality,
}

impl Lockdown {
    /// Reads `none [integrity] confidentiality`: the state in force stands in brackets.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let current = text
            .split_ascii_whitespace()
            .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
        match current {
            Some("integrity") => Self::Integrity,
            Some("confidentiality") => Self::Confidentiality,
            _ => Self::None,
        }
    }

    /// The kernel's spelling.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Integrity => "integrity",
            Self::Confidentiality => "confidentiality",
        }
    }
}

/// Which cgroup hierarchies are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupMode {
    /// Version 2 only.
    Unified,
    /// Both versions.
    Hybrid,
    /// Version 1 only: a socket's cgroup is always the root of version 2.
    Legacy,
    /// Neither.
    NotMounted,
}

impl CgroupMode {
    /// From `/proc/self/mounts`.
    #[must_use]
    pub fn parse(mounts: &str) -> Self {
        let has = |wanted: &str| {
            mounts
                .lines()
                .any(|line| line.split(' ').nth(2) == Some(wanted))
        };
        match (has("cgroup2"), has("cgroup")) {
            (true, false) => Self::Unified,
            (true, true) => Self::Hybrid,
            (false, true) => Self::Legacy,
            (false, false) => Self::NotMounted,
        }
    }

    /// One word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unified => "unified",
            Self::Hybrid => "hybrid",
            Self::Legacy => "legacy",
            Self::NotMounted => "not-mounted",
        }
    }
}

/// `RLIMIT_MEMLOCK`, bytes; `u64::MAX` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemlockLimit {
    /// In force.
    pub soft_bytes: u64,
    /// How far it can be raised without `CAP_SYS_RESOURCE`.
    pub hard_bytes: u64,
}

/// One row of the layout table on this kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFact {
    /// The row's name.
    pub name: &'static str,
    /// The kernel structure.
    pub structure: &'static str,
    /// Whether rstmon cannot do without.
    pub required: bool,
    /// Where it is, or why it is not.
    pub place: Result<FieldPlace, String>,
}

/// Where a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldPlace {
    /// Spelling of the member path that this kernel has.
    pub path: &'static str,
    /// Bytes from the structure's beginning.
    pub offset: u16,
}

/// What the kernel's BTF tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BtfFacts {
    /// The file that it was read from.
    pub source: PathBuf,
    /// For each hook that it describes, the number of arguments (without the `void *` that
    /// tracepoint callbacks begin with).
    pub parameters: BTreeMap<Hook, usize>,
    /// The BTF type ids by which programs name the tracepoints that they can enter by their BTF. None
    /// if this is not the kernel's own: in another file they may be others.
    pub tracepoint_ids: BTreeMap<Hook, u32>,
    /// Offsets for the programs.
    pub layout: KernelLayout,
    /// Every row of the layout table.
    pub fields: Vec<FieldFact>,
    /// Names of the kernel's reasons.
    pub reasons: ReasonNames,
    /// `tcp_check_req` says why it drops a segment (its sixth parameter): a RST that a request socket
    /// survives then has a reason.
    pub check_req_has_reason: bool,
    /// The cgroup word of a socket is a pointer only if its lowest bit is clear.
    pub cgroup_is_tagged: bool,
    /// BPF maps are charged to `RLIMIT_MEMLOCK` (5.10 and before), not to the memory cgroup.
    pub charges_memlock: bool,
}

impl BtfFacts {
    /// Asks the BTF everything that rstmon wants to know.
    #[must_use]
    pub fn from_btf(source: &Path, btf: &Btf) -> Self {
        let parameters = Hook::ALL
            .iter()
            .filter_map(|&hook| {
                let parameters = match hook.place() {
                    Place::Tracepoint { .. } => btf.tracepoint_parameters(hook.name()),
                    Place::Function { .. } => btf.function_parameters(hook.name()),
                };
                Some((hook, parameters?.len()))
            })
            .collect();
        let tracepoint_ids = Hook::ALL
            .iter()
            .filter(|hook| hook.variants().contains(&Variant::BtfTracepoint))
            .filter(|_| source == Path::new(DEFAULT_BTF))
            .filter_map(|&hook| Some((hook, btf.tracepoint_id(hook.name())?)))
            .collect();
        let resolved = resolve_layout(btf);
        Self {
            source: source.to_owned(),
            parameters,
            tracepoint_ids,
            layout: resolved.layout,
            fields: field_facts(&resolved),
            reasons: ReasonNames::from_btf(btf),
            check_req_has_reason: btf
                .function_parameters("tcp_check_req")
                .is_some_and(|parameters| parameters.len() >= 6),
            cgroup_is_tagged: resolved.cgroup_is_tagged(),
            // `struct bpf_map_memory` went with commit "bpf: Eliminate rlimit-based memory
            // accounting infra for bpf maps" in 5.11.
            charges_memlock: btf.member("bpf_map", "memory").is_ok(),
        }
    }

    /// Names of the fields without which rstmon cannot work and that this kernel does not have.
    #[must_use]
    pub fn missing_required(&self) -> Vec<&'static str> {
        self.missing(true)
    }

    /// Names of the fields that this kernel does not have and rstmon can do without.
    #[must_use]
    pub fn missing_optional(&self) -> Vec<&'static str> {
        self.missing(false)
    }

    fn missing(&self, required: bool) -> Vec<&'static str> {
        self.fields
            .iter()
            .filter(|field| field.required == required && field.place.is_err())
            .map(|field| field.name)
            .collect()
    }
}

fn field_facts(resolved: &ResolvedLayout) -> Vec<FieldFact> {
    resolved
        .fields
        .iter()
        .map(|field| FieldFact {
            name: field.spec.name,
            structure: field.spec.structure,
            required: field.spec.need == Need::Required,
            place: match &field.outcome {
                FieldOutcome::Found { offset, path, .. } => Ok(FieldPlace {
                    path,
                    offset: *offset,
                }),
                FieldOutcome::Absent { reason } => Err(reason.clone()),
            },
        })
        .collect()
}

/// Whether there is BTF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BtfState {
    /// There is none.
    Absent {
        /// The file that should have held it.
        source: PathBuf,
        /// The user named that file.
        asked_for: bool,
        /// Why.
        reason: String,
    },
    /// There is.
    Present(Box<BtfFacts>),
}

impl Default for BtfState {
    fn default() -> Self {
        Self::Absent {
            source: PathBuf::from(DEFAULT_BTF),
            asked_for: false,
            reason: "not read".to_owned(),
        }
    }
}

/// The kernel and this process on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelFacts {
    /// `uname -r`, to be shown: no decision depends on it.
    pub release: String,
    /// `uname -m`.
    pub architecture: String,
    /// Who this process is.
    pub privilege: Privilege,
    /// BTF.
    pub btf: BtfState,
    /// tracefs.
    pub tracefs: TracefsFacts,
    /// Lockdown.
    pub lockdown: Lockdown,
    /// `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<u8>,
    /// `net.core.bpf_jit_enable`.
    pub bpf_jit_enable: Option<u8>,
    /// `RLIMIT_MEMLOCK`.
    pub memlock: Option<MemlockLimit>,
    /// Whether the kernel offers kprobes at all.
    pub kprobe_events: Support,
    /// Functions of ours.
    pub symbols: Symbols,
    /// cgroup hierarchies.
    pub cgroup_mode: Option<CgroupMode>,
    /// What bpf(2) answered.
    pub probe_support: ProbeSupport,
}

impl KernelFacts {
    /// What BTF tells, where there is BTF.
    #[must_use]
    pub fn btf_facts(&self) -> Option<&BtfFacts> {
        match &self.btf {
            BtfState::Present(facts) => Some(facts),
            BtfState::Absent { .. } => None,
        }
    }

    /// The same facts with the answers of bpf(2).
    #[must_use]
    pub fn with_probe_support(self, probe_support: ProbeSupport) -> Self {
        Self {
            probe_support,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::btf::fixtures::Builder;

    #[test]
    fn lockdown_is_the_word_in_brackets() {
        let parse = Lockdown::parse;
        assert_eq!(parse("[none] integrity confidentiality\n"), Lockdown::None);
        assert_eq!(
            parse("none [integrity] confidentiality"),
            Lockdown::Integrity
        );
        assert_eq!(
            parse("none integrity [confidentiality]"),
            Lockdown::Confidentiality
        );
        assert_eq!(parse(""), Lockdown::None);
    }

    #[test]
    fn the_cgroup_mode_follows_from_the_mounts() {
        let v1 = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n";
        let v2 = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";
        let both = format!("{v1}{v2}");
        assert_eq!(CgroupMode::parse(v1), CgroupMode::Legacy);
        assert_eq!(CgroupMode::parse(v2), CgroupMode::Unified);
        assert_eq!(CgroupMode::parse(&both), CgroupMode::Hybrid);
        assert_eq!(
            CgroupMode::parse("proc /proc proc rw 0 0"),
            CgroupMode::NotMounted
        );
    }

    #[test]
    fn type_ids_of_tracepoints_are_taken_from_the_kernels_own_btf_only() {
        let mut b = Builder::new();
        b.tracepoint("kfree_skb", &[("", 0)]);
        let btf = b.parse();
        let ids = |source| BtfFacts::from_btf(Path::new(source), &btf).tracepoint_ids;
        let id = btf.tracepoint_id("kfree_skb").into_iter();
        assert_eq!(
            ids(DEFAULT_BTF),
            id.map(|id| (Hook::KfreeSkb, id)).collect()
        );
        assert_eq!(ids(DEFAULT_BTF).len(), 1);
        assert!(ids("/boot/vmlinux").is_empty());
    }

    #[test]
    fn a_source_that_is_no_btf_says_so_and_the_other_facts_are_there() {
        let facts = read_kernel_facts(Some(Path::new("/nonexistent/vmlinux")));
        assert!(
            matches!(
                &facts.btf,
                BtfState::Absent { asked_for: true, reason, .. } if reason.contains("No such file")
            ),
            "{:?}",
            facts.btf
        );
        assert!(!facts.release.is_empty());
        assert!(facts.privilege.effective_uid.is_some());

        let directory = read_kernel_facts(Some(Path::new("/proc")));
        assert!(
            matches!(&directory.btf, BtfState::Absent { reason, .. } if reason.contains("regular")),
            "{:?}",
            directory.btf
        );
    }
}
