//! The arithmetic of the audit over namespaces that come and go, and what it says at each look.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use super::*;
use rstmon_common::counts::{REASON_FIREWALL, REASONS};
use rstmon_common::wire::{self, tcp_state};
use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use tempfile::TempDir;

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
    let own = fs::metadata("/proc/self/ns/net");
    let own = own.map(|it| it.ino()).unwrap_or_default();
    let found = Namespaces::of_host().read();
    assert!(found.counters.contains_key(&own));
}

/// A host in a folder: a namespace is a folder with its counters, and processes link to it.
struct Host(TempDir);

impl Host {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        fs::create_dir(host.0.path().join("proc")).unwrap();
        host
    }

    /// One with one namespace, `a`, in which a process runs.
    fn of_one(out_rsts: u64) -> Self {
        let host = Self::new();
        host.set("a", out_rsts);
        host.run(1, "a");
        host
    }

    fn namespaces(&self) -> Namespaces {
        Namespaces {
            proc_root: self.0.path().join("proc"),
            named: Vec::new(),
        }
    }

    fn begin(&self, counted: &CellCounts) -> Audit {
        Audit::begin(self.namespaces(), counted)
    }

    /// A namespace without counters cannot be read.
    fn make(&self, namespace: &str) {
        fs::create_dir_all(self.0.path().join(namespace)).unwrap();
    }

    /// What a namespace's counters say from now on: half as many aborts as resets.
    fn set(&self, namespace: &str, out_rsts: u64) {
        self.make(namespace);
        let folder = self.0.path().join(namespace);
        let snmp = format!("Tcp: RtoMin OutRsts\nTcp: 200 {out_rsts}\n");
        fs::write(folder.join("snmp"), snmp).unwrap();
        let on_close = out_rsts / 2;
        let netstat = format!("TcpExt: SyncookiesSent TCPAbortOnClose\nTcpExt: 0 {on_close}\n");
        fs::write(folder.join("netstat"), netstat).unwrap();
    }

    fn process(&self, pid: u32) -> std::path::PathBuf {
        self.0.path().join(format!("proc/{pid}"))
    }

    fn run(&self, pid: u32, namespace: &str) {
        let process = self.process(pid);
        fs::create_dir_all(process.join("ns")).unwrap();
        let namespace = self.0.path().join(namespace);
        symlink(&namespace, process.join("ns/net")).unwrap();
        symlink(&namespace, process.join("net")).unwrap();
    }

    fn end(&self, pid: u32) {
        fs::remove_dir_all(self.process(pid)).unwrap();
    }
}

/// What rstmon has counted: resets that TCP sent, that netfilter sent, and a thousand received.
fn counted(by_tcp: u64, by_firewall: u64) -> CellCounts {
    let mut counts = CellCounts::default();
    for (kind, reason, count) in [
        (wire::KIND_SENT, 3, by_tcp),
        (wire::KIND_SENT, REASON_FIREWALL as usize, by_firewall),
        (wire::KIND_RECEIVED, 3, 1_000),
    ] {
        let mut block = [0; REASONS];
        block[reason] = count;
        counts.add_block(kind, tcp_state::ESTABLISHED, wire::AF_INET, &block);
    }
    counts
}

fn look(audit: &mut Audit, counted: &CellCounts) -> AuditFigures {
    let Ok(figures) = audit.look(|| Ok::<_, Infallible>(counted.clone()));
    figures
}

/// Resets sent by the kernel's counters, and those of them that rstmon has not counted.
fn sent_and_unaccounted(figures: &AuditFigures) -> (u64, u64) {
    (figures.sent, figures.unaccounted_sent)
}

#[test]
fn what_the_kernel_has_sent_and_rstmon_not_counted_is_unaccounted() {
    // Counted before the first look and at the second, by TCP and by netfilter; how many the kernel has
    // sent between the two; of those, the unaccounted.
    let table = [
        ((0, 0), (7, 0), 10, 3),
        ((0, 0), (4, 3), 10, 6),
        ((100, 0), (107, 0), 10, 3),
        ((100, 50), (104, 53), 10, 6),
        ((100, 50), (100, 60), 10, 10),
        ((0, 0), (10, 0), 10, 0),
        ((100, 0), (110, 0), 10, 0),
        // Some were of a namespace that cannot be seen.
        ((0, 0), (12, 0), 10, 0),
        ((100, 0), (105, 0), 0, 0),
        ((100, 0), (100, 0), 0, 0),
    ];
    for (before, now, growth, unaccounted) in table {
        let host = Host::of_one(400);
        let mut audit = host.begin(&counted(before.0, before.1));
        host.set("a", 400 + growth);
        let figures = look(&mut audit, &counted(now.0, now.1));
        let row = (before, now, growth);
        assert_eq!(
            sent_and_unaccounted(&figures),
            (growth, unaccounted),
            "{row:?}"
        );
        let others = BTreeMap::from([("TCPAbortOnClose", growth / 2)]);
        assert_eq!(figures.counters, others, "{row:?}");
        assert_eq!(
            (figures.namespaces, figures.unreadable_namespaces),
            (1, 0),
            "{row:?}"
        );
    }
}

#[test]
fn each_look_says_what_was_since_the_first() {
    let host = Host::of_one(100);
    let mut audit = host.begin(&counted(40, 5));
    // OutRsts; counted by TCP and by netfilter; sent and unaccounted since the first look.
    for (out_rsts, now, expected) in [
        (110, (47, 5), (10, 3)),
        (110, (47, 5), (10, 3)),
        (130, (67, 9), (30, 3)),
        (131, (67, 9), (31, 4)),
        // What another namespace sent that cannot be seen.
        (131, (71, 9), (31, 0)),
        (140, (80, 9), (40, 0)),
        (141, (80, 99), (41, 1)),
    ] {
        host.set("a", out_rsts);
        let figures = look(&mut audit, &counted(now.0, now.1));
        assert_eq!(
            sent_and_unaccounted(&figures),
            expected,
            "{out_rsts}, {now:?}"
        );
    }
}

#[test]
fn what_a_departed_namespace_sent_stays_in_the_figures() {
    let host = Host::of_one(100);
    host.set("b", 50);
    host.run(2, "b");
    let mut audit = host.begin(&counted(0, 0));
    let figures = |audit: &mut Audit, by_tcp| {
        let figures = look(audit, &counted(by_tcp, 0));
        (sent_and_unaccounted(&figures), figures.namespaces)
    };
    host.set("b", 58);
    assert_eq!(figures(&mut audit, 6), ((8, 2), 2));
    host.end(2);
    assert_eq!(figures(&mut audit, 6), ((8, 2), 1));
    host.set("a", 101);
    assert_eq!(figures(&mut audit, 7), ((9, 2), 1));
    // What it sent while it was out of sight counts once it is back.
    host.set("b", 60);
    host.run(3, "b");
    assert_eq!(figures(&mut audit, 7), ((11, 4), 2));
    host.set("c", 5);
    host.run(4, "c");
    assert_eq!(figures(&mut audit, 12), ((16, 4), 3));
    // Its number was given to another.
    host.set("c", 1);
    assert_eq!(figures(&mut audit, 13), ((17, 4), 3));
}

#[test]
fn a_namespace_that_cannot_be_read_is_counted_as_such_and_raises_no_alarm() {
    let host = Host::of_one(100);
    for (pid, namespace) in [(2, "b"), (3, "c")] {
        host.make(namespace);
        host.run(pid, namespace);
    }
    let mut audit = host.begin(&counted(0, 0));
    let figures = |audit: &mut Audit| {
        let figures = look(audit, &counted(0, 0));
        (
            sent_and_unaccounted(&figures),
            figures.namespaces,
            figures.unreadable_namespaces,
        )
    };
    host.set("b", 900);
    assert_eq!(figures(&mut audit), ((0, 0), 2, 1));
    host.set("c", 800);
    assert_eq!(figures(&mut audit), ((0, 0), 3, 0));
    host.set("b", 905);
    host.set("c", 801);
    assert_eq!(figures(&mut audit), ((6, 6), 3, 0));
}

/// A process may end between the two looks at it, and leaves others.
#[test]
fn processes_of_one_namespace_are_one_and_any_of_them_will_do() {
    let host = Host::of_one(100);
    for pid in 2..20 {
        host.run(pid, "a");
        fs::remove_file(host.process(pid).join("net")).unwrap();
    }
    for pid in 20..30 {
        host.run(pid, "a");
    }
    let found = host.namespaces().read();
    assert_eq!((found.counters.len(), found.unreadable.len()), (1, 0));
    let counters: Vec<u64> = found
        .counters
        .values()
        .map(|it| it.get("OutRsts"))
        .collect();
    assert_eq!(counters, [100]);
}

/// Were it the other way round, resets in between would be unaccounted for.
#[test]
fn the_kernels_counters_are_read_before_rstmons() {
    let host = Host::of_one(100);
    let mut audit = host.begin(&counted(0, 0));
    let Ok(figures) = audit.look(|| {
        host.set("a", 107);
        Ok::<_, Infallible>(counted(7, 0))
    });
    assert_eq!(sent_and_unaccounted(&figures), (0, 0));
    let figures = look(&mut audit, &counted(7, 0));
    assert_eq!(sent_and_unaccounted(&figures), (7, 0));
}

#[test]
fn a_look_at_which_rstmons_counters_fail_tells_and_loses_nothing() {
    let host = Host::of_one(100);
    let mut audit = host.begin(&counted(0, 0));
    host.set("a", 103);
    assert_eq!(audit.look(|| Err("no map")).err(), Some("no map"));
    host.set("a", 110);
    let figures = look(&mut audit, &counted(7, 0));
    assert_eq!(sent_and_unaccounted(&figures), (10, 3));
}
