//! The parsed form of an expression.
//!
//! Made by `parse`, read by `matching`, `pushdown` and `show`.

use super::pattern::Pattern;
use crate::event::model::{Cause, Family, Kind, SocketState};
use crate::event::workload::Runtime;
use ipnet::IpNet;

/// Parentheses and `not`s that may enclose one another. Keeps recursion over [`Expr`] shallow.
pub(super) const MAX_DEPTH: usize = 64;

/// An expression. Chains of `and` and of `or` are one node each, so depth comes from parentheses
/// and `not` alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expr {
    /// Every event.
    All,
    /// At least two.
    And(Vec<Expr>),
    /// At least two.
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Test(Test),
}

/// A test of one field. Lists hold at least one value and mean any of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Kind(Vec<Kind>),
    Cause(Vec<Cause>),
    State(Vec<SocketState>),
    Family(Family),
    Pid(Vec<Span>),
    Netns(Vec<Span>),
    Port(End, Vec<Span>),
    Address(End, Vec<IpNet>),
    Comm(Vec<Pattern>),
    Cgroup(Vec<CgroupTest>),
    /// Of the id too: see [`super::matching`].
    Container(Vec<Pattern>),
    Runtime(Vec<Runtime>),
    Pod(Vec<PodTest>),
    /// Of the pod's namespace.
    Namespace(Vec<Pattern>),
    Unit(Vec<Pattern>),
}

/// Which end of the connection an address or port belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Either,
    Local,
    Remote,
    /// Where the RST came from.
    RstSource,
    /// Where the RST went.
    RstDestination,
}

/// Numbers from `first` to `last`, both included, `first` not above `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: u32,
    pub(super) last: u32,
}

impl Span {
    pub(super) const fn one(number: u32) -> Self {
        Self {
            first: number,
            last: number,
        }
    }

    pub(super) const fn contains(self, number: u32) -> bool {
        self.first <= number && number <= self.last
    }

    /// How many numbers.
    pub(super) const fn len(self) -> u64 {
        (self.last - self.first) as u64 + 1
    }
}

/// What is asked of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CgroupTest {
    Id(u64),
    /// The path, or one above it, matches.
    Path(Pattern),
    /// A component of the path matches.
    Component(Pattern),
}

/// What is asked of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodTest {
    /// None: any.
    pub(super) namespace: Option<Pattern>,
    /// Of its name or uid.
    pub(super) name: Pattern,
}

impl Expr {
    /// All of the parts, in the shortest form: `All` adds nothing to a chain of `and`.
    pub(super) fn all(mut parts: Vec<Self>) -> Self {
        parts.retain(|part| *part != Self::All);
        Self::chain(parts, Self::And)
    }

    /// Any of the parts, in the shortest form: with `All` among them every event passes.
    pub(super) fn any(parts: Vec<Self>) -> Self {
        if parts.contains(&Self::All) {
            return Self::All;
        }
        Self::chain(parts, Self::Or)
    }

    fn chain(mut parts: Vec<Self>, join: fn(Vec<Self>) -> Self) -> Self {
        match parts.len() {
            0 | 1 => parts.pop().unwrap_or(Self::All),
            _ => join(parts),
        }
    }
}

impl Test {
    /// Adds the values of another test of the same field. Tests of other fields are left as they
    /// are: `parse` only joins values of one list.
    pub(super) fn join(&mut self, other: Self) {
        match (self, other) {
            (Self::Kind(mine), Self::Kind(more)) => mine.extend(more),
            (Self::Cause(mine), Self::Cause(more)) => mine.extend(more),
            (Self::State(mine), Self::State(more)) => mine.extend(more),
            (Self::Pid(mine), Self::Pid(more)) | (Self::Netns(mine), Self::Netns(more)) => {
                mine.extend(more);
            }
            (Self::Port(_, mine), Self::Port(_, more)) => mine.extend(more),
            (Self::Address(_, mine), Self::Address(_, more)) => mine.extend(more),
            (Self::Comm(mine), Self::Comm(more))
            | (Self::Container(mine), Self::Container(more))
            | (Self::Namespace(mine), Self::Namespace(more))
            | (Self::Unit(mine), Self::Unit(more)) => mine.extend(more),
            (Self::Cgroup(mine), Self::Cgroup(more)) => mine.extend(more),
            (Self::Runtime(mine), Self::Runtime(more)) => mine.extend(more),
            (Self::Pod(mine), Self::Pod(more)) => mine.extend(more),
            _ => {}
        }
    }
}
