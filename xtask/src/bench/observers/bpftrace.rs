//! bpftrace as an observer: what people write to see resets, and programs that do nothing.

use super::running::Running;
use crate::bench::Workshop;
use anyhow::Context;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Programs that do nothing, on both reset tracepoints.
const EMPTY: &str = "tracepoint:tcp:tcp_send_reset { } tracepoint:tcp:tcp_receive_reset { }";
/// Programs that either text has.
const PROGRAMS: usize = 2;
/// Both tracepoints, where both have ports and addresses of their own.
const PRINT_FIELDS: &str = r#"
tracepoint:tcp:tcp_send_reset { printf("sent %s:%d %s:%d %d\n", ntop(args->saddr), args->sport, ntop(args->daddr), args->dport, args->state); }
tracepoint:tcp:tcp_receive_reset { printf("received %s:%d %s:%d\n", ntop(args->saddr), args->sport, ntop(args->daddr), args->dport); }
"#;
/// The same from Linux 6.10 on, whose `tcp_send_reset` has socket addresses instead. Their ports are
/// in network order.
const PRINT_SOCKET_ADDRESSES: &str = r#"
tracepoint:tcp:tcp_send_reset {
  $s = (struct sockaddr_in *)args->saddr;
  $d = (struct sockaddr_in *)args->daddr;
  $sport = $s->sin_port;
  $dport = $d->sin_port;
  printf("sent %s:%d %s:%d %d\n", ntop(2, $s->sin_addr.s_addr), (($sport & 255) << 8) | ($sport >> 8),
    ntop(2, $d->sin_addr.s_addr), (($dport & 255) << 8) | ($dport >> 8), args->state);
}
tracepoint:tcp:tcp_receive_reset { printf("received %s:%d %s:%d\n", ntop(args->saddr), args->sport, ntop(args->daddr), args->dport); }
"#;
/// bpftrace before 0.18 looks for the tracepoints below debugfs only. It gets one in a mount
/// namespace of its own, so that the host's mounts stay as they are.
const WITH_DEBUGFS: &str = "[ -d /sys/kernel/debug/tracing/events ] || \
    mount -t debugfs debugfs /sys/kernel/debug || exit 1; exec bpftrace -e \"$1\"";
/// Where tracefs is mounted, the newer place first.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// bpftrace, printing both ends at both tracepoints.
pub(super) fn start_printing(shop: &Workshop) -> anyhow::Result<Running> {
    let format = TRACEFS
        .iter()
        .map(|mount| Path::new(mount).join("events/tcp/tcp_send_reset/format"))
        .find_map(|path| fs::read_to_string(path).ok())
        .context("the kernel has no tracepoint tcp_send_reset, or tracefs is not mounted")?;
    start(shop, printing(&format), Stdio::null())
}

/// Programs that do nothing on both tracepoints.
pub(in crate::bench) fn start_empty_program(shop: &Workshop) -> anyhow::Result<Running> {
    start(shop, EMPTY, Stdio::null())
}

fn start(shop: &Workshop, program: &str, stdout: Stdio) -> anyhow::Result<Running> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", WITH_DEBUGFS, "sh", program]);
    command.stdout(stdout);
    let mut running = Running::spawn("bpftrace", &mut command, shop)?;
    running.wait_for_bpf("prog_type:", PROGRAMS, &shop.interrupt)?;
    Ok(running)
}

/// The text for a kernel whose `tcp_send_reset` has this format.
fn printing(format: &str) -> &'static str {
    if format.contains(" sport;") {
        PRINT_FIELDS
    } else {
        PRINT_SOCKET_ADDRESSES
    }
}

/// Events that bpftrace says it lost, in all; it says so where it lost some.
pub(super) fn parse_lost(messages: &str) -> u64 {
    messages
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Lost ")?.strip_suffix(" events"))
        .filter_map(|count| count.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::{PRINT_FIELDS, PRINT_SOCKET_ADDRESSES, parse_lost, printing, start};
    use crate::bench::load::ClosedPort;
    use crate::bench::testing::{can_run, workshop};
    use std::fs::{self, File};
    use std::net::{Ipv4Addr, TcpStream};
    use std::process::Stdio;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn the_text_follows_the_fields_of_the_tracepoint() {
        let old = "\tfield:int state;\toffset:24;\n\tfield:__u16 sport;\toffset:28;\n";
        let new = "\tfield:int state;\toffset:24;\n\tfield:__u8 saddr[28];\toffset:32;\n";
        assert_eq!(printing(old), PRINT_FIELDS);
        assert_eq!(printing(new), PRINT_SOCKET_ADDRESSES);
    }

    #[test]
    fn what_bpftrace_lost_is_added_up() {
        let messages = "Attaching 2 probes...\nLost 12 events\nLost 30 events\n";
        assert_eq!(parse_lost(messages), 42);
        assert_eq!(parse_lost(""), 0);
    }

    #[test]
    fn bpftrace_prints_both_ends_of_a_refused_connection() {
        if !can_run(&["bpftrace"]) {
            return;
        }
        let shop = workshop("/nonexistent".into());
        let format =
            fs::read_to_string("/sys/kernel/tracing/events/tcp/tcp_send_reset/format").unwrap();
        let path = shop.scratch.path().join("printed");
        let stdout = Stdio::from(File::create(&path).unwrap());
        let running = start(&shop, printing(&format), stdout).unwrap();
        let closed = ClosedPort::take().unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, closed.number)).unwrap_err();
        thread::sleep(Duration::from_millis(200));
        running.end().unwrap();
        let printed = fs::read_to_string(path).unwrap();
        let end = format!("127.0.0.1:{}", closed.number);
        for kind in ["sent ", "received "] {
            let line = printed
                .lines()
                .find(|line| line.starts_with(kind) && line.contains(&end));
            assert!(line.is_some(), "{kind}: {printed}");
        }
    }
}
