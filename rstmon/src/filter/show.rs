//! An expression as text, in the plain spelling of the language.
//!
//! What is shown parses to an equal expression and is no deeper than what it came from.

use super::expr::{CgroupTest, End, Expr, PodTest, Span, Test};
use super::pattern::Pattern;
use crate::event::model::Family;
use ipnet::IpNet;
use std::fmt::{self, Display, Formatter};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            // A word that means "every event" and can stand inside an expression.
            Self::All => f.write_str("tcp"),
            Self::And(parts) => chain(f, parts, " and ", |part| {
                matches!(part, Self::And(_) | Self::Or(_))
            }),
            Self::Or(parts) => chain(f, parts, " or ", |part| matches!(part, Self::Or(_))),
            Self::Not(inner) => match **inner {
                Self::And(_) | Self::Or(_) => write!(f, "not ({inner})"),
                _ => write!(f, "not {inner}"),
            },
            Self::Test(test) => test.fmt(f),
        }
    }
}

fn chain(
    f: &mut Formatter<'_>,
    parts: &[Expr],
    joint: &str,
    needs_parentheses: impl Fn(&Expr) -> bool,
) -> fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            f.write_str(joint)?;
        }
        if needs_parentheses(part) {
            write!(f, "({part})")?;
        } else {
            part.fmt(f)?;
        }
    }
    Ok(())
}

impl Display for Test {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kinds) => list(f, "kind", kinds),
            Self::Cause(causes) => list(f, "cause", causes),
            Self::State(states) => list(f, "state", states),
            Self::Family(Family::Ipv4) => f.write_str("ip"),
            Self::Family(Family::Ipv6) => f.write_str("ip6"),
            Self::Pid(spans) => list(f, "pid", spans),
            Self::Netns(spans) => list(f, "netns", spans),
            Self::Port(End::Local, spans) => list(f, "lport", spans),
            Self::Port(End::Remote, spans) => list(f, "rport", spans),
            Self::Port(end, spans) => list(f, &format!("{end}port"), spans),
            Self::Address(end, nets) => {
                let hosts_only = nets
                    .iter()
                    .all(|net| net.prefix_len() == net.max_prefix_len());
                let field = if hosts_only { "host" } else { "net" };
                let nets: Vec<Net> = nets.iter().copied().map(Net).collect();
                list(f, &format!("{end}{field}"), &nets)
            }
            Self::Comm(patterns) => names(f, "comm", patterns),
            Self::Cgroup(tests) => list(f, "cgroup", tests),
            Self::Container(patterns) => names(f, "container", patterns),
            Self::Runtime(runtimes) => list(f, "runtime", runtimes),
            Self::Pod(tests) => list(f, "pod", tests),
            Self::Namespace(patterns) => names(f, "namespace", patterns),
            Self::Unit(patterns) => names(f, "unit", patterns),
        }
    }
}

fn list<T: Display>(f: &mut Formatter<'_>, field: &str, values: &[T]) -> fmt::Result {
    f.write_str(field)?;
    for (index, value) in values.iter().enumerate() {
        write!(f, "{}{value}", if index == 0 { " " } else { "," })?;
    }
    Ok(())
}

fn names(f: &mut Formatter<'_>, field: &str, patterns: &[Pattern]) -> fmt::Result {
    let texts: Vec<Text<'_>> = patterns.iter().map(|p| Text(p.text())).collect();
    list(f, field, &texts)
}

impl Display for PodTest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = self.name.text();
        match &self.namespace {
            Some(namespace) => Text(&format!("{}/{name}", namespace.text())).fmt(f),
            // Else what stands before the slash would be the namespace.
            None if name.contains('/') => Text(&format!("/{name}")).fmt(f),
            None => Text(name).fmt(f),
        }
    }
}

impl Display for End {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Either => "",
            Self::Local => "local ",
            Self::Remote => "remote ",
            Self::RstSource => "src ",
            Self::RstDestination => "dst ",
        })
    }
}

impl Display for Span {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            self.first.fmt(f)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

struct Net(IpNet);

impl Display for Net {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

impl Display for CgroupTest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Path(pattern) | Self::Component(pattern) => Text(pattern.text()).fmt(f),
        }
    }
}

/// A name, in quotes unless it could be nothing but a name.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let safe = |c: char| c.is_ascii_alphanumeric() || "_./*?-".contains(c);
        let is_word = self.0.chars().all(safe)
            && self.0.chars().any(|c| !c.is_ascii_digit())
            && !["and", "or", "not", "in"]
                .iter()
                .any(|word| self.0.eq_ignore_ascii_case(word))
            && !["eq", "ne", "neq", "lt", "le", "gt", "ge"]
                .iter()
                .any(|word| self.0.eq_ignore_ascii_case(word));
        if is_word {
            f.write_str(self.0)
        } else {
            write!(f, "'{}'", self.0.replace('\'', "''"))
        }
    }
}
