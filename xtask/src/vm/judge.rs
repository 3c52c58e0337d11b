//! Reads the guest's console and compares it with what is declared. Pure.
//!
//! The guest prints a marker before and after each part; what lies between is JSON of `check` or of
//! the lab, or what the kernel logged. A difference from the declaration fails, in both directions:
//! what is declared away and was seen is a wrong declaration. What the guest showed is gathered beside
//! that, whatever is declared, for [`super::results`].

mod report;

pub(super) use report::Report;

use super::declared::{Declaration, Expected};
use super::results::{Lab, Made, SEEN, Verdicts, Way, is_as_expected};
use super::runs::{Run, find_run};
use super::target::Target;
use serde_json::Value;
use std::collections::BTreeSet;

/// The guest has reached `/init`.
pub(super) const BEGIN: &str = "@@begin";
/// How the run was made follows, as [`made_marker`] writes it.
const MADE: &str = "made";
/// The guest has come to its end.
const DONE: &str = "done";
/// Exit code of `rstmon check` where the kernel cannot support a mode.
const KERNEL_CANNOT: &str = "4";
/// Last lines of a console shown when the guest died: where a panic says what it was.
const LAST_LINES: usize = 12;

/// A run of the lab that has begun, and what it gave so far.
#[derive(Debug)]
struct LabRun {
    run: &'static Run,
    number: String,
    /// What came.
    verdicts: Verdicts,
    mistold: usize,
    failed: usize,
    /// Those that the lab itself calls a failure.
    lab_failed: usize,
}

impl LabRun {
    /// Counts a scenario; what is wrong with its verdict, if anything.
    fn count(&mut self, verdict: &str, expected: Expected) -> Option<String> {
        let is_right = is_as_expected(verdict, expected);
        let word = match verdict {
            SEEN => "seen",
            "not-visible" => "not visible",
            "not-run" | "skipped" => "not run",
            _ => {
                self.lab_failed += 1;
                self.mistold += usize::from(is_right);
                return (!is_right).then(|| verdict.to_owned());
            }
        };
        (!is_right).then(|| format!("{word}, declared otherwise"))
    }
}

/// Where in the console a line is.
#[derive(Debug)]
enum Part {
    /// Nothing is expected here but what the kernel or a program complains about.
    Outside,
    /// After a `check`: its report, and what it wrote to standard error.
    Check { run: &'static Run, code: String },
    /// After a run of the lab: what it wrote to standard error.
    Complaints,
    /// A run of the lab.
    Lab(LabRun),
    /// Every variant of every hook.
    Variants,
    /// What the kernel logged.
    Log,
}

/// Judges the console of one kernel on which `runs` were to be made.
pub(super) fn judge(
    target: Target,
    runs: &[&Run],
    declared: &Declaration,
    console: &str,
) -> Report {
    let mut judge = Judge {
        target,
        declared,
        report: Report::of(target),
        logged: Vec::new(),
        variants: Variants::default(),
        done: BTreeSet::new(),
        has_log: false,
        has_ended: false,
    };
    let mut part = Part::Outside;
    for line in console.lines().map(str::trim_end) {
        part = match line.strip_prefix("@@") {
            Some(marker) => judge.marker(marker, part),
            None => judge.line(line, part),
        };
    }
    judge.end(runs, console)
}

/// The line of the console that tells how a run was made: what it showed can be recorded from the
/// console alone.
pub(super) fn made_marker(made: &Made) -> String {
    let Made {
        debian,
        day,
        programs,
    } = made;
    format!("@@{MADE} debian={debian} day={day} programs={programs}")
}

/// The report of a kernel that could not be had, packed or booted: it must not hide the others.
pub(super) fn unbootable(target: Target, why: &str) -> Report {
    let mut report = Report::of(target);
    report.add("boot", Some(why));
    report
}

/// The variants that came, and those that the kernel refused.
#[derive(Debug, Default)]
struct Variants {
    were_tried: bool,
    attached: BTreeSet<String>,
    refused: BTreeSet<String>,
}

struct Judge<'a> {
    target: Target,
    declared: &'a Declaration,
    report: Report,
    logged: Vec<String>,
    variants: Variants,
    /// What was made: `check NAME` and `lab NAME`.
    done: BTreeSet<String>,
    has_log: bool,
    has_ended: bool,
}

impl Judge<'_> {
    fn marker(&mut self, marker: &str, part: Part) -> Part {
        let code = value_of(marker, "code");
        let run = find_run(value_of(marker, "run"));
        match (marker.split(' ').next(), part, run) {
            (Some(MADE), _, _) => {
                let value = |key: &str| value_of(marker, key).to_owned();
                self.report.result.made = Made {
                    debian: value("debian"),
                    day: value("day"),
                    programs: value("programs"),
                };
                Part::Outside
            }
            (Some("check"), _, Some(run)) => {
                self.done.insert(format!("check {}", run.name));
                let code = code.to_owned();
                Part::Check { run, code }
            }
            (Some("lab"), _, Some(run)) => Part::Lab(LabRun {
                run,
                number: value_of(marker, "number").to_owned(),
                verdicts: Verdicts::new(),
                mistold: 0,
                failed: 0,
                lab_failed: 0,
            }),
            (Some("lab-end"), Part::Lab(lab), _) => {
                self.end_lab(&lab, code);
                Part::Complaints
            }
            (Some("variants"), _, _) => {
                self.variants.were_tried = true;
                Part::Variants
            }
            (Some("dmesg"), _, _) => {
                self.has_log = true;
                Part::Log
            }
            (word, _, _) => {
                self.has_ended |= word == Some(DONE);
                Part::Outside
            }
        }
    }

    fn line(&mut self, line: &str, mut part: Part) -> Part {
        match &mut part {
            Part::Outside => {}
            Part::Log => self.logged.push(line.to_owned()),
            // So little is let through to the console that it is the end of the guest.
            _ if is_kernel_line(line) => self.logged.push(line.to_owned()),
            Part::Check { run, code } => self.check_line(run, code, line),
            Part::Complaints => self.report.remark(line),
            Part::Lab(lab) => self.scenario(lab, line),
            Part::Variants => self.variant(line),
        }
        part
    }

    /// The report of a `check`, or what it complained of.
    fn check_line(&mut self, run: &Run, code: &str, line: &str) {
        let result: Option<Value> = serde_json::from_str(line).ok();
        let Some(result) = result.filter(|result| result["schema"].is_string()) else {
            self.report.remark(line);
            return;
        };
        self.gather_check(run, code, &result);
        let failure = self.check_failure(run, code, &result);
        self.report
            .add(&format!("check {}", run.name), failure.as_deref());
        if code == KERNEL_CANNOT {
            let why = result["problems"][0]["message"].as_str().unwrap_or("?");
            self.report.remark(&format!("not to be had: {why}"));
        }
    }

    /// What a `check` showed.
    fn gather_check(&mut self, run: &Run, code: &str, check: &Value) {
        let result = &mut self.report.result;
        if let Some(release) = check["kernel"].as_str() {
            release.clone_into(&mut result.release);
        }
        let mut way = Way::default();
        if code != KERNEL_CANNOT {
            way.mode = check["mode"].as_str().map(str::to_owned);
            let ids = array(check, "degradations").filter_map(|it| it["id"].as_str());
            way.degraded = ids.map(str::to_owned).collect();
        }
        result.ways.insert(run.name.to_owned(), way);
    }

    /// What differs in a `check`: exit code, mode, degradations, hooks.
    fn check_failure(&self, run: &Run, code: &str, result: &Value) -> Option<String> {
        let is_missing = self.declared.is_missing(self.target, run);
        match (code, is_missing) {
            (KERNEL_CANNOT, true) => return None,
            (_, true) => return Some(format!("{}, declared missing", meaning_of(code))),
            ("0", false) => {}
            _ => return Some(meaning_of(code)),
        }
        let mode = result["mode"].as_str().unwrap_or("none");
        if mode != run.mode {
            return Some(format!("the mode is {mode}, not {}", run.mode));
        }
        let ids = array(result, "degradations").filter_map(|it| it["id"].as_str());
        let found: BTreeSet<&str> = ids.collect();
        let declared = self.declared.degradations(self.target, run);
        if found != declared {
            return Some(format!(
                "degraded is {}, declared is {}",
                listed(&found),
                listed(&declared)
            ));
        }
        let lost = array(result, "hooks").find(|hook| {
            hook["attached"] != Value::Bool(true) && hook["waits_for_module"].is_null()
        });
        lost.map(|hook| format!("{} is not attached", hook["hook"]))
    }

    /// One result of the lab. A line that is none is a failure too: nothing else belongs there, so
    /// a result was torn.
    fn scenario(&mut self, lab: &mut LabRun, line: &str) {
        let result: Option<Value> = serde_json::from_str(line).ok();
        let result = result.filter(|result| result["verdict"].is_string());
        let name = format!("{} run {}", lab.run.name, lab.number);
        let Some(result) = result else {
            lab.failed += 1;
            let why = format!("no result: {line}");
            return self.report.add(&format!("{name} output"), Some(&why));
        };
        let word = |key: &str| result[key].as_str().unwrap_or("?");
        let (id, family, verdict) = (word("scenario"), word("family"), word("verdict"));
        let by_family = lab.verdicts.entry(id.to_owned()).or_default();
        by_family.insert(family.to_owned(), verdict.to_owned());
        let expected = self.declared.expected(self.target, lab.run, id, family);
        let failure = lab.count(verdict, expected);
        let Some(failure) = failure else {
            return self.report.pass();
        };
        lab.failed += 1;
        let details: Vec<&str> = array(&result, "detail").filter_map(Value::as_str).collect();
        let why = format!("{failure}: {}", details.join("; "));
        self.report
            .add(&format!("{name} {id}/{family}"), Some(&why));
    }

    /// A run as a whole: it must have shown what is declared, and its exit code must agree.
    fn end_lab(&mut self, lab: &LabRun, code: &str) {
        self.done.insert(format!("lab {}", lab.run.name));
        let name = format!("{} run {} as a whole", lab.run.name, lab.number);
        let declared = self.declared.scenarios(self.target, lab.run);
        let unknown: BTreeSet<&str> = declared
            .into_iter()
            .filter(|id| !lab.verdicts.contains_key(*id))
            .collect();
        let failure = match (code, lab.verdicts.len()) {
            ("0", 0) => Some("no scenario was run".to_owned()),
            ("0" | "1", 1..) if !unknown.is_empty() => Some(format!(
                "declared, but there is no such scenario: {}",
                listed(&unknown)
            )),
            ("0", _) => None,
            // What failed was counted already, and what is declared to be told otherwise fails the lab.
            ("1", _) if lab.lab_failed > lab.mistold => return,
            ("1", _) if lab.mistold > 0 => None,
            _ => Some(meaning_of(code)),
        };
        self.report.add(&name, failure.as_deref());
        let sums = Lab::of(&lab.verdicts);
        if lab.failed == 0 {
            self.report.remark(&format!(
                "{} seen, {} not visible, {} not run, {} told otherwise, all as declared",
                sums.seen, sums.not_visible, sums.not_run, sums.told_otherwise
            ));
        }
        // Of several the last: the order of the first is always the same.
        if let Some(way) = self.report.result.ways.get_mut(lab.run.name) {
            way.lab = Some(sums);
        }
    }

    fn variant(&mut self, line: &str) {
        let result: Option<Value> = serde_json::from_str(line).ok();
        let Some(result) = result.filter(|result| result["attached"].is_boolean()) else {
            // What was complained of shows why the sums are not as declared.
            return self.report.remark(line);
        };
        let word = |key: &str| result[key].as_str().unwrap_or("?");
        let name = format!("{}_{}", word("variant"), word("hook"));
        let is_declared = self
            .declared
            .missing_variants(self.target)
            .contains(name.as_str());
        let failure = match (result["attached"] == Value::Bool(true), is_declared) {
            (true, false) | (false, true) => None,
            (true, true) => Some("attached, declared missing".to_owned()),
            (false, false) => Some(format!("not attached: {}", word("refusal"))),
        };
        match failure {
            None => self.report.pass(),
            Some(why) => self.report.add(&format!("variant {name}"), Some(&why)),
        }
        if result["attached"] == Value::Bool(true) {
            self.variants.attached.insert(name);
        } else {
            self.variants.refused.insert(name);
        }
    }

    fn end(mut self, runs: &[&Run], console: &str) -> Report {
        self.end_variants();
        if self.has_log || !self.logged.is_empty() {
            let first = self.logged.first().cloned();
            self.report.add("kernel log", first.as_deref());
        }
        for more in self.logged.iter().skip(1) {
            self.report.remark(more);
        }
        let failure =
            (!self.has_ended).then_some("the guest did not come to its end; it said last");
        self.report.add("to its end", failure);
        if self.has_ended {
            self.miss_runs(runs);
        } else {
            let lines: Vec<&str> = console.lines().map(str::trim_end).collect();
            for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
                self.report.remark(line);
            }
        }
        self.report
    }

    fn end_variants(&mut self) {
        if !self.variants.were_tried {
            return;
        }
        let (attached, refused) = (&self.variants.attached, &self.variants.refused);
        self.report.result.attached = attached.len();
        self.report.result.refused.clone_from(refused);
        let declared = self.declared.missing_variants(self.target);
        let unknown: BTreeSet<&str> = declared
            .into_iter()
            .filter(|name| !attached.contains(*name) && !refused.contains(*name))
            .collect();
        let failure = if attached.is_empty() {
            Some("no variant was attached".to_owned())
        } else {
            (!unknown.is_empty()).then(|| format!("there is no variant {}", listed(&unknown)))
        };
        let sums = format!(
            "{} variants attached, {} refused",
            attached.len(),
            refused.len()
        );
        self.report.add("every variant", failure.as_deref());
        self.report.remark(&sums);
    }

    /// Nothing that was to be made may be left out in silence.
    fn miss_runs(&mut self, runs: &[&Run]) {
        for run in runs {
            let has_lab = run.has_lab && !self.declared.is_missing(self.target, run);
            let due = [Some("check"), has_lab.then_some("lab")];
            for what in due.into_iter().flatten() {
                let name = format!("{what} {}", run.name);
                if !self.done.contains(&name) {
                    self.report.add(&name, Some("it was not made"));
                }
            }
        }
        if !self.variants.were_tried {
            self.report.add("every variant", Some("it was not made"));
        }
    }
}

fn array<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn listed(words: &BTreeSet<&str>) -> String {
    if words.is_empty() {
        return "nothing".to_owned();
    }
    words.iter().copied().collect::<Vec<_>>().join(", ")
}

/// An exit code in words; from 124 on they are those of the guest's `timeout` and shell.
fn meaning_of(code: &str) -> String {
    let meaning = match code {
        "124" | "137" | "143" => ", it was ended because it took too long",
        "132" | "134" | "139" => ", it crashed",
        _ => "",
    };
    format!("exit code {code}{meaning}")
}

/// Whether the kernel itself wrote this: `[   12.345678] text`.
fn is_kernel_line(line: &str) -> bool {
    let stamp = line.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    stamp.is_some_and(|(stamp, _)| stamp.trim().parse::<f64>().is_ok())
}

/// The value of `key=value` in a marker.
fn value_of<'a>(marker: &'a str, key: &str) -> &'a str {
    marker
        .split_whitespace()
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
        .unwrap_or("?")
}

#[cfg(test)]
mod tests;
