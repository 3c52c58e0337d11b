//! The three ways to capture, and what the user may ask for.
//!
//! Parsed from `--mode`, chosen by `probe_plan`, printed in the start record and by `check`.

use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// How rstmon sees resets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// Raw tracepoints and probes on functions: sees everything.
    Probe,
    /// Raw tracepoints only: works on hosts that refuse probes.
    Tracepoint,
    /// Classic tracepoints by their format files: for kernels without BTF.
    Classic,
}

impl Mode {
    /// All modes, the one that sees most first.
    pub const ALL: &'static [Self] = &[Self::Probe, Self::Tracepoint, Self::Classic];

    /// The fixed spelling.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Tracepoint => "tracepoint",
            Self::Classic => "classic",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What the user asked for with `--mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModeRequest {
    /// The mode that sees most on this kernel.
    #[default]
    Auto,
    /// This one or none.
    Force(Mode),
}

impl fmt::Display for ModeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Force(mode) => mode.fmt(f),
        }
    }
}

/// A word that is no mode.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown mode `{found}`; give auto, probe, tracepoint or classic")]
pub struct UnknownMode {
    /// The word.
    found: String,
}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|mode| mode.name() == text)
            .ok_or_else(|| UnknownMode {
                found: text.to_owned(),
            })
    }
}

impl FromStr for ModeRequest {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            Ok(Self::Auto)
        } else {
            text.parse().map(Self::Force)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_reads_back_its_own_spelling() {
        for &mode in Mode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
            assert_eq!(mode.name().parse(), Ok(ModeRequest::Force(mode)));
        }
        assert_eq!("auto".parse(), Ok(ModeRequest::Auto));
        assert_eq!(ModeRequest::Auto.to_string(), "auto");
    }

    #[test]
    fn an_unknown_word_is_named_with_the_known_ones() {
        let error = "fast".parse::<ModeRequest>().err().map(|e| e.to_string());
        let expected = "unknown mode `fast`; give auto, probe, tracepoint or classic";
        assert_eq!(error.as_deref(), Some(expected));
    }
}
