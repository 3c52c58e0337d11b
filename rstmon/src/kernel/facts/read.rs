//! Reads the facts from /proc, /sys and the process itself. Every source may fail on its own.

use super::Support;
use super::{BtfFacts, BtfState, CgroupMode, KernelFacts, Lockdown, MemlockLimit, ProbeSupport};
use crate::kernel::btf::Btf;
use crate::kernel::capabilities::{CapabilitySet, Privilege};
use crate::kernel::symbols::{Symbols, parse_symbols};
use crate::kernel::tracefs::{TracefsFacts, read_tracefs};
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::geteuid;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::Path;

/// Where a kernel that has BTF shows it.
pub const DEFAULT_BTF: &str = "/sys/kernel/btf/vmlinux";

const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
const KPROBE_EVENT_SOURCE: &str = "/sys/bus/event_source/devices/kprobe/type";
const KALLSYMS: &str = "/proc/kallsyms";
/// The map of user ids of the initial user namespace: all of them, to themselves.
const IDENTITY_UID_MAP: [&str; 3] = ["0", "0", "4294967295"];

/// Reads everything but [`ProbeSupport`], which only `bpf` can ask for. `btf`: the file that the
/// user gave instead of the kernel's own. Never fails: what cannot be read says why.
#[must_use]
pub fn read_kernel_facts(btf: Option<&Path>) -> KernelFacts {
    let uname = nix::sys::utsname::uname().ok();
    let name = |pick: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
        uname.as_ref().map_or_else(String::new, |names| {
            pick(names).to_string_lossy().into_owned()
        })
    };
    let tracefs = read_tracefs();
    let (btf, symbols) = read_btf_and_symbols(btf);
    KernelFacts {
        release: name(|names| names.release()),
        architecture: name(|names| names.machine()),
        privilege: read_privilege(),
        btf,
        lockdown: fs::read_to_string(LOCKDOWN)
            .map_or(Lockdown::None, |text| Lockdown::parse(&text)),
        unprivileged_bpf_disabled: read_number("/proc/sys/kernel/unprivileged_bpf_disabled"),
        bpf_jit_enable: read_number("/proc/sys/net/core/bpf_jit_enable"),
        memlock: read_memlock(),
        kprobe_events: read_kprobe_events(&tracefs),
        symbols,
        cgroup_mode: fs::read_to_string("/proc/self/mounts")
            .ok()
            .map(|text| CgroupMode::parse(&text)),
        probe_support: ProbeSupport::default(),
        tracefs,
    }
}

fn read_number(path: &str) -> Option<u8> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// What this process may do.
#[must_use]
pub fn read_privilege() -> Privilege {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid_map = fs::read_to_string("/proc/self/uid_map").ok();
    Privilege {
        effective_uid: Some(geteuid().as_raw()),
        capabilities: status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))
            .and_then(CapabilitySet::parse),
        last_capability: read_number("/proc/sys/kernel/cap_last_cap"),
        in_initial_user_namespace: uid_map
            .map(|map| map.split_ascii_whitespace().eq(IDENTITY_UID_MAP)),
    }
}

/// Both at once: each is megabytes that the kernel makes or the reader walks, a third of the start.
fn read_btf_and_symbols(asked: Option<&Path>) -> (BtfState, Symbols) {
    std::thread::scope(|scope| {
        let symbols = std::thread::Builder::new().spawn_scoped(scope, read_symbols);
        let btf = read_btf(asked);
        let symbols = match symbols {
            Ok(reader) => reader.join().unwrap_or_default(),
            // No thread to be had: one after the other.
            Err(_) => read_symbols(),
        };
        (btf, symbols)
    })
}

fn read_btf(asked: Option<&Path>) -> BtfState {
    let source = asked.unwrap_or(Path::new(DEFAULT_BTF));
    match parse_btf_file(source) {
        Ok(btf) => BtfState::Present(Box::new(BtfFacts::from_btf(source, &btf))),
        Err(reason) => BtfState::Absent {
            source: source.to_owned(),
            asked_for: asked.is_some(),
            reason,
        },
    }
}

fn parse_btf_file(source: &Path) -> Result<Btf, String> {
    let metadata = fs::metadata(source).map_err(|error| error.to_string())?;
    // A device or a pipe may never end.
    if !metadata.is_file() {
        return Err("not a regular file".to_owned());
    }
    let bytes = fs::read(source).map_err(|error| error.to_string())?;
    Btf::parse(&bytes).map_err(|error| error.to_string())
}

fn read_memlock() -> Option<MemlockLimit> {
    let (soft_bytes, hard_bytes) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    Some(MemlockLimit {
        soft_bytes,
        hard_bytes,
    })
}

/// Kprobes are attached through the event source `kprobe` (4.17 and later) or through tracefs.
fn read_kprobe_events(tracefs: &TracefsFacts) -> Support {
    if Path::new(KPROBE_EVENT_SOURCE).exists() {
        return Support::Works;
    }
    let in_tracefs = match tracefs {
        TracefsFacts::Mounted { path, .. } => path.join("kprobe_events").exists(),
        TracefsFacts::Absent { .. } => false,
    };
    if in_tracefs {
        Support::Works
    } else {
        Support::Refused(
            "the kernel has no kprobes (CONFIG_KPROBE_EVENTS is off): neither the event source \
             `kprobe` nor kprobe_events in tracefs is there"
                .to_owned(),
        )
    }
}

fn read_symbols() -> Symbols {
    let read = || -> io::Result<_> {
        parse_symbols(BufReader::with_capacity(1 << 16, File::open(KALLSYMS)?))
    };
    match read() {
        // A list without a single TCP function is one that was kept from us.
        Ok(places) if places.is_empty() => Symbols::Unknown {
            reason: format!("{KALLSYMS} shows no function of TCP"),
        },
        Ok(places) => Symbols::Known(places),
        Err(error) => Symbols::Unknown {
            reason: format!("{KALLSYMS}: {error}"),
        },
    }
}
