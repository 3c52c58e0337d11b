//! Settings by layer: defaults, `/etc/rstmon/rstmon.toml`, the files of its `.d` folder by name, the
//! environment, flags. What comes later wins; where each value came from is kept.

use super::table::{Declaration, Settings, SettingsError};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// The file that is read if no other is asked for; it need not be there.
pub const DEFAULT_FILE: &str = "/etc/rstmon/rstmon.toml";
/// Variables that begin like a setting's and are none: the tests', and those that Kubernetes sets for a
/// service of the name rstmon.
const NO_SETTINGS: [&str; 4] = [
    "RSTMON_REQUIRE_BPF",
    "RSTMON_SERVICE_",
    "RSTMON_PORT",
    "RSTMON_TEST_",
];

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody said otherwise.
    Default,
    /// A file and a line of it.
    File(PathBuf, usize),
    /// An environment variable.
    Variable(String),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => write!(f, "--{flag}"),
        }
    }
}

/// What is read besides the files.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// The file that was asked for; it must be there.
    pub file: Option<PathBuf>,
    /// The environment.
    pub variables: Vec<(String, String)>,
    /// Values of flags, by the flag.
    pub flags: BTreeMap<&'static str, String>,
}

/// The text of each setting and where it came from.
pub type Effective = BTreeMap<&'static str, (String, Source)>;

/// Reads all layers.
pub fn load(layers: &Layers) -> Result<(Settings, Effective), SettingsError> {
    let mut effective: Effective = Settings::DECLARED
        .iter()
        .map(|it| (it.key, (it.default.to_owned(), Source::Default)))
        .collect();
    for path in files(layers.file.as_deref())? {
        read_file(&path, &mut effective)?;
    }
    for (name, text) in &layers.variables {
        read_variable(name, text, &mut effective)?;
    }
    for declared in Settings::DECLARED {
        if let Some(text) = layers.flags.get(declared.flag) {
            let source = Source::Flag(declared.flag);
            set(declared, text.clone(), source, &mut effective)?;
        }
    }
    let texts = effective
        .iter()
        .map(|(key, (text, _))| (*key, text.clone()));
    let settings = Settings::from_texts(&texts.collect())?;
    Ok((settings, effective))
}

/// The files that there are: the main one, then those of `.d` beside it.
fn files(asked_for: Option<&Path>) -> Result<Vec<PathBuf>, SettingsError> {
    let main = asked_for.unwrap_or(Path::new(DEFAULT_FILE));
    let mut files = Vec::new();
    // Where it cannot be told, reading it says why.
    if asked_for.is_some() || main.try_exists().unwrap_or(true) {
        files.push(main.to_owned());
    }
    let mut folder = main.as_os_str().to_owned();
    folder.push(".d");
    let folder = PathBuf::from(folder);
    match fs::read_dir(&folder) {
        Ok(entries) => {
            let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
            let is_toml = |path: &PathBuf| path.extension().is_some_and(|it| it == "toml");
            let mut paths: Vec<PathBuf> = paths.filter(is_toml).collect();
            paths.sort();
            files.append(&mut paths);
            Ok(files)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(files),
        Err(error) => Err(unreadable(folder, &error)),
    }
}

fn unreadable(path: PathBuf, error: &io::Error) -> SettingsError {
    SettingsError::Unreadable {
        path,
        reason: error.to_string(),
        is_denied: error.kind() == io::ErrorKind::PermissionDenied,
    }
}

fn read_file(path: &Path, effective: &mut Effective) -> Result<(), SettingsError> {
    let text = fs::read_to_string(path).map_err(|error| unreadable(path.to_owned(), &error))?;
    let at = |offset: usize, message: String| SettingsError::InFile {
        path: path.to_owned(),
        line: line_of(&text, offset),
        message,
    };
    let table = DeTable::parse(&text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        at(offset, error.message().to_owned())
    })?;
    for (section, values) in table.get_ref() {
        let DeValue::Table(values) = values.get_ref() else {
            let message = unknown(section.get_ref(), "a section", sections());
            return Err(at(section.span().start, message));
        };
        if !sections().any(|known| known == section.get_ref().as_ref()) {
            let message = unknown(section.get_ref(), "a section", sections());
            return Err(at(section.span().start, message));
        }
        for (key, value) in values {
            let whole = format!("{}.{}", section.get_ref(), key.get_ref());
            let Some(declared) = Settings::DECLARED.iter().find(|it| it.key == whole) else {
                let known = Settings::DECLARED.iter().map(|it| it.key);
                return Err(at(key.span().start, unknown(&whole, "a setting", known)));
            };
            let wrong = |message| at(value.span().start, message);
            let value_text = text_of(value.get_ref()).map_err(wrong)?;
            (declared.check)(&value_text).map_err(wrong)?;
            let line = line_of(&text, key.span().start);
            let source = Source::File(path.to_owned(), line);
            effective.insert(declared.key, (value_text, source));
        }
    }
    Ok(())
}

fn read_variable(name: &str, text: &str, effective: &mut Effective) -> Result<(), SettingsError> {
    let is_none = NO_SETTINGS.iter().any(|none| name.starts_with(none));
    if !name.starts_with("RSTMON_") || is_none {
        return Ok(());
    }
    let variables: Vec<String> = Settings::DECLARED
        .iter()
        .map(Declaration::variable)
        .collect();
    let found = Settings::DECLARED.iter().find(|it| it.variable() == name);
    let Some(declared) = found else {
        return Err(SettingsError::Elsewhere {
            place: "environment".to_owned(),
            message: unknown(name, "a setting", variables.iter().map(String::as_str)),
        });
    };
    let source = Source::Variable(name.to_owned());
    set(declared, text.to_owned(), source, effective)
}

/// Takes a value over, if it is one.
fn set(
    declared: &Declaration,
    text: String,
    source: Source,
    effective: &mut Effective,
) -> Result<(), SettingsError> {
    (declared.check)(&text).map_err(|message| SettingsError::Elsewhere {
        place: source.to_string(),
        message,
    })?;
    effective.insert(declared.key, (text, source));
    Ok(())
}

/// A value of the file as its text; lists are joined by commas.
fn text_of(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.as_str().replace('_', "")),
        DeValue::Boolean(truth) => Ok(truth.to_string()),
        DeValue::Array(values) => {
            let texts: Result<Vec<String>, String> = values
                .iter()
                .map(|value| text_of(value.get_ref()))
                .collect();
            Ok(texts?.join(","))
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => {
            Err("a text, a number, true, false or a list of texts belongs here".to_owned())
        }
    }
}

fn sections() -> impl Iterator<Item = &'static str> {
    Settings::DECLARED.iter().map(|it| it.section_and_key().0)
}

/// What is not known, with the nearest that is.
fn unknown<'k>(name: &str, what: &str, known: impl Iterator<Item = &'k str>) -> String {
    let nearest = known
        .max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)));
    match nearest {
        Some(nearest) => format!(
            "`{name}` is not {what}; the nearest is `{nearest}`, and `rstmon config` lists all"
        ),
        None => format!("`{name}` is not {what}"),
    }
}

/// Line of a byte offset, from 1.
fn line_of(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    1 + before.matches('\n').count()
}
