//! What `rstmon agent` costs when nothing happens, and when a page of many series is scraped.
//!
//! The promises are of a release build, and `cargo xtask test` has one measured: by the variable
//! `RSTMON_TEST_RELEASE_BINARY`, or by `cargo test --release -p rstmon --test agent_load`. A debug build is
//! held to bounds that only a disaster breaks: the tests beside it take the processors, too.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failed test panics; a measurement is shown with --nocapture"
)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use support::agent::Agent;
use support::process::{cores_at_rest, main_thread_time, resident_memory_kib};
use support::programs::wait_until;
use support::{Family, bpf_works, in_private_netns, is_release};

/// What is promised.
struct Bounds {
    /// Part of a core at rest.
    rest: f64,
    /// Memory, in KiB.
    memory_kib: u64,
    /// Time of a scrape, as its client sees it; the median, since a busy machine adds its own.
    scrape: Duration,
    /// How long a scrape may keep the capture thread from the ring.
    pause: Duration,
}

const RELEASE: Bounds = Bounds {
    rest: 0.001,
    memory_kib: 30 << 10,
    scrape: Duration::from_millis(20),
    pause: Duration::from_millis(5),
};
const DEBUG: Bounds = Bounds {
    rest: 0.02,
    memory_kib: 64 << 10,
    scrape: Duration::from_secs(2),
    pause: Duration::from_secs(1),
};
/// Series of the page that is scraped.
const SERIES: usize = 2_000;

/// The bounds of the binary under test.
fn bounds() -> &'static Bounds {
    if is_release() { &RELEASE } else { &DEBUG }
}

#[test]
fn at_rest_it_takes_nothing() {
    if !bpf_works() {
        return;
    }
    let agent = Agent::start(&[]);
    agent.scrape();
    let pid = agent.pid().as_raw().unsigned_abs();
    let (rest, memory) = (cores_at_rest(pid), resident_memory_kib(pid));
    println!("{:.3} % of a core, {memory} KiB", rest * 100.0);
    assert!(rest < bounds().rest, "{rest}");
    assert!(memory < bounds().memory_kib, "{memory}");
}

#[test]
fn a_scrape_of_many_series_is_quick_and_does_not_hold_up_the_ring() {
    if !bpf_works() {
        return;
    }
    let agent = Agent::start(&["--metrics.closed-ports", "--metrics.max-series=port=4000"]);
    // Each port makes two series: its reset as it was sent, and as it was received.
    refuse_on_ports(SERIES as u16 / 2);
    wait_until("the series", || agent.scrape().0.len() > SERIES);
    let mut client = Scraper::connect(agent.address);
    let is_kept =
        |(scrape, pause): (Duration, Duration)| scrape < bounds().scrape && pause < bounds().pause;
    // The better of two: who else is on the machine may have the processors for a while.
    let mut figures = measure_scrapes(&agent, &mut client);
    if !is_kept(figures) {
        figures = measure_scrapes(&agent, &mut client);
    }
    assert!(is_kept(figures), "{figures:?}");
}

/// How long a scrape takes, and how long it may keep the capture thread from the ring.
fn measure_scrapes(agent: &Agent, client: &mut Scraper) -> (Duration, Duration) {
    let pid = agent.pid().as_raw().unsigned_abs();
    let (mut times, mut pauses) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let (began, ran) = (Instant::now(), main_thread_time(pid));
        let page = client.scrape();
        times.push(began.elapsed());
        assert!(page.lines().count() > SERIES);
        std::thread::sleep(Duration::from_millis(20));
        // Its turns meanwhile are in it: the pause is a part of that. Its waiting for a processor is not,
        // which is the doing of others.
        pauses.push(main_thread_time(pid).saturating_sub(ran));
    }
    times.sort();
    pauses.sort();
    let (scrape, pause) = (times[50], pauses[99]);
    println!(
        "scrape {scrape:?}, slowest {:?}; pause at most {pause:?}, usually {:?}",
        times[99], pauses[50]
    );
    (scrape, pause)
}

/// Connections to so many ports of a namespace of their own, on none of which anybody listens.
fn refuse_on_ports(ports: u16) {
    in_private_netns(move |_| {
        for port in 1..=ports {
            let target = SocketAddr::new(Family::V4.loopback(), port);
            TcpStream::connect(target).expect_err("nobody listens");
        }
    });
}

/// Scrapes on one connection, as Prometheus does.
struct Scraper(BufReader<TcpStream>);

impl Scraper {
    fn connect(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).unwrap()))
    }

    fn scrape(&mut self) -> String {
        let request = "GET /metrics HTTP/1.1\r\nHost: agent\r\n\r\n";
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }
}
