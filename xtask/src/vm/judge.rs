//! Reads the guest's console. Pure.
//!
//! The guest prints a marker before and after each part; what lies between is JSON of `rstmon lab`,
//! or what the kernel logged.

use serde_json::Value;

/// The guest has reached `/init`.
pub(super) const BEGIN: &str = "@@begin";
/// The guest has come to its end.
const DONE: &str = "done";
/// Exit code of `rstmon check` where the kernel cannot support a mode.
const KERNEL_CANNOT: &str = "4";

/// Last lines of a console shown when the guest died: where a panic says what it was.
const LAST_LINES: usize = 12;

/// The lines for people, and the sums.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) lines: Vec<String>,
    pub(super) passed: usize,
    pub(super) failed: usize,
    /// Of those that passed: what the mode cannot show on this kernel.
    pub(super) not_visible: usize,
    /// Of those that passed: left out, because the kernel has no such thing.
    pub(super) not_run: usize,
}

impl Report {
    fn add(&mut self, name: &str, failure: Option<&str>) {
        let word = failure.map_or_else(|| "ok".to_owned(), |why| format!("FAILED: {why}"));
        self.lines.push(format!("test {name} ... {word}"));
        if failure.is_some() {
            self.failed += 1;
        } else {
            self.passed += 1;
        }
    }
}

/// A run of the lab that has begun, and what it gave so far.
#[derive(Debug)]
struct Run<'a> {
    mode: &'a str,
    number: &'a str,
    scenarios: usize,
    failed: usize,
}

/// Where in the console a line is.
#[derive(Debug)]
enum Part<'a> {
    /// Nothing is expected here but what the kernel or a program complains about.
    Outside,
    /// After a `check` or a run of the lab: what it wrote to standard error.
    Complaints,
    /// A run of the lab.
    Lab(Run<'a>),
    /// What the kernel logged.
    Log,
}

/// Judges the console of one kernel.
pub(super) fn judge(version: &str, console: &str) -> Report {
    let mut report = Report::default();
    let mut part = Part::Outside;
    let mut allowed = 0;
    let mut logged = Vec::new();
    let (mut has_log, mut has_ended) = (false, false);
    for line in console.lines().map(str::trim_end) {
        if let Some(marker) = line.strip_prefix("@@") {
            let (mode, code) = (value_of(marker, "mode"), value_of(marker, "code"));
            part = match (marker.split(' ').next(), part) {
                (Some("check"), _) => {
                    allowed += usize::from(check(&mut report, version, mode, code));
                    Part::Complaints
                }
                (Some("lab"), _) => Part::Lab(Run {
                    mode,
                    number: value_of(marker, "run"),
                    scenarios: 0,
                    failed: 0,
                }),
                (Some("lab-end"), Part::Lab(run)) => {
                    end_run(&mut report, version, &run, code);
                    Part::Complaints
                }
                (Some("dmesg"), _) => {
                    has_log = true;
                    Part::Log
                }
                (word, _) => {
                    has_ended |= word == Some(DONE);
                    Part::Outside
                }
            };
            continue;
        }
        match &mut part {
            Part::Outside => {}
            // So little is let through to the console that it is the end of the guest.
            Part::Complaints | Part::Lab(_) if is_kernel_line(line) => logged.push(line),
            Part::Complaints => report.lines.push(format!("     {line}")),
            Part::Lab(run) => scenario(&mut report, version, run, line),
            Part::Log => logged.push(line),
        }
    }
    judge_log(&mut report, version, &logged, has_log);
    end_guest(&mut report, version, console, has_ended);
    if allowed == 0 {
        report.add(
            &format!("vm {version} any mode"),
            Some("the kernel allows none"),
        );
    }
    report
}

/// The report of a kernel that could not be had, packed or booted: it must not hide the others.
pub(super) fn unbootable(version: &str, why: &str) -> Report {
    let mut report = Report::default();
    report.add(&format!("vm {version} boot"), Some(why));
    report
}

/// What the kernel complained about. Of a guest that died before it was asked, silence says nothing.
fn judge_log(report: &mut Report, version: &str, logged: &[&str], has_log: bool) {
    if has_log || !logged.is_empty() {
        report.add(&format!("vm {version} kernel log"), logged.first().copied());
    }
    let more = logged.iter().skip(1).map(|line| format!("     {line}"));
    report.lines.extend(more);
}

/// Whether the guest came to its end; if not, what it said last.
fn end_guest(report: &mut Report, version: &str, console: &str, has_ended: bool) {
    let failure = (!has_ended).then_some("the guest did not come to its end; it said last");
    report.add(&format!("vm {version} to its end"), failure);
    if !has_ended {
        let lines: Vec<&str> = console.lines().map(str::trim_end).collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        report
            .lines
            .extend(last.iter().map(|line| format!("     {line}")));
    }
}

/// Whether the mode is allowed. That it is not, is no failure: `check` said so and the guest left
/// the lab out.
fn check(report: &mut Report, version: &str, mode: &str, code: &str) -> bool {
    let name = format!("vm {version} check {mode}");
    match code {
        "0" => report.add(&name, None),
        KERNEL_CANNOT => report
            .lines
            .push(format!("test {name} ... not allowed by this kernel")),
        _ => report.add(&name, Some(&meaning_of(code))),
    }
    code == "0"
}

/// A run as a whole: it must have shown something, and its exit code must agree with that.
fn end_run(report: &mut Report, version: &str, run: &Run<'_>, code: &str) {
    let failure = match (code, run.scenarios, run.failed) {
        ("0", 0, _) => Some("no scenario was run".to_owned()),
        ("0", _, _) => None,
        // What failed was counted already.
        ("1", _, 1..) => return,
        _ => Some(meaning_of(code)),
    };
    let name = format!("vm {version} {} run {} as a whole", run.mode, run.number);
    report.add(&name, failure.as_deref());
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

/// One result of the lab. A line that is none is a failure too: nothing else belongs there, so a
/// result was torn.
fn scenario(report: &mut Report, version: &str, run: &mut Run<'_>, line: &str) {
    let place = format!("vm {version} {} run {}", run.mode, run.number);
    let result: Option<Value> = serde_json::from_str(line).ok();
    let Some(result) = result.filter(|result| result["verdict"].is_string()) else {
        run.failed += 1;
        report.add(
            &format!("{place} output"),
            Some(&format!("no result: {line}")),
        );
        return;
    };
    let word = |key: &str| result[key].as_str().unwrap_or("?");
    let details: Vec<&str> = result["detail"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    run.scenarios += 1;
    let name = format!("{place} {}/{}", word("scenario"), word("family"));
    let details = details.join("; ");
    let remark = match word("verdict") {
        "matched" => return report.add(&name, None),
        "not-visible" => {
            report.not_visible += 1;
            "not visible"
        }
        "not-run" => {
            report.not_run += 1;
            "not run"
        }
        // The guest has all that a scenario asks for, so one that was left out is a failure.
        verdict => {
            run.failed += 1;
            return report.add(&name, Some(&format!("{verdict}: {details}")));
        }
    };
    report.passed += 1;
    report
        .lines
        .push(format!("test {name} ... ok, {remark}: {details}"));
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
mod tests {
    use super::*;

    const CONSOLE: &str = "\
[    1.0] noise\r
@@begin\r
@@check mode=probe code=0\r
@@lab mode=probe run=1\r
{\"scenario\":\"port-closed\",\"family\":\"ipv4\",\"verdict\":\"matched\",\"detail\":[]}\r
{\"scenario\":\"port-closed\",\"family\":\"ipv6\",\"verdict\":\"differs\",\"detail\":[\"missing\"]}\r
{\"scenario\":\"stray-reset\",\"family\":\"ipv4\",\"verdict\":\"not-visible\",\"detail\":[\"no drops here\"]}\r
@@lab-end mode=probe run=1 code=1\r
@@check mode=classic code=4\r
rstmon: no tracepoints\r
@@dmesg\r
@@done\r
";

    #[test]
    fn a_console_is_judged_line_by_line() {
        let report = judge("6.1", CONSOLE);
        // Passed: the check, two scenarios, the kernel's log, the end. Exit code 1 is what the
        // scenario that differs says already.
        assert_eq!(
            (report.passed, report.failed, report.not_visible),
            (5, 1, 1),
            "{:#?}",
            report.lines
        );
        let text = report.lines.join("\n");
        assert!(text.contains("test vm 6.1 check probe ... ok"));
        assert!(text.contains("probe run 1 port-closed/ipv4 ... ok\n"));
        assert!(text.contains("probe run 1 port-closed/ipv6 ... FAILED: differs: missing"));
        assert!(text.contains("stray-reset/ipv4 ... ok, not visible: no drops here"));
        assert!(
            text.contains("check classic ... not allowed by this kernel\n     rstmon: no trace")
        );
        assert!(text.contains("test vm 6.1 kernel log ... ok"));
    }

    #[test]
    fn a_warning_fails() {
        let warned = judge(
            "6.1",
            &CONSOLE.replace("@@dmesg\r\n", "@@dmesg\r\nWARNING: x\r\n"),
        );
        assert_eq!(warned.failed, 2);
        assert!(
            warned
                .lines
                .iter()
                .any(|line| line == "test vm 6.1 kernel log ... FAILED: WARNING: x")
        );
    }

    #[test]
    fn a_guest_that_dies_fails_and_its_last_words_are_shown() {
        let died = judge(
            "6.1",
            "@@begin\n@@check mode=probe code=0\n@@lab mode=probe run=1\n\
             [    6.386955] Kernel panic: y\n[    6.387288] RIP: z\n",
        );
        // The log, and that there was no end: not each line of the panic.
        assert_eq!(died.failed, 2, "{:#?}", died.lines);
        let text = died.lines.join("\n");
        assert!(text.contains("kernel log ... FAILED: [    6.386955] Kernel panic: y\n     ["));
        assert!(text.ends_with("     [    6.387288] RIP: z"));
    }

    #[test]
    fn what_is_not_run_passes_and_undiagnosed_fails() {
        let result = |verdict| {
            let line = format!(
                "{{\"scenario\":\"s\",\"family\":\"ipv4\",\"verdict\":\"{verdict}\",\
                 \"detail\":[]}}\n@@lab-end"
            );
            judge("6.1", &CONSOLE.replace("@@lab-end", &line))
        };
        let not_run = result("not-run");
        assert_eq!((not_run.failed, not_run.not_run), (1, 1));
        assert_eq!(result("undiagnosed").failed, 2);
    }

    #[test]
    fn the_log_of_a_guest_that_hung_is_not_called_clean() {
        let hung = judge(
            "6.1",
            "@@begin\n@@check mode=probe code=0\n@@lab mode=probe run=1\n",
        );
        assert_eq!(hung.failed, 1, "{:#?}", hung.lines);
        assert!(!hung.lines.join("\n").contains("kernel log"));
    }

    #[test]
    fn a_lab_that_shows_nothing_or_fails_without_a_result_fails() {
        let ended = |code: u8| {
            let console = format!(
                "@@begin\n@@check mode=probe code=0\n@@lab mode=probe run=1\n\
                 @@lab-end mode=probe run=1 code={code}\n@@dmesg\n@@done\n"
            );
            judge("6.1", &console)
        };
        for (code, why) in [(0, "no scenario"), (1, "exit code 1"), (143, "too long")] {
            let report = ended(code);
            assert_eq!(report.failed, 1, "{code}: {:#?}", report.lines);
            assert!(report.lines.join("\n").contains(why), "{:#?}", report.lines);
        }
    }

    #[test]
    fn a_torn_or_skipped_result_fails() {
        for line in [
            "{\"scenario\":\"port-closed\",\"fam",
            "{\"scenario\":\"firewall-reject\",\"family\":\"ipv4\",\"verdict\":\"skipped\",\
             \"detail\":[\"no nft\"]}",
        ] {
            let console = CONSOLE.replace("@@lab-end", &format!("{line}\n@@lab-end"));
            assert_eq!(judge("6.1", &console).failed, 2, "{line}");
        }
    }

    #[test]
    fn a_kernel_that_allows_no_mode_fails() {
        let report = judge(
            "6.1",
            "@@begin\n@@check mode=probe code=4\n@@dmesg\n@@done\n",
        );
        assert_eq!(report.failed, 1);
        assert!(report.lines.join("\n").contains("the kernel allows none"));
    }
}
