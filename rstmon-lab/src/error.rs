//! What can go wrong in the lab itself. That a kernel behaves otherwise than a scenario expects is
//! no error but a finding, see [`crate::judge`].

use std::io;
use std::time::Duration;

/// Why the lab or one of its scenarios could not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// No right to make network namespaces.
    #[error(
        "cannot make a private network namespace: {source}; the lab needs CAP_SYS_ADMIN and \
         CAP_NET_ADMIN: run it as root"
    )]
    NotPermitted {
        /// What unshare(2) said.
        source: io::Error,
    },
    /// A scenario needs what this machine does not have.
    #[error("skipped: {reason}")]
    Skipped {
        /// What is missing.
        reason: String,
    },
    /// A scenario was left out on purpose: this kernel has no such thing, or nobody agreed to it.
    #[error("not run: {reason}")]
    NotRun {
        /// Why.
        reason: String,
    },
    /// A system call of the set-up or of a scenario failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, on what.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Something that should have happened did not.
    #[error("waited {waited:?} for {what}, which did not happen")]
    NotSeen {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
    },
    /// A thread of the lab died.
    #[error("the thread of scenario {scenario} died")]
    ThreadDied {
        /// Which scenario.
        scenario: &'static str,
    },
}

/// No TUN device to be had: what open(2) or TUNSETIFF said.
#[derive(Debug, thiserror::Error)]
#[error(
    "its fake peer needs /dev/net/tun: {source}; load the module (modprobe tun) or give this \
     container the device (--device /dev/net/tun)"
)]
pub(crate) struct NoTun {
    pub(crate) source: io::Error,
}

impl NoTun {
    /// What becomes of a scenario that needs it.
    pub(crate) fn to_error(&self) -> LabError {
        LabError::Skipped {
            reason: self.to_string(),
        }
    }
}

/// Puts what was being done to an I/O error.
pub(crate) trait Doing<T> {
    /// `doing` names the action and its object.
    fn doing(self, doing: impl Into<String>) -> Result<T, LabError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: impl Into<String>) -> Result<T, LabError> {
        self.map_err(|source| LabError::Io {
            doing: doing.into(),
            source: source.into(),
        })
    }
}
