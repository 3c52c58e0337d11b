//! The arithmetic of the audit over namespaces that come and go.

use super::*;

fn counters(out_rsts: u64, on_close: u64) -> SnmpCounters {
    SnmpCounters::parse(&format!(
        "Tcp: RtoMin OutRsts\nTcp: 200 {out_rsts}\nTcpExt: SyncookiesSent TCPAbortOnClose\nTcpExt: 0 {on_close}\n"
    ))
}

fn audit(seen: &[(u64, SnmpCounters)]) -> Audit {
    let seen = seen.iter().map(|(inode, counters)| {
        let first = counters.clone();
        (
            *inode,
            Seen {
                first,
                last: counters.clone(),
            },
        )
    });
    Audit {
        namespaces: Namespaces::of_host(),
        seen: seen.collect(),
        gone: SnmpCounters::default(),
        counted_before: 0,
    }
}

fn sent(audit: &Audit) -> u64 {
    let mut growth = audit.gone.clone();
    for seen in audit.seen.values() {
        growth.add(&seen.last.since(&seen.first));
    }
    growth.get("OutRsts")
}

#[test]
fn growth_counts_from_the_first_look_and_from_zero_for_what_came_later() {
    let mut audit = audit(&[(1, counters(100, 0))]);
    audit.take(&BTreeMap::from([
        (1, counters(107, 0)),
        (2, counters(5, 0)),
    ]));
    assert_eq!(sent(&audit), 12);
}

#[test]
fn what_a_namespace_sent_stays_counted_when_it_is_gone() {
    let mut audit = audit(&[(1, counters(100, 0)), (2, counters(1, 0))]);
    audit.take(&BTreeMap::from([
        (1, counters(100, 0)),
        (2, counters(4, 0)),
    ]));
    audit.take(&BTreeMap::from([(1, counters(101, 0))]));
    assert_eq!(sent(&audit), 4);
    // The number is given to another namespace, which has sent less.
    audit.take(&BTreeMap::from([(1, counters(2, 0))]));
    assert_eq!(sent(&audit), 6);
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
