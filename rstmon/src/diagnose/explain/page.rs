//! What a page holds. Texts are plain words; what a program would read stands in backticks, and so
//! does every id of another page.

use crate::event::model::Cause;
use serde::{Serialize, Serializer};

/// Which way the RST went, and so where the list shows the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// This host sent it.
    Sent,
    /// It arrived at this host.
    Received,
    /// Either.
    Either,
}

impl Direction {
    /// In the order of the list.
    pub const ALL: [Self; 3] = [Self::Sent, Self::Received, Self::Either];

    /// As a heading.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Sent => "Sent by this host",
            Self::Received => "Received by this host",
            Self::Either => "Either",
        }
    }
}

/// Whether somebody loses something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Harm {
    /// Usually nobody.
    Benign,
    /// It depends on when it comes and how often.
    Depends,
    /// Usually data, a request or a connection.
    Harmful,
}

impl Harm {
    /// As the first word of a sentence.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Benign => "Mostly benign",
            Self::Depends => "It depends",
            Self::Harmful => "Mostly harmful",
        }
    }
}

/// A term and what it says.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sign {
    /// A fact of the evidence or a field of the event, as it is printed.
    pub fact: &'static str,
    /// What it says here.
    pub says: &'static str,
}

/// One way out.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Remedy {
    /// When, and what to do.
    pub advice: &'static str,
    /// Commands, settings or lines of a configuration, each a line as it is typed; may be empty.
    pub lines: &'static [&'static str],
}

/// Another cause that looks alike.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Lookalike {
    /// The other cause.
    pub cause: Cause,
    /// How to tell them apart.
    pub difference: &'static str,
}

/// All that is said of one cause.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CausePage {
    /// What happened, in plain words.
    pub title: &'static str,
    /// Where the list shows it.
    pub direction: Direction,
    /// What it means.
    pub meaning: &'static str,
    /// Who did it, with the initiator that rstmon prints.
    pub who: &'static str,
    /// Whether it does harm.
    pub harm: Harm,
    /// Why, and when not.
    pub harm_detail: &'static str,
    /// The rule of the standard, and where the kernel carries it out.
    pub mechanism: &'static str,
    /// How it looks in an event.
    pub in_rstmon: &'static [Sign],
    /// How it looks on the wire.
    pub in_tcpdump: &'static str,
    /// What the kernel counts, by the names of nstat(8).
    pub in_counters: &'static str,
    /// Where it comes from in practice.
    pub origins: &'static [&'static str],
    /// What to do.
    pub remedies: &'static [Remedy],
    /// What it is taken for.
    pub lookalikes: &'static [Lookalike],
    /// Standards, kernel functions, manuals.
    pub references: &'static [&'static str],
}

/// An answer to a question that no single cause answers.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Topic {
    /// Argument of `explain`; never renamed.
    pub id: &'static str,
    /// The question.
    pub title: &'static str,
    /// The answer in brief.
    pub answer: &'static str,
    /// The answer at length.
    pub sections: &'static [Section],
    /// Pages that go on from here, by id.
    pub see: &'static [&'static str],
    /// Standards, kernel functions, manuals.
    pub references: &'static [&'static str],
}

/// A part of a topic; any part of it may be empty but the heading.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Section {
    /// What it is about.
    pub heading: &'static str,
    /// Running text.
    pub text: &'static str,
    /// Points.
    pub points: &'static [&'static str],
    /// Commands, each a line as it is typed.
    pub lines: &'static [&'static str],
}

/// A page of either sort.
#[derive(Clone, Copy, Debug)]
pub enum Page {
    /// A cause.
    Cause(Cause, &'static CausePage),
    /// A topic.
    Topic(&'static Topic),
}

impl Page {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &'static str {
        match self {
            Self::Cause(cause, _) => cause.name(),
            Self::Topic(topic) => topic.id,
        }
    }

    /// Its title.
    #[must_use]
    pub const fn title(&self) -> &'static str {
        match self {
            Self::Cause(_, page) => page.title,
            Self::Topic(topic) => topic.title,
        }
    }
}

/// `{"id": …}` and the fields of the page.
impl Serialize for Page {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct WithId {
            id: Cause,
            #[serde(flatten)]
            page: &'static CausePage,
        }
        match *self {
            Self::Cause(id, page) => WithId { id, page }.serialize(serializer),
            Self::Topic(topic) => topic.serialize(serializer),
        }
    }
}
