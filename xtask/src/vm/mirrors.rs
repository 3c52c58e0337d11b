//! Which archives this machine's apt uses, so that no name of a host is written down here.
//!
//! [`super::kernels`] asks for the suites of the matrix from the same archives, in sources of its
//! own.

use crate::setup::DEBIAN_KEYRING;
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Releases that hold kernels of the matrix; of each, its updates are looked through too.
const SUITES: &[&str] = &[
    "bullseye",
    "bookworm",
    "bookworm-backports",
    "trixie",
    "trixie-backports",
    "sid",
];
/// Releases with an archive of security updates.
const SECURITY_SUITES: &[&str] = &["bullseye-security", "bookworm-security", "trixie-security"];
/// Names of Debian's releases in apt's sources: archives of other projects have suites of their own.
const RELEASES: &[&str] = &[
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
];
/// Where this machine says which mirrors it uses.
const SOURCES: [&str; 2] = ["/etc/apt/sources.list", "/etc/apt/sources.list.d"];

/// The archives of this machine: of releases and of security updates.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mirrors {
    main: Option<String>,
    security: Option<String>,
}

/// Reads them from apt's own sources.
pub(super) fn read_mirrors() -> Result<Mirrors> {
    let mut sources = Vec::new();
    for place in SOURCES.map(Path::new) {
        let mut files = vec![place.to_owned()];
        if let Ok(entries) = fs::read_dir(place) {
            files = entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .collect();
            files.sort();
        }
        for file in files {
            let Ok(text) = fs::read_to_string(&file) else {
                continue;
            };
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("sources") => sources.extend(parse_stanzas(&text)),
                Some("list") => sources.extend(text.lines().filter_map(parse_line)),
                _ => {}
            }
        }
    }
    let mirrors = Mirrors::among(&sources);
    if mirrors.main.is_none() {
        bail!(
            "this machine's apt has no source of Debian's archive: add one to {}, or run this on \
             a Debian machine",
            SOURCES[0]
        );
    }
    Ok(mirrors)
}

/// One entry of apt's sources.
#[derive(Debug, Default, PartialEq, Eq)]
struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
}

impl Source {
    /// Whether it holds a suite of a Debian release, whose name ends with one of `endings`.
    fn holds_suite(&self, endings: &[&str]) -> bool {
        let is_release = |suite: &String| {
            endings.iter().any(|ending| {
                suite
                    .strip_suffix(ending)
                    .is_some_and(|release| RELEASES.contains(&release))
            })
        };
        self.suites.iter().any(is_release) && self.components.iter().any(|name| name == "main")
    }
}

impl Mirrors {
    fn among(sources: &[Source]) -> Self {
        Self {
            main: archive_of(sources, &["", "-updates", "-backports"], "debian"),
            security: archive_of(sources, &["-security", "/updates"], "debian-security"),
        }
    }
}

/// The archive with such suites. Other projects name their suites after Debian's releases too, so
/// one whose path is the usual one goes first.
fn archive_of(sources: &[Source], endings: &[&str], usual_name: &str) -> Option<String> {
    let uris: Vec<&str> = sources
        .iter()
        .filter(|source| source.holds_suite(endings))
        .flat_map(|source| &source.uris)
        .map(|uri| uri.trim_end_matches('/'))
        .collect();
    let has_usual_name = |uri: &&&str| uri.rsplit('/').next() == Some(usual_name);
    uris.iter()
        .find(has_usual_name)
        .or(uris.first())
        .map(|uri| (*uri).to_owned())
}

/// A line of the one-line form: `deb [option=value …] URI SUITE COMPONENT…`.
fn parse_line(line: &str) -> Option<Source> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    let rest = rest.split('#').next().unwrap_or(rest);
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source {
        uris: vec![words.next()?],
        suites: vec![words.next()?],
        components: words.collect(),
    })
}

/// The stanzas of the form with fields, deb822.
fn parse_stanzas(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut field = String::new();
    for line in text.lines().chain([""]) {
        if line.trim().is_empty() {
            sources.extend(source_of(&mut std::mem::take(&mut fields)));
        } else if !line.starts_with('#') {
            let mut values = line;
            if !line.starts_with([' ', '\t'])
                && let Some((name, rest)) = line.split_once(':')
            {
                field = name.to_ascii_lowercase();
                values = rest;
            }
            let words = values.split_whitespace().map(str::to_owned);
            fields.entry(field.clone()).or_default().extend(words);
        }
    }
    sources
}

/// The stanza's source; `None` for one of source packages, or switched off.
fn source_of(fields: &mut BTreeMap<String, Vec<String>>) -> Option<Source> {
    let mut take = |name: &str| fields.remove(name).unwrap_or_default();
    let is_off = take("enabled").iter().any(|word| word == "no");
    let is_binary = take("types").iter().any(|word| word == "deb");
    (is_binary && !is_off).then(|| Source {
        uris: take("uris"),
        suites: take("suites"),
        components: take("components"),
    })
}

/// The private sources: these archives, the suites of the matrix.
pub(super) fn render_sources(mirrors: &Mirrors) -> String {
    let line = |uri: &String, suite: &&str| {
        format!("deb [signed-by={DEBIAN_KEYRING}] {uri} {suite} main\n")
    };
    let main = mirrors
        .main
        .iter()
        .flat_map(|uri| SUITES.iter().map(move |suite| line(uri, suite)));
    let security = mirrors
        .security
        .iter()
        .flat_map(|uri| SECURITY_SUITES.iter().map(move |suite| line(uri, suite)));
    main.chain(security).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debian() -> Mirrors {
        Mirrors {
            main: Some("http://mirror.example/debian".to_owned()),
            security: Some("http://mirror.example/debian-security".to_owned()),
        }
    }

    #[test]
    fn mirrors_are_read_from_stanzas() {
        let sources = parse_stanzas(
            "# a comment\nTypes: deb deb-src\nURIs: http://mirror.example/debian/\n# another\n\
             Suites: bookworm\n bookworm-updates\nComponents: main contrib\n\n\n\
             types: deb\nURIs: http://mirror.example/debian-security\n\
             Suites: bookworm-security\nComponents: main\n",
        );
        assert_eq!(Mirrors::among(&sources), debian());
        assert_eq!(sources[0].suites, ["bookworm", "bookworm-updates"]);
        let off = "Types: deb\nEnabled: no\nURIs: u\nSuites: sid\nComponents: main\n";
        assert_eq!(parse_stanzas(off), []);
        let of_sources = "Types: deb-src\nURIs: u\nSuites: sid\nComponents: main\n";
        assert_eq!(parse_stanzas(of_sources), []);
    }

    #[test]
    fn mirrors_are_read_from_lines() {
        let text = "# deb http://commented.example/debian bookworm main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main\n\
                    deb-src http://source.example/debian bookworm main\n\
                    deb http://mirror.example/debian-security bookworm-security main # all\n";
        let sources: Vec<Source> = text.lines().filter_map(parse_line).collect();
        assert_eq!(Mirrors::among(&sources), debian());
    }

    #[test]
    fn archives_of_other_projects_are_not_debians() {
        let text = "deb https://engine.example/linux/debian bookworm stable\n\
                    deb https://apt.vendor.example bookworm main\n\
                    deb https://cloud.example/apt sdk-bookworm main\n\
                    deb http://mirror.example/debian trixie main\n\
                    deb http://mirror.example/debian-security trixie-security main\n";
        let sources: Vec<Source> = text.lines().filter_map(parse_line).collect();
        assert_eq!(Mirrors::among(&sources), debian());
        // A mirror may be called anything.
        let proxy = parse_line("deb https://cache.example/deb-remote sid main").into_iter();
        assert_eq!(
            Mirrors::among(&proxy.collect::<Vec<_>>()).main.as_deref(),
            Some("https://cache.example/deb-remote")
        );
        assert_eq!(Mirrors::among(&[]), Mirrors::default());
    }
}
