//! The pages against the rules, the filters, the lab and each other: what they name must exist.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use super::page::{CausePage, Sign};
use super::text::{PageStyle, render_all, render_list};
use super::*;
use crate::event::model::{Confidence, Initiator, Kind, SocketState};
use crate::filter::Filter;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const COLUMNS_80: PageStyle = PageStyle {
    width: 80,
    bold: false,
    unicode: true,
};

fn causes() -> impl Iterator<Item = (Cause, &'static CausePage)> {
    Cause::ALL.iter().map(|&cause| (cause, page_of(cause)))
}

/// Everything that a page says in running text, its facts and commands left out.
fn prose(page: &Page) -> Vec<&'static str> {
    match *page {
        Page::Cause(_, page) => {
            let mut texts = vec![
                page.title,
                page.meaning,
                page.who,
                page.harm_detail,
                page.mechanism,
                page.in_tcpdump,
                page.in_counters,
            ];
            texts.extend(page.in_rstmon.iter().map(|sign| sign.says));
            texts.extend(page.origins);
            texts.extend(page.remedies.iter().map(|remedy| remedy.advice));
            texts.extend(page.lookalikes.iter().map(|it| it.difference));
            texts.extend(page.references);
            texts
        }
        Page::Topic(topic) => {
            let mut texts = vec![topic.title, topic.answer];
            for section in topic.sections {
                texts.push(section.heading);
                texts.extend(Some(section.text).filter(|text| !text.is_empty()));
                texts.extend(section.points);
            }
            texts.extend(topic.references);
            texts
        }
    }
}

fn commands(page: &Page) -> Vec<&'static str> {
    match *page {
        Page::Cause(_, page) => page
            .remedies
            .iter()
            .flat_map(|it| it.lines)
            .copied()
            .collect(),
        Page::Topic(topic) => topic
            .sections
            .iter()
            .flat_map(|it| it.lines)
            .copied()
            .collect(),
    }
}

/// What stands in backticks.
fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_kebab(word: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit())
    };
    word.contains('-') && word.split('-').all(is_part)
}

#[test]
fn every_section_says_something() {
    for page in pages() {
        for text in prose(&page) {
            assert!(
                text.trim() == text && text.len() > 3,
                "{}: {text:?}",
                page.id()
            );
        }
        for line in commands(&page) {
            assert!(!line.trim().is_empty(), "{}", page.id());
        }
    }
    for (cause, page) in causes() {
        let counts = [
            page.in_rstmon.len(),
            page.origins.len(),
            page.remedies.len(),
            page.lookalikes.len(),
            page.references.len(),
        ];
        assert!(!counts.contains(&0), "{cause}: {counts:?}");
        let sentences = page.meaning.matches(". ").count() + 1;
        assert!(
            (1..=3).contains(&sentences),
            "{cause}: {sentences} sentences"
        );
        assert!(
            page.lookalikes.iter().all(|it| it.cause != cause),
            "{cause}"
        );
    }
    for topic in topics() {
        assert!(
            !topic.sections.is_empty() && !topic.see.is_empty(),
            "{}",
            topic.id
        );
    }
}

#[test]
fn pages_are_in_the_list_once() {
    let ids: Vec<&str> = pages().map(|page| page.id()).collect();
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), unique.len());
    assert_eq!(ids.len(), Cause::ALL.len() + topics().len());
    let list = render_list(COLUMNS_80);
    for page in pages() {
        let rows = list.lines().filter(|line| {
            line.split_whitespace().next() == Some(page.id()) && line.ends_with(page.title())
        });
        assert_eq!(rows.count(), 1, "{}: one line in 80 columns", page.id());
    }
}

#[test]
fn who_did_it_names_an_initiator() {
    for (cause, page) in causes() {
        let named = code_spans(page.who).any(|span| Initiator::from_name(span).is_some());
        assert!(named, "{cause}: {}", page.who);
    }
}

/// Names with a hyphen that rstmon prints and no page explains.
fn is_value_of_an_event(word: &str) -> bool {
    Kind::from_name(word).is_some()
        || Initiator::from_name(word).is_some()
        || Confidence::from_name(word).is_some()
        || SocketState::from_name(word).is_some()
        || ["with-fin", "before-fin", "after-fin"].contains(&word)
}

#[test]
fn every_id_that_is_named_exists() {
    for page in pages() {
        for text in prose(&page) {
            assert_eq!(text.matches('`').count() % 2, 0, "{}: {text}", page.id());
            for word in code_spans(text).filter(|word| is_kebab(word)) {
                let known = find_page(word).is_some()
                    || is_value_of_an_event(word)
                    || ["tcp-ut", "pool-purge-delay"].contains(&word);
                assert!(known, "{}: `{word}`", page.id());
            }
        }
        let commands = commands(&page);
        for text in prose(&page).into_iter().chain(commands) {
            if let Some((_, id)) = text.split_once("rstmon explain ") {
                assert!(find_page(id).is_some(), "{}: {text}", page.id());
            }
        }
    }
    for topic in topics() {
        for id in topic.see {
            assert!(
                find_page(id).is_some_and(|page| page.id() != topic.id),
                "{id}"
            );
        }
    }
}

/// The sources that emit evidence.
fn diagnosis_sources() -> String {
    fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !["explain", "tests"].contains(&name.as_str()) {
                collect(&path, files);
            } else if path.extension().is_some_and(|it| it == "rs") && !name.starts_with("test") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    collect(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src/diagnose"),
        &mut files,
    );
    assert!(files.len() > 20, "only {} files", files.len());
    let texts: Vec<String> = files
        .iter()
        .map(|it| fs::read_to_string(it).unwrap())
        .collect();
    texts.concat()
}

#[test]
fn facts_are_those_that_rules_emit() {
    let sources = diagnosis_sources();
    for (cause, page) in causes() {
        for Sign { fact, .. } in page.in_rstmon {
            let (key, value) = fact
                .split_once('=')
                .unwrap_or_else(|| panic!("{cause}: {fact}"));
            let emitted = [
                format!("\"{key}\""),
                format!("{key}="),
                format!("\" {key}="),
            ];
            assert!(
                emitted.iter().any(|it| sources.contains(it)),
                "{cause}: {fact}"
            );
            let word = value.split([' ', '=']).next().unwrap();
            let is_known = match key {
                "state" => word == "…" || SocketState::from_name(word).is_some(),
                "kernel_reason" | "drop_reason" => {
                    let name = word
                        .strip_prefix("MPTCP_RST_")
                        .map_or(word, |_| "MPTCP_RST_");
                    word == "…" || sources.contains(&format!("\"{name}\""))
                }
                "sign" => sources.contains(&format!("\"{word}")),
                _ => true,
            };
            assert!(is_known, "{cause}: {fact}");
        }
    }
}

/// Arguments in single quotes of each `rstmon trace`; one may go on in the lines that follow.
fn filters(page: &Page) -> Vec<String> {
    let lines = commands(page);
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((_, arguments)) = line.split_once("rstmon trace ") else {
            continue;
        };
        let mut arguments = arguments.split('|').next().unwrap().to_owned();
        for line in &lines[at + 1..] {
            if arguments.matches('\'').count() % 2 == 0 {
                break;
            }
            arguments = format!("{arguments} {line}");
        }
        found.extend(arguments.split('\'').nth(1).map(str::to_owned));
    }
    found
}

#[test]
fn filters_and_scenarios_in_commands_are_good() {
    let mut seen = 0;
    for page in pages() {
        for filter in filters(&page) {
            seen += 1;
            let parsed = Filter::parse(&filter);
            assert!(parsed.is_ok(), "{}: {filter}: {parsed:?}", page.id());
        }
        for line in commands(&page) {
            if let Some(id) = line.strip_prefix("rstmon lab ") {
                seen += 1;
                assert!(rstmon_lab::find_scenario(id).is_some(), "{line}");
            }
        }
    }
    assert!(seen > 10, "only {seen} seen");
}

#[test]
fn everything_fits_into_80_columns() {
    for text in [render_list(COLUMNS_80), render_all(COLUMNS_80)] {
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
            assert!(line == line.trim_end(), "{line:?}");
        }
    }
}

#[test]
fn terminals_get_what_they_can_show() {
    let ascii = PageStyle {
        unicode: false,
        ..COLUMNS_80
    };
    assert!(render_all(ascii).is_ascii());
    assert!(!render_all(COLUMNS_80).contains(['\u{1b}', '`']));
    let bold = PageStyle {
        bold: true,
        ..COLUMNS_80
    };
    let page = text::render_page(&find_page("paws").unwrap(), bold);
    let first = page.lines().next().unwrap();
    assert!(
        first.starts_with("\u{1b}[1mpaws: ") && first.ends_with("\u{1b}[0m"),
        "{first:?}"
    );
}

#[test]
fn markdown_links_lead_to_headings_and_nothing_is_read_as_markup() {
    let text = markdown::render_all();
    let headings: BTreeSet<&str> = text
        .lines()
        .filter_map(|it| it.strip_prefix("### "))
        .collect();
    assert_eq!(headings.len(), pages().count());
    for (start, _) in text.match_indices("](#") {
        let target = text[start + 3..].split(')').next().unwrap();
        assert!(headings.contains(target), "{target}");
    }
    let mut in_code = false;
    for line in text.lines() {
        in_code ^= line.starts_with("```");
        let words = line.trim_start();
        let marker = words.split(' ').next().unwrap_or_default();
        let number = marker.trim_end_matches(['.', ')']);
        let is_number = number.len() < marker.len() && number.parse::<u32>().is_ok();
        let is_markup = is_number || marker == "+" || words.starts_with('>');
        assert!(in_code || !is_markup, "{line}");
        assert!(in_code || line.chars().count() <= 130, "{line}");
    }
    for page in pages() {
        for text in prose(&page) {
            let outside: String = text.split('`').step_by(2).collect();
            assert!(!outside.contains(['<', '*', '|']), "{}: {text}", page.id());
        }
    }
}

#[test]
fn a_slip_is_understood() {
    for (written, first) in [
        ("keepalive-rase", Some("keepalive-race")),
        ("PORT_CLOSED", Some("port-closed")),
        ("linger", Some("linger-abort")),
        ("halfclose", Some("half-close")),
        ("zzzzzz", None),
        ("", None),
    ] {
        assert_eq!(nearest_ids(written).first().copied(), first, "{written}");
    }
    assert!(nearest_ids("time").len() <= MAX_SUGGESTIONS);
}
