//! The report of a lab run, for people: a line each, and the sums.

use std::fmt::Write as _;

use crate::error::LabError;
use crate::judge::{Answer, Judgement};
use crate::scenario::Scenario;
use crate::truth::Family;

/// What became of one scenario in one family.
#[derive(Clone, Debug)]
pub struct ScenarioResult {
    /// The scenario's id.
    pub scenario: &'static str,
    /// What happens in it.
    pub title: &'static str,
    /// IP version.
    pub family: Family,
    /// What was expected, and what was diagnosed; empty where it did not come to its end, and where no
    /// reset is due.
    pub answers: Vec<Answer>,
    /// The verdict.
    pub outcome: Outcome,
}

impl ScenarioResult {
    /// Of a run that was judged.
    #[must_use]
    pub const fn judged(
        scenario: &Scenario,
        family: Family,
        answers: Vec<Answer>,
        judgement: Judgement,
    ) -> Self {
        Self {
            answers,
            scenario: scenario.id,
            title: scenario.title,
            family,
            outcome: Outcome::Judged(judgement),
        }
    }

    /// Of a run that did not come to its end.
    #[must_use]
    pub fn not_run(scenario: &Scenario, family: Family, error: LabError) -> Self {
        let outcome = match error {
            LabError::Skipped { reason } => Outcome::Skipped { skipped: reason },
            LabError::NotRun { reason } => Outcome::NotRun { not_run: reason },
            error => Outcome::Failed {
                failed: error.to_string(),
            },
        };
        Self {
            scenario: scenario.id,
            title: scenario.title,
            family,
            answers: Vec::new(),
            outcome,
        }
    }

    /// Expected against diagnosed; where the two are the same, once.
    fn told(&self) -> String {
        if !matches!(self.outcome, Outcome::Judged(_)) {
            return String::new();
        }
        if self.answers.is_empty() {
            return ": none".to_owned();
        }
        let answers: Vec<_> = self.answers.iter().map(Answer::told).collect();
        format!(": {}", answers.join(", "))
    }
}

impl Answer {
    fn told(&self) -> String {
        match (&self.expected, &self.diagnosed) {
            (Some(_), Some(diagnosed)) if self.is_expected => diagnosed.clone(),
            (Some(expected), Some(diagnosed)) => format!("{expected} diagnosed as {diagnosed}"),
            (Some(expected), None) => format!("{expected} not seen"),
            (None, Some(diagnosed)) => format!("{diagnosed} not expected"),
            (None, None) => "an event not expected".to_owned(),
        }
    }
}

/// See [`ScenarioResult`].
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It ran, and was judged.
    Judged(Judgement),
    /// This machine lacks what it needs.
    Skipped {
        /// What is missing.
        skipped: String,
    },
    /// It was left out on purpose.
    NotRun {
        /// Why.
        not_run: String,
    },
    /// It could not run to its end.
    Failed {
        /// Why.
        failed: String,
    },
}

impl Outcome {
    /// Whether the lab as a whole has failed by it.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        match self {
            Self::Judged(judgement) => judgement.is_failure(),
            Self::Skipped { .. } | Self::NotRun { .. } => false,
            Self::Failed { .. } => true,
        }
    }

    const fn word(&self) -> &'static str {
        match self {
            Self::Judged(Judgement::Matched) => "ok",
            Self::Judged(Judgement::NotVisible(_)) => "not visible",
            Self::Judged(Judgement::PassedOver(_)) => "passed over",
            Self::Judged(Judgement::Differs(_)) => "DIFFERS",
            Self::Skipped { .. } => "skipped",
            Self::NotRun { .. } => "not run",
            Self::Failed { .. } => "FAILED",
        }
    }

    /// What there is to say.
    #[must_use]
    pub fn details(&self) -> Vec<&str> {
        match self {
            Self::Judged(judgement) => judgement.details().iter().map(String::as_str).collect(),
            Self::Skipped { skipped: reason }
            | Self::NotRun { not_run: reason }
            | Self::Failed { failed: reason } => vec![reason],
        }
    }
}

/// The results as text: a line each, what there is to say indented below it.
#[must_use]
pub fn render_results(results: &[ScenarioResult]) -> String {
    let width = results.iter().map(|r| r.scenario.len()).max().unwrap_or(0);
    let mut text = String::new();
    for result in results {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<11}  {:<width$}  {}  {}{}",
            result.outcome.word(),
            result.scenario,
            result.family.name(),
            result.title,
            result.told(),
        );
        for detail in result.outcome.details() {
            let _ = writeln!(text, "{:13}{detail}", "");
        }
    }
    text
}

/// How many there were, and what became of them, in one line.
#[must_use]
pub fn render_sums(results: &[ScenarioResult]) -> String {
    let words = [
        "ok",
        "not visible",
        "passed over",
        "not run",
        "skipped",
        "DIFFERS",
        "FAILED",
    ];
    let sums: Vec<_> = words
        .iter()
        .filter_map(|word| {
            let count = results.iter().filter(|r| r.outcome.word() == *word).count();
            (count > 0).then(|| format!("{count} {word}"))
        })
        .collect();
    format!("{} runs: {}\n", results.len(), sums.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(scenario: &'static str, outcome: Outcome) -> ScenarioResult {
        ScenarioResult {
            scenario,
            title: "what happens",
            family: Family::Ipv6,
            answers: Vec::new(),
            outcome,
        }
    }

    fn answer(expected: Option<&str>, diagnosed: Option<&str>) -> Answer {
        Answer {
            expected: expected.map(ToOwned::to_owned),
            diagnosed: diagnosed.map(ToOwned::to_owned),
            is_expected: expected.is_some() && diagnosed == expected,
        }
    }

    #[test]
    fn every_outcome_has_its_line_and_its_reason() {
        let results = [
            ScenarioResult {
                answers: vec![
                    answer(Some("sent port-closed"), Some("sent port-closed")),
                    answer(
                        Some("received connection-refused"),
                        Some("received connection-refused"),
                    ),
                ],
                ..result("port-closed", Outcome::Judged(Judgement::Matched))
            },
            result("lost-fin", Outcome::Judged(Judgement::Matched)),
            ScenarioResult {
                answers: vec![
                    answer(Some("sent disconnect"), Some("sent linger-abort")),
                    answer(Some("received peer-aborted"), None),
                    answer(None, Some("stray stray-reset")),
                ],
                ..result(
                    "disconnect",
                    Outcome::Judged(Judgement::Differs(vec!["missing: it".to_owned()])),
                )
            },
            result(
                "firewall-reject",
                Outcome::Skipped {
                    skipped: "no nft".to_owned(),
                },
            ),
            result(
                "out-of-memory",
                Outcome::NotRun {
                    not_run: "nobody agreed".to_owned(),
                },
            ),
        ];
        assert_eq!(
            render_results(&results) + &render_sums(&results),
            "ok           port-closed      ipv6  what happens: sent port-closed, received connection-refused\n\
             ok           lost-fin         ipv6  what happens: none\n\
             DIFFERS      disconnect       ipv6  what happens: sent disconnect diagnosed as sent \
             linger-abort, received peer-aborted not seen, stray stray-reset not expected\n\
             \x20            missing: it\n\
             skipped      firewall-reject  ipv6  what happens\n\
             \x20            no nft\n\
             not run      out-of-memory    ipv6  what happens\n\
             \x20            nobody agreed\n\
             5 runs: 2 ok, 1 not run, 1 skipped, 1 DIFFERS\n"
        );
        let failures: Vec<_> = results.iter().map(|r| r.outcome.is_failure()).collect();
        assert_eq!(failures, [false, false, true, false, false]);
    }

    #[test]
    fn what_did_not_run_is_skipped_only_when_it_says_so() {
        let scenario = crate::find_scenario("firewall-reject");
        let outcome = |error| {
            scenario.map(|s| {
                ScenarioResult::not_run(s, Family::Ipv4, error)
                    .outcome
                    .word()
            })
        };
        let reason = "no nft".to_owned();
        assert_eq!(outcome(LabError::Skipped { reason }), Some("skipped"));
        let reason = "no MPTCP".to_owned();
        assert_eq!(outcome(LabError::NotRun { reason }), Some("not run"));
        let scenario = "x";
        assert_eq!(outcome(LabError::ThreadDied { scenario }), Some("FAILED"));
    }
}
