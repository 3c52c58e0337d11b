//! The arithmetic of the audit over namespaces that come and go.

use super::*;

fn counters(out_rsts: u64, on_close: u64) -> SnmpCounters {
    SnmpCounters::parse(&format!(
        "Tcp: RtoMin OutRsts\nTcp: 200 {out_rsts}\nTcpExt: SyncookiesSent TCPAbortOnClose\nTcpExt: 0 {on_close}\n"
    ))
}

fn audit(seen: &[(u64, SnmpCounters)]) -> Audit {
    let seen = seen.iter();
    Audit {
        namespaces: Namespaces::of_host(),
        seen: seen
            .map(|(inode, now)| (*inode, Seen::from_now(now.clone())))
            .collect(),
        departed: BTreeMap::new(),
        gone: SnmpCounters::default(),
        unread: BTreeSet::new(),
        counted_before: 0,
    }
}

fn found<const N: usize>(counters: [(u64, SnmpCounters); N]) -> Found {
    Found {
        counters: BTreeMap::from(counters),
        unreadable: BTreeSet::new(),
    }
}

fn sent(audit: &Audit) -> u64 {
    audit.growth().get("OutRsts")
}

#[test]
fn growth_counts_from_the_first_look_and_from_zero_for_what_came_later() {
    let mut audit = audit(&[(1, counters(100, 0))]);
    audit.take(&found([(1, counters(107, 0)), (2, counters(5, 0))]));
    assert_eq!(sent(&audit), 12);
}

#[test]
fn what_a_namespace_sent_stays_counted_when_it_is_gone() {
    let mut audit = audit(&[(1, counters(100, 0)), (2, counters(1, 0))]);
    audit.take(&found([(1, counters(100, 0)), (2, counters(4, 0))]));
    audit.take(&found([(1, counters(101, 0))]));
    assert_eq!(sent(&audit), 4);
    // The number is given to another namespace, which has sent less.
    audit.take(&found([(1, counters(2, 0))]));
    assert_eq!(sent(&audit), 6);
}

#[test]
fn a_namespace_that_comes_back_goes_on_where_it_was() {
    let mut audit = audit(&[(1, counters(100, 0)), (2, counters(50, 0))]);
    audit.take(&found([(1, counters(100, 0))]));
    assert_eq!(sent(&audit), 0);
    audit.take(&found([(1, counters(100, 0)), (2, counters(53, 0))]));
    assert_eq!(sent(&audit), 3);
    // Gone again, and its number is another's.
    audit.take(&found([(1, counters(100, 0))]));
    assert_eq!(sent(&audit), 3);
    audit.take(&found([(1, counters(100, 0)), (2, counters(1, 0))]));
    assert_eq!(sent(&audit), 4);
}

#[test]
fn what_an_unreadable_namespace_had_sent_is_not_counted_once_it_can_be_read() {
    let mut audit = audit(&[]);
    audit.take(&Found {
        unreadable: BTreeSet::from([7]),
        ..Found::default()
    });
    audit.take(&found([(7, counters(900, 0))]));
    assert_eq!(sent(&audit), 0);
    audit.take(&found([(7, counters(902, 0))]));
    assert_eq!(sent(&audit), 2);
}

#[test]
fn no_more_of_those_that_are_gone_are_kept_than_may_come_back() {
    let mut audit = audit(&[]);
    for inode in 0..MAX_DEPARTED as u64 + 10 {
        audit.take(&found([(inode, counters(1, 0))]));
    }
    assert!(audit.departed.len() <= MAX_DEPARTED);
    assert_eq!(sent(&audit), MAX_DEPARTED as u64 + 10);
}

#[test]
fn the_kernels_files_are_read_by_name() {
    let counters = counters(3, 9);
    assert_eq!(
        (counters.get("OutRsts"), counters.get("TCPAbortOnClose")),
        (3, 9)
    );
    assert_eq!(
        counters.others("OutRsts"),
        BTreeMap::from([("TCPAbortOnClose", 9)])
    );
    assert_eq!(
        SnmpCounters::parse("Tcp: A\nTcp: x\nodd"),
        SnmpCounters::default()
    );
}

#[test]
fn this_hosts_namespace_is_found_and_read() {
    let own = std::fs::metadata("/proc/self/ns/net");
    let own = own
        .map(|it| std::os::unix::fs::MetadataExt::ino(&it))
        .unwrap_or_default();
    let found = Namespaces::of_host().read();
    assert!(found.counters.contains_key(&own));
}
