//! The compiled programs: created in the kernel with their frozen facts, then attached one by one.

use super::log::write_verifier_log;
use super::target_btf::TargetBtf;
use crate::kernel::hook::Hook;
use crate::memory::return_freed_memory;
use aya::maps::{MapData, MapError};
use aya::programs::{
    BtfTracePoint, FEntry, KProbe, Program, ProgramError, RawTracePoint, TracePoint,
};
use aya::{Ebpf, EbpfError, EbpfLoader};
use rstmon_common::classic::ClassicLayout;
use rstmon_common::config::ProbeConfig;
use rstmon_common::layout::KernelLayout;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use thiserror::Error;

/// The object that the build script made of `rstmon-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/rstmon"));

/// What the programs must be told of the kernel: all but the last they find in their `.rodata`.
#[derive(Clone, Debug)]
pub struct FrozenFacts {
    /// Where this kernel keeps its fields.
    pub layout: KernelLayout,
    /// Choices of this run.
    pub config: ProbeConfig,
    /// Where the classic tracepoints keep theirs.
    pub classic: ClassicLayout,
    /// `aya_log::Level` as a number; 0: off, the logging code is pruned.
    pub log_level: u8,
    /// The type ids by which they name tracepoints (`BtfFacts::tracepoint_ids`).
    pub tracepoint_ids: BTreeMap<Hook, u32>,
}

/// How a program hangs on to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachPoint<'a> {
    /// A raw tracepoint, by its BTF.
    BtfTracepoint(Hook),
    /// A raw tracepoint.
    RawTracepoint(&'a str),
    /// A classic tracepoint: category and name.
    Tracepoint(&'a str, &'a str),
    /// The entry of a kernel function, by its BTF.
    Fentry(&'a str),
    /// The entry of a kernel function, by its symbol.
    Kprobe(&'a str),
}

/// Why the programs could not be created or attached.
#[derive(Debug, Error)]
pub enum ProgramsError {
    /// The object could not be created in the kernel.
    #[error("cannot create rstmon's eBPF maps and programs: {0}")]
    Create(String),
    /// The kernel knows no ring buffer maps.
    #[error("the kernel does not know BPF ring buffers: {0}")]
    NoRingBuffer(String),
    /// The kernel refused for lack of privilege.
    #[error("the kernel refused bpf(2): {0}")]
    NotPermitted(String),
    /// The object has no such program: a defect of the build.
    #[error(
        "program {0} is missing from this build of rstmon; rebuild it with `cargo xtask build`"
    )]
    NoSuchProgram(String),
    /// The kernel did not take one program.
    #[error("{0}")]
    Refused(String),
    /// A map is missing or of another kind: a defect of the build.
    #[error("map {0} is missing from this build of rstmon; rebuild it with `cargo xtask build`")]
    NoSuchMap(&'static str),
}

/// The programs and maps of one capture.
pub struct Programs {
    ebpf: Ebpf,
    /// Whether to print the verifier's whole log of a program that it refuses.
    shows_verifier_log: bool,
    target_btf: TargetBtf,
}

/// How large the maps are.
#[derive(Clone, Copy, Debug)]
pub enum MapSizes {
    /// As small as can be: the kernel is only asked what it takes.
    ToAsk,
    /// For a capture, with a ring of so many bytes.
    ToCapture {
        /// A power of two, and a multiple of the page size.
        ring_bytes: u32,
    },
}

impl MapSizes {
    /// A small ring that every page size divides.
    const SMALL_RING_BYTES: u32 = 64 * 1024;

    const fn ring_bytes(self) -> u32 {
        match self {
            Self::ToAsk => Self::SMALL_RING_BYTES,
            Self::ToCapture { ring_bytes } => ring_bytes,
        }
    }
}

impl Programs {
    /// Creates the maps, and prepares the programs without loading any.
    pub fn create(facts: &FrozenFacts, sizes: MapSizes) -> Result<Self, ProgramsError> {
        let mut loader = EbpfLoader::new();
        if let MapSizes::ToAsk = sizes {
            // The exact counts are 384 KiB for each CPU that this machine may get.
            for map in ["COUNTS", "SOCKETS", "CLOSED"] {
                loader.map_max_entries(map, 1);
            }
        }
        let ebpf = loader
            // rustc emits no relocations that would need it.
            .btf(None)
            .override_global("LAYOUT", bytemuck::bytes_of(&facts.layout), true)
            .override_global("CONFIG", bytemuck::bytes_of(&facts.config), true)
            .override_global("CLASSIC", bytemuck::bytes_of(&facts.classic), true)
            .override_global(aya_log::LEVEL, &facts.log_level, false)
            .map_max_entries("EVENTS", sizes.ring_bytes())
            .load(OBJECT)
            .map_err(|error| create_error(&error))?;
        // `EbpfLoader::new` reads the kernel's BTF whatever it is told of BTF: more than all that is
        // held afterwards.
        return_freed_memory();
        Ok(Self {
            ebpf,
            shows_verifier_log: facts.log_level > 0,
            target_btf: TargetBtf::new(facts.tracepoint_ids.clone()),
        })
    }

    /// Loads the program `name` and attaches it to `point`.
    pub fn attach(&mut self, name: &str, point: AttachPoint<'_>) -> Result<(), ProgramsError> {
        self.load(name, point)?;
        let program = self
            .ebpf
            .program_mut(name)
            .ok_or_else(|| ProgramsError::NoSuchProgram(name.to_owned()))?;
        let attached = match point {
            AttachPoint::BtfTracepoint(_) => program
                .try_into()
                .and_then(|program: &mut BtfTracePoint| program.attach().map(drop)),
            AttachPoint::RawTracepoint(tracepoint) => program
                .try_into()
                .and_then(|program: &mut RawTracePoint| program.attach(tracepoint).map(drop)),
            AttachPoint::Tracepoint(category, tracepoint) => {
                program.try_into().and_then(|program: &mut TracePoint| {
                    program.attach(category, tracepoint).map(drop)
                })
            }
            AttachPoint::Fentry(_) => program
                .try_into()
                .and_then(|program: &mut FEntry| program.attach().map(drop)),
            AttachPoint::Kprobe(symbol) => program
                .try_into()
                .and_then(|program: &mut KProbe| program.attach(symbol, 0).map(drop)),
        };
        attached.map_err(|error| refused(&error))
    }

    /// Loads the program `name`, which makes the kernel verify it, without attaching it.
    pub fn load(&mut self, name: &str, point: AttachPoint<'_>) -> Result<(), ProgramsError> {
        self.target_btf.prepare(point)?;
        let program = self
            .ebpf
            .program_mut(name)
            .ok_or_else(|| ProgramsError::NoSuchProgram(name.to_owned()))?;
        match load_program(program, point, &self.target_btf) {
            // Loaded in parallel with others; and a deferred hook is attached again when its module
            // comes.
            Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(()),
            Err(error) => {
                if self.shows_verifier_log
                    && let ProgramError::LoadError { verifier_log, .. } = &error
                {
                    write_verifier_log(name, &verifier_log.to_string());
                }
                Err(refused(&error))
            }
        }
    }

    /// Loads programs on as many threads as there are processors: verifying them one after the other
    /// takes half of a start. What the kernel refuses, [`Self::load`] meets again, and tells.
    pub fn load_in_parallel(&mut self, wanted: &BTreeMap<String, AttachPoint<'_>>) {
        if wanted
            .values()
            .any(|point| self.target_btf.prepare(*point).is_err())
        {
            return;
        }
        let target_btf = &self.target_btf;
        let waiting: Vec<_> = self
            .ebpf
            .programs_mut()
            .filter_map(|(name, program)| Some((*wanted.get(name)?, program)))
            .collect();
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = threads.min(waiting.len());
        let waiting = Mutex::new(waiting);
        let load_next = || {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
            next.map(|(point, program)| load_program(program, point, target_btf))
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                // Without another thread this one does it all.
                let _ = std::thread::Builder::new()
                    .spawn_scoped(scope, || while load_next().is_some() {});
            }
            while load_next().is_some() {}
        });
    }

    /// The names of the programs that are loaded.
    #[must_use]
    pub fn loaded(&self) -> BTreeSet<String> {
        self.ebpf
            .programs()
            .filter(|(_, program)| program.fd().is_ok())
            .map(|(name, _)| name.to_owned())
            .collect()
    }

    /// Lets go of what only loading needs. Hooks that come with a module are kprobes.
    pub(super) fn forget_target_btf(&mut self) {
        self.target_btf.forget();
    }

    /// Takes a map out, to be read on its own.
    pub(super) fn take_map<T>(&mut self, name: &'static str) -> Result<T, ProgramsError>
    where
        T: TryFrom<aya::maps::Map>,
    {
        let map = self
            .ebpf
            .take_map(name)
            .ok_or(ProgramsError::NoSuchMap(name))?;
        T::try_from(map).map_err(|_| ProgramsError::NoSuchMap(name))
    }

    /// Detaches and unloads all programs.
    pub(super) fn unload(&mut self) {
        for (_, program) in self.ebpf.programs_mut() {
            // A program that was never loaded has nothing to unload.
            let _ = match program {
                Program::BtfTracePoint(program) => program.unload(),
                Program::RawTracePoint(program) => program.unload(),
                Program::TracePoint(program) => program.unload(),
                Program::FEntry(program) => program.unload(),
                Program::KProbe(program) => program.unload(),
                _ => Ok(()),
            };
        }
    }

    /// The whole object, for aya-log.
    pub(super) const fn ebpf_mut(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// File descriptors of the loaded programs that report resets: only what these miss is an event
    /// lost.
    pub(super) fn loaded_reporters(&self) -> Vec<OwnedFd> {
        let reports = |name: &str| {
            Hook::ALL
                .iter()
                .filter(|hook| hook.number().is_some())
                .any(|hook| {
                    let variants = hook.variants().iter();
                    variants
                        .copied()
                        .any(|variant| hook.program_name(variant) == name)
                })
        };
        self.ebpf
            .programs()
            .filter(|(name, _)| reports(name))
            .filter_map(|(_, program)| program.fd().ok()?.as_fd().try_clone_to_owned().ok())
            .collect()
    }
}

/// Makes the kernel verify a program. `target_btf` must have been prepared for it.
fn load_program(
    program: &mut Program,
    point: AttachPoint<'_>,
    target_btf: &TargetBtf,
) -> Result<(), ProgramError> {
    match (point, target_btf.of(point)) {
        (AttachPoint::RawTracepoint(_), _) => <&mut RawTracePoint>::try_from(program)?.load(),
        (AttachPoint::Tracepoint(..), _) => <&mut TracePoint>::try_from(program)?.load(),
        (AttachPoint::Kprobe(_), _) => <&mut KProbe>::try_from(program)?.load(),
        (AttachPoint::BtfTracepoint(hook), Some(btf)) => {
            <&mut BtfTracePoint>::try_from(program)?.load(hook.name(), btf)
        }
        (AttachPoint::Fentry(symbol), Some(btf)) => {
            <&mut FEntry>::try_from(program)?.load(symbol, btf)
        }
        (AttachPoint::BtfTracepoint(_) | AttachPoint::Fentry(_), None) => {
            Err(ProgramError::NotLoaded)
        }
    }
}

/// A map's data as aya hands it out.
pub(super) type OwnedMap = MapData;

/// An error of the creation in words that fit on a line.
fn create_error(error: &EbpfError) -> ProgramsError {
    let text = chain(error);
    if permission_denied(error) {
        ProgramsError::NotPermitted(text)
    } else if is_ring_unknown(error) {
        ProgramsError::NoRingBuffer(text)
    } else {
        ProgramsError::Create(text)
    }
}

/// Whether the kernel called the ring's map type invalid.
fn is_ring_unknown(error: &EbpfError) -> bool {
    matches!(
        error,
        EbpfError::MapError(MapError::CreateError { name, io_error })
            if name == "EVENTS" && io_error.kind() == std::io::ErrorKind::InvalidInput
    )
}

/// Whether some cause of `error` is EPERM or EACCES.
fn permission_denied(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    })
}

/// An error of one program: what the kernel said, and of the verifier's log, which can be megabytes,
/// the line that says why.
fn refused(error: &ProgramError) -> ProgramsError {
    ProgramsError::Refused(match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => match verifier_verdict(&verifier_log.to_string()) {
            Some(verdict) => format!("{io_error}; verifier: {verdict}"),
            None => io_error.to_string(),
        },
        error => chain(error),
    })
}

/// The line of the verifier's log that says why: the last one before the statistics.
fn verifier_verdict(log: &str) -> Option<&str> {
    const STATISTICS: [&str; 4] = [
        "processed ",
        "verification time ",
        "stack depth ",
        "subprog ",
    ];
    log.lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty() && !STATISTICS.iter().any(|word| line.starts_with(word)))
}

/// An error with its causes, on one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes: Vec<String> = std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect();
    causes.join(": ")
}

#[cfg(test)]
mod tests {
    use super::verifier_verdict;

    #[test]
    fn the_verdict_is_the_line_before_the_statistics() {
        let log = "0: R1=ctx() R10=fp0\n; some source\n1: (79) r2 = *(u64 *)(r1 +8)\n\
                   invalid bpf_context access off=8 size=8\n\
                   verification time 80 usec\nstack depth 0\n\
                   subprog 0 (main) main insns_self 2 insns_total 2 stack 0\n\
                   processed 2 insns (limit 1000000) max_states_per_insn 0\n\n";
        assert_eq!(
            verifier_verdict(log),
            Some("invalid bpf_context access off=8 size=8")
        );
        assert_eq!(verifier_verdict(""), None);
        assert_eq!(verifier_verdict("processed 0 insns\n"), None);
    }
}
