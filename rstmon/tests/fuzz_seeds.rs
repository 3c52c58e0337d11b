//! The fuzz targets of `fuzz/`, compiled as they are and run on their seeds.
//!
//! `fuzz/` is a workspace of its own that needs libFuzzer and another compiler's flags; here its targets
//! are modules, so that a change of what they call does not leave them behind, and each seed runs, whole,
//! cut at each place and with each byte changed. That finds no new bugs and takes seconds: fuzzing is in
//! ARCHITECTURE.md.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "a failed test panics, and so does a target"
)]
#![allow(
    unused_attributes,
    reason = "the targets say that they have no main function"
)]

// What the targets take from libFuzzer is here.
extern crate self as libfuzzer_sys;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/targets/btf.rs"]
mod btf;
#[path = "../../fuzz/targets/filter.rs"]
mod filter;
#[path = "../../fuzz/targets/recording.rs"]
mod recording;
#[path = "../../fuzz/targets/wire.rs"]
mod wire;

/// Makes a function of a target: as libFuzzer's macro of the same name, text that is none is left out.
/// Behind the targets, which import it by its path.
#[macro_export]
macro_rules! fuzz_target {
    (|$input:ident: &[u8]| $body:block) => {
        pub fn run(bytes: &[u8]) {
            let $input = bytes;
            $body
        }
    };
    (|$input:ident: &str| $body:block) => {
        pub fn run(bytes: &[u8]) {
            if let Ok($input) = std::str::from_utf8(bytes) {
                $body
            }
        }
    };
}

/// What a target does with an input.
type Run = fn(&[u8]);

/// The targets by their names.
const TARGETS: [(&str, Run); 4] = [
    ("btf", btf::run),
    ("wire", wire::run),
    ("recording", recording::run),
    ("filter", filter::run),
];
/// What a byte becomes: another bit pattern, the largest, and its neighbour.
const CHANGES: [fn(u8) -> u8; 3] = [|byte| !byte, |_| 0xff, |byte| byte.wrapping_add(1)];

fn fuzz(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz")
        .join(path)
}

/// Files of a folder.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(fuzz(folder)).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Runs a target on its seeds: whole, cut at each place, with each byte changed.
fn run_all(name: &str, run: Run) {
    let seeds = files(&format!("seeds/{name}"));
    assert!(!seeds.is_empty(), "{name} has seeds");
    for seed in seeds {
        let seed = std::fs::read(seed).unwrap();
        run(&seed);
        for at in 0..seed.len() {
            run(&seed[..at]);
            for change in CHANGES {
                let mut changed = seed.clone();
                changed[at] = change(changed[at]);
                run(&changed);
            }
        }
    }
}

#[test]
fn each_target_bears_its_seeds_cut_and_changed() {
    for (name, run) in TARGETS {
        run_all(name, run);
    }
}

/// The manifest of the other workspace, which nothing compiles here.
#[test]
fn the_manifest_of_the_targets_names_them_and_what_they_use() {
    let manifest: toml::Table = std::fs::read_to_string(fuzz("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let targets = manifest["bin"].as_array().unwrap();
    let mut named: Vec<PathBuf> = targets
        .iter()
        .map(|target| fuzz(target["path"].as_str().unwrap()))
        .collect();
    let mut there = files("targets");
    named.sort();
    there.sort();
    assert_eq!(named, there);
    assert_eq!(there.len(), TARGETS.len(), "each target is a module here");
    let dependencies = manifest["dependencies"].as_table().unwrap();
    for target in there {
        let text = std::fs::read_to_string(&target).unwrap();
        for name in dependencies_of(&text) {
            let name = [name.clone(), name.replace('_', "-")];
            let is_named = name.iter().any(|name| dependencies.contains_key(name));
            assert!(is_named, "{}: {}", target.display(), name[0]);
        }
    }
}

/// Crates as they are named in a source: this one, what it may use, which is all that a target compiles
/// with here, and the one that stands for libFuzzer.
fn known_crates() -> BTreeSet<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest: toml::Table = std::fs::read_to_string(manifest).unwrap().parse().unwrap();
    let tables = ["dependencies", "dev-dependencies"].into_iter();
    let used = tables.flat_map(|table| manifest[table].as_table().unwrap().keys());
    let used = used.map(|name| name.replace('-', "_"));
    used.chain(["rstmon", "libfuzzer_sys"].map(str::to_owned))
        .collect()
}

#[test]
fn the_crates_of_a_source_are_found() {
    let source = "use toml::Table;\nfn f() { rstmon::log::g(crc32fast::hash(b\"\")) }";
    assert_eq!(dependencies_of(source), ["toml", "rstmon", "crc32fast"]);
}

/// Crates that paths of a source begin with, in imports or in place.
fn dependencies_of(source: &str) -> Vec<String> {
    let known = known_crates();
    let paths = source.match_indices("::").map(|(at, _)| &source[..at]);
    let heads = paths.filter_map(|before| {
        let is_other = |letter: char| !(letter.is_ascii_alphanumeric() || letter == '_');
        let head = before.rsplit(is_other).next()?;
        // Not a module further on in a path.
        (!before[..before.len() - head.len()].ends_with("::")).then_some(head)
    });
    let heads = heads.filter(|head| known.contains(*head));
    heads.map(str::to_owned).collect()
}
