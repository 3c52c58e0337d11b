//! What host and kernel offer, a line each, with what to do where something is missing.

use super::report::{Answer, FactLine};
use crate::kernel::capabilities::Capability;
use crate::kernel::facts::{BtfState, KernelFacts, Lockdown, Support};
use crate::kernel::hook::Hook;
use crate::kernel::symbols::Symbols;
use crate::kernel::tracefs::TracefsFacts;

/// All lines, in the order in which one would look into them.
pub(super) fn host_lines(facts: &KernelFacts) -> Vec<FactLine> {
    let asked = &facts.probe_support;
    vec![
        btf_line(facts),
        tracefs_line(facts),
        lockdown_line(facts),
        support_line("ring buffer", &asked.ring_buffer, "use Linux 5.8 or later"),
        support_line(
            "raw tracepoints",
            &asked.raw_tracepoint,
            "let root load BPF tracing programs (look for an LSM or a container's seccomp filter)",
        ),
        support_line(
            "fentry",
            &asked.fentry,
            "none needed where kprobes work; else use a kernel that lets root attach probes",
        ),
        kprobe_line(facts),
        symbols_line(facts),
        memlock_line(facts),
        jit_line(facts),
        unprivileged_line(facts),
        cgroup_line(facts),
    ]
}

fn line(name: &'static str, answer: Answer, detail: impl Into<String>) -> FactLine {
    FactLine {
        name,
        answer,
        detail: detail.into(),
        remedy: None,
    }
}

impl FactLine {
    fn remedied_by(self, remedy: &'static str) -> Self {
        Self {
            remedy: Some(remedy),
            ..self
        }
    }
}

fn btf_line(facts: &KernelFacts) -> FactLine {
    match &facts.btf {
        BtfState::Present(btf) => {
            let found = btf.fields.iter().filter(|field| field.place.is_ok());
            let detail = format!(
                "{}: {} of {} fields, {} reset reasons, {} drop reasons",
                btf.source.display(),
                found.count(),
                btf.fields.len(),
                btf.reasons.rst.len(),
                btf.reasons.drop.len()
            );
            line("BTF", Answer::Yes, detail)
        }
        BtfState::Absent { source, reason, .. } => {
            let detail = format!("{}: {reason}", source.display());
            line("BTF", Answer::No, detail).remedied_by(
                "give the BTF of this very kernel with `--btf FILE`, or use a kernel with \
                 CONFIG_DEBUG_INFO_BTF=y",
            )
        }
    }
}

fn tracefs_line(facts: &KernelFacts) -> FactLine {
    match &facts.tracefs {
        TracefsFacts::Mounted { path, formats } => {
            let unreadable: Vec<_> = formats
                .values()
                .filter_map(|format| format.as_ref().err().cloned())
                .collect();
            let where_mounted = path.display().to_string();
            if unreadable.is_empty() {
                return line("tracefs", Answer::Yes, where_mounted);
            }
            let detail = format!("{where_mounted}, but {}", unreadable.join("; "));
            line("tracefs", Answer::No, detail).remedied_by("run as root; classic mode needs it")
        }
        TracefsFacts::Absent { reason } => line("tracefs", Answer::No, reason.clone()).remedied_by(
            "needed for classic mode only: run as root, and `mount -t tracefs tracefs \
             /sys/kernel/tracing` where it is not mounted",
        ),
    }
}

fn lockdown_line(facts: &KernelFacts) -> FactLine {
    let state = facts.lockdown.name();
    match facts.lockdown {
        Lockdown::None | Lockdown::Integrity => {
            line("not locked down", Answer::Yes, format!("lockdown: {state}"))
        }
        Lockdown::Confidentiality => {
            line("not locked down", Answer::No, format!("lockdown: {state}"))
                .remedied_by("boot with lockdown=integrity or without `lockdown=`")
        }
    }
}

fn support_line(name: &'static str, support: &Support, remedy: &'static str) -> FactLine {
    match support {
        Support::Works => line(name, Answer::Yes, "loaded and attached one"),
        Support::NotAsked => line(
            name,
            Answer::Unknown,
            "not tried: needs the privilege first",
        ),
        Support::Refused(reason) => line(name, Answer::No, reason.clone()).remedied_by(remedy),
    }
}

fn kprobe_line(facts: &KernelFacts) -> FactLine {
    let remedy = "use a kernel with CONFIG_KPROBE_EVENTS=y that lets root attach probes";
    match (&facts.probe_support.kprobe, &facts.kprobe_events) {
        (Support::NotAsked, Support::Works) => line(
            "kprobes",
            Answer::Unknown,
            "the kernel has them; not tried: needs the privilege first",
        ),
        (Support::NotAsked, kernel) => support_line("kprobes", kernel, remedy),
        (asked, _) => support_line("kprobes", asked, remedy),
    }
}

fn symbols_line(facts: &KernelFacts) -> FactLine {
    match &facts.symbols {
        Symbols::Known(places) => {
            let wanted = Hook::ALL.iter().filter(|hook| hook.is_function()).count();
            let detail = format!(
                "/proc/kallsyms: {} of {wanted} functions are there now",
                places.len()
            );
            line("function names", Answer::Yes, detail)
        }
        Symbols::Unknown { reason } => line("function names", Answer::Unknown, reason.clone()),
    }
}

fn memlock_line(facts: &KernelFacts) -> FactLine {
    let name = "locked memory";
    let Some(limit) = facts.memlock else {
        return line(name, Answer::Unknown, "RLIMIT_MEMLOCK could not be read");
    };
    let bytes = |bytes: u64| match bytes {
        u64::MAX => "unlimited".to_owned(),
        _ => format!("{} KiB", bytes >> 10),
    };
    let limits = format!(
        "RLIMIT_MEMLOCK {}, at most {}",
        bytes(limit.soft_bytes),
        bytes(limit.hard_bytes)
    );
    match facts.btf_facts().map(|btf| btf.charges_memlock) {
        Some(false) => {
            let detail = format!("{limits}; BPF maps are charged to the memory cgroup instead");
            line(name, Answer::Yes, detail)
        }
        _ if facts.privilege.has(Capability::SysResource) => {
            line(name, Answer::Yes, format!("{limits}; is raised as needed"))
        }
        Some(true) => line(name, Answer::No, format!("{limits}; charged for BPF maps"))
            .remedied_by("run as root, or raise it: `ulimit -l unlimited`, LimitMEMLOCK=infinity"),
        None => line(name, Answer::Unknown, limits)
            .remedied_by("if loading fails with EPERM: `ulimit -l unlimited`"),
    }
}

fn jit_line(facts: &KernelFacts) -> FactLine {
    match facts.bpf_jit_enable {
        Some(0) => line("BPF JIT", Answer::No, "net.core.bpf_jit_enable is 0")
            .remedied_by("run `sysctl net.core.bpf_jit_enable=1`"),
        Some(_) => line("BPF JIT", Answer::Yes, "net.core.bpf_jit_enable is on"),
        None => line(
            "BPF JIT",
            Answer::Unknown,
            "net.core.bpf_jit_enable could not be read",
        ),
    }
}

fn unprivileged_line(facts: &KernelFacts) -> FactLine {
    let detail = match facts.unprivileged_bpf_disabled {
        Some(value) => format!("kernel.unprivileged_bpf_disabled is {value}"),
        None => "kernel.unprivileged_bpf_disabled could not be read".to_owned(),
    };
    let answer = match facts.unprivileged_bpf_disabled {
        Some(0) => Answer::No,
        Some(_) => Answer::Yes,
        None => Answer::Unknown,
    };
    line(
        "BPF for root only",
        answer,
        format!("{detail}; rstmon does not depend on it"),
    )
}

fn cgroup_line(facts: &KernelFacts) -> FactLine {
    use crate::kernel::facts::CgroupMode::{Hybrid, Legacy, NotMounted, Unified};
    let name = "cgroup v2";
    match facts.cgroup_mode {
        Some(mode @ (Unified | Hybrid)) => line(name, Answer::Yes, mode.name()),
        Some(mode @ (Legacy | NotMounted)) => line(name, Answer::No, mode.name())
            .remedied_by("mount cgroup2, for the cgroup of sockets, and their container and unit when the owner is gone"),
        None => line(name, Answer::Unknown, "/proc/self/mounts could not be read"),
    }
}
