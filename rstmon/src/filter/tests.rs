//! Tests of the filter language: what it reads, what it matches, how it errs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

use super::{Filter, Pushdown};
use crate::event::model::{Cause, Event, Family, Kind, Process, SocketState};
use crate::sink::samples;
use rstmon_common::config::ProbeConfig;
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
    event.workload = Some(samples::workload().into());
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
fn an_end_that_is_not_known_is_no_address_and_no_port() {
    for (text, expected) in [
        ("net ::/0", false),
        ("not net ::/0", true),
        ("port 443", true),
        ("port 0", false),
    ] {
        assert_filter(text, &samples::listener(), expected);
    }
    // A scanner may send from port 0.
    let mut scanner = sent();
    scanner.remote_port = 0;
    assert_filter("port 0", &scanner, true);
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
        "container web",
        "container 'w*'",
        "container 0123456789ab",
        "container '0123456789abcdef*'",
        "container in (db, web)",
        "runtime containerd",
        "runtime docker,Containerd",
        "runtime != crio",
        "pod web-1",
        "pod 'web-*'",
        "pod shop/web-1",
        "pod 'sh*/*'",
        "pod shop/",
        "pod /web-1",
        "pod 2f6b1c1e-0d3a-4c55-9a43-3a1b2c3d4e5f",
        "pod shop/2f6b1c1e-0d3a-4c55-9a43-3a1b2c3d4e5f",
        "namespace shop",
        "namespace 's*' and not namespace kube-system",
        "unit nginx.service",
        "unit nginx",
        "unit 'ng*'",
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
        "container we",
        "container 0123",
        "container 123456789abc",
        "runtime docker",
        "pod web",
        "pod kube-system/web-1",
        "pod a/web-1",
        "namespace web-1",
        "unit nginx.socket",
        "unit nginx.s",
        "unit ngin",
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
        "container '*'",
        "runtime docker,containerd,cri-o,podman,lxc,systemd-nspawn",
        "pod '*'",
        "namespace '*'",
        "unit '*'",
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
fn a_part_of_a_cause_names_the_causes() {
    let help = |text: &str| {
        Filter::parse(text)
            .unwrap_err()
            .help()
            .map(ToOwned::to_owned)
    };
    assert_eq!(
        help("cause linger").as_deref(),
        Some("did you mean `linger-abort` or `linger2-abort`? `rstmon explain` lists the causes")
    );
    assert_eq!(
        help("cause prot-closed").as_deref(),
        Some("did you mean `port-closed`? `rstmon explain` lists the causes")
    );
    assert_eq!(
        help("cause weather").as_deref(),
        Some("`rstmon explain` lists the causes")
    );
}

#[test]
fn a_half_range_is_quoted_whole() {
    let message = |text: &str| Filter::parse(text).unwrap_err().message().to_owned();
    assert_eq!(message("port 80-"), "`80-` is no port");
    assert_eq!(message("pid -1"), "`-1` is no pid");
    assert_eq!(message("port 1-x"), "`1-x` is no port");
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

mod properties;
