//! Pages and the list as Markdown: docs/causes.md, in which every id is a heading and so a link.
//!
//! Called by `cmd::explain`.

use super::page::{CausePage, Direction, Page, Remedy, Section, Sign, Topic};
use super::{causes_of, find_page, topics};
use crate::event::model::Cause;
use textwrap::{Options, WordSplitter, fill};

/// Columns of the file's text.
const WIDTH: usize = 100;

const INTRODUCTION: &str = "Every cause that rstmon prints, and what to do about it; then answers \
    to questions that people ask. `rstmon explain ID` shows one page of it in the terminal.";

const GENERATED: &str =
    "<!-- Written by `rstmon explain --all -o markdown`. Change rstmon/src/diagnose/explain/. -->";

/// The whole of docs/causes.md.
#[must_use]
pub fn render_all() -> String {
    let mut sheet = Sheet::default();
    sheet.block("# Causes of TCP resets");
    sheet.block(GENERATED);
    sheet.paragraph(INTRODUCTION);
    sheet.block(render_list().trim_end());
    for direction in Direction::ALL {
        sheet.block(&format!("## {}", direction.heading()));
        for (cause, page) in causes_of(direction) {
            sheet.page(&Page::Cause(cause, page));
        }
    }
    sheet.block("## Topics");
    for topic in topics() {
        sheet.page(&Page::Topic(topic));
    }
    sheet.text
}

/// One page.
#[must_use]
pub fn render_page(page: &Page) -> String {
    let mut sheet = Sheet::default();
    sheet.page(page);
    sheet.text
}

/// The list of all pages, with links.
#[must_use]
pub fn render_list() -> String {
    let mut sheet = Sheet::default();
    for direction in Direction::ALL {
        let rows = causes_of(direction).map(|(cause, page)| (cause.name(), page.title));
        sheet.contents(direction.heading(), rows);
    }
    let rows = topics().iter().map(|topic| (topic.id, topic.title));
    sheet.contents("Topics", rows);
    sheet.text
}

/// What is written so far; blocks stand apart by an empty line.
#[derive(Default)]
struct Sheet {
    text: String,
}

impl Sheet {
    fn page(&mut self, page: &Page) {
        self.block(&format!("### {}", page.id()));
        self.block(&format!("**{}**", capitalized(page.title())));
        match page {
            Page::Cause(cause, page) => self.cause(*cause, page),
            Page::Topic(topic) => self.topic(topic),
        }
    }

    fn cause(&mut self, cause: Cause, page: &CausePage) {
        self.paragraph(page.meaning);
        self.said("Who did it", page.who);
        let harm = format!("{}. {}", page.harm.word(), page.harm_detail);
        self.said("Harmful or benign", &harm);
        self.said("Why TCP does this", page.mechanism);
        self.label(&format!("In rstmon (`rstmon trace 'cause {cause}'`)"));
        let signs = page.in_rstmon.iter();
        self.items(signs.map(|Sign { fact, says }| format!("`{fact}`: {says}")));
        self.said("In tcpdump", page.in_tcpdump);
        self.said("In the kernel's counters", page.in_counters);
        self.label("Where it comes from");
        self.items(page.origins.iter().map(ToString::to_string));
        self.label("What to do");
        for Remedy { advice, lines } in page.remedies {
            self.paragraph(advice);
            self.code(lines);
        }
        self.label("Not to be confused with");
        let lookalikes = page.lookalikes.iter();
        self.items(lookalikes.map(|it| format!("`{}`: {}", it.cause, it.difference)));
        self.label("References");
        self.items(page.references.iter().map(ToString::to_string));
    }

    fn topic(&mut self, topic: &Topic) {
        self.paragraph(topic.answer);
        for Section {
            heading,
            text,
            points,
            lines,
        } in topic.sections
        {
            self.label(heading);
            if !text.is_empty() {
                self.paragraph(text);
            }
            self.items(points.iter().map(ToString::to_string));
            self.code(lines);
        }
        self.label("See also");
        self.items(topic.see.iter().map(|id| format!("`{id}`")));
        if !topic.references.is_empty() {
            self.label("References");
            self.items(topic.references.iter().map(ToString::to_string));
        }
    }

    fn block(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn paragraph(&mut self, words: &str) {
        self.block(&wrap("", "", words));
    }

    fn label(&mut self, words: &str) {
        self.block(&format!("#### {words}"));
    }

    fn said(&mut self, label: &str, words: &str) {
        self.label(label);
        self.paragraph(words);
    }

    fn items(&mut self, items: impl Iterator<Item = String>) {
        let items: Vec<String> = items.map(|item| wrap("* ", "  ", &item)).collect();
        if !items.is_empty() {
            self.block(&items.join("\n"));
        }
    }

    fn code(&mut self, lines: &[&str]) {
        if !lines.is_empty() {
            self.block(&format!("```text\n{}\n```", lines.join("\n")));
        }
    }

    fn contents<'a>(&mut self, heading: &str, rows: impl Iterator<Item = (&'a str, &'a str)>) {
        self.block(&format!("{heading}:"));
        self.items(rows.map(|(id, title)| format!("`{id}`: {title}")));
    }
}

fn wrap(first: &str, below: &str, words: &str) -> String {
    let options = Options::new(WIDTH)
        .initial_indent(first)
        .subsequent_indent(below)
        .word_splitter(WordSplitter::NoHyphenation)
        .break_words(false);
    fill(&with_links(words), options)
}

/// Makes each id that stands as code a link to its page.
fn with_links(words: &str) -> String {
    let spans = words.split('`').enumerate();
    let written = spans.map(|(number, span)| match (number % 2, find_page(span)) {
        (0, _) => span.to_owned(),
        (_, Some(_)) => format!("[`{span}`](#{span})"),
        (_, None) => format!("`{span}`"),
    });
    written.collect()
}

fn capitalized(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
