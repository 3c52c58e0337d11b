//! Values of settings and how they are written.

use crate::agent::paths::FIXED_PAGES;
use crate::filter::Filter;
use crate::kernel::mode::ModeRequest;
use crate::metrics::families::Family;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A type whose values can stand in a file, a variable or a flag.
pub trait SettingValue: Sized {
    /// What stands for it in the help.
    const FORM: &'static str;
    /// Whether it is a list, to which a flag that is given again adds.
    const IS_LIST: bool = false;

    /// Reads a value; an error says what would be one.
    fn parse_setting(text: &str) -> Result<Self, String>;
}

/// Addresses, separated by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenAddresses(pub Vec<String>);

/// A path, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptionalPath(pub Option<PathBuf>);

/// Path of a page that is not one of the agent's others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagePath(pub String);

/// A word, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptionalWord(pub Option<String>);

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(pub u64);

/// Events a second for each CPU; none: what rstmon takes by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventsPerSec(pub Option<u32>);

/// A time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period(pub Duration);

/// Caps by family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaxSeries(pub BTreeMap<Family, usize>);

/// Where the event log goes besides a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventsOutput {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// The journal, with the fields of the event as fields of the entry.
    Journald,
}

impl SettingValue for PagePath {
    const FORM: &'static str = "PATH";

    /// As a client sends it: compared byte by byte, not decoded.
    fn parse_setting(text: &str) -> Result<Self, String> {
        let is_sent = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#');
        if !text.starts_with('/') || !text.bytes().all(is_sent) {
            return Err(format!(
                "`{text}` is no path of a page; write for example /metrics"
            ));
        }
        if FIXED_PAGES.contains(&text) {
            return Err(format!("`{text}` is the path of another page"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl SettingValue for u32 {
    const FORM: &'static str = "N";

    fn parse_setting(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(0) | Err(_) => Err(format!("`{text}` is no number from 1 to {}", Self::MAX)),
            Ok(number) => Ok(number),
        }
    }
}

impl SettingValue for EventsPerSec {
    const FORM: &'static str = "N|auto";

    fn parse_setting(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self(None));
        }
        let number = u32::parse_setting(text);
        number
            .map(|number| Self(Some(number)))
            .map_err(|error| format!("{error}, nor auto"))
    }
}

impl SettingValue for bool {
    const FORM: &'static str = "true|false";

    fn parse_setting(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("`{text}` is neither true nor false"))
    }
}

impl SettingValue for Filter {
    const FORM: &'static str = "FILTER";

    fn parse_setting(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.to_string())
    }
}

impl SettingValue for ModeRequest {
    const FORM: &'static str = "MODE";

    fn parse_setting(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error| format!("{error}"))
    }
}

impl SettingValue for ListenAddresses {
    const FORM: &'static str = "ADDRESS";
    const IS_LIST: bool = true;

    fn parse_setting(text: &str) -> Result<Self, String> {
        let addresses = text.split(',').map(str::trim).filter(|it| !it.is_empty());
        let addresses: Vec<String> = addresses.map(str::to_owned).collect();
        for address in &addresses {
            let port = address
                .rsplit_once(':')
                .map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(_))) {
                return Err(format!(
                    "`{address}` is no address; write for example 127.0.0.1:19435, [::1]:19435 or \
                     :19435"
                ));
            }
        }
        Ok(Self(addresses))
    }
}

impl SettingValue for OptionalPath {
    const FORM: &'static str = "FILE";

    fn parse_setting(text: &str) -> Result<Self, String> {
        Ok(Self((!text.is_empty()).then(|| PathBuf::from(text))))
    }
}

impl SettingValue for OptionalWord {
    const FORM: &'static str = "NAME";

    fn parse_setting(text: &str) -> Result<Self, String> {
        Ok(Self((!text.is_empty()).then(|| text.to_owned())))
    }
}

impl SettingValue for ByteSize {
    const FORM: &'static str = "SIZE";

    fn parse_setting(text: &str) -> Result<Self, String> {
        /// Longest first: `64MiB` ends in `B` too.
        const UNITS: [(&str, u64); 9] = [
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("kB", 1_000),
            ("MB", 1_000_000),
            ("GB", 1_000_000_000),
            ("K", 1 << 10),
            ("M", 1 << 20),
            ("G", 1 << 30),
        ];
        let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
        let (digits, factor) = unit.map_or((text, 1), |(unit, factor)| {
            (text.strip_suffix(unit).unwrap_or(text), *factor)
        });
        let number: Option<u64> = digits.trim().parse().ok();
        number
            .and_then(|number| number.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is no size; write for example 64MiB or 0"))
    }
}

impl SettingValue for Period {
    const FORM: &'static str = "TIME";

    fn parse_setting(text: &str) -> Result<Self, String> {
        crate::cmd::trace::parse_duration(text).map(Self)
    }
}

impl SettingValue for MaxSeries {
    const FORM: &'static str = "FAMILY=N,…";
    const IS_LIST: bool = true;

    fn parse_setting(text: &str) -> Result<Self, String> {
        let mut caps = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            let family = part.split_once('=').and_then(|(name, number)| {
                let family = Family::CAPPED
                    .into_iter()
                    .find(|it| it.short_name() == name);
                Some((family?, number.parse().ok()?))
            });
            let Some((family, cap)) = family else {
                let names = Family::CAPPED.map(Family::short_name).join(", ");
                return Err(format!(
                    "`{part}` is no cap; write FAMILY=N, the families are {names}"
                ));
            };
            caps.insert(family, cap);
        }
        Ok(Self(caps))
    }
}

impl SettingValue for EventsOutput {
    const FORM: &'static str = "stdout|journald|off";

    fn parse_setting(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "stdout" => Ok(Self::Stdout),
            "journald" => Ok(Self::Journald),
            _ => Err(format!("`{text}` is none of stdout, journald and off")),
        }
    }
}
