//! What the web server serves: the metrics, the landing page, health and readiness.
//!
//! A scrape asks the capture thread for a copy of its figures, then reads the kernel's counters itself:
//! the capture thread is held up for the copy alone.

use super::capture_loop::{Figures, ReloadState, Request};
use super::health::Health;
use super::paths::{HEALTHY, READY};
use crate::bpf::counters::Counters;
use crate::cmd::start::{clock_ns, monotonic_ns};
use crate::event::model::{Cause, Initiator, Kind};
use crate::metrics::page::{AgentFigures, AuditFigures, PageInputs, build_page};
use crate::web::{self, Page, PageRequest, WebCounts};
use hyper::StatusCode;
use hyper::body::Bytes;
use nix::time::ClockId;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder, TextEncoder, proto};
use std::fmt::Write;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// How long the capture thread may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What pages are made from.
pub struct Site {
    /// The way to the capture thread.
    pub requests: mpsc::Sender<Request>,
    /// The kernel side's counters.
    pub counters: Arc<Counters>,
    /// Signs of life.
    pub health: Arc<Health>,
    /// What the audit last found.
    pub audit: Arc<Mutex<Option<AuditFigures>>>,
    /// How the last reload went.
    pub reload: Arc<Mutex<ReloadState>>,
    /// Connections of the control socket, whether they have said what they want or not.
    pub socket_clients: Arc<AtomicU64>,
    /// Where the metrics are.
    pub telemetry_path: String,
}

impl web::Site for Site {
    async fn answer(&self, request: &PageRequest<'_>) -> Option<Page> {
        match request.path {
            path if path == self.telemetry_path => Some(self.metrics(request.counts).await),
            "/" => Some(self.landing().await),
            path if HEALTHY.contains(&path) => Some(verdict(self.health.sickness())),
            path if READY.contains(&path) => Some(verdict(self.health.unreadiness())),
            _ => None,
        }
    }
}

impl Site {
    async fn figures(&self) -> Result<Figures, Page> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.requests.send(Request::Figures(reply)).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Some(figures)) => Ok(figures),
            Ok(None) => Err(text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the capture has ended\n".to_owned(),
            )),
            Err(_) => Err(text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the capture thread does not answer\n".to_owned(),
            )),
        }
    }

    async fn metrics(&self, web: &WebCounts) -> Page {
        let began = Instant::now();
        let figures = match self.figures().await {
            Ok(figures) => figures,
            Err(answer) => return answer,
        };
        let kernel = match self.counters.read_counts() {
            Ok(kernel) => kernel,
            Err(error) => {
                return text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("cannot read the kernel's counters: {error}\n"),
                );
            }
        };
        let audit = self.audit.lock().ok().and_then(|audit| audit.clone());
        let reload = self.reload.lock().ok().map(|reload| *reload);
        let agent = AgentFigures {
            socket_clients: figures.clients,
            web_requests: web.requests.clone(),
            web_refused: web.refused,
            web_reload_failures: web.reload_failures,
            reload_ok: reload.is_some_and(|reload| reload.ok),
            reload_seconds: reload.map_or(0.0, |reload| reload.succeeded_seconds),
            scrape: began.elapsed(),
        };
        let mut page = build_page(&PageInputs {
            tally: &figures.tally,
            counted: &kernel.counted,
            lost: &kernel.lost,
            stages: &figures.lost,
            facts: &figures.facts,
            audit: audit.as_ref(),
            agent: &agent,
        });
        page.extend(process_families());
        let mut body = Vec::new();
        match TextEncoder::new().encode(&page, &mut body) {
            Ok(()) => Page {
                status: StatusCode::OK,
                content_type: prometheus::TEXT_FORMAT,
                body: Bytes::from(body),
            },
            Err(error) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("cannot encode the metrics: {error}\n"),
            ),
        }
    }

    /// A page for people: what there is, and the causes so far.
    async fn landing(&self) -> Page {
        let figures = match self.figures().await {
            Ok(figures) => figures,
            Err(answer) => return answer,
        };
        let state = match self.health.unreadiness() {
            Some(reason) => format!("not ready: {}", escaped(&reason)),
            None => "ready".to_owned(),
        };
        let facts = &figures.facts;
        let body = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>rstmon</title>\
             <style>body{{font-family:sans-serif;margin:2em}}td,th{{padding:.2em 1em .2em 0;\
             text-align:left}}td.n{{text-align:right}}</style></head>\n<body><h1>rstmon {}</h1>\n\
             <p>TCP resets of {}, Linux {}, {} mode: {state}.</p>\n<p><a href=\"{}\">Metrics</a> · \
             <a href=\"/-/healthy\">healthy</a> · <a href=\"/-/ready\">ready</a></p>\n{}</body></html>\n",
            escaped(&facts.version),
            escaped(&facts.host),
            escaped(&facts.kernel),
            escaped(&facts.mode),
            escaped(&self.telemetry_path),
            causes_table(&figures)
        );
        Page {
            status: StatusCode::OK,
            content_type: "text/html; charset=utf-8",
            body: Bytes::from(body),
        }
    }
}

/// The name of processor time among the metrics of every process.
const PROCESS_CPU: &str = "process_cpu_seconds_total";

/// What Prometheus wants to know of every process.
///
/// The collector has whole seconds of processor time, of which an agent at rest needs one in many
/// minutes: a rate of that is zero, then a spike. The clock of the process is exact.
fn process_families() -> Vec<proto::MetricFamily> {
    let mut families = ProcessCollector::for_self().collect();
    let found = families.iter_mut().find(|it| it.name() == PROCESS_CPU);
    if let (Some(family), Ok(spent)) = (found, clock_ns(ClockId::CLOCK_PROCESS_CPUTIME_ID)) {
        let mut counter = proto::Counter::default();
        counter.set_value(Duration::from_nanos(spent.unsigned_abs()).as_secs_f64());
        let mut metric = proto::Metric::default();
        metric.set_counter(counter);
        family.set_metric(vec![metric]);
    }
    families
}

fn verdict(complaint: Option<String>) -> Page {
    match complaint {
        None => text(StatusCode::OK, "ok\n".to_owned()),
        Some(complaint) => text(StatusCode::SERVICE_UNAVAILABLE, complaint + "\n"),
    }
}

fn text(status: StatusCode, body: String) -> Page {
    Page {
        status,
        content_type: "text/plain; charset=utf-8",
        body: Bytes::from(body),
    }
}

/// The causes that have been seen, the most common of the last quarter of an hour first.
fn causes_table(figures: &Figures) -> String {
    let tally = &figures.tally;
    let now = monotonic_ns().unwrap_or_default();
    let mut rows: Vec<([u64; 4], Kind, Cause)> = Vec::new();
    for &kind in Kind::ALL {
        for &cause in Cause::ALL {
            let of = |initiator: &Initiator| tally.resets(kind, cause, *initiator);
            let total: u64 = Initiator::ALL.iter().map(of).sum();
            if total != 0 {
                let [long, middle, short] =
                    [15, 5, 1].map(|minutes| tally.recent.last(minutes, kind, cause, now));
                rows.push(([long, middle, short, total], kind, cause));
            }
        }
    }
    if rows.is_empty() {
        return "<p>No reset yet.</p>\n".to_owned();
    }
    rows.sort_by(|a, b| b.cmp(a));
    let mut table = "<table><tr><th>1 min</th><th>5 min</th><th>15 min</th><th>total</th>\
        <th>kind</th><th>cause</th><th>meaning</th></tr>\n"
        .to_owned();
    for ([long, middle, short, total], kind, cause) in rows {
        let title = crate::diagnose::explain::page_of(cause).title;
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "<tr><td class=\"n\">{short}</td><td class=\"n\">{middle}</td>\
             <td class=\"n\">{long}</td><td class=\"n\">{total}</td>\
             <td>{kind}</td><td>{cause}</td><td>{}</td></tr>",
            escaped(title)
        );
    }
    table
        + "</table>\n<p>What a cause means and what to do: <code>rstmon explain CAUSE</code></p>\n"
}

/// Text that is safe between tags and in attributes.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;

    fn processor_time() -> f64 {
        let families = process_families();
        let family = families.iter().find(|it| it.name() == PROCESS_CPU).unwrap();
        assert_eq!(family.get_metric().len(), 1);
        family.get_metric()[0].get_counter().get_value()
    }

    #[test]
    fn processor_time_grows_by_less_than_a_second() {
        let before = processor_time();
        let mut readings = 0;
        let after = loop {
            readings += 1;
            let now = processor_time();
            if now > before {
                break now;
            }
            assert!(readings < 1_000, "it stays at {now}");
        };
        // Tests beside this one need processor time, too.
        assert!(after - before < 1.0, "{before} to {after}");
    }
}
