//! How a command ends badly: the message that people read and the exit code that scripts read.

use std::fmt;

/// Exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Something failed while running.
    RunTime = 1,
    /// The command line is wrong, or the configuration.
    Usage = 2,
    /// A privilege is missing.
    Privilege = 3,
    /// This kernel cannot do it.
    Kernel = 4,
}

/// What each exit code means, for the manual.
pub const EXIT_CODES: [(u8, &str); 5] = [
    (0, "it did what was asked"),
    (ExitCode::RunTime as u8, "something failed while running"),
    (
        ExitCode::Usage as u8,
        "the command line is wrong, or the configuration",
    ),
    (
        ExitCode::Privilege as u8,
        "a privilege is missing: run it as root. To capture, CAP_BPF and CAP_PERFMON are enough; to \
         check a configuration, the right to read its files is",
    ),
    (ExitCode::Kernel as u8, "this kernel cannot support it"),
];

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    /// What the process exits with.
    pub code: ExitCode,
    /// What failed, on what, why, and what to do.
    pub message: String,
}

impl Failure {
    /// A wrong command line.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            code: ExitCode::Usage,
            message: message.into(),
        }
    }

    /// A failure while running.
    #[must_use]
    pub fn run_time(message: impl Into<String>) -> Self {
        Self {
            code: ExitCode::RunTime,
            message: message.into(),
        }
    }

    /// A missing privilege.
    #[must_use]
    pub fn privilege(message: impl Into<String>) -> Self {
        Self {
            code: ExitCode::Privilege,
            message: message.into(),
        }
    }

    /// A kernel that cannot.
    #[must_use]
    pub fn kernel(message: impl Into<String>) -> Self {
        Self {
            code: ExitCode::Kernel,
            message: message.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
