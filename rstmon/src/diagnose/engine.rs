//! Runs the rules over an event and keeps what later events of its flow need.
//!
//! One engine a run; not shared between threads. See the module above for what always holds.

use super::evidence::Evidence;
use super::flows::Flows;
use super::forgery::read_signs;
use super::idle_timers::IdleHistory;
use super::proxies::Proxies;
use super::rules::{Case, Finding, RULES, Rule};
use crate::event::model::{Cause, Confidence, Event, Initiator, SocketState, Verdict};

/// The diagnosis and its memories: of flows, of the idle times of services, of what proxies received.
#[derive(Debug)]
pub struct Engine {
    flows: Flows,
    idle_history: IdleHistory,
    proxies: Proxies,
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine {
    /// An engine that remembers nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            flows: Flows::new(),
            idle_history: IdleHistory::new(),
            proxies: Proxies::new(),
        }
    }

    /// Sets the event's verdict, and its actor where the verdict names one.
    ///
    /// Events must come in the order of their time, as far as the capture can give it.
    pub fn diagnose(&mut self, event: &mut Event) {
        let recalled = self.flows.recall(event);
        let past = &recalled.past;
        let signs = read_signs(event, past);
        let case = Case {
            event,
            past,
            signs: &signs,
            timer: self.idle_history.timer_of(event),
        };
        let found = RULES
            .iter()
            .find_map(|rule| Some((rule, (rule.judge)(&case)?)));
        let (verdict_cause, finding) = match found {
            Some((Rule { cause, .. }, finding)) => (*cause, finding),
            None => (Cause::Undiagnosed, unexplained(&case)),
        };
        // A timer of the kernel's hands nothing on, nor does a refusal of what no proxy has accepted.
        let by_proxy =
            finding.initiator == Initiator::LocalApp && event.state != Some(SocketState::Listen);
        let upstream = self.proxies.upstream_of(event).filter(|_| by_proxy);
        let evidence = match upstream {
            Some(upstream) => finding
                .evidence
                .value("propagated_from", Some(upstream.peer))
                .value("propagated_from_seq_no", Some(upstream.seq_no)),
            None => finding.evidence,
        };
        let actor = match (verdict_cause, finding.initiator) {
            (Cause::ProcessKilled, _) => case.killer(),
            (_, Initiator::LocalAdmin) => case.foreign_task(),
            _ => None,
        };
        // Signs are told whether they amount to a verdict or not.
        let evidence = signs
            .iter()
            .fold(evidence, |evidence, sign| evidence.fact(sign.fact.as_str()));
        let verdict = Verdict {
            cause: verdict_cause,
            initiator: finding.initiator,
            confidence: finding.confidence,
            evidence: evidence.into_facts(),
        };
        event.actor = actor;
        event.verdict = verdict;
        self.flows.remember(event, &recalled);
        self.idle_history.remember(event);
        self.proxies.remember(event);
    }

    /// Entries in the memories: flows, services.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> (usize, usize) {
        (self.flows.len(), self.idle_history.len())
    }
}

/// What is known of an event that no rule explains.
fn unexplained<'a>(case: &Case<'a>) -> Finding<'a> {
    Finding {
        initiator: Initiator::Unknown,
        confidence: Confidence::Guess,
        evidence: Evidence::of(case.event)
            .kernel_reason()
            .drop_reason()
            .state()
            .trigger()
            .rst(),
    }
}
