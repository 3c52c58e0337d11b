//! What the programs log, and the verifier of those that it refuses, behind `--ebpf-log LEVEL`: to standard error, one line a record.

use super::programs::{Programs, ProgramsError};
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use std::io::Write;

/// The receiving end of the programs' log.
pub(super) struct ProgramLog {
    logger: EbpfLogger<StderrLog>,
}

impl ProgramLog {
    pub(super) fn open(programs: &mut Programs) -> Result<Self, ProgramsError> {
        let logger = EbpfLogger::init_with_logger(programs.ebpf_mut(), StderrLog)
            .map_err(|error| ProgramsError::Refused(format!("the programs' log: {error}")))?;
        Ok(Self { logger })
    }

    /// Writes what has come since the last time.
    pub(super) fn flush(&mut self) {
        self.logger.flush();
    }
}

/// Writes what the verifier said of a program that it refused.
pub(super) fn write_verifier_log(program: &str, log: &str) {
    // A standard error that is closed has no reader to lose anything.
    let _ = writeln!(
        anstream::stderr(),
        "ebpf verifier, {program}:\n{}",
        log.trim_end()
    );
}

/// Standard error; the programs already left out what is below the level.
struct StderrLog;

impl Log for StderrLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // A standard error that is closed has no reader to lose anything.
        let _ = writeln!(
            anstream::stderr(),
            "ebpf {} {}: {}",
            record.level().as_str().to_ascii_lowercase(),
            record.target(),
            record.args()
        );
    }

    fn flush(&self) {}
}
