//! Of any expression: what the kernel may keep back, and that what is shown can be read.

use crate::event::model::{Cause, Event, Family, Kind, Process, SocketState};
use crate::event::workload::Runtime;
use crate::filter::Filter;
use crate::filter::expr::{CgroupTest, End, Expr, PodTest, Span, Test};
use crate::filter::pattern::Pattern;
use crate::sink::samples;
use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rstmon_common::config::{FILTER_PORTS, ProbeConfig};
use rstmon_common::wire;

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
    select(nets.to_vec()).prop_map(|net| crate::filter::values::network(net).unwrap())
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

fn any_pod() -> impl Strategy<Value = PodTest> {
    let pattern = |text: String| Pattern::new(&text);
    let namespace = option::of("[a-c*]{1,3}".prop_map(pattern));
    let name = "[a-c*/' ]{0,3}[a-c*]".prop_map(pattern);
    (namespace, name).prop_map(|(namespace, name)| PodTest { namespace, name })
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
        vec(any_pattern(), 1..3).prop_map(Test::Container),
        vec(select(Runtime::ALL), 1..3).prop_map(Test::Runtime),
        vec(any_pod(), 1..3).prop_map(Test::Pod),
        vec(any_pattern(), 1..3).prop_map(Test::Namespace),
        vec(any_pattern(), 1..3).prop_map(Test::Unit),
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
    let addresses = [
        "10.0.0.1",
        "10.9.9.9",
        "192.0.2.1",
        "2001:db8::1",
        "0.0.0.0",
        "::",
    ];
    let address = || select(addresses.to_vec());
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
        "<", "~", "!", "'", "\"", "comm", "a*", "cgroup", "pod", "a/b", "/", "unit", "tcp[tcpflags]", "&", "tcp-rst", "0", "é:",
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
