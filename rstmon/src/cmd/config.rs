//! `rstmon config`: the settings that the agent would have, and where each came from.

use crate::agent::settings::layers::{Effective, load};
use crate::agent::settings::{Settings, Source};
use crate::cmd::agent::{OfferedFlags, settings_failure};
use crate::cmd::exit::Failure;
use clap::Args;
use std::fmt::Write as _;
use std::io::Write;

/// Arguments of `rstmon config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The agent's flags, to see what they would do
    #[command(flatten)]
    pub flags: OfferedFlags,
}

/// Runs the command.
pub fn run_config(args: &ConfigArgs, out: &mut impl Write) -> Result<(), Failure> {
    let (_, effective) = load(&args.flags.0.layers()).map_err(|error| settings_failure(&error))?;
    match out.write_all(render(&effective).as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::run_time(
            format!("cannot write to standard output: {error}"),
        )),
        _ => Ok(()),
    }
}

/// A configuration file that says the same, with the source of each value as a comment.
fn render(effective: &Effective) -> String {
    let mut text = String::new();
    let mut last_section = "";
    for declared in Settings::DECLARED {
        let Some((value, source)) = effective.get(declared.key) else {
            continue;
        };
        let (section, key) = declared.section_and_key();
        // Writing to a String cannot fail.
        if section != last_section {
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}[{section}]");
            last_section = section;
        }
        let comment = match source {
            Source::Default => String::new(),
            source => format!("  # {source}"),
        };
        let value = toml::Value::String(value.clone());
        let _ = writeln!(text, "# {}\n{key} = {value}{comment}", declared.help);
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use crate::agent::settings::layers::Layers;

    #[test]
    fn what_is_printed_is_a_configuration_that_says_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let first = folder.path().join("a.toml");
        std::fs::write(&first, "[events]\nkeep = 9\nfilter = 'comm \"a b\"'\n").unwrap();
        let layers = |file| Layers {
            file: Some(file),
            ..Layers::default()
        };
        let (settings, effective) = load(&layers(first)).unwrap();
        let text = render(&effective);
        assert!(text.contains("keep = \"9\"  # "), "{text}");
        let second = folder.path().join("b.toml");
        std::fs::write(&second, text).unwrap();
        assert_eq!(load(&layers(second)).unwrap().0, settings);
    }
}
