//! Results as they come from a console, stand in the file, and differ from a declaration.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use super::*;
use crate::vm::declared::Declaration;

/// A result of 6.1 with a bit of everything.
pub(in crate::vm) fn sample() -> KernelResult {
    let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let verdicts = [
        ("port-closed", "matched", "matched"),
        ("stray-reset", "not-visible", "not-visible"),
        ("paws", "not-visible", "matched"),
        ("mptcp", "not-run", "skipped"),
        ("mptcp-join", "differs", "differs"),
    ]
    .map(|(id, of_4, of_6)| {
        let by_family = [("ipv4", of_4), ("ipv6", of_6)];
        let by_family = by_family.map(|(family, word)| (family.to_owned(), word.to_owned()));
        (id.to_owned(), BTreeMap::from(by_family))
    });
    let kprobe = Way {
        mode: Some("probe".to_owned()),
        degraded: strings(&["no-kernel-reason"]),
        lab: Some(Lab::of(&BTreeMap::from(verdicts))),
    };
    KernelResult {
        release: "6.1.0-57-cloud-amd64".to_owned(),
        attached: 31,
        refused: strings(&["fentry_tcp_reset"]),
        made: Made {
            debian: "6.1.192-3~bpo12+1".to_owned(),
            day: "2026-11-29".to_owned(),
            programs: "0123456789ab".to_owned(),
        },
        ways: BTreeMap::from([
            ("fentry".to_owned(), Way::default()),
            ("kprobe".to_owned(), kprobe),
        ]),
    }
}

const DECLARED: &str = r#"
    [[run-missing]]
    names = ["fentry"]
    why = "w"
    [[variant-missing]]
    names = ["fentry_tcp_reset"]
    why = "w"
    [[degraded]]
    names = ["no-kernel-reason"]
    why = "w"
    [[unseen]]
    names = ["stray-reset", "paws/ipv4"]
    why = "w"
    [[mistold]]
    names = ["mptcp-join"]
    why = "w"
    [[not-run]]
    names = ["mptcp"]
    why = "w"
"#;

fn results(targets: &[&str]) -> Results {
    let kernels = targets.iter().map(|name| (name.parse().unwrap(), sample()));
    Results {
        kernels: kernels.collect(),
    }
}

#[test]
fn a_lab_is_summed_up_and_what_was_not_seen_is_named() {
    let lab = sample().ways["kprobe"].lab.clone().unwrap();
    let sums = [
        lab.played,
        lab.seen,
        lab.not_visible,
        lab.told_otherwise,
        lab.not_run,
    ];
    assert_eq!(sums, [8, 3, 3, 2, 2]);
    let unseen: Vec<String> = lab
        .unseen
        .iter()
        .map(|(name, verdict)| format!("{name} {verdict}"))
        .collect();
    let expected = [
        "mptcp-join differs",
        "mptcp/ipv4 not-run",
        "mptcp/ipv6 skipped",
        "paws/ipv4 not-visible",
        "stray-reset not-visible",
    ];
    assert_eq!(unseen, expected);
}

#[test]
fn what_is_written_is_what_is_read() {
    let results = results(&["6.12-arm64", "6.12", "6.1"]);
    let text = results.render().unwrap();
    assert_eq!(Results::parse(&text).unwrap(), results);
    // In the order of the matrix, each from its own head on.
    let places =
        ["\n[\"6.1\"]\n", "\n[\"6.12\"]\n", "\n[\"6.12-arm64\"]\n"].map(|it| text.find(it));
    assert!(places[0].is_some() && places.is_sorted(), "{text}");
    assert_eq!(Results::parse(HEAD).unwrap(), Results::default());
}

#[test]
fn a_file_with_what_no_reader_knows_is_refused() {
    let text = results(&["6.1"]).render().unwrap();
    for (from, to) in [
        ("[\"6.1\"]", "[\"six\"]"),
        ("ways.kprobe", "ways.uprobe"),
        ("told-otherwise", "told"),
        ("release = ", "released = "),
    ] {
        let wrong = text.replace(from, to);
        assert_ne!(wrong, text, "{from}");
        assert!(Results::parse(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_new_run_of_a_kernel_replaces_its_section_alone() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("results.toml");
    fs::write(&path, results(&["6.1", "6.12"]).render().unwrap()).unwrap();
    let newer = KernelResult {
        attached: 32,
        ..sample()
    };
    let target = "6.12".parse().unwrap();
    Results::record(&path, target, newer.clone()).unwrap();
    let read = Results::read(&path).unwrap();
    assert_eq!(read.of(target), Some(&newer));
    assert_eq!(read.of("6.1".parse().unwrap()), Some(&sample()));
    assert_eq!(read.of("6.1-arm64".parse().unwrap()), None);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
}

#[test]
fn a_result_contradicts_a_declaration_in_either_direction() {
    let found = |declared: &str| {
        let declared = Declaration::parse(declared).unwrap();
        contradictions("6.1".parse().unwrap(), &sample(), &declared)
    };
    assert_eq!(found(DECLARED), Vec::<String>::new());
    let either = DECLARED.replace("[[unseen]]", "[[races]]");
    assert_eq!(found(&either), Vec::<String>::new());
    for (from, to, expected) in [
        ("\"stray-reset\", ", "", 2),
        ("paws/ipv4", "paws", 1),
        ("\"paws/ipv4\"", "\"paws/ipv4\", \"port-closed/ipv6\"", 1),
        ("[[mistold]]", "[[unseen]]", 2),
        ("\"mptcp\"", "\"mptcp\", \"port-closed\"", 2),
        ("no-kernel-reason", "no-reason", 2),
        ("fentry_tcp_reset", "fentry_tcp_resets", 2),
        ("[\"fentry\"]", "[\"auto\"]", 2),
        ("[\"fentry\"]", "[\"fentry\", \"kprobe\"]", 1),
    ] {
        let declared = DECLARED.replacen(from, to, 1);
        assert_ne!(declared, DECLARED, "{from}");
        assert_eq!(found(&declared).len(), expected, "{:#?}", found(&declared));
    }
    let few = DECLARED.replace("[\"mptcp\"]", "[\"*\"]\nbut = [\"port-closed\"]");
    let few = found(&few);
    assert!(
        few.iter().any(|it| it.contains("8 were played")),
        "{few:#?}"
    );
}
