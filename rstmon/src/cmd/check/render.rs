//! The report as text for people, as wide as it is told where words allow it.

use super::report::{Answer, CheckReport, FieldLine};
use std::fmt::Write as _;
use textwrap::{Options, WordSplitter, fill};

/// Columns that words behind a lead need, or they begin on a line of their own.
const WORDS_WIDTH: usize = 24;
/// Where they begin then.
const WORDS_INDENT: &str = "      ";

/// The text as far as it is drawn.
struct Text {
    drawn: String,
    width: usize,
}

/// Draws the report, lines of at most so many columns.
#[must_use]
pub fn render_check(report: &CheckReport, width: usize) -> String {
    let mut text = Text {
        drawn: String::new(),
        width,
    };
    render_verdict(&mut text, report);
    render_capabilities(&mut text, report);
    render_host(&mut text, report);
    render_hooks(&mut text, report);
    render_fields(&mut text, report);
    render_degradations(&mut text, report);
    render_audit(&mut text, report);
    text.drawn
}

/// Appends `words` behind `lead`, wrapped; further lines begin below the first word.
fn paragraph(text: &mut Text, lead: &str, words: &str) {
    let options = Options::new(text.width)
        .word_splitter(WordSplitter::NoHyphenation)
        .break_words(false);
    let column = lead.chars().count();
    let below = " ".repeat(column);
    if lead.trim().is_empty() || column + WORDS_WIDTH <= text.width {
        let options = options.initial_indent(lead).subsequent_indent(&below);
        text.drawn.push_str(&fill(words, options));
    } else {
        let options = options
            .initial_indent(WORDS_INDENT)
            .subsequent_indent(WORDS_INDENT);
        text.drawn.push_str(lead.trim_end());
        text.drawn.push('\n');
        text.drawn.push_str(&fill(words, options));
    }
    text.drawn.push('\n');
}

fn heading(text: &mut Text, words: &str) {
    text.drawn.push('\n');
    paragraph(text, "", words);
}

fn render_verdict(text: &mut Text, report: &CheckReport) {
    let host = format!(
        "rstmon {} on Linux {} {}: ",
        report.version, report.kernel, report.architecture
    );
    let verdict = match report.mode {
        Some(mode) if report.ok => format!("ready, {mode} mode"),
        _ => "not ready".to_owned(),
    };
    paragraph(text, "", &format!("{host}{verdict}"));
    for problem in &report.problems {
        paragraph(text, "  ", &problem.message);
    }
}

fn render_capabilities(text: &mut Text, report: &CheckReport) {
    heading(text, "Capabilities");
    for capability in &report.capabilities {
        let answer = if capability.held { "yes" } else { "no" };
        let lead = format!("  {answer:<8} {:<20} ", capability.name);
        paragraph(text, &lead, capability.purpose);
    }
}

fn render_host(text: &mut Text, report: &CheckReport) {
    heading(text, "Host and kernel");
    for fact in &report.host {
        let answer = match fact.answer {
            Answer::Yes => "yes",
            Answer::No => "no",
            Answer::Unknown => "unknown",
        };
        let lead = format!("  {answer:<8} {:<20} ", fact.name);
        paragraph(text, &lead, &fact.detail);
        if let Some(remedy) = fact.remedy {
            let lead = format!("  {:<8} {:<20} -> ", "", "");
            paragraph(text, &lead, remedy);
        }
    }
}

fn render_hooks(text: &mut Text, report: &CheckReport) {
    let Some(mode) = report.mode else { return };
    let tense = if report.ok {
        ""
    } else {
        ", once what is missing is there"
    };
    let meaning = if report.hooks.iter().any(|hook| hook.attached.is_some()) {
        "attached for a moment"
    } else {
        "planned: how, then how else if that fails"
    };
    heading(text, &format!("Hooks in {mode} mode{tense} ({meaning})"));
    for hook in &report.hooks {
        let how = match (hook.attached, &hook.attached_as) {
            (_, Some(variant)) => variant.clone(),
            (Some(_), None) if hook.waits_for_module.is_some() => "waits".to_owned(),
            (Some(_), None) => "FAILED".to_owned(),
            (None, None) => {
                let mut variants = vec![hook.variant];
                variants.extend(&hook.alternatives);
                variants.join(", ")
            }
        };
        let mut purpose = hook.purpose.to_owned();
        if let Some(module) = hook.waits_for_module
            && hook.attached_as.is_none()
        {
            let _ = write!(purpose, "; waits for the module {module}");
        }
        let lead = format!("  {:<14} {:<27} ", how, hook.hook);
        paragraph(text, &lead, &purpose);
    }
}

fn render_fields(text: &mut Text, report: &CheckReport) {
    if report.fields.is_empty() {
        return;
    }
    let absent: Vec<_> = report
        .fields
        .iter()
        .filter(|f| f.absent.is_some())
        .collect();
    let found = report.fields.len() - absent.len();
    heading(
        text,
        &format!(
            "Kernel fields: {found} of {} found (name and offset)",
            report.fields.len()
        ),
    );
    for structure in structures(&report.fields) {
        let words: Vec<_> = report
            .fields
            .iter()
            .filter(|field| field.structure == structure)
            .filter_map(|field| Some(format!("{}@{}", field.name, field.offset?)))
            .collect();
        if !words.is_empty() {
            paragraph(text, &format!("  {structure:<21} "), &words.join(" "));
        }
    }
    for field in absent {
        let need = if field.required { "required" } else { "absent" };
        let reason = field.absent.as_deref().unwrap_or_default();
        paragraph(text, &format!("  {need:<9} {:<21} ", field.name), reason);
    }
}

/// Each structure once, in the order of the table.
fn structures(fields: &[FieldLine]) -> Vec<&'static str> {
    let mut names = Vec::new();
    for field in fields {
        if !names.contains(&field.structure) {
            names.push(field.structure);
        }
    }
    names
}

fn render_degradations(text: &mut Text, report: &CheckReport) {
    if report.mode.is_none() {
        return;
    }
    if report.degradations.is_empty() {
        heading(text, "Nothing is degraded: this kernel gives everything.");
        return;
    }
    heading(text, "Degraded");
    for degradation in &report.degradations {
        paragraph(text, "  ", &degradation.id);
        paragraph(text, "    effect   ", &degradation.effect);
        paragraph(text, "    because  ", &degradation.reason);
        paragraph(text, "    remedy   ", &degradation.remedy);
    }
}

/// What `rstmon_unaccounted_resets` of an agent means here.
fn render_audit(text: &mut Text, report: &CheckReport) {
    if report.mode.is_none() {
        return;
    }
    heading(
        text,
        "Audit: the kernel's OutRsts against the resets that rstmon counts",
    );
    for gap in &report.audit_gaps {
        let lead = format!("  unseen   {} ", gap.degradation);
        paragraph(text, &lead, gap.unseen);
    }
    let meaning = if report.audit_gaps.is_empty() {
        "No path that the kernel counts is out of sight here: if `rstmon_unaccounted_resets` of an \
         agent grows and stays, report it, with this page."
    } else {
        "The agent's `rstmon_unaccounted_resets` counts these; the remedies above close the gap."
    };
    paragraph(text, "  ", meaning);
}
