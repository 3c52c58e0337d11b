//! The page of a scrape: families of the `prometheus` crate made from what was counted.

use super::capped::{CappedCounters, OTHER, Series};
use super::families::{Family, FamilyType};
use super::histogram::Histogram;
use super::known::known_combinations;
use super::tally::{PortLabel, Tally};
use super::workload_labels::WorkloadLabels;
use crate::event::capture::CaptureFacts;
use crate::event::cells::{Cell, CellCounts};
use crate::event::model::{Cause, Initiator, Kind};
use crate::sink::totals::Counts;
use prometheus::proto;
use rstmon_common::counts::{REASON_FIREWALL, REASONS};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::time::Duration;

/// What the self-audit found; see `agent::audit`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFigures {
    /// Growth of OutRsts since the start.
    pub sent: u64,
    /// Of that, what rstmon has not counted.
    pub unaccounted_sent: u64,
    /// Growth of the other counters, by name.
    pub counters: BTreeMap<&'static str, u64>,
    /// Network namespaces whose counters are read.
    pub namespaces: u64,
    /// Network namespaces whose counters cannot be read.
    pub unreadable_namespaces: u64,
}

/// Figures of the agent's other parts.
#[derive(Clone, Debug, Default)]
pub struct AgentFigures {
    /// Clients of the control socket.
    pub socket_clients: u64,
    /// Answers of the web server, by status.
    pub web_requests: BTreeMap<u16, u64>,
    /// Connections that the web server refused.
    pub web_refused: u64,
    /// Changes of the web configuration that could not be taken over.
    pub web_reload_failures: u64,
    /// Whether the last reading of the configuration succeeded.
    pub reload_ok: bool,
    /// When it was last read with success, seconds since the epoch.
    pub reload_seconds: f64,
    /// How long gathering took.
    pub scrape: Duration,
}

/// All that a page is made of.
#[derive(Clone, Copy, Debug)]
pub struct PageInputs<'a> {
    /// What was diagnosed: copied before the two below are read, so that it is never ahead of them.
    pub tally: &'a Tally,
    /// What the kernel side counted.
    pub counted: &'a CellCounts,
    /// Of that, what it lost the events of.
    pub lost: &'a CellCounts,
    /// Events lost, by stage.
    pub stages: &'a Counts,
    /// The capture.
    pub facts: &'a CaptureFacts,
    /// The audit, if one was made yet.
    pub audit: Option<&'a AuditFigures>,
    /// The agent's other parts.
    pub agent: &'a AgentFigures,
}

/// Families with at least one series each, in the order of their declaration.
#[must_use]
pub fn build_page(inputs: &PageInputs<'_>) -> Vec<proto::MetricFamily> {
    let mut page = Page::default();
    add_resets(&mut page, inputs);
    add_kernel_resets(&mut page, inputs);
    add_capped(&mut page, inputs);
    add_histograms(&mut page, inputs.tally);
    add_health(&mut page, inputs);
    if let Some(audit) = inputs.audit {
        add_audit(&mut page, audit);
    }
    add_agent(&mut page, inputs);
    page.finish()
}

/// Series by family.
#[derive(Default)]
struct Page {
    families: BTreeMap<Family, Vec<proto::Metric>>,
}

impl Page {
    /// Adds a series of a counter or a gauge, its label values in the order of the declaration.
    fn add<'v>(&mut self, family: Family, labels: impl IntoIterator<Item = &'v str>, value: f64) {
        let mut metric = labelled(family, labels);
        match family.kind() {
            FamilyType::Counter => {
                let mut counter = proto::Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            FamilyType::Gauge => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
            FamilyType::Histogram => return,
        }
        self.families.entry(family).or_default().push(metric);
    }

    fn add_count<'v>(
        &mut self,
        family: Family,
        labels: impl IntoIterator<Item = &'v str>,
        count: u64,
    ) {
        self.add(family, labels, as_value(count));
    }

    fn add_histogram(&mut self, family: Family, labels: [&str; 2], histogram: &Histogram) {
        let mut metric = labelled(family, labels);
        let mut value = proto::Histogram::default();
        value.set_sample_count(histogram.count());
        value.set_sample_sum(histogram.sum_seconds());
        let buckets = histogram.cumulative().map(|(bound, count)| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        value.set_bucket(buckets.collect());
        metric.set_histogram(value);
        self.families.entry(family).or_default().push(metric);
    }

    fn finish(self) -> Vec<proto::MetricFamily> {
        let families = self.families.into_iter();
        families
            .map(|(family, metrics)| {
                let mut made = proto::MetricFamily::default();
                made.set_name(family.name().to_owned());
                made.set_help(family.help().to_owned());
                made.set_field_type(match family.kind() {
                    FamilyType::Counter => proto::MetricType::COUNTER,
                    FamilyType::Gauge => proto::MetricType::GAUGE,
                    FamilyType::Histogram => proto::MetricType::HISTOGRAM,
                });
                made.set_metric(metrics);
                made
            })
            .collect()
    }
}

/// A series without its value.
fn labelled<'v>(family: Family, values: impl IntoIterator<Item = &'v str>) -> proto::Metric {
    let pairs = family.labels().iter().zip(values).map(|(name, value)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value.to_owned());
        pair
    });
    proto::Metric::from_label(pairs.collect())
}

/// A count as the format carries it: exact up to 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "the exposition format has floats only"
)]
const fn as_value(count: u64) -> f64 {
    count as f64
}

/// Diagnosed resets, and as undiagnosed those whose event was lost.
fn add_resets(page: &mut Page, inputs: &PageInputs<'_>) {
    let known: BTreeSet<(Kind, Cause, Initiator)> = known_combinations().collect();
    for &kind in Kind::ALL {
        for &cause in Cause::ALL {
            for &initiator in Initiator::ALL {
                let mut count = inputs.tally.resets(kind, cause, initiator);
                if (cause, initiator) == (Cause::Undiagnosed, Initiator::Unknown) {
                    count += inputs.lost.of_kind(kind);
                }
                if count != 0 || known.contains(&(kind, cause, initiator)) {
                    let labels = [kind.name(), cause.name(), initiator.name()];
                    page.add_count(Family::Resets, labels, count);
                }
            }
        }
    }
}

/// The kernel's cells, as far as their events have been settled.
fn add_kernel_resets(page: &mut Page, inputs: &PageInputs<'_>) {
    let mut settled = inputs.tally.cells.clone();
    settled.add(inputs.lost);
    // Several of the kernel's numbers may have one name.
    let mut sums: BTreeMap<[Cow<'_, str>; 4], u64> = BTreeMap::new();
    for (cell, count) in settled.iter() {
        let labels = [
            Cow::Borrowed(cell.kind.name()),
            reason_name(cell, inputs.facts),
            Cow::Borrowed(cell.state.map_or("unknown", |state| state.name())),
            Cow::Borrowed(cell.family.name()),
        ];
        *sums.entry(labels).or_default() += count;
    }
    for (labels, sum) in &sums {
        let labels = labels.iter().map(AsRef::as_ref);
        page.add_count(Family::KernelResets, labels, *sum);
    }
    let mut in_flight = inputs.counted.clone();
    in_flight.subtract(&settled);
    let sum = Kind::ALL.iter().map(|kind| in_flight.of_kind(*kind)).sum();
    page.add_count(Family::EventsInFlight, [], sum);
}

/// Name of a cell's reason: the kernel's, or why there is none.
fn reason_name(cell: Cell, facts: &CaptureFacts) -> Cow<'_, str> {
    if cell.reason == REASON_FIREWALL {
        return Cow::Borrowed("netfilter-reject");
    }
    let name = match cell.kind {
        Kind::Sent => facts.reasons.rst_name(cell.reason),
        // Of a connection; the RST for a request socket is dropped for a reason.
        Kind::Received if cell.reason == 0 => None,
        Kind::Received | Kind::Rejected | Kind::Stray => facts.reasons.drop_name(cell.reason),
    };
    match name {
        Some(name) => Cow::Borrowed(name),
        None if cell.reason == 0 => Cow::Borrowed("none"),
        None if cell.reason as usize == REASONS - 1 => Cow::Borrowed("beyond"),
        None => Cow::Borrowed("unknown"),
    }
}

fn add_capped(page: &mut Page, inputs: &PageInputs<'_>) {
    let tally = inputs.tally;
    add_family(
        page,
        Family::ProcessResets,
        &tally.processes,
        inputs,
        |comm| [Cow::Borrowed(comm.as_str())],
    );
    add_family(page, Family::PortResets, &tally.ports, inputs, |port| {
        [match port {
            PortLabel::Port(port) => Cow::Owned(port.to_string()),
            PortLabel::Closed => Cow::Borrowed("~closed"),
            PortLabel::Ephemeral => Cow::Borrowed("~ephemeral"),
        }]
    });
    add_family(
        page,
        Family::WorkloadResets,
        &tally.workloads,
        inputs,
        |it| {
            let WorkloadLabels {
                namespace,
                pod,
                container,
                unit,
            } = it;
            [namespace, pod, container, unit].map(|it| Cow::Borrowed(it.as_deref().unwrap_or("")))
        },
    );
    if tally.counts_peers() {
        add_family(page, Family::PeerResets, &tally.peers, inputs, |peer| {
            [if peer.is_unspecified() {
                Cow::Borrowed("")
            } else {
                Cow::Owned(peer.to_string())
            }]
        });
    }
}

/// One capped family: its series, `~other` with what was lost, and how full it is.
fn add_family<L: Eq + Hash, const N: usize>(
    page: &mut Page,
    family: Family,
    counters: &CappedCounters<L>,
    inputs: &PageInputs<'_>,
    labels: impl for<'l> Fn(&'l L) -> [Cow<'l, str>; N],
) {
    for (label, series) in counters.iter() {
        let values = labels(label);
        let values = values.iter().map(AsRef::as_ref);
        add_one(
            page,
            family,
            series.kind,
            series.cause,
            values,
            series.count,
        );
    }
    for (kind, cause, count) in others(counters.other(), inputs.lost) {
        add_one(page, family, kind, cause, [OTHER; N], count);
    }
    let name = [family.short_name()];
    page.add_count(Family::Series, name, counters.series() as u64);
    page.add_count(Family::SeriesLimit, name, counters.limit() as u64);
    page.add_count(Family::SeriesOverflow, name, counters.overflow());
}

fn add_one<'v>(
    page: &mut Page,
    family: Family,
    kind: Kind,
    cause: Cause,
    values: impl IntoIterator<Item = &'v str>,
    count: u64,
) {
    let labels = [kind.name(), cause.name()].into_iter().chain(values);
    page.add_count(family, labels, count);
}

/// What does not fit, and, as undiagnosed, what was lost: nobody knows whose it was.
fn others(other: &[Series], lost: &CellCounts) -> Vec<(Kind, Cause, u64)> {
    let mut sums: BTreeMap<(Kind, Cause), u64> = BTreeMap::new();
    for series in other {
        *sums.entry((series.kind, series.cause)).or_default() += series.count;
    }
    for &kind in Kind::ALL {
        let lost = lost.of_kind(kind);
        if lost != 0 {
            *sums.entry((kind, Cause::Undiagnosed)).or_default() += lost;
        }
    }
    sums.into_iter()
        .map(|((kind, cause), count)| (kind, cause, count))
        .collect()
}

fn add_histograms(page: &mut Page, tally: &Tally) {
    for (family, histograms) in [
        (Family::ConnectionAge, tally.ages()),
        (Family::ConnectionIdle, tally.idles()),
    ] {
        for ((kind, cause), histogram) in histograms {
            page.add_histogram(family, [kind.name(), cause.name()], histogram);
        }
    }
}

fn add_health(page: &mut Page, inputs: &PageInputs<'_>) {
    for (stage, lost) in inputs.stages {
        page.add_count(Family::EventsLost, [stage.as_ref()], *lost);
    }
    // What waits for its module lacks nothing: without it, no such reset is sent.
    let hooks = &inputs.facts.hooks;
    for hook in hooks.iter().filter(|hook| !hook.awaits_module) {
        let variant = hook.variant.as_deref().unwrap_or("");
        let labels = [hook.hook.as_str(), variant];
        page.add(Family::HookAttached, labels, f64::from(hook.attached));
    }
    let ids: BTreeSet<&str> = inputs
        .facts
        .degradations
        .iter()
        .map(|it| it.id.as_str())
        .collect();
    for id in ids {
        page.add(Family::Degradation, [id], 1.0);
    }
}

fn add_audit(page: &mut Page, audit: &AuditFigures) {
    let sent = [Kind::Sent.name()];
    page.add_count(Family::SnmpResets, sent, audit.sent);
    page.add_count(Family::UnaccountedResets, sent, audit.unaccounted_sent);
    for (name, count) in &audit.counters {
        page.add_count(Family::SnmpEvents, [*name], *count);
    }
    page.add_count(Family::NetworkNamespaces, ["yes"], audit.namespaces);
    page.add_count(
        Family::NetworkNamespaces,
        ["no"],
        audit.unreadable_namespaces,
    );
}

fn add_agent(page: &mut Page, inputs: &PageInputs<'_>) {
    let agent = inputs.agent;
    page.add_count(Family::SocketClients, [], agent.socket_clients);
    for (code, count) in &agent.web_requests {
        page.add_count(Family::WebRequests, [code.to_string().as_str()], *count);
    }
    page.add_count(Family::WebConnectionsRefused, [], agent.web_refused);
    let failures = agent.web_reload_failures;
    page.add_count(Family::WebReloadFailures, [], failures);
    page.add(Family::ReloadSuccessful, [], f64::from(agent.reload_ok));
    page.add(Family::ReloadTime, [], agent.reload_seconds);
    page.add(Family::ScrapeDuration, [], agent.scrape.as_secs_f64());
    let facts = inputs.facts;
    let abi = facts.abi.to_string();
    page.add(
        Family::BuildInfo,
        [facts.version.as_str(), abi.as_str()],
        1.0,
    );
    page.add(
        Family::KernelInfo,
        [facts.kernel.as_str(), facts.mode.as_str()],
        1.0,
    );
}

#[cfg(test)]
mod tests;
