//! What is declared of the kernel that this machine runs. `test` holds the lab to it that it runs here,
//! so that what a capture does not show is no more taken on trust here than in a guest. Pure, but for
//! reading the declaration and asking for the kernel's release.

use super::declaration_path;
use super::declared::Declaration;
use super::results::is_as_expected;
use super::runs::{RUNS, Run};
use super::target::{Arch, Target};
use crate::process::output_of;
use anyhow::{Context, Result, anyhow};

/// The declaration, as far as it is about this kernel in one mode.
#[derive(Debug)]
pub(crate) struct DeclaredHere {
    declared: Declaration,
    target: Target,
    run: &'static Run,
}

impl DeclaredHere {
    /// Reads it; `mode` is what `rstmon check` says of this machine.
    pub(crate) fn read(mode: &str) -> Result<Self> {
        let release =
            output_of("uname", &["-r"]).context("uname does not say the kernel's release")?;
        Ok(Self {
            declared: Declaration::read(&declaration_path())?,
            target: target_of(&release, std::env::consts::ARCH)?,
            run: run_of(mode)?,
        })
    }

    /// Of a kernel by name, for tests.
    #[cfg(test)]
    #[allow(clippy::unwrap_used, reason = "a failed test panics")]
    pub(crate) fn of(target: &str, mode: &str) -> Self {
        Self {
            declared: Declaration::read(&declaration_path()).unwrap(),
            target: target.parse().unwrap(),
            run: run_of(mode).unwrap(),
        }
    }

    /// What is wrong with a verdict of the lab, if anything. This machine is no image of Debian's: what the
    /// lab does not play here is no difference, nor what it plays here and not there.
    pub(crate) fn difference(&self, id: &str, family: &str, verdict: &str) -> Option<String> {
        if matches!(verdict, "not-run" | "passed-over") {
            return None;
        }
        let declared = &self.declared;
        let expected = declared.expected_if_played(self.target, self.run, id, family);
        (!is_as_expected(verdict, expected)).then(|| {
            format!(
                "docs/kernel-support.toml says otherwise of Linux {} in {} mode",
                self.target, self.run.mode
            )
        })
    }
}

/// The kernel of a release like `6.18.44-1`, on an architecture as Rust calls it.
fn target_of(release: &str, arch: &str) -> Result<Target> {
    let numbers: Vec<&str> = release.splitn(3, ['.', '-']).collect();
    let version = match numbers.as_slice() {
        [major, minor, ..] => format!("{major}.{}", minor.trim_end()),
        _ => release.to_owned(),
    };
    Ok(Target {
        arch: match arch {
            "aarch64" => Arch::Arm64,
            _ => Arch::Amd64,
        },
        version: version.parse().map_err(|error: String| anyhow!(error))?,
    })
}

/// The first way to run the lab in a mode.
fn run_of(mode: &str) -> Result<&'static Run> {
    let mut runs = RUNS.iter();
    runs.find(|run| run.has_lab && run.mode == mode)
        .with_context(|| format!("rstmon check says mode `{mode}`, in which no lab is run"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;

    #[test]
    fn a_release_names_its_kernel() {
        let cases = [
            ("6.18.44-fc", "x86_64", "6.18"),
            ("5.10.0-46-cloud-amd64\n", "x86_64", "5.10"),
            ("6.12-rc3", "aarch64", "6.12-arm64"),
            ("7.0\n", "x86_64", "7.0"),
        ];
        for (release, arch, expected) in cases {
            assert_eq!(target_of(release, arch).unwrap().to_string(), expected);
        }
        assert!(target_of("six", "x86_64").is_err());
    }

    #[test]
    fn a_verdict_is_held_to_the_declaration_in_both_directions() {
        let text = r#"
            [[unseen]]
            kernels = ["6.10.."]
            runs = ["tracepoint"]
            names = ["a"]
            why = "x"

            [[not-run]]
            names = ["*"]
            why = "Debian's guest cannot."
        "#;
        let here = DeclaredHere {
            declared: Declaration::parse(text).unwrap(),
            target: "6.18".parse().unwrap(),
            run: run_of("tracepoint").unwrap(),
        };
        let differs = |id, verdict| here.difference(id, "ipv4", verdict).is_some();
        assert!(!differs("a", "not-visible") && !differs("b", "matched"));
        assert!(differs("a", "matched") && differs("b", "not-visible"));
        assert!(differs("b", "differs") && differs("b", "failed"));
        assert!(!differs("a", "not-run") && !differs("b", "passed-over"));
        assert!(run_of("none").is_err());
    }
}
