//! One row whole: what it means, what to do, the evidence, the numbers.

use crate::board::{CauseRow, IncidentRow, TableRow};
use crate::diagnose::explain::page_of;
use crate::event::model::{Cause, Event, Segment};
use crate::sink::terminal::visible;
use crate::sink::text::local_end;
use crate::top::columns::{count, duration, plural, spelled};
use crate::top::state::{Detail, State};
use crate::top::theme::Theme;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use std::fmt::{Display, Write};
use textwrap::{Options, WordSplitter, wrap};

/// Where the value of a fact begins.
const VALUE: usize = 17;

/// Lines that are being gathered, none longer than the screen is wide.
struct Page<'s> {
    lines: Vec<Line<'static>>,
    width: u16,
    theme: Theme,
    state: &'s State,
}

/// Draws what is looked at.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, theme: Theme) {
    let lines = lines(state, theme, area.width);
    // The screen may have grown since the last key.
    let last = lines.len().saturating_sub(usize::from(area.height));
    let first = usize::from(state.scroll).min(last);
    let shown: Vec<Line<'_>> = lines.into_iter().skip(first).collect();
    frame.render_widget(Paragraph::new(shown), area);
}

/// What is looked at, in lines of this width; none where nothing is.
pub(super) fn lines(state: &State, theme: Theme, width: u16) -> Vec<Line<'static>> {
    let Some(detail) = &state.detail else {
        return Vec::new();
    };
    let mut page = Page {
        lines: Vec::new(),
        width,
        theme,
        state,
    };
    match detail {
        Detail::Cause(row) => page.cause(row),
        Detail::Row(view, row) => page.row(view.title(), row),
        Detail::Incident(row, last) => page.incident(row, last.as_deref()),
        Detail::Event(event, other) => page.event(event, other.as_deref()),
    }
    page.lines
}

impl Page<'_> {
    fn heading(&mut self, text: &str) {
        self.lines.push(Line::default());
        self.lines
            .push(Line::styled(text.to_owned(), self.theme.head()));
    }

    fn text(&mut self, text: &str) {
        let unicode = self.state.context.unicode;
        let text = spelled(text, unicode);
        let text = visible(&text, unicode);
        let body = text.trim_start();
        let indent = 2 + text.len() - body.len();
        let hanging = indent + if body.starts_with("- ") { 2 } else { 0 };
        self.wrapped(Span::raw(" ".repeat(indent)), hanging, body);
    }

    /// A name and its value, if it is known.
    fn fact(&mut self, name: &str, value: Option<impl Display>) {
        let Some(value) = value else { return };
        let value = visible(&value.to_string(), self.state.context.unicode).into_owned();
        let name = Span::styled(format!("  {name:<15}"), self.theme.faint());
        self.wrapped(name, VALUE, &value);
    }

    fn title(&mut self, cause: Cause, rest: &str) {
        let name = Span::styled(format!("{}  ", cause.name()), self.theme.cause(cause));
        let unicode = self.state.context.unicode;
        let rest = spelled(rest, unicode);
        let rest = visible(&rest, unicode);
        self.wrapped(name, 2, &rest);
    }

    /// A text after its head, in as many lines as it needs; those after the first are indented.
    fn wrapped(&mut self, head: Span<'static>, hanging: usize, text: &str) {
        let (first, others) = (" ".repeat(head.width()), " ".repeat(hanging));
        // Ids stay whole: people search for them.
        let options = Options::new(usize::from(self.width.max(1)))
            .initial_indent(&first)
            .subsequent_indent(&others)
            .word_splitter(WordSplitter::NoHyphenation);
        let mut wrapped = wrap(text, options).into_iter();
        let line = wrapped.next().unwrap_or_default();
        let line = line.get(first.len()..).unwrap_or_default().to_owned();
        self.lines.push(Line::from(vec![head, Span::raw(line)]));
        let others = wrapped.map(|line| Line::raw(line.into_owned()));
        self.lines.extend(others);
    }

    /// What a cause means and what to do about it.
    fn explanation(&mut self, cause: Cause) {
        let page = page_of(cause);
        self.heading("What happened");
        self.text(page.meaning);
        self.text(page.who);
        self.heading(page.harm.word());
        self.text(page.harm_detail);
        self.heading("What to do");
        for remedy in page.remedies {
            self.text(&format!("- {}", remedy.advice));
            for line in remedy.lines {
                self.text(&format!("    {line}"));
            }
        }
        self.heading("Where it comes from");
        for origin in page.origins {
            self.text(&format!("- {origin}"));
        }
        let more = format!("rstmon explain {cause}");
        self.heading("More");
        self.text(&more);
    }

    fn cause(&mut self, row: &CauseRow) {
        self.title(row.cause, page_of(row.cause).title);
        let counts = [
            ("now", row.per_second),
            ("1 min", row.last_1m),
            ("5 min", row.last_5m),
            ("15 min", row.last_15m),
            ("in all", row.total),
        ];
        let counts = counts.map(|(name, number)| format!("{name} {}", count(number)));
        self.text(&counts.join("   "));
        self.fact("mostly", row.owner.as_ref());
        self.explanation(row.cause);
    }

    fn row(&mut self, view: &str, row: &TableRow) {
        self.title(
            row.cause,
            &format!("most common of {}: {}", view.to_lowercase(), row.name),
        );
        self.fact("in all", Some(count(row.total)));
        self.fact("last minute", Some(count(row.last_1m)));
        self.fact("of this cause", Some(count(row.of_cause)));
        let ago = self.state.context.now_ns.saturating_sub(row.last_ns);
        self.fact("last", Some(format!("{} ago", duration(ago))));
        self.explanation(row.cause);
    }

    fn incident(&mut self, row: &IncidentRow, last: Option<&Event>) {
        self.title(row.cause, &counted("reset", row.total));
        let now = self.state.context.now_ns;
        let ago = |then: u64| format!("{} ago", duration(now.saturating_sub(then)));
        self.fact("began", Some(ago(row.first_ns)));
        self.fact("last", Some(ago(row.last_ns)));
        self.fact("process", Some(&row.comm).filter(|comm| !comm.is_empty()));
        let at_least = if row.at_least { "at least " } else { "" };
        let reach = (row.distinct_peers > 0).then(|| {
            format!(
                "{at_least}{} ({})",
                counted("peer", row.distinct_peers),
                row.peers
            )
        });
        self.fact("reach", reach);
        self.fact(
            "local ports",
            Some(format!("{at_least}{}", row.distinct_ports)),
        );
        if let Some(event) = last {
            self.heading("The last one");
            self.evidence(event);
            self.numbers(event);
        }
        self.explanation(row.cause);
    }

    fn event(&mut self, event: &Event, other: Option<&Event>) {
        let verdict = &event.verdict;
        self.title(verdict.cause, page_of(verdict.cause).title);
        self.text(event.kind.meaning());
        self.fact(
            "verdict",
            Some(format!("{}, by {}", verdict.confidence, verdict.initiator)),
        );
        self.evidence(event);
        self.numbers(event);
        if let Some(other) = other {
            self.heading("The other end, on this machine, too");
            self.fact("event", Some(other.seq_no));
            self.fact("cause", Some(other.verdict.cause));
            self.process("process", other);
        }
        self.explanation(verdict.cause);
    }

    fn evidence(&mut self, event: &Event) {
        let facts: Vec<&str> = event.verdict.evidence.iter().collect();
        if !facts.is_empty() {
            self.fact("evidence", Some(facts.join("  ")));
        }
    }

    fn process(&mut self, name: &str, event: &Event) {
        let owner = event.owner.as_ref();
        self.fact(
            name,
            owner.map(|owner| format!("{}[{}]", owner.comm, owner.pid)),
        );
    }

    fn numbers(&mut self, event: &Event) {
        self.fact("local", Some(local_end(event)));
        self.fact("remote", event.peer());
        self.fact("state", event.state);
        self.fact("role", event.role);
        self.process("process", event);
        self.fact("executable", event.exe.as_ref());
        self.fact("uid", event.uid);
        let actor = event.actor.as_ref();
        self.fact(
            "actor",
            actor.map(|actor| format!("{}[{}]", actor.comm, actor.pid)),
        );
        self.fact("cgroup", event.cgroup.as_ref());
        let workload = event.workload.as_deref();
        let pod = workload.and_then(|it| it.pod_names());
        self.fact("pod", pod.map(|it| format!("{}/{}", it.namespace, it.name)));
        let container = workload.and_then(|it| it.container.as_ref());
        self.fact("container", container.and_then(|it| it.name()));
        self.fact("unit", workload.and_then(|it| it.unit.as_ref()));
        let connection = &event.connection;
        let time = |ms: u64| {
            if ms < 10_000 {
                format!("{ms} ms")
            } else {
                duration(ms * 1_000_000)
            }
        };
        self.fact("age", connection.age_ms.map(time));
        self.fact("idle", connection.idle_ms.map(time));
        let micros = spelled("µs", self.state.context.unicode);
        self.fact("rtt", connection.srtt_us.map(|us| format!("{us} {micros}")));
        self.fact(
            "sent",
            connection.bytes_sent.map(|bytes| format!("{bytes} B")),
        );
        self.fact(
            "received",
            connection.bytes_received.map(|bytes| format!("{bytes} B")),
        );
        self.fact(
            "unread",
            connection.unread_bytes.map(|bytes| format!("{bytes} B")),
        );
        self.fact(
            "unacknowledged",
            connection.unacked_bytes.map(|bytes| format!("{bytes} B")),
        );
        self.fact("retransmits", connection.retransmits);
        self.fact("RST", event.rst.as_ref().map(segment));
        self.fact("answers", event.trigger.as_ref().map(segment));
        self.fact("kernel reason", event.kernel_reason.as_ref());
        self.fact("drop reason", event.drop_reason.as_ref());
    }
}

/// A segment as tcpdump writes it.
fn segment(segment: &Segment) -> String {
    let mut text = format!("Flags [{}], seq {}", segment.flags, segment.seq);
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            // Writing to a String cannot fail.
            let _ = write!(text, ", {name} {value}");
        }
    };
    let acknowledges = segment.flags.has(rstmon_common::wire::tcp_flag::ACK);
    add("ack", acknowledges.then(|| segment.ack.to_string()));
    add("win", segment.window.map(|window| window.to_string()));
    add(
        "length",
        Some(segment.len.to_string()).filter(|_| segment.len != 0),
    );
    add("ttl", segment.ttl.map(|ttl| ttl.to_string()));
    add("id", segment.ip_id.map(|id| id.to_string()));
    text
}

/// `1 peer`, `2 peers`.
fn counted(what: &str, number: u64) -> String {
    format!("{} {what}{}", count(number), plural(number))
}
