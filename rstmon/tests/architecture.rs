//! The invariants of ARCHITECTURE.md, checked over the source tree itself.
//!
//! Each test reads the text of the sources with comments taken out, so that a rule speaks of code
//! and not of what is written about it. A failure names file and line. Directories that do not
//! exist yet are passed over; that something was looked at is asserted.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Directories of the workspace that hold Rust sources.
const CRATES: [&str; 6] = [
    "rstmon",
    "rstmon-common",
    "rstmon-ebpf",
    "rstmon-lab",
    "xtask",
    "fuzz",
];
/// Directories below them that hold no sources of ours.
const NOT_SOURCES: [&str; 4] = ["target", "corpus", "artifacts", "snapshots"];
/// Longest file, lines. "About 600" leaves a little.
const MAX_LINES: usize = 620;
/// Fewer sources than this were not the workspace.
const MIN_SOURCES: usize = 15;

/// One source file.
struct Source {
    /// Path below the workspace root, with `/`.
    path: String,
    text: String,
    /// The text with comments blanked and every line kept in place; strings stay.
    code: String,
}

impl Source {
    fn read(root: &Path, file: &Path) -> Self {
        let path = file
            .strip_prefix(root)
            .unwrap()
            .to_string_lossy()
            .replace('\\', "/");
        let text = fs::read_to_string(file).unwrap();
        let code = without_comments(&text);
        Self { path, text, code }
    }

    fn is_below(&self, prefixes: &[&str]) -> bool {
        prefixes.iter().any(|prefix| self.path.starts_with(prefix))
    }

    /// The code without a trailing `#[cfg(test)] mod tests { }`; nothing for a file of tests.
    fn shipped_code(&self) -> &str {
        let of_tests = self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
            || self.path.ends_with("_tests.rs")
            || self.path.ends_with("/fixtures.rs")
            || self.path.ends_with("/samples.rs");
        if of_tests {
            return "";
        }
        self.code
            .find("#[cfg(test)]\nmod tests {")
            .map_or(&self.code, |end| &self.code[..end])
    }
}

fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn sources() -> Vec<Source> {
    let root = workspace_root();
    let mut files = Vec::new();
    for name in CRATES {
        collect(&root.join(name), &mut files);
    }
    files.sort();
    assert!(
        files.len() >= MIN_SOURCES,
        "only {} sources below {}",
        files.len(),
        root.display()
    );
    files.iter().map(|file| Source::read(&root, file)).collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !NOT_SOURCES.contains(&name.as_str()) && !name.starts_with('.') {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Blanks `//` and `/* */` comments; line numbers and string literals stay.
fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, keep) = token(rest, first);
        let (head, tail) = rest.split_at(length);
        if keep {
            code.push_str(head);
        } else {
            code.extend(head.chars().filter(|&character| character == '\n'));
        }
        rest = tail;
    }
    code
}

/// Length of the token at the start of `rest`, and whether it is code.
fn token(rest: &str, first: char) -> (usize, bool) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), false);
    }
    if rest.starts_with("/*") {
        return (rest.find("*/").map_or(rest.len(), |end| end + 2), false);
    }
    if let Some(length) = raw_string(rest) {
        return (length, true);
    }
    match first {
        '"' => (quoted(rest), true),
        // A character such as '"' or '/' must not open anything; a lifetime has no closing quote.
        '\'' => (character_literal(rest), true),
        // An identifier is taken whole, so that the r of `for"..."` opens no raw string.
        first if first.is_alphanumeric() || first == '_' => {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            (end.unwrap_or(rest.len()), true)
        }
        first => (first.len_utf8(), true),
    }
}

fn raw_string(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let content = body[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let start = rest.len() - content.len();
    Some(
        content
            .find(&close)
            .map_or(rest.len(), |end| start + end + close.len()),
    )
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (index, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

fn character_literal(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => rest[3.min(rest.len())..]
            .find('\'')
            .map_or(1, |end| 3 + end + 1),
        Some((index, character)) if rest[index + character.len_utf8()..].starts_with('\'') => {
            index + character.len_utf8() + 1
        }
        _ => 1,
    }
}

/// Whether `word` stands in `line` as a path segment of its own.
fn names(line: &str, word: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// Lines of `code` in which one of `words` stands.
fn offences(source: &Source, code: &str, words: &[&str], found: &mut Vec<String>) {
    for (index, line) in code.lines().enumerate() {
        for word in words {
            if names(line, word) {
                let line = line.trim();
                found.push(format!(
                    "{}:{}: `{word}` in `{line}`",
                    source.path,
                    index + 1
                ));
            }
        }
    }
}

fn assert_none(found: &[String], rule: &str) {
    let mut list = String::new();
    for one in found {
        writeln!(list, "  {one}").unwrap();
    }
    assert!(found.is_empty(), "{rule}:\n{list}");
}

#[test]
fn only_bpf_names_aya() {
    let mut found = Vec::new();
    for source in sources() {
        let may = source.is_below(&[
            "rstmon/src/bpf/",
            "rstmon/build.rs",
            "rstmon-ebpf/",
            "xtask/",
        ]);
        if !may && source.path != "rstmon/tests/architecture.rs" {
            let words = ["aya", "aya_log", "aya_obj", "aya_build"];
            offences(&source, &source.code, &words, &mut found);
        }
    }
    assert_none(
        &found,
        "only rstmon/src/bpf/ may name aya; give the others a type of their own",
    );
}

/// Modules that are pure: what they need of time and of the host comes in as values.
const PURE: [&str; 12] = [
    "rstmon/src/event/",
    "rstmon/src/diagnose/",
    "rstmon/src/filter/",
    "rstmon/src/board/",
    "rstmon/src/metrics/",
    "rstmon/src/top/columns",
    "rstmon/src/top/keys",
    "rstmon/src/top/view",
    "rstmon/src/top/state",
    "rstmon/src/top/update",
    "rstmon/src/kernel/probe_plan",
    "rstmon/src/pipeline.rs",
];

#[test]
fn pure_modules_do_no_io_and_read_no_clock() {
    let forbidden = [
        "std::fs",
        "std::process",
        "std::thread",
        "std::env",
        "std::os",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "UnixStream",
        "Instant",
        "SystemTime",
        "tokio",
        "nix",
        "libc",
        "clock_gettime",
        "Zoned::now",
        "Timestamp::now",
        "unsafe",
    ];
    let mut found = Vec::new();
    let mut scanned = 0;
    for source in sources().iter().filter(|source| source.is_below(&PURE)) {
        scanned += 1;
        offences(source, source.shipped_code(), &forbidden, &mut found);
    }
    assert!(scanned >= 3, "only {scanned} pure sources found");
    assert_none(
        &found,
        "pure modules do no I/O and read no clock; pass the value in",
    );
}

#[test]
fn what_kernel_and_user_space_share_is_plain_integers() {
    let mut found = Vec::new();
    let mut records = 0;
    for source in sources()
        .iter()
        .filter(|source| source.is_below(&["rstmon-common/src/"]))
    {
        let code = &source.code;
        for (start, _) in code.match_indices("#[repr(C)]") {
            let Some(body) = record_body(&code[start..]) else {
                continue;
            };
            records += 1;
            for line in body
                .lines()
                .filter(|line| line.contains(':') && !line.contains("#["))
            {
                let field = line.split_once(':').map_or("", |(_, kind)| kind);
                let wrong = [
                    "bool", "char", "usize", "isize", "f32", "f64", "str", "Option",
                ]
                .iter()
                .any(|word| names(field, word));
                if wrong || field.contains('&') || field.contains('*') {
                    found.push(format!("{}: `{}`", source.path, line.trim()));
                }
            }
        }
        if code.contains("#[repr(C)]\n#[derive") && code.contains("repr(C)]\npub enum") {
            found.push(format!("{}: an enum with repr(C)", source.path));
        }
    }
    assert!(records >= 5, "only {records} shared records found");
    assert_none(
        &found,
        "a shared record holds fixed-width integers, arrays and records of them",
    );
}

/// What stands between the braces of the struct after an attribute; None after anything else.
fn record_body(code: &str) -> Option<&str> {
    let open = code.find('{')?;
    names(&code[..open], "struct").then(|| code[open + 1..].split('}').next())?
}

#[test]
fn shared_records_can_be_read_from_any_bytes() {
    let mut found = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| source.is_below(&["rstmon-common/src/"]))
    {
        let lines: Vec<&str> = source.code.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let derives = lines.get(index + 1).is_some_and(|next| names(next, "Pod"));
            if line.trim() == "#[repr(C)]" && !derives {
                found.push(format!("{}:{}: no derive(Pod)", source.path, index + 1));
            }
        }
    }
    // Pod is what makes the compiler reject padding, enums, booleans and references.
    assert_none(
        &found,
        "every #[repr(C)] record derives bytemuck::Pod on the next line",
    );
}

#[test]
fn kernel_memory_is_read_in_one_file() {
    let mut found = Vec::new();
    for source in sources() {
        if !source.is_below(&["rstmon-ebpf/src/"]) || source.path == "rstmon-ebpf/src/read.rs" {
            continue;
        }
        for (index, line) in source.code.lines().enumerate() {
            let is_argument_macro = source.path == "rstmon-ebpf/src/hooks/mod.rs";
            let takes_pointer = line.contains("arg::<*") && !is_argument_macro;
            if line.contains("bpf_probe_read") || takes_pointer {
                found.push(format!("{}:{}: `{}`", source.path, index + 1, line.trim()));
            }
        }
    }
    assert_none(&found, "only rstmon-ebpf/src/read.rs reads kernel memory");
}

#[test]
fn every_module_says_what_it_is_for() {
    let mut found = Vec::new();
    for source in sources() {
        let head = first_after_attributes(&source.text);
        if !head.starts_with("//! ") {
            found.push(format!("{}:1: begins with `{head}`", source.path));
        }
    }
    assert_none(
        &found,
        "every module begins with `//!`: what it is for, who calls it",
    );
}

/// The first line that does not belong to an inner attribute.
fn first_after_attributes(text: &str) -> &str {
    let mut in_attribute = false;
    for line in text.lines() {
        in_attribute |= line.starts_with("#![");
        if !in_attribute && !line.is_empty() {
            return line;
        }
        in_attribute &= !line.ends_with(']');
    }
    ""
}

#[test]
fn files_stay_short() {
    let mut found = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > MAX_LINES {
            found.push(format!("{}: {lines} lines", source.path));
        }
    }
    assert_none(
        &found,
        "no file beyond about 600 lines; divide it by what it is about",
    );
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let root = workspace_root();
    let mut found = Vec::new();
    let path_of_this_machine = concat!("/wo", "rk/");
    for source in sources() {
        for (index, line) in source.text.lines().enumerate() {
            if line.contains(path_of_this_machine) {
                found.push(format!("{}:{}: `{}`", source.path, index + 1, line.trim()));
            }
        }
    }
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "Cargo.toml",
    ] {
        let text = fs::read_to_string(root.join(name)).unwrap_or_default();
        for (index, line) in text.lines().enumerate() {
            if line.contains(path_of_this_machine) {
                found.push(format!("{name}:{}: `{}`", index + 1, line.trim()));
            }
        }
    }
    assert_none(&found, "no path of a developer's machine");
}

/// The scanner itself: a rule that sees nothing would pass for ever.
#[test]
fn the_scanner_tells_code_from_comments_and_strings() {
    let text = "a // aya\n/* aya\naya */ b '\"' \"// aya\" r#\"/* \"aya\"#; '\\'' 'x: c // d";
    let code = without_comments(text);
    assert_eq!(
        code,
        "a \n\n b '\"' \"// aya\" r#\"/* \"aya\"#; '\\'' 'x: c "
    );
    assert!(names("use aya::Ebpf;", "aya"));
    assert!(!names("use ayatollah; x_aya", "aya"));
    assert!(names("use std::fs;", "std::fs"));
    assert!(!names("use std::fstab;", "std::fs"));
}
