//! Loading programs beside each other, on the real kernel.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

mod support;

use rstmon::bpf::programs::{AttachPoint, FrozenFacts, MapSizes, Programs};
use rstmon_common::classic::ClassicLayout;
use rstmon_common::config::ProbeConfig;
use rstmon_common::layout::KernelLayout;
use std::collections::BTreeMap;
use support::bpf_works;

#[test]
fn what_is_taken_is_loaded_and_what_is_refused_is_told_when_asked_for() {
    if !bpf_works() {
        return;
    }
    let facts = FrozenFacts {
        layout: KernelLayout::NONE,
        config: ProbeConfig::NONE,
        classic: ClassicLayout::NONE,
        log_level: 0,
        tracepoint_ids: BTreeMap::new(),
    };
    let mut programs = Programs::create(&facts, MapSizes::ToAsk).expect("maps");
    assert!(programs.loaded().is_empty());
    let absent = AttachPoint::Fentry("no_function_has_this_name");
    let wanted = BTreeMap::from([
        (
            "raw_tp_support".to_owned(),
            AttachPoint::RawTracepoint("inet_sock_set_state"),
        ),
        (
            "raw_tp_signal_generate".to_owned(),
            AttachPoint::RawTracepoint("signal_generate"),
        ),
        ("fentry_support".to_owned(), absent),
        ("no_program".to_owned(), absent),
    ]);
    programs.load_in_parallel(&wanted);
    let loaded: Vec<String> = programs.loaded().into_iter().collect();
    assert_eq!(loaded, ["raw_tp_signal_generate", "raw_tp_support"]);
    let refusal = programs.load("fentry_support", absent).unwrap_err();
    assert!(
        refusal.to_string().contains("no_function_has_this_name"),
        "{refusal}"
    );
    for (name, point) in wanted.iter().filter(|(name, _)| loaded.contains(name)) {
        programs.load(name, *point).expect("it is loaded already");
    }
}
