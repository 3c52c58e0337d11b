//! The self-audit of a running agent, in a network namespace that only a name holds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

mod support;

use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::net::TcpStream;
use std::process::Command;
use support::agent::{Agent, Metrics};
use support::programs::{installed, wait_until};
use support::{Family, bpf_works, closed_port, out_rsts};

/// More than others on this host send meanwhile.
const STORM: u32 = 10_000;

/// A network namespace as `ip netns add` makes it; removed in the end.
struct NamedNamespace(String);

impl NamedNamespace {
    fn make() -> Self {
        let name = format!("rstmon-test-{:016x}", fastrand::u64(..));
        ip(&["netns", "add", &name]);
        let namespace = Self(name);
        ip(&["-n", &namespace.0, "link", "set", "lo", "up"]);
        namespace
    }

    /// Runs `body` on a thread in it. A namespace is looked for by its processes and by its name: one in
    /// which no more than a thread is can be found by its name alone.
    fn within<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.0)).expect("it has a name");
        let body = move || {
            setns(file, CloneFlags::CLONE_NEWNET).expect("root may enter it");
            body()
        };
        std::thread::scope(|scope| scope.spawn(body).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for NamedNamespace {
    fn drop(&mut self) {
        // A test that failed half-way leaves no namespace, and says why it failed rather than this.
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().expect("ip runs");
    assert!(output.status.success(), "{args:?}: {output:?}");
}

/// Resets that the kernel's counters have, once the audit has looked. None of them is unaccounted for.
fn audited(page: &Metrics) -> Option<f64> {
    let of = |family: &str| page.0.get(&format!("{family}{{kind=\"sent\"}}")).copied();
    let sent = of("rstmon_snmp_resets_total")?;
    assert_eq!(of("rstmon_unaccounted_resets"), Some(0.0), "{sent} sent");
    Some(sent)
}

#[test]
fn resets_in_a_namespace_that_only_a_name_holds_are_found_and_accounted_for() {
    if !bpf_works() || !installed(&["ip", "curl"]) {
        return;
    }
    let agent = Agent::start(&["--audit-interval", "200ms"]);
    let mut before = None;
    wait_until("the first look of the audit", || {
        before = audited(&agent.scrape());
        before.is_some()
    });
    let namespace = NamedNamespace::make();
    let sent = namespace.within(|| {
        let target = closed_port(Family::V4);
        for _ in 0..STORM {
            TcpStream::connect(target).expect_err("nobody listens");
        }
        out_rsts()
    });
    let sent = u32::try_from(sent).unwrap();
    assert!(sent >= STORM, "{sent}");
    let expected = before.unwrap() + f64::from(sent);
    wait_until("the audit of the namespace", || {
        audited(&agent.scrape()).is_some_and(|sent| sent >= expected)
    });
}
