//! Runs every scenario without a capture and checks what can be known without one: that the errors
//! at the sockets, the RSTs on the wire and the kernel's own count are what the scenario says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics, and one that cannot run says so"
)]

#[path = "../../rstmon/tests/support/skip.rs"]
mod skip;

use std::sync::Mutex;
use std::thread;

use rstmon_lab::{Family, Lab, LabError, Scenario, say_skipped, scenarios, storm};

/// Whether what cannot run is a failure.
fn must_run() -> bool {
    std::env::var_os("RSTMON_REQUIRE_BPF").is_some_and(|set| set == "1")
}

/// `None`, said in a visible line, where this process may not; a failure where CI demands it.
fn lab() -> Option<Lab> {
    match Lab::prepare() {
        Ok(lab) => Some(lab),
        Err(error) => {
            skip::cannot_run(&error.to_string());
            None
        }
    }
}

fn wrong_with(lab: &Lab, scenario: &Scenario, family: Family) -> Option<String> {
    let problems = match lab.run(scenario, family) {
        Ok(observation) => observation.ground_differences(),
        Err(LabError::Skipped { reason }) if !must_run() => {
            say_skipped(&format!("{} {}: {reason}", scenario.id, family.name()));
            Vec::new()
        }
        Err(LabError::NotRun { reason }) => {
            say_skipped(&format!("{} {}: {reason}", scenario.id, family.name()));
            Vec::new()
        }
        Err(error) => vec![error.to_string()],
    };
    let name = format!("{} {}", scenario.id, family.name());
    (!problems.is_empty()).then(|| format!("{name}: {}", problems.join("; ")))
}

#[test]
fn every_scenario_does_what_it_says() {
    let Some(lab) = lab() else { return };
    let runs: Vec<_> = scenarios()
        .flat_map(|scenario| Family::ALL.map(|family| (scenario, family)))
        .collect();
    let waiting = Mutex::new(runs.into_iter());
    let wrong = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap().next();
                    let Some((scenario, family)) = next else {
                        break;
                    };
                    let problem = wrong_with(&lab, scenario, family);
                    wrong.lock().unwrap().extend(problem);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_storm_is_counted_to_the_last_reset() {
    if lab().is_none() {
        return;
    }
    let truth = storm::refused_connections(10_000, 2).unwrap();
    assert_eq!(truth.attempted, 10_000);
    assert_eq!(truth.refused, 10_000);
    assert_eq!(truth.out_rsts_delta, 10_000);
}
