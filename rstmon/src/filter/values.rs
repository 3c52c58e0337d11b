//! The fields and the spellings of their values.
//!
//! Called by `parse` with one word at a time; returns tests or says what is wrong with the word.

use super::error::{Fault, did_you_mean};
use super::expr::{CgroupTest, End, PodTest, Span, Test};
use super::pattern::Pattern;
use crate::event::model::{Cause, Kind, SocketState};
use crate::event::workload::Runtime;
use ipnet::{IpNet, Ipv4Net};
use rstmon_common::wire::COMM_LEN;
use std::net::{IpAddr, Ipv4Addr};

/// What a test is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Kind,
    Cause,
    State,
    Pid,
    Netns,
    Comm,
    Cgroup,
    Container,
    Runtime,
    Pod,
    Namespace,
    Unit,
    Port(End),
    Address(End),
}

/// Words that begin a test and need no second word.
const FIELDS: &[(&str, Field)] = &[
    ("kind", Field::Kind),
    ("cause", Field::Cause),
    ("state", Field::State),
    ("pid", Field::Pid),
    ("netns", Field::Netns),
    ("comm", Field::Comm),
    ("cgroup", Field::Cgroup),
    ("container", Field::Container),
    ("runtime", Field::Runtime),
    ("pod", Field::Pod),
    ("namespace", Field::Namespace),
    ("unit", Field::Unit),
    ("port", Field::Port(End::Either)),
    ("portrange", Field::Port(End::Either)),
    ("lport", Field::Port(End::Local)),
    ("sport", Field::Port(End::Local)),
    ("rport", Field::Port(End::Remote)),
    ("dport", Field::Port(End::Remote)),
    ("host", Field::Address(End::Either)),
    ("net", Field::Address(End::Either)),
];

/// The words of [`FIELDS`].
#[cfg(test)]
pub(super) fn field_names() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().map(|(name, _)| *name)
}

/// Words that say which end the next word is about.
const ENDS: &[(&str, End)] = &[
    ("local", End::Local),
    ("remote", End::Remote),
    ("src", End::RstSource),
    ("dst", End::RstDestination),
];

/// For the help of an unknown field.
pub(super) const FIELD_LIST: &str = "fields: kind, cause, state, pid, comm, port, lport, rport, \
     host, net, cgroup, netns, container, runtime, pod, namespace, unit; before port, host or net also: local, remote, src, dst";

/// Ports by the names that tcpdump and ss print; those with a number above 1023 are the usual
/// servers behind a reset.
const SERVICES: &[(&str, u32)] = &[
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("http", 80),
    ("pop3", 110),
    ("imap", 143),
    ("imap2", 143),
    ("bgp", 179),
    ("ldap", 389),
    ("https", 443),
    ("submission", 587),
    ("ldaps", 636),
    ("imaps", 993),
    ("pop3s", 995),
    ("mysql", 3306),
    ("postgresql", 5432),
    ("amqp", 5672),
    ("redis", 6379),
    ("http-alt", 8080),
];

fn find<T: Copy>(table: &[(&str, T)], word: &str) -> Option<T> {
    table
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(word))
        .map(|(_, value)| *value)
}

pub(super) fn field(word: &str) -> Option<Field> {
    find(FIELDS, word)
}

pub(super) fn end(word: &str) -> Option<End> {
    find(ENDS, word)
}

/// Whether `word:value` is a test.
pub(super) fn is_field_name(word: &str) -> bool {
    field(word).is_some() || end(word).is_some()
}

/// Says that a word begins no test, and what might have been meant.
pub(super) fn unknown_field(word: &str) -> Fault {
    let fault = Fault::new(format!("unknown field `{word}`"));
    let lower = word.to_ascii_lowercase();
    for (field, known) in [
        ("kind", Kind::from_name(&lower).is_some()),
        ("cause", Cause::from_name(&lower).is_some()),
        ("state", !states(word).is_empty()),
    ] {
        if known {
            return fault.help(format!("write `{field} {lower}`"));
        }
    }
    if let Some(port) = find(SERVICES, word) {
        return fault.help(format!("write `port {port}`"));
    }
    if word.bytes().all(|byte| byte.is_ascii_digit()) {
        return fault.help(format!(
            "say what the number is: `port {word}` or `pid {word}`"
        ));
    }
    let names: Vec<&str> = FIELDS
        .iter()
        .map(|(name, _)| *name)
        .chain(ENDS.iter().map(|(name, _)| *name))
        .chain(["and", "or", "not", "tcp", "ip", "ip6"])
        .collect();
    fault.suggest(word, &names, FIELD_LIST)
}

/// One value of a list. `quoted` keeps a number from being taken for an id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    pub(super) text: &'a str,
    pub(super) quoted: bool,
}

impl Field {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Cause => "cause",
            Self::State => "state",
            Self::Pid => "pid",
            Self::Netns => "netns",
            Self::Comm => "comm",
            Self::Cgroup => "cgroup",
            Self::Container => "container",
            Self::Runtime => "runtime",
            Self::Pod => "pod",
            Self::Namespace => "namespace",
            Self::Unit => "unit",
            Self::Port(_) => "port",
            Self::Address(_) => "host",
        }
    }

    /// Highest number, of the fields that have an order.
    pub(super) const fn highest(self) -> Option<u32> {
        match self {
            Self::Pid | Self::Netns => Some(u32::MAX),
            Self::Port(_) => Some(u16::MAX as u32),
            _ => None,
        }
    }

    /// Whether a word can be told to be no value of this field. Only then may the field be left
    /// out where it was named just before: `port 80 or 443`.
    pub(super) const fn rejects_other_words(self) -> bool {
        !matches!(
            self,
            Self::Comm | Self::Cgroup | Self::Container | Self::Pod | Self::Namespace | Self::Unit
        )
    }

    /// The test that a value alone makes.
    pub(super) fn test(self, value: Value<'_>) -> Result<Test, Fault> {
        let text = value.text;
        Ok(match self {
            Self::Kind => Test::Kind(vec![kind(text)?]),
            Self::Cause => Test::Cause(vec![cause(text)?]),
            Self::State => Test::State(state(text)?),
            Self::Pid => Test::Pid(vec![self.numbers(text)?]),
            Self::Netns => Test::Netns(vec![self.numbers(text)?]),
            Self::Comm => Test::Comm(vec![comm(text)?]),
            Self::Cgroup => Test::Cgroup(vec![cgroup(value)]),
            Self::Container => Test::Container(vec![Pattern::new(text)]),
            Self::Runtime => Test::Runtime(vec![runtime(text)?]),
            Self::Pod => Test::Pod(vec![pod(text)]),
            Self::Namespace => Test::Namespace(vec![Pattern::new(text)]),
            Self::Unit => Test::Unit(vec![Pattern::new(text)]),
            Self::Port(end) => Test::Port(end, vec![self.numbers(text)?]),
            Self::Address(end) => Test::Address(end, vec![network(text)?]),
        })
    }

    /// One number of a field that has an order.
    pub(super) fn number(self, text: &str) -> Result<u32, Fault> {
        self.number_of(text, text)
    }

    /// One number of the value `whole`, which is what the message quotes.
    fn number_of(self, text: &str, whole: &str) -> Result<u32, Fault> {
        let highest = self.highest().unwrap_or(u32::MAX);
        let name = self.name();
        let digits = match self {
            // ss writes `:443` and `*:443`.
            Self::Port(_) => text
                .strip_prefix("*:")
                .or(text.strip_prefix(':'))
                .unwrap_or(text),
            _ => text,
        };
        if let Self::Port(_) = self
            && let Some(port) = find(SERVICES, digits)
        {
            return Ok(port);
        }
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Fault::new(format!("`{whole}` is no {name}")).help(format!(
                "a number up to {highest}, or a range such as 8000-8100"
            )));
        }
        match digits.parse::<u32>() {
            Ok(number) if number <= highest => Ok(number),
            _ => Err(Fault::new(format!("`{text}` is too large for a {name}"))
                .help(format!("the highest is {highest}"))),
        }
    }

    fn numbers(self, text: &str) -> Result<Span, Fault> {
        // A service's name may hold a hyphen, a number does not.
        let range = text
            .split_once('-')
            .filter(|_| text.starts_with(|c: char| !c.is_alphabetic()));
        let Some((first, last)) = range else {
            return self.number(text).map(Span::one);
        };
        let (first, last) = (self.number_of(first, text)?, self.number_of(last, text)?);
        if first > last {
            return Err(Fault::new(format!("the range `{text}` is empty"))
                .help(format!("write {last}-{first}")));
        }
        Ok(Span { first, last })
    }
}

fn kind(text: &str) -> Result<Kind, Fault> {
    let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    Kind::from_name(&text.to_ascii_lowercase()).ok_or_else(|| {
        Fault::new(format!("unknown kind `{text}`")).suggest(
            text,
            &names,
            &format!("kinds: {}", names.join(", ")),
        )
    })
}

fn cause(text: &str) -> Result<Cause, Fault> {
    let hyphened = text.to_ascii_lowercase().replace('_', "-");
    let names: Vec<&str> = Cause::ALL.iter().map(|cause| cause.name()).collect();
    Cause::from_name(&hyphened).ok_or_else(|| {
        let all = "`rstmon explain` lists the causes";
        let help = match did_you_mean(&hyphened, &names) {
            Some(question) => format!("{question} {all}"),
            None => all.to_owned(),
        };
        Fault::new(format!("unknown cause `{text}`")).help(help)
    })
}

fn state(text: &str) -> Result<Vec<SocketState>, Fault> {
    let states = states(text);
    if states.is_empty() {
        let names: Vec<&str> = SocketState::ALL.iter().map(|state| state.name()).collect();
        return Err(Fault::new(format!("unknown state `{text}`")).suggest(
            text,
            &names,
            &format!("states: {}", names.join(", ")),
        ));
    }
    Ok(states)
}

/// The states of a name, in the spellings of RFC 9293, the kernel and `ss`, its groups included.
fn states(text: &str) -> Vec<SocketState> {
    use SocketState as S;
    let bare = |name: &str| -> String {
        name.chars()
            .filter(|c| !"-_".contains(*c))
            .collect::<String>()
            .to_ascii_lowercase()
    };
    let wanted = bare(text);
    if let Some(state) = S::ALL.iter().find(|state| bare(state.name()) == wanted) {
        return vec![*state];
    }
    let all_but = |left_out: &[S]| -> Vec<S> {
        S::ALL
            .iter()
            .copied()
            .filter(|state| !left_out.contains(state))
            .collect()
    };
    match wanted.as_str() {
        "estab" => vec![S::Established],
        "synrcvd" | "synreceived" => vec![S::SynRecv],
        "close" | "unconn" | "unconnected" => vec![S::Closed],
        "listening" => vec![S::Listen],
        "all" => all_but(&[]),
        "connected" => all_but(&[S::None, S::Listen, S::Closed]),
        "synchronized" => all_but(&[S::None, S::Listen, S::Closed, S::SynSent]),
        "bucket" => vec![S::SynRecv, S::TimeWait],
        "big" => all_but(&[S::None, S::SynRecv, S::TimeWait]),
        _ => Vec::new(),
    }
}

fn comm(text: &str) -> Result<Pattern, Fault> {
    let pattern = Pattern::new(text);
    let kept = COMM_LEN - 1;
    // A name that holds a backslash may be an escaped one, which is longer than what it stands for.
    if !pattern.has_wildcard() && text.len() > kept && !text.contains('\\') {
        let end = (0..=kept)
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(0);
        let start = text.get(..end).unwrap_or_default();
        return Err(
            Fault::new(format!("`{text}` can match no process")).help(format!(
                "the kernel keeps {kept} bytes of a name: write `comm '{start}'`"
            )),
        );
    }
    Ok(pattern)
}

fn cgroup(value: Value<'_>) -> CgroupTest {
    let text = value.text;
    if let (false, Ok(id)) = (value.quoted, text.parse::<u64>())
        && text.bytes().all(|byte| byte.is_ascii_digit())
    {
        return CgroupTest::Id(id);
    }
    if text.starts_with('/') {
        // A path that ends with a slash names the same cgroup; the root keeps its one.
        let trimmed = text.trim_end_matches('/');
        CgroupTest::Path(Pattern::new(if trimmed.is_empty() { "/" } else { trimmed }))
    } else {
        CgroupTest::Component(Pattern::new(text))
    }
}

fn runtime(text: &str) -> Result<Runtime, Fault> {
    let lower = text.to_ascii_lowercase();
    let name = match lower.as_str() {
        "crio" => "cri-o",
        "nspawn" => "systemd-nspawn",
        other => other,
    };
    let names: Vec<&str> = Runtime::ALL.iter().map(|runtime| runtime.name()).collect();
    Runtime::from_name(name).ok_or_else(|| {
        Fault::new(format!("unknown runtime `{text}`")).suggest(
            &lower,
            &names,
            &format!("runtimes: {}", names.join(", ")),
        )
    })
}

/// `NAME`, or `NAMESPACE/NAME`; nothing before or after the slash means any.
fn pod(text: &str) -> PodTest {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, "")) => (namespace, "*"),
        Some(parts) => parts,
        None => ("", text),
    };
    PodTest {
        namespace: (!namespace.is_empty()).then(|| Pattern::new(namespace)),
        name: Pattern::new(name),
    }
}

/// An address, or a network in CIDR form. IPv4 networks may be cut at a dot, as tcpdump takes them.
pub(super) fn network(text: &str) -> Result<IpNet, Fault> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    parse_network(bare)
        .map(|net| canonical(net).trunc())
        .ok_or_else(|| {
            let fault = Fault::new(format!("`{text}` is no IP address or network"));
            match split_port(bare) {
                Some((address, port)) => fault.help(format!(
                    "the port is a test of its own: `remote host {address} and rport {port}`, or \
                     local and lport"
                )),
                None => fault.help(
                    "write an address such as 192.0.2.1 or 2001:db8::1, or a network such as \
                 10.0.0.0/8; names are not resolved",
                ),
            }
        })
}

fn split_port(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.rsplit_once(':')?;
    let address = address.trim_matches(['[', ']']);
    Some((address.parse().ok()?, port.parse().ok()?))
}

fn parse_network(text: &str) -> Option<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(IpNet::from(address));
    }
    text.parse().ok().or_else(|| parse_cut_network(text))
}

/// `10`, `192.168/16`: octets left out at the end are zero, and without a prefix length they are
/// the part that is not compared.
fn parse_cut_network(text: &str) -> Option<IpNet> {
    let (octets, prefix) = match text.split_once('/') {
        Some((octets, prefix)) => (octets, Some(prefix.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let mut address = [0u8; 4];
    let mut given = 0u8;
    for octet in octets.split('.') {
        if octet.is_empty() || !octet.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *address.get_mut(given as usize)? = octet.parse().ok()?;
        given += 1;
    }
    Ipv4Net::new(Ipv4Addr::from(address), prefix.unwrap_or(given * 8))
        .ok()
        .map(IpNet::V4)
}

/// Events carry a v4-mapped address as IPv4.
fn canonical(net: IpNet) -> IpNet {
    match (net, net.addr().to_canonical()) {
        (IpNet::V6(_), IpAddr::V4(address)) if net.prefix_len() >= 96 => {
            Ipv4Net::new(address, net.prefix_len() - 96).map_or(net, IpNet::V4)
        }
        _ => net,
    }
}
