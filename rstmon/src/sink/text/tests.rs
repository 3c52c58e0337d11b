//! Tests of the text lines: widths, colours, hostile names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

use super::{TextStyle, render_event, render_header, render_summary};
use crate::event::model::{Cause, Confidence, Event, Family, Kind, Process, SocketState};
use crate::event::workload::{Container, ContainerId, Workload};
use crate::sink::samples;
use crate::sink::totals::Totals;
use jiff::tz::{self, TimeZone};
use proptest::prelude::*;

fn style(width: Option<u16>) -> TextStyle {
    TextStyle {
        color: false,
        width,
        unicode: true,
        time_zone: TimeZone::fixed(tz::offset(1)),
    }
}

fn facts(facts: &[&str]) -> Vec<String> {
    facts.iter().map(|fact| (*fact).to_owned()).collect()
}

fn event(kind: Kind, cause: Cause, state: SocketState) -> Event {
    let mut event = samples::bare();
    (event.kind, event.verdict.cause, event.state) = (kind, cause, Some(state));
    event.verdict.confidence = Confidence::Certain;
    event
}

/// What a host with trouble shows.
fn representative() -> Vec<(Event, Vec<String>)> {
    let mut unread = event(Kind::Sent, Cause::CloseUnreadData, SocketState::Established);
    unread.owner = Some(Process {
        pid: 1234,
        comm: "nginx".into(),
    });
    let mut closed = event(Kind::Sent, Cause::PortClosed, SocketState::None);
    closed.local_addr = "127.0.0.1".parse().unwrap();
    closed.local_port = 9;
    closed.remote_addr = "127.0.0.1".parse().unwrap();
    let mut refused = event(
        Kind::Received,
        Cause::ConnectionRefused,
        SocketState::SynSent,
    );
    refused.owner = Some(Process {
        pid: 54_321,
        comm: "curl".into(),
    });
    refused.local_port = 50_000;
    refused.remote_port = 8080;
    let blind = event(Kind::Rejected, Cause::BlindReset, SocketState::Established);
    let mut guess = event(Kind::Stray, Cause::StrayReset, SocketState::TimeWait);
    guess.verdict.confidence = Confidence::Guess;
    let mut six = event(Kind::Sent, Cause::SocketDestroyed, SocketState::Established);
    six.family = Family::Ipv6;
    six.local_addr = "2001:db8:1234:5678:9abc:def0:1234:5678".parse().unwrap();
    six.remote_addr = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap();
    six.owner = Some(Process {
        pid: 7,
        comm: "a b".into(),
    });
    six.actor = Some(Process {
        pid: 99,
        comm: "ss".into(),
    });
    vec![
        (unread, facts(&["unread 5 B", "age 61 s", "idle 3 ms"])),
        (closed, facts(&["SYN"])),
        (refused, facts(&["rtt 210 us"])),
        (blind, facts(&["seq 1000 outside window", "challenge ACK"])),
        (guess, Vec::new()),
        (six, facts(&["age 2 h"])),
        (samples::bare(), Vec::new()),
    ]
}

fn page(style: &TextStyle) -> String {
    let mut page = render_header(style);
    for (event, facts) in representative() {
        page += &render_event(&event, &facts, style);
    }
    page
}

#[test]
fn lines_of_a_host_with_trouble() {
    insta::assert_snapshot!("narrow", page(&style(Some(100))));
    insta::assert_snapshot!("two_lines", page(&style(Some(80))));
    insta::assert_snapshot!("wide", page(&style(Some(200))));
    insta::assert_snapshot!("piped", page(&style(None)));
    insta::assert_snapshot!(
        "ascii",
        page(&TextStyle {
            unicode: false,
            ..style(Some(100))
        })
    );
    let color = TextStyle {
        color: true,
        ..style(Some(100))
    };
    insta::assert_snapshot!("color", page(&color).replace('\u{1b}', "ESC"));
}

#[test]
fn ends_that_are_not_known_are_no_zeros() {
    let listener = samples::listener();
    for width in [Some(100), None] {
        let line = render_event(&listener, &[], &style(width));
        let words: Vec<&str> = line.split_whitespace().collect();
        assert!(
            words.windows(3).any(|it| it[0] == "*:443" && it[2] == "-"),
            "{line}"
        );
    }
}

#[test]
fn the_place_is_shown_where_it_fits() {
    let mut contained = event(Kind::Sent, Cause::PortClosed, SocketState::Listen);
    contained.owner = Some(Process {
        pid: 7,
        comm: "nginx".into(),
    });
    let line = |event: &Event, width| render_event(event, &facts(&["unread 5 B"]), &style(width));
    let mut workload = samples::workload();
    let mut shown = |workload: &Workload, width| {
        contained.workload = Some(workload.clone().into());
        line(&contained, width)
    };
    assert!(shown(&workload, Some(100)).contains(" nginx[7]@web-1 unread 5 B"));
    let narrow = shown(&workload, Some(48));
    assert!(narrow.contains(" nginx[7] unread 5 B"), "{narrow}");
    workload.pod = None;
    assert!(shown(&workload, None).contains(" nginx[7]@web "));
    workload.container = Some(Container::Identified {
        id: ContainerId::parse(&"0123456789abcdef".repeat(4)).unwrap(),
        name: None,
        runtime: None,
    });
    assert!(shown(&workload, None).contains(" nginx[7]@0123456789ab "));
    // Its unit has its own name.
    workload.container = None;
    assert!(shown(&workload, None).contains(" nginx[7] "));
    workload.unit = Some("web.service".into());
    assert!(shown(&workload, None).contains(" nginx[7]@web "));
    contained.owner = None;
    assert!(line(&contained, None).contains(" @web "));
}

/// The longest of everything that IPv4 has.
fn longest() -> (Event, Vec<String>) {
    let mut event = event(
        Kind::Received,
        Cause::PeerDataAfterClose,
        SocketState::CloseWait,
    );
    event.verdict.confidence = Confidence::Guess;
    event.local_addr = "192.168.200.101".parse().unwrap();
    event.remote_addr = "192.168.200.102".parse().unwrap();
    (event.local_port, event.remote_port) = (50_001, 50_002);
    event.owner = Some(Process {
        pid: 4_194_303,
        comm: "fifteen-letters".into(),
    });
    (event, facts(&["1448 B unacked"]))
}

#[test]
fn ipv4_fits_into_narrow_terminals() {
    for width in [100, 120, 139, 140, 80] {
        let style = style(Some(width));
        let (event, facts) = longest();
        let page = page(&style) + &render_event(&event, &facts, &style);
        for line in page.lines().filter(|line| !line.contains("2001:")) {
            assert!(
                line.chars().count() <= usize::from(width),
                "{width}: {line}"
            );
        }
    }
}

#[test]
fn two_lines_stand_below_their_header() {
    let page = page(&style(Some(80)));
    let mut lines = page.lines();
    let (first, second) = (lines.next().unwrap(), lines.next().unwrap());
    let column = |line: &str, word: &str| line.find(word).map(|at| line[..at].chars().count());
    for (ends, rest) in lines.clone().step_by(2).zip(lines.skip(1).step_by(2)) {
        if ends.contains("2001:") {
            continue;
        }
        for (header, row, word) in [
            (first, ends, "LOCAL"),
            (first, ends, "REMOTE"),
            (first, ends, "STATE"),
            (second, rest, "CAUSE"),
            (second, rest, "WHO"),
        ] {
            let start = column(header, word).unwrap();
            let cell: String = row.chars().skip(start - 1).take(2).collect();
            let starts_here = cell.starts_with(' ') && !cell.ends_with(' ');
            assert!(starts_here, "{word} in {row:?}");
        }
    }
}

#[test]
fn colours_change_nothing_but_colour() {
    let plain = page(&style(Some(100)));
    let colored = page(&TextStyle {
        color: true,
        ..style(Some(100))
    });
    assert_eq!(anstream::adapter::strip_str(&colored).to_string(), plain);
    assert_ne!(colored, plain);
}

#[test]
fn names_from_outside_cannot_steer_the_terminal() {
    let mut event = samples::full();
    event.owner = Some(Process {
        pid: 1,
        comm: "a\u{1b}[2J\nb".into(),
    });
    let line = render_event(&event, &facts(&["x\u{1b}]0;y\u{7}"]), &style(None));
    assert_eq!(
        line.chars().filter(|c| c.is_control()).collect::<String>(),
        "\n"
    );
    assert!(
        line.contains(r"a\x1b[2J\x0ab[1]") && line.contains(r"x\x1b]0;y\x07"),
        "{line}"
    );
}

#[test]
fn the_summary_counts_what_was_shown_and_lost() {
    let mut totals = Totals::default();
    assert_eq!(
        render_summary(&totals),
        "0 resets; what was lost is not known\n"
    );
    totals.lost.insert("ring-full".into(), 0);
    assert_eq!(render_summary(&totals), "0 resets; 0 lost\n");
    totals.count_written(Cause::PeerGone);
    assert_eq!(render_summary(&totals), "1 reset: 1 peer-gone; 0 lost\n");
    for _ in 0..8 {
        totals.count_written(Cause::PortClosed);
    }
    totals.filtered = 3;
    totals.lost = [("ring-full".into(), 2), ("storm-budget".into(), 0)].into();
    assert_eq!(
        render_summary(&totals),
        "9 resets: 8 port-closed, 1 peer-gone; 3 filtered out; 2 lost (2 ring-full)\n"
    );
}

proptest! {
    #[test]
    fn a_line_holds_every_value_whole(
        width in proptest::option::of(0u16..250),
        unicode: bool,
        comm in "[a-z]{1,15}",
        local in any::<std::net::IpAddr>(),
        texts in proptest::collection::vec("[a-z ]{1,30}", 0..5),
    ) {
        let mut event = samples::full();
        event.actor = None;
        event.local_addr = local;
        event.owner = Some(Process { pid: 42, comm: comm.as_str().into() });
        let facts: Vec<String> =
            texts.iter().enumerate().map(|(index, text)| format!("{index}<{text}>")).collect();
        let line = render_event(&event, &facts, &TextStyle { unicode, ..style(width) });
        let lines = line.matches('\n').count();
        prop_assert!(lines == 1 || lines == 2 && width.is_some());
        let local = if local.is_unspecified() { "*:443".to_owned() } else { local.to_string() };
        for value in [local, format!("{comm}[42]"), "estab".into(), "close-unread-data".into()] {
            prop_assert!(line.contains(&value), "{value} in {line}");
        }
        let shown = facts.iter().filter(|fact| line.contains(fact.as_str())).count();
        prop_assert!(shown >= facts.len().min(1));
        if shown < facts.len() {
            let count = format!(" +{}\n", facts.len() - shown);
            prop_assert!(line.ends_with(&count), "{line}");
        }
        if width.is_none() {
            prop_assert_eq!(shown, facts.len());
        }
    }
}
