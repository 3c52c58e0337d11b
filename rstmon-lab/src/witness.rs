//! A second witness beside the capture that is judged: the kernel's own event tracing.
//!
//! A hardened kernel was met that runs no BPF program while a thread of process 1 is on the CPU, and
//! counts that nowhere: a reset that a timer sends or a softirq receives at such a moment no capture
//! sees. Event tracing sees the tracepoint, and whom it interrupted. Opened by `rstmon lab --witness`,
//! used by [`crate::judge`], which tells such a call apart from an event that the capture missed. Always
//! holds: one event from such a moment shows that this kernel does run programs there, and nothing is
//! passed over any more.
//!
//! Only on request: while it traces, the kernel notes the names of tasks, and patches the scheduler's
//! code for that when it begins and ends. Under QEMU's emulation of two processors 6.12 died once
//! in that code.

use std::cell::Cell;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process;

use serde_json::Value;

use crate::judge::{end_of, number, text};
use crate::truth::{Expectation, Kind};

/// Where tracefs may be.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
/// An instance of ours is called so, with our process behind it.
const INSTANCE: &str = "rstmon-lab-";
/// The tracepoints, with the kind of reset that each tells. That of resets sent tells both ends since
/// 6.10. That of resets received is passed by what no RST did, too, which no event is expected of.
const TRACEPOINTS: [(&str, Kind); 2] = [
    ("tcp_send_reset", Kind::Sent),
    ("tcp_receive_reset", Kind::Received),
];
/// What the lines must tell, and in which clock. An instance begins with the settings of the whole.
const SETTINGS: [(&str, &str); 5] = [
    // Room for the calls of a round, KiB a CPU.
    ("buffer_size_kb", "256"),
    ("trace_clock", "mono"),
    ("options/context-info", "1"),
    ("options/irq-info", "1"),
    ("options/record-tgid", "1"),
];
/// The initial PID namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h): elsewhere the numbers of
/// the trace are not ours.
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";
/// The program of a hook and the trace of its tracepoint read the clock one after the other.
const SAME_CALL_NS: u64 = 1_000_000_000;

/// An instance of event tracing, taken down when dropped.
#[derive(Debug)]
pub struct Witness {
    instance: PathBuf,
    /// Whether an event came from a moment at which process 1 was on the CPU.
    is_refuted: Cell<bool>,
}

/// A RST that was sent or received while a thread of process 1 was interrupted, on a kernel that has
/// shown no event from such a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    kind: Kind,
    at_ns: u64,
    local: SocketAddr,
    remote: SocketAddr,
}

/// A call of the tracepoint, as a line of the trace tells it.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    process: u32,
    interrupts: bool,
    reset: PassedOver,
}

impl Witness {
    /// Begins to witness. An error says what keeps it from that.
    pub fn open() -> Result<Self, String> {
        let namespace = fs::read_link("/proc/self/ns/pid").map_err(|error| error.to_string())?;
        if namespace.as_os_str() != INITIAL_PID_NAMESPACE || process::id() == 1 {
            return Err("this is no ordinary process of the host".to_owned());
        }
        let instances = TRACEFS
            .iter()
            .map(|root| Path::new(root).join("instances"))
            .find(|path| path.is_dir())
            .ok_or_else(|| "tracefs is not mounted".to_owned())?;
        remove_abandoned(&instances, Path::new("/proc"));
        let instance = instances.join(own_name(Path::new("/proc"))?);
        fs::create_dir(&instance).map_err(|error| format!("{}: {error}", instance.display()))?;
        let witness = Self {
            instance,
            is_refuted: Cell::new(false),
        };
        for (file, value) in SETTINGS {
            witness.write(file, value)?;
        }
        for (tracepoint, _) in TRACEPOINTS {
            witness.write(&format!("events/tcp/{tracepoint}/enable"), "1")?;
        }
        Ok(witness)
    }

    /// The resets since the last look that this kernel may have kept from the capture, which
    /// showed `events`.
    pub fn passed_over(&self, events: &[Value]) -> io::Result<Vec<PassedOver>> {
        // The names of tasks may be any bytes.
        let trace = fs::read(self.instance.join("trace"))?;
        fs::write(self.instance.join("trace"), "")?;
        let calls: Vec<PassedOver> = String::from_utf8_lossy(&trace)
            .lines()
            .filter_map(parse_call)
            .filter(|call| call.process == 1 && call.interrupts)
            .map(|call| call.reset)
            .collect();
        Ok(self.unshown(calls, events))
    }

    fn unshown(&self, calls: Vec<PassedOver>, events: &[Value]) -> Vec<PassedOver> {
        let is_shown = |call: &PassedOver| events.iter().any(|event| call.is_shown_by(event));
        if calls.iter().any(is_shown) {
            self.is_refuted.set(true);
        }
        if self.is_refuted.get() {
            return Vec::new();
        }
        calls
    }

    fn write(&self, file: &str, value: &str) -> Result<(), String> {
        let path = self.instance.join(file);
        fs::write(&path, value).map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // There is nobody to tell; the next lab removes what was left.
        let _ = fs::remove_dir(&self.instance);
    }
}

impl PassedOver {
    /// Whether it is what `expected` describes, of a run that began at `since_ns`, monotonic.
    pub(crate) fn is_of(&self, expected: &Expectation, since_ns: u64) -> bool {
        expected.kinds.contains(&self.kind)
            && (self.local, self.remote) == (expected.local, expected.remote)
            && self.at_ns >= since_ns
    }

    /// Whether the capture has shown it.
    fn is_shown_by(&self, event: &Value) -> bool {
        text(event, "kind") == Some(self.kind.name())
            && end_of(event, "local_addr", "local_port") == Some(self.local)
            && end_of(event, "remote_addr", "remote_port") == Some(self.remote)
            && number(event, "mono_ns").is_some_and(|at| at.abs_diff(self.at_ns) < SAME_CALL_NS)
    }
}

/// The name of our instance: a number may be given to another process, but not with the same start.
fn own_name(proc_root: &Path) -> Result<String, String> {
    let pid = process::id();
    let start = start_ticks(proc_root, &pid.to_string())
        .ok_or_else(|| "/proc does not tell about this process".to_owned())?;
    Ok(format!("{INSTANCE}{pid}-{start}"))
}

/// Field 22 of /proc/PID/stat: when the process started (proc_pid_stat(5)).
fn start_ticks(proc_root: &Path, pid: &str) -> Option<String> {
    const FIELDS_BETWEEN_NAME_AND_START: usize = 19;
    let stat = fs::read(proc_root.join(pid).join("stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat).into_owned();
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    fields
        .nth(FIELDS_BETWEEN_NAME_AND_START)
        .map(ToOwned::to_owned)
}

/// Takes down what labs left that were killed.
fn remove_abandoned(instances: &Path, proc_root: &Path) {
    for entry in fs::read_dir(instances).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name
            .to_str()
            .and_then(|name| name.strip_prefix(INSTANCE)?.split_once('-'));
        let is_abandoned = process.is_some_and(|(pid, start)| {
            start_ticks(proc_root, pid).is_none_or(|started| started != start)
        });
        if is_abandoned {
            // Somebody who looks at it keeps it.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// `COMM-TID ( TGID) [CPU] FLAGS SECONDS: TRACEPOINT: FIELDS`.
fn parse_call(line: &str) -> Option<Call> {
    let (kind, before, fields) = TRACEPOINTS.iter().find_map(|(tracepoint, kind)| {
        let (before, fields) = line.split_once(&format!(": {tracepoint}: "))?;
        Some((*kind, before, fields))
    })?;
    // A task may call itself anything; what follows its name is the kernel's.
    let (task, context) = before.rsplit_once(" [")?;
    let (_, process) = task.rsplit_once('(')?;
    let mut context = context.split_ascii_whitespace().skip(1);
    let (flags, seconds) = (context.next()?, context.next()?);
    let (local, remote) = match kind {
        Kind::Sent => (end_in(fields, "src=")?, end_in(fields, "dest=")?),
        _ => parse_ends_apart(fields)?,
    };
    Some(Call {
        process: process.trim_end_matches(')').trim().parse().ok()?,
        // Softirq, hard interrupt, or the one in the other.
        interrupts: flags.contains(['s', 'h', 'H']),
        reset: PassedOver {
            kind,
            at_ns: parse_seconds(seconds)?,
            local,
            remote,
        },
    })
}

/// What follows `key` in the fields of a line.
fn field<'a>(fields: &'a str, key: &str) -> Option<&'a str> {
    let mut words = fields.split_ascii_whitespace();
    words.find_map(|word| word.strip_prefix(key))
}

fn end_in(fields: &str, key: &str) -> Option<SocketAddr> {
    field(fields, key)?.parse().ok()
}

/// `family=… sport=PORT dport=PORT saddr=IPV4 daddr=IPV4 saddrv6=IPV6 daddrv6=IPV6 …`, the socket's own
/// end first.
fn parse_ends_apart(fields: &str) -> Option<(SocketAddr, SocketAddr)> {
    let is_ipv6 = field(fields, "family=")? == "AF_INET6";
    let end = |ipv4: &str, ipv6: &str, port: &str| {
        let address: IpAddr = field(fields, if is_ipv6 { ipv6 } else { ipv4 })?
            .parse()
            .ok()?;
        let port = field(fields, port)?.parse().ok()?;
        Some(SocketAddr::new(address.to_canonical(), port))
    };
    Some((
        end("saddr=", "saddrv6=", "sport=")?,
        end("daddr=", "daddrv6=", "dport=")?,
    ))
}

/// Seconds with six digits behind the point, as nanoseconds.
fn parse_seconds(text: &str) -> Option<u64> {
    let (seconds, micros) = text.split_once('.')?;
    let micros = (micros.len() == 6).then(|| micros.parse::<u64>().ok())??;
    let seconds: u64 = seconds.parse().ok()?;
    seconds
        .checked_mul(1_000_000)?
        .checked_add(micros)?
        .checked_mul(1_000)
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use serde_json::json;

    const AT_NS: u64 = 1_125_779_683_000;

    /// A RST that was sent at `at_ns`.
    pub(crate) const fn sent_at(at_ns: u64, local: SocketAddr, remote: SocketAddr) -> PassedOver {
        PassedOver {
            kind: Kind::Sent,
            at_ns,
            local,
            remote,
        }
    }

    fn ends() -> (SocketAddr, SocketAddr) {
        (
            "10.77.0.1:46992".parse().unwrap(),
            "10.77.235.54:443".parse().unwrap(),
        )
    }

    fn line(task: &str, flags: &str, ends: &str) -> String {
        format!(
            "{task} [001] {flags}  1125.779683: tcp_send_reset: skbaddr=0000000000000000 \
             skaddr=00000000894dad23 {ends} state=TCP_ESTABLISHED reason=TCP_KEEPALIVE_TIMEOUT"
        )
    }

    #[test]
    fn a_line_tells_when_whom_it_interrupted_and_both_ends() {
        for (local, remote) in [
            ("10.77.0.1:46992", "10.77.235.54:443"),
            ("[fd77::1]:33886", "[fd77::6376]:443"),
        ] {
            let sent = sent_at(AT_NS, local.parse().unwrap(), remote.parse().unwrap());
            let ends = format!("src={local} dest={remote}");
            for task in ["a-worker-75 (      1)", "a (2) [000] b-75   (  1)"] {
                let call = Call {
                    process: 1,
                    interrupts: true,
                    reset: sent.clone(),
                };
                assert_eq!(
                    parse_call(&line(task, "..s2.", &ends)),
                    Some(call),
                    "{task}"
                );
            }
            let call = parse_call(&line("curl-9 (   9)", ".....", &ends)).unwrap();
            assert_eq!((call.process, call.interrupts), (9, false));
        }
    }

    #[test]
    fn a_line_of_a_reset_received_tells_its_ends_apart() {
        for (fields, local, remote) in [
            (
                "family=AF_INET sport=443 dport=39066 saddr=10.77.0.1 daddr=10.77.13.201 \
                 saddrv6=::ffff:10.77.0.1 daddrv6=::ffff:10.77.13.201 sock_cookie=1c",
                "10.77.0.1:443",
                "10.77.13.201:39066",
            ),
            (
                "family=AF_INET6 sport=443 dport=5 saddr=0.0.0.0 daddr=0.0.0.0 saddrv6=fd77::1 \
                 daddrv6=fd77::6376 sock_cookie=0",
                "[fd77::1]:443",
                "[fd77::6376]:5",
            ),
        ] {
            let line = format!("a-1 (    1) [000] b.s2.  1125.779683: tcp_receive_reset: {fields}");
            let call = parse_call(&line).unwrap();
            assert!(call.interrupts && call.process == 1, "{call:?}");
            let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
            let received = PassedOver {
                kind: Kind::Received,
                ..sent_at(AT_NS, local, remote)
            };
            assert_eq!(call.reset, received);
            let expected = Expectation::new(Kind::Received, "peer-aborted", local, remote);
            assert!(received.is_of(&expected, AT_NS));
            assert!(!sent_at(AT_NS, local, remote).is_of(&expected, AT_NS));
        }
    }

    #[test]
    fn other_lines_are_no_calls() {
        let ends = "src=1.2.3.4:5 dest=1.2.3.4:6";
        for other in [
            "# tracer: nop",
            "",
            " <idle>-0 (-----) [001] .Ns2.  1073.267715: tcp_probe: src=1.2.3.4:5 dest=1.2.3.4:6",
            &line("<idle>-0 (-----)", "..s2.", ends),
            &line("a-1 (1)", "..s2.", "sport=1 dport=2"),
            &line("a-1", "..s2.", ends),
        ] {
            assert_eq!(parse_call(other), None, "{other}");
        }
    }

    #[test]
    fn one_event_from_such_a_moment_refutes_all() {
        let (local, remote) = ends();
        let witness = Witness {
            instance: PathBuf::new(),
            is_refuted: Cell::new(false),
        };
        let calls = vec![sent_at(AT_NS, local, remote), sent_at(AT_NS, remote, local)];
        let event = |at_ns: u64| {
            json!({
                "kind": "sent", "mono_ns": at_ns,
                "local_addr": "10.77.0.1", "local_port": 46992,
                "remote_addr": "10.77.235.54", "remote_port": 443,
            })
        };
        let long_ago = [event(AT_NS - SAME_CALL_NS)];
        assert_eq!(witness.unshown(calls.clone(), &long_ago), calls);
        assert_eq!(witness.unshown(calls.clone(), &[event(AT_NS + 700)]), []);
        assert_eq!(witness.unshown(calls, &[]), []);
    }

    #[test]
    fn it_is_of_a_sent_reset_with_its_ends_in_its_time() {
        let (local, remote) = ends();
        let of = |kind| Expectation::new(kind, "linger-abort", local, remote);
        let call = sent_at(AT_NS, local, remote);
        assert!(call.is_of(&of(Kind::Sent), AT_NS));
        assert!(!call.is_of(&of(Kind::Sent), AT_NS + 1));
        assert!(!call.is_of(&of(Kind::Received), AT_NS));
        assert!(!sent_at(AT_NS, remote, local).is_of(&of(Kind::Sent), AT_NS));
    }

    #[test]
    fn only_what_the_dead_left_is_taken_down() {
        let place = std::env::temp_dir().join(format!("witness-{}", process::id()));
        let [instances, proc_root] = ["instances", "proc"].map(|name| place.join(name));
        fs::create_dir_all(proc_root.join("7")).unwrap();
        let fields = "0 ".repeat(18);
        fs::write(
            proc_root.join("7/stat"),
            format!("7 (a) b) S {fields}4711 0"),
        )
        .unwrap();
        let names = [
            "rstmon-lab-7-4711",
            "rstmon-lab-7-4710",
            "rstmon-lab-8-1",
            "other",
        ];
        for name in names {
            fs::create_dir_all(instances.join(name)).unwrap();
        }
        remove_abandoned(&instances, &proc_root);
        let stays = names.map(|name| instances.join(name).exists());
        fs::remove_dir_all(&place).unwrap();
        assert_eq!(stays, [true, false, false, true]);
    }
}
