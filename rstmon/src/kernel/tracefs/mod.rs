//! The classic tracepoints as tracefs describes them.
//!
//! `facts` reads the `format` files, the probe plan asks whether the fields are there, the loader
//! freezes [`TracefsFacts::classic_layout`] into the programs of classic mode. Pure but for
//! [`read_tracefs`].

mod format;

pub use format::{FormatError, RecordMember, TracepointFormat};

use crate::kernel::hook::Hook;
use rstmon_common::classic::{ClassicLayout, RecordLayout};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where tracefs is mounted: on its own, or below debugfs (before 4.1 and by old habit).
pub const MOUNT_POINTS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// What could be found out about tracefs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TracefsFacts {
    /// It cannot be used.
    Absent {
        /// Why, for each place where it was looked for.
        reason: String,
    },
    /// It is there.
    Mounted {
        /// Where.
        path: PathBuf,
        /// For each tracepoint of ours its format, or why it could not be read.
        formats: BTreeMap<Hook, Result<TracepointFormat, String>>,
    },
}

impl Default for TracefsFacts {
    fn default() -> Self {
        Self::Absent {
            reason: "not looked for".to_owned(),
        }
    }
}

impl TracefsFacts {
    /// The format of a tracepoint, or why there is none.
    pub fn format(&self, hook: Hook) -> Result<&TracepointFormat, String> {
        match self {
            Self::Absent { reason } => Err(reason.clone()),
            Self::Mounted { formats, .. } => match formats.get(&hook) {
                Some(Ok(format)) => Ok(format),
                Some(Err(reason)) => Err(reason.clone()),
                None => Err(format!("{hook} was not looked for")),
            },
        }
    }

    /// Offsets for the programs of classic mode.
    #[must_use]
    pub fn classic_layout(&self) -> ClassicLayout {
        let record = |hook| {
            self.format(hook)
                .map_or(RecordLayout::NONE, TracepointFormat::resolve_record)
        };
        ClassicLayout {
            send_reset: record(Hook::TcpSendReset),
            receive_reset: record(Hook::TcpReceiveReset),
            set_state: record(Hook::InetSockSetState),
        }
    }
}

/// Reads the formats of every tracepoint of ours from the first place where tracefs is mounted.
#[must_use]
pub fn read_tracefs() -> TracefsFacts {
    let mut reasons = Vec::new();
    for path in MOUNT_POINTS.map(Path::new) {
        match fs::metadata(path.join("events")) {
            Ok(_) => {
                return TracefsFacts::Mounted {
                    path: path.to_owned(),
                    formats: read_formats(path),
                };
            }
            Err(error) => reasons.push(format!("{}: {}", path.display(), describe(&error))),
        }
    }
    TracefsFacts::Absent {
        reason: reasons.join("; "),
    }
}

fn read_formats(mount: &Path) -> BTreeMap<Hook, Result<TracepointFormat, String>> {
    Hook::ALL
        .iter()
        .filter_map(|&hook| {
            let group = hook.tracefs_group()?;
            let path = mount
                .join("events")
                .join(group)
                .join(hook.name())
                .join("format");
            Some((hook, read_format(&path)))
        })
        .collect()
}

fn read_format(path: &Path) -> Result<TracepointFormat, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    TracepointFormat::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "not mounted".to_owned(),
        io::ErrorKind::PermissionDenied => "only root may read it".to_owned(),
        _ => error.to_string(),
    }
}
