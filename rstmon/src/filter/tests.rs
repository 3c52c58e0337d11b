//! Tests of the filter language: what it reads, what it matches, how it errs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

use super::expr::{CgroupTest, End, Expr, Span, Test};
use super::pattern::Pattern;
use super::{Filter, Pushdown};
use crate::event::model::{Cause, Event, Family, Kind, Process, SocketState};
use crate::sink::samples;
use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rstmon_common::config::{FILTER_PORTS, ProbeConfig};
use rstmon_common::wire;

/// nginx (pid 100) at 192.0.2.1:443 sent a RST to 198.51.100.7:50000.
fn sent() -> Event {
    let mut event = samples::bare();
    event.kind = Kind::Sent;
    event.verdict.cause = Cause::CloseUnreadData;
    event.state = Some(SocketState::Established);
    event.family = Family::Ipv4;
    event.local_addr = "192.0.2.1".parse().unwrap();
    event.local_port = 443;
    event.remote_addr = "198.51.100.7".parse().unwrap();
    event.remote_port = 50_000;
    event.owner = Some(Process {
        pid: 100,
        comm: "nginx".into(),
    });
    event.cgroup_id = Some(4242);
    event.cgroup = Some("/system.slice/nginx.service".into());
    event.netns = Some(4_026_531_840);
    event
}

fn assert_filter(text: &str, event: &Event, expected: bool) {
    let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(filter.matches(event), expected, "{text}");
    let shown = filter.to_string();
    let again = Filter::parse(&shown).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again, filter, "{text} shown as {shown}");
}

#[test]
fn every_field_is_tested() {
    for text in [
        "",
        "  ",
        "kind sent",
        "KIND = Sent",
        "kind:sent",
        "cause close-unread-data",
        "cause in (port-closed, close_unread_data)",
        "state established",
        "pid 100",
        "pid 1-200",
        "pid in {99,100}",
        "comm nginx",
        "comm 'ngin*'",
        "comm ng?nx",
        "port 443",
        "port 80,443",
        "port {80, 443}",
        "port (80 or 443)",
        "port 400-500",
        "portrange 400-500",
        "port > 442",
        "port>=443",
        "port https",
        "port != 80",
        "port not in (80, 8080)",
        "lport 443",
        "rport 50000",
        "host 192.0.2.1",
        "host 198.51.100.7",
        "host ::ffff:192.0.2.1",
        "net 192.0.2.0/24",
        "net 192.0.2",
        "net 192/8",
        "local host 192.0.2.1",
        "remote net 198.51.100.0/24",
        "cgroup 4242",
        "cgroup /system.slice",
        "cgroup /system.slice/nginx.service",
        "cgroup nginx.service",
        "cgroup 'nginx*'",
        "cgroup /",
        "netns 4026531840",
        "not kind received",
        "! kind received",
        "!(kind received || pid 7)",
        "kind sent && port 443",
        "kind received or kind sent and port 443",
    ] {
        assert_filter(text, &sent(), true);
    }
}

#[test]
fn every_field_can_fail() {
    for text in [
        "kind received",
        "cause port-closed",
        "state listen",
        "pid 101",
        "comm ngin",
        "comm NGINX",
        "port 80",
        "lport 50000",
        "rport 443",
        "host 192.0.2.2",
        "net 10.0.0.0/8",
        "local host 198.51.100.7",
        "cgroup 4243",
        "cgroup /system",
        "cgroup nginx",
        "netns 1",
        "ip6",
        "not ip",
        "not tcp",
        "kind sent and port 80",
        "(kind received or kind sent) and port 80",
    ] {
        assert_filter(text, &sent(), false);
    }
}

#[test]
fn spellings_of_tcpdump() {
    for text in [
        "tcp",
        "ip",
        "tcp port 443 and host 192.0.2.1",
        "tcp src port 443",
        "src host 192.0.2.1 and dst host 198.51.100.7",
        "src 192.0.2.1",
        "dst net 198.51.100.0/24",
        "dst port 50000",
        "port 80 or 443",
        "port 80 or 81 or 443",
        "host 10.0.0.1 or 192.0.2.1",
        "192.0.2.1 and port 443",
        "tcp[tcpflags] & tcp-rst != 0",
        "tcp[tcpflags] & (tcp-rst) != 0 and port 443",
        "(tcp[13] & 4 != 0) and tcp port 443",
        "not (tcp port 80)",
        "not tcp port 80",
    ] {
        assert_filter(text, &sent(), true);
    }
}

#[test]
fn spellings_of_ss() {
    for text in [
        "state established dport = :50000",
        "state established ( dport = :80 or sport = :443 )",
        "state ESTAB and sport :443",
        "sport eq :443 and dport gt :1024",
        "sport = https",
        "state connected",
        "state synchronized src 192.0.2.0/24",
        "dst 198.51.100.0/24",
        "sport neq :80",
    ] {
        assert_filter(text, &sent(), true);
    }
    let mut event = sent();
    for (text, state) in [
        ("FIN-WAIT-1", SocketState::FinWait1),
        ("FIN_WAIT1", SocketState::FinWait1),
        ("fin-wait-1", SocketState::FinWait1),
        ("TIME-WAIT", SocketState::TimeWait),
        ("UNCONN", SocketState::Closed),
        ("LISTEN", SocketState::Listen),
        ("SYN_RECV", SocketState::SynRecv),
        ("none", SocketState::None),
    ] {
        event.state = Some(state);
        assert_filter(&format!("state {text}"), &event, true);
    }
}

#[test]
fn source_is_where_the_rst_came_from() {
    let mut event = sent();
    event.kind = Kind::Received;
    assert_filter("src port 50000", &event, true);
    assert_filter("dst host 192.0.2.1", &event, true);
    assert_filter("src port 443", &event, false);
    // ss speaks of sockets, whichever way the segment went.
    assert_filter("sport = :443 and dport = :50000", &event, true);
}

#[test]
fn what_is_not_known_matches_no_test() {
    let event = samples::bare();
    for text in [
        "pid 0-4294967295",
        "comm '*'",
        "cgroup /",
        "netns > 0",
        "state all",
    ] {
        assert_filter(text, &event, false);
        assert_filter(&format!("not {text}"), &event, true);
    }
}

#[test]
fn only_the_filter_without_tests_wants_all() {
    for (text, expected) in [
        ("", true),
        ("tcp", true),
        ("tcp or port 80", true),
        ("(tcp)", true),
        ("not tcp", false),
        ("port 80", false),
    ] {
        assert_eq!(Filter::parse(text).unwrap().is_all(), expected, "{text}");
    }
}

#[test]
fn errors_point_and_help() {
    let errors: Vec<String> = [
        "prot 80",
        "port 80 and hots 1.2.3.4",
        "kind snet",
        "cause port-close",
        "state etsablished",
        "sent",
        "443",
        "port 99999",
        "port http-",
        "port 90-80",
        "port > 65535",
        "comm > a",
        "comm ~ ngin.*",
        "comm nginx-worker-process",
        "host example.org",
        "host 10.0.0.1:443",
        "net 10.0.0.0/33",
        "port 80 port 443",
        "port",
        "port and",
        "and port 80",
        "(port 80",
        "port 80)",
        "port (80, 443",
        "comm 'nginx",
        "src pid 1",
        "tcp[tcpflags] & tcp-syn != 0",
        "comm é prot",
    ]
    .iter()
    .map(|text| Filter::parse(text).expect_err(text).to_string())
    .collect();
    insta::assert_snapshot!(errors.join("\n\n"));
}

#[test]
fn an_error_shows_no_control_characters() {
    let error = Filter::parse("port\n80 \u{1b}[2J").unwrap_err().to_string();
    assert!(
        error.lines().count() >= 3 && !error.contains('\u{1b}'),
        "{error}"
    );
}

#[test]
fn nesting_is_limited() {
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{}port 80{}", open.repeat(depth), close.repeat(depth))
    };
    for (open, close) in [("(", ")"), ("not ", ""), ("!(", ")")] {
        let levels = if close.is_empty() || open == "(" {
            64
        } else {
            32
        };
        assert!(Filter::parse(&nested(open, close, levels)).is_ok());
        let error = Filter::parse(&nested(open, close, 100_000)).unwrap_err();
        assert!(
            error.message().contains("nested too deeply"),
            "{}",
            error.message()
        );
    }
    let chain = vec!["port 80"; 20_000].join(" or ");
    assert!(!Filter::parse(&chain).unwrap().matches(&sent()));
}

#[test]
fn the_kernel_is_asked_what_it_can_decide() {
    let pushdown = |text: &str| Filter::parse(text).unwrap().pushdown();
    let only_sent = Some(1 << wire::KIND_SENT);
    let others = Some(1 << wire::KIND_RECEIVED | 1 << wire::KIND_REJECTED | 1 << wire::KIND_STRAY);
    let nothing = Pushdown::default();
    for (text, expected) in [
        ("", nothing.clone()),
        ("comm nginx", nothing.clone()),
        (
            "kind sent",
            Pushdown {
                kinds: only_sent,
                ..nothing.clone()
            },
        ),
        (
            "not kind sent",
            Pushdown {
                kinds: others,
                ..nothing.clone()
            },
        ),
        (
            "not (kind sent or comm a)",
            Pushdown {
                kinds: others,
                ..nothing.clone()
            },
        ),
        (
            "kind sent and comm a",
            Pushdown {
                kinds: only_sent,
                ..nothing.clone()
            },
        ),
        ("kind sent or comm a", nothing.clone()),
        (
            "port 443,80,80",
            Pushdown {
                ports: vec![80, 443],
                ..nothing.clone()
            },
        ),
        (
            "lport 80 and rport 443-450",
            Pushdown {
                ports: vec![80],
                ..nothing.clone()
            },
        ),
        (
            "lport 80 or rport 443",
            Pushdown {
                ports: vec![80, 443],
                ..nothing.clone()
            },
        ),
        ("not port 80", nothing.clone()),
        ("port 1-17", nothing.clone()),
        (
            "port 1-16",
            Pushdown {
                ports: (1..=16).collect(),
                ..nothing.clone()
            },
        ),
        ("port 1-16 or port 99", nothing.clone()),
        (
            "pid 7 and netns 9",
            Pushdown {
                pid: Some(7),
                netns: Some(9),
                ..nothing.clone()
            },
        ),
        (
            "pid 7 or pid 7",
            Pushdown {
                pid: Some(7),
                ..nothing.clone()
            },
        ),
        ("pid 7 or pid 8", nothing.clone()),
        ("pid 0", nothing.clone()),
    ] {
        assert_eq!(pushdown(text), expected, "{text}");
    }
}

#[test]
fn pushdown_fills_the_configuration() {
    let mut config = ProbeConfig::NONE;
    Filter::parse("kind sent and port 80,443 and pid 7 and netns 9")
        .unwrap()
        .pushdown()
        .apply(&mut config);
    assert_eq!(config.filter_kinds, 1 << wire::KIND_SENT);
    assert_eq!((config.filter_pid, config.filter_netns), (7, 9));
    assert_eq!(config.filter_port_count, 2);
    assert_eq!(config.filter_ports[..3], [80, 443, 0]);
    Pushdown::default().apply(&mut config);
    assert_eq!(config, ProbeConfig::NONE);
    Pushdown {
        ports: (1..=99).collect(),
        ..Pushdown::default()
    }
    .apply(&mut config);
    assert_eq!(config, ProbeConfig::NONE);
}

/// What the programs do with the configuration.
fn kernel_passes(config: &ProbeConfig, event: &Event) -> bool {
    let kind = match event.kind {
        Kind::Sent => wire::KIND_SENT,
        Kind::Received => wire::KIND_RECEIVED,
        Kind::Rejected => wire::KIND_REJECTED,
        Kind::Stray => wire::KIND_STRAY,
    };
    let ports = &config.filter_ports[..config.filter_port_count as usize];
    config.filter_kinds & (1 << kind) != 0
        && (config.filter_pid == 0
            || event
                .owner
                .as_ref()
                .is_some_and(|owner| owner.pid == config.filter_pid))
        && (config.filter_netns == 0 || event.netns == Some(config.filter_netns))
        && (ports.is_empty()
            || ports.contains(&event.local_port)
            || ports.contains(&event.remote_port))
}

// Few different values, so that events and filters meet often.

fn any_span(highest: u32) -> impl Strategy<Value = Span> {
    prop_oneof![
        (0u32..6).prop_map(Span::one),
        (0u32..6, 0u32..20).prop_map(|(first, more)| Span {
            first,
            last: first + more
        }),
        (0u32..6).prop_map(move |first| Span {
            first,
            last: highest
        }),
    ]
}

fn any_end() -> impl Strategy<Value = End> {
    select(vec![
        End::Either,
        End::Local,
        End::Remote,
        End::RstSource,
        End::RstDestination,
    ])
}

fn any_net() -> impl Strategy<Value = IpNet> {
    let nets = [
        "10.0.0.1",
        "10.0.0.0/8",
        "0.0.0.0/0",
        "2001:db8::1",
        "2001:db8::/32",
    ];
    select(nets.to_vec()).prop_map(|net| super::values::network(net).unwrap())
}

fn any_pattern() -> impl Strategy<Value = Pattern> {
    "[a-c*?'\" \\\\:é(0-9]{0,6}|and|in|eq|nginx".prop_map(|text| Pattern::new(&text))
}

fn any_cgroup() -> impl Strategy<Value = CgroupTest> {
    prop_oneof![
        (0u64..4).prop_map(CgroupTest::Id),
        "(/[a-c*']{1,3}){1,3}|/".prop_map(|path| CgroupTest::Path(Pattern::new(&path))),
        "[a-c*0-9][a-c0-9' ]{0,3}".prop_map(|name| CgroupTest::Component(Pattern::new(&name))),
    ]
}

fn any_test() -> impl Strategy<Value = Test> {
    let ports = || vec(any_span(65_535), 1..4);
    let numbers = || vec(any_span(u32::MAX), 1..3);
    prop_oneof![
        vec(select(Kind::ALL), 1..3).prop_map(Test::Kind),
        vec(select(Cause::ALL), 1..3).prop_map(Test::Cause),
        vec(select(SocketState::ALL), 1..3).prop_map(Test::State),
        select(Family::ALL).prop_map(Test::Family),
        numbers().prop_map(Test::Pid),
        numbers().prop_map(Test::Netns),
        (any_end(), ports()).prop_map(|(end, spans)| Test::Port(end, spans)),
        (any_end(), vec(any_net(), 1..3)).prop_map(|(end, nets)| Test::Address(end, nets)),
        vec(any_pattern(), 1..3).prop_map(Test::Comm),
        vec(any_cgroup(), 1..3).prop_map(Test::Cgroup),
    ]
}

fn any_expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![1 => Just(Expr::All), 12 => any_test().prop_map(Expr::Test)];
    leaf.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(Expr::all),
            vec(inner.clone(), 2..4).prop_map(Expr::any),
            inner.prop_map(|expr| Expr::Not(Box::new(expr))),
        ]
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    let address = || select(vec!["10.0.0.1", "10.9.9.9", "192.0.2.1", "2001:db8::1"]);
    (
        (
            select(Kind::ALL),
            select(Cause::ALL),
            option::of(select(SocketState::ALL)),
        ),
        (0u16..6, 0u16..6, address(), address()),
        option::of((0u32..6, "[a-c]{0,3}")),
        (
            option::of(0u32..6),
            option::of(0u64..4),
            option::of("(/[a-c]{1,3}){1,3}"),
        ),
    )
        .prop_map(
            |((kind, cause, state), (lport, rport, local, remote), owner, place)| {
                let mut event = samples::bare();
                (event.kind, event.verdict.cause, event.state) = (kind, cause, state);
                (event.local_port, event.remote_port) = (lport, rport);
                event.local_addr = local.parse().unwrap();
                event.remote_addr = remote.parse().unwrap();
                event.owner = owner.map(|(pid, comm)| Process {
                    pid,
                    comm: comm.into(),
                });
                let (netns, cgroup_id, cgroup) = place;
                (event.netns, event.cgroup_id) = (netns, cgroup_id);
                event.cgroup = cgroup.map(Into::into);
                event
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_kernel_keeps_nothing_back_that_matches(expr in any_expr(), event in any_event()) {
        let filter = Filter { expr };
        let pushdown = filter.pushdown();
        prop_assert!(pushdown.ports.len() <= FILTER_PORTS);
        let mut config = ProbeConfig::NONE;
        pushdown.apply(&mut config);
        if filter.matches(&event) {
            prop_assert!(kernel_passes(&config, &event), "{filter}: {pushdown:?}");
        }
    }

    #[test]
    fn what_is_shown_parses_to_the_same(expr in any_expr()) {
        let filter = Filter { expr };
        let shown = filter.to_string();
        let again = Filter::parse(&shown);
        prop_assert_eq!(again.as_ref(), Ok(&filter), "{}", shown);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
        let _ = Filter::parse(&text).map_err(|error| error.to_string());
    }

    #[test]
    fn any_words_are_read_or_refused(words in vec(select(vec![
        "port", "host", "src", "dst", "not", "and", "or", "(", ")", "{", "}", ",", "80", ":80", "in",
        "80-90", "10.0.0.0/8", "::1", "kind", "sent", "state", "estab", "tcp", "ip6", "=", "!=", ">",
        "<", "~", "!", "'", "\"", "comm", "a*", "cgroup", "tcp[tcpflags]", "&", "tcp-rst", "0", "é:",
        "port:", ":", "pid:1", "4294967295", "99999999999999999999", "[::1]", "-", "80-", "-80",
    ]), 0..12)) {
        let text = words.join(" ");
        if let Ok(filter) = Filter::parse(&text) {
            let shown = filter.to_string();
            let again = Filter::parse(&shown);
            prop_assert_eq!(again.as_ref(), Ok(&filter), "{} shown as {}", text, shown);
        }
    }
}
