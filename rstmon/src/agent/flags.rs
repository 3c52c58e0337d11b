//! The flags of the agent, one for each setting, made from the settings' declarations.

use super::settings::Settings;
use super::settings::layers::Layers;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Values of the flags that were given, and the configuration file.
#[derive(Clone, Debug, Default)]
pub struct SettingFlags {
    config: Option<PathBuf>,
    values: BTreeMap<&'static str, String>,
}

impl SettingFlags {
    /// The layers that these flags are the last of.
    #[must_use]
    pub fn layers(&self) -> Layers {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((
                name.into_string().ok()?,
                value.to_string_lossy().into_owned(),
            ))
        });
        Layers {
            file: self.config.clone(),
            variables: variables.collect(),
            flags: self.values.clone(),
        }
    }
}

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Configuration, with the files of FILE.d [default: /etc/rstmon/rstmon.toml]");
        let flags = Settings::DECLARED.iter().map(|declared| {
            let default = if declared.default.is_empty() {
                String::new()
            } else {
                format!(" [default: {}]", declared.default)
            };
            let flag = Arg::new(declared.flag)
                .long(declared.flag)
                .value_name(declared.form)
                .action(clap::ArgAction::Append)
                .help(format!("{}{default}", declared.help));
            if declared.is_switch() {
                flag.num_args(0..=1).default_missing_value("true")
            } else {
                flag
            }
        });
        command.arg(config).args(flags)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.config = matches.get_one("config").cloned();
        for declared in Settings::DECLARED {
            if let Some(values) = matches.get_many::<String>(declared.flag) {
                let values: Vec<&str> = values.map(String::as_str).collect();
                let text = match values.last() {
                    Some(last) if !declared.is_list => (*last).to_owned(),
                    _ => values.join(","),
                };
                self.values.insert(declared.flag, text);
            }
        }
        Ok(())
    }
}
