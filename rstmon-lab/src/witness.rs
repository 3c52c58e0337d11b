//! A second witness beside the capture that is judged: the kernel's own event tracing.
//!
//! Hardened kernels were met that run no BPF program while a thread of process 1 is on the CPU, and
//! count that nowhere: a timer that fires at such a moment resets a connection unseen by any capture.
//! Event tracing sees the tracepoint, and who was interrupted. Opened by `rstmon lab`, read by
//! [`crate::judge`]; only such a call excuses a missing event. Where tracefs cannot be written there
//! is no witness and no excuse.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process;

use crate::truth::Expectation;

/// Where tracefs may be.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
/// An instance of ours is called so, with our process's number behind it.
const INSTANCE: &str = "rstmon-lab-";
/// What is witnessed.
const TRACEPOINTS: [&str; 2] = ["tcp_send_reset", "tcp_receive_reset"];
/// Room for the calls of a round, KiB a CPU.
const BUFFER_KIB: &str = "256";

/// An instance of event tracing, taken down when dropped.
#[derive(Debug)]
pub struct Witness {
    instance: PathBuf,
}

/// A call of a tracepoint that no program was run for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    tracepoint: String,
    local: SocketAddr,
    remote: SocketAddr,
}

/// A call of a tracepoint, as a line of the trace tells it.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    thread: u32,
    seen: PassedOver,
}

impl Witness {
    /// Begins to witness, if this kernel and this process's rights allow it.
    #[must_use]
    pub fn open() -> Option<Self> {
        let instances = TRACEFS
            .iter()
            .map(|root| Path::new(root).join("instances"))
            .find(|path| path.is_dir())?;
        remove_abandoned(&instances);
        let instance = instances.join(format!("{INSTANCE}{}", process::id()));
        fs::create_dir(&instance).ok()?;
        let witness = Self { instance };
        witness.write("buffer_size_kb", BUFFER_KIB)?;
        for tracepoint in TRACEPOINTS {
            witness.write(&format!("events/tcp/{tracepoint}/enable"), "1")?;
        }
        Some(witness)
    }

    /// The calls since the last look for which this kernel may have run no program.
    #[must_use]
    pub fn passed_over(&self) -> Vec<PassedOver> {
        let trace = fs::read_to_string(self.instance.join("trace")).unwrap_or_default();
        // What cannot be cleared is told again, of connections that nobody asks for any more.
        let _ = self.write("trace", "");
        trace
            .lines()
            .filter_map(parse_call)
            .filter(|call| Path::new(&format!("/proc/1/task/{}", call.thread)).exists())
            .map(|call| call.seen)
            .collect()
    }

    fn write(&self, file: &str, value: &str) -> Option<()> {
        fs::write(self.instance.join(file), value).ok()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // There is nobody to tell; the next lab removes what was left.
        let _ = fs::remove_dir(&self.instance);
    }
}

impl PassedOver {
    /// Whether the call was about what `expected` describes.
    pub(crate) fn is_of(&self, expected: &Expectation) -> bool {
        let ends = (expected.local, expected.remote);
        ends == (self.local, self.remote)
            && expected
                .kinds
                .iter()
                .any(|kind| kind.tracepoint() == Some(&self.tracepoint))
    }
}

#[cfg(test)]
impl PassedOver {
    /// A sent RST that no program was run for.
    pub(crate) fn sent(local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            tracepoint: "tcp_send_reset".to_owned(),
            local,
            remote,
        }
    }
}

/// Takes down what labs left that were killed.
fn remove_abandoned(instances: &Path) {
    for entry in fs::read_dir(instances).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(INSTANCE));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Somebody who looks at it keeps it.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// `COMM-TID [CPU] FLAGS TIME: TRACEPOINT: … src=END dest=END …`. Kernels before 6.10 write the ends
/// otherwise, and are not understood.
fn parse_call(line: &str) -> Option<Call> {
    let (tracepoint, (before, fields)) = TRACEPOINTS
        .iter()
        .find_map(|name| Some((name, line.split_once(&format!(": {name}: "))?)))?;
    // A task may call itself anything; what follows its name is the kernel's.
    let (task, _) = before.rsplit_once(" [")?;
    let (_, thread) = task.trim_end().rsplit_once('-')?;
    let field = |key: &str| {
        let mut words = fields.split_ascii_whitespace();
        words.find_map(|word| word.strip_prefix(key))
    };
    Some(Call {
        thread: thread.parse().ok()?,
        seen: PassedOver {
            tracepoint: (*tracepoint).to_owned(),
            local: field("src=")?.parse().ok()?,
            remote: field("dest=")?.parse().ok()?,
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;
    use crate::truth::Kind;

    fn line(task: &str, ends: &str) -> String {
        format!(
            "{task}     [001] ..s2.  1125.779683: tcp_send_reset: skbaddr=0000000000000000 \
             skaddr=00000000894dad23 {ends} state=TCP_ESTABLISHED reason=TCP_KEEPALIVE_TIMEOUT"
        )
    }

    #[test]
    fn a_line_tells_who_ran_and_both_ends() {
        for (local, remote) in [
            ("10.77.0.1:46992", "10.77.235.54:443"),
            ("[fd77::1]:33886", "[fd77::6376]:443"),
        ] {
            let seen = PassedOver::sent(local.parse().unwrap(), remote.parse().unwrap());
            for task in ["a-worker-75", "  <idle>-75", "a [000] b-75"] {
                let call = parse_call(&line(task, &format!("src={local} dest={remote}")));
                let seen = seen.clone();
                assert_eq!(call, Some(Call { thread: 75, seen }), "{task}");
            }
        }
    }

    #[test]
    fn other_lines_are_no_calls() {
        for other in [
            "# tracer: nop",
            "",
            "          <idle>-0       [001] .Ns2.  1073.267715: tcp_probe: src=1.2.3.4:5 dest=1.2.3.4:6",
            &line("a-1", "sport=1 dport=2"),
            &line("a-x", "src=1.2.3.4:5 dest=1.2.3.4:6"),
        ] {
            assert_eq!(parse_call(other), None, "{other}");
        }
    }

    #[test]
    fn a_call_is_of_the_event_with_its_ends_and_kind() {
        let [local, remote] = ["10.0.0.1:1", "10.0.0.2:2"].map(|end| end.parse().unwrap());
        let of = |kind| Expectation::new(kind, "linger-abort", local, remote);
        assert!(PassedOver::sent(local, remote).is_of(&of(Kind::Sent)));
        assert!(!PassedOver::sent(local, remote).is_of(&of(Kind::Received)));
        assert!(!PassedOver::sent(remote, local).is_of(&of(Kind::Sent)));
    }
}
