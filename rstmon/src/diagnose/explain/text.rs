//! Pages and the list as text for a terminal.
//!
//! Called by `cmd::explain`. Nothing but commands, facts and words that are themselves too long
//! goes beyond the width; commands are never broken, so that they can be copied.

use super::page::{CausePage, Direction, Page, Remedy, Section, Sign, Topic};
use super::{causes_of, pages, topics};
use crate::event::model::Cause;
use anstyle::Style;
use textwrap::{Options, WordSplitter, fill};

/// How pages are drawn.
#[derive(Clone, Copy, Debug)]
pub struct PageStyle {
    /// Columns.
    pub width: usize,
    /// Headings are bold.
    pub bold: bool,
    /// Characters beyond ASCII can be shown.
    pub unicode: bool,
}

/// Below the headings.
const INDENT: &str = "  ";
/// Below a point.
const POINT: &str = "  - ";
/// Commands stand out from what is said of them.
const COMMAND: &str = "      ";
/// Room for an id in the list, or a fact beside its meaning.
const TERM_WIDTH: usize = 25;

/// The list of all pages.
#[must_use]
pub fn render_list(style: PageStyle) -> String {
    let mut sheet = Sheet::new(style);
    for direction in Direction::ALL {
        sheet.heading(direction.heading());
        for (cause, page) in causes_of(direction) {
            sheet.term(cause.name(), page.title);
        }
    }
    sheet.heading("Topics");
    for topic in topics() {
        sheet.term(topic.id, topic.title);
    }
    sheet.gap();
    sheet.paragraph("", "rstmon explain ID shows the page.");
    sheet.text
}

/// One page.
#[must_use]
pub fn render_page(page: &Page, style: PageStyle) -> String {
    let mut sheet = Sheet::new(style);
    sheet.heading(&format!("{}: {}", page.id(), page.title()));
    match page {
        Page::Cause(cause, page) => sheet.cause(*cause, page),
        Page::Topic(topic) => sheet.topic(topic),
    }
    sheet.text
}

/// All pages, one after the other.
#[must_use]
pub fn render_all(style: PageStyle) -> String {
    let all: Vec<String> = pages().map(|page| render_page(&page, style)).collect();
    all.join("\n\n")
}

/// What is drawn so far.
struct Sheet {
    style: PageStyle,
    text: String,
}

impl Sheet {
    const fn new(style: PageStyle) -> Self {
        let text = String::new();
        Self { style, text }
    }

    fn cause(&mut self, cause: Cause, page: &CausePage) {
        self.paragraph(INDENT, page.meaning);
        self.said("Who did it", page.who);
        let harm = format!("{}. {}", page.harm.word(), page.harm_detail);
        self.said("Harmful or benign", &harm);
        self.said("Why TCP does this", page.mechanism);
        self.heading("In rstmon");
        for Sign { fact, says } in page.in_rstmon {
            self.term(fact, says);
        }
        self.command(&format!("rstmon trace 'cause {cause}'"));
        self.said("In tcpdump", page.in_tcpdump);
        self.said("In the kernel's counters", page.in_counters);
        self.points("Where it comes from", page.origins);
        self.heading("What to do");
        for Remedy { advice, lines } in page.remedies {
            self.paragraph(POINT, advice);
            self.commands(lines);
        }
        self.heading("Not to be confused with");
        for lookalike in page.lookalikes {
            self.term(lookalike.cause.name(), lookalike.difference);
        }
        self.points("References", page.references);
    }

    fn topic(&mut self, topic: &Topic) {
        self.paragraph(INDENT, topic.answer);
        for Section {
            heading,
            text,
            points,
            lines,
        } in topic.sections
        {
            self.heading(heading);
            if !text.is_empty() {
                self.paragraph(INDENT, text);
            }
            self.items(points);
            self.commands(lines);
        }
        self.points("See also", topic.see);
        if !topic.references.is_empty() {
            self.points("References", topic.references);
        }
    }

    /// An empty line, unless at the top.
    fn gap(&mut self) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
    }

    fn heading(&mut self, words: &str) {
        self.gap();
        let start = self.text.len();
        self.paragraph("", words);
        if self.style.bold {
            let bold = Style::new().bold();
            let words = self.text.split_off(start);
            let line = format!("{bold}{}{bold:#}\n", words.trim_end());
            self.text.push_str(&line);
        }
    }

    fn said(&mut self, heading: &str, words: &str) {
        self.heading(heading);
        self.paragraph(INDENT, words);
    }

    fn points(&mut self, heading: &str, points: &[&str]) {
        self.heading(heading);
        self.items(points);
    }

    /// A term and its meaning side by side; below each other where the term is long.
    fn term(&mut self, term: &str, meaning: &str) {
        let term = self.plain(term);
        let beside = " ".repeat(INDENT.len() + TERM_WIDTH);
        if term.chars().count() < TERM_WIDTH {
            self.paragraph(&format!("{INDENT}{term:<TERM_WIDTH$}"), meaning);
        } else {
            self.paragraph(INDENT, &term);
            self.paragraph(&beside, meaning);
        }
    }

    fn items(&mut self, points: &[&str]) {
        for point in points {
            self.paragraph(POINT, point);
        }
    }

    fn commands(&mut self, lines: &[&str]) {
        for line in lines {
            self.command(line);
        }
    }

    fn command(&mut self, line: &str) {
        let line = self.plain(line);
        self.text.push_str(COMMAND);
        self.text.push_str(&line);
        self.text.push('\n');
    }

    /// `words` behind `lead`, wrapped; further lines begin below the first word.
    fn paragraph(&mut self, lead: &str, words: &str) {
        let below = " ".repeat(lead.chars().count());
        let options = Options::new(self.style.width)
            .initial_indent(lead)
            .subsequent_indent(&below)
            .word_splitter(WordSplitter::NoHyphenation)
            .break_words(false);
        let words = fill(&self.plain(words), options);
        self.text.push_str(&words);
        self.text.push('\n');
    }

    /// Without the marks of code, and with what this terminal can show.
    fn plain(&self, words: &str) -> String {
        let plain = words.replace('`', "");
        if self.style.unicode {
            plain
        } else {
            plain.replace('…', "...")
        }
    }
}
