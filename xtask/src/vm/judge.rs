//! Reads the guest's console. Pure.
//!
//! The guest prints a marker before and after each part; what lies between is JSON of `rstmon lab`,
//! or what the kernel logged.

use serde_json::Value;

/// The guest has reached `/init`.
pub(super) const BEGIN: &str = "@@begin";
/// The guest has come to its end.
const DONE: &str = "@@done";
/// Exit code of `rstmon check` where the kernel cannot support a mode.
const KERNEL_CANNOT: &str = "4";

/// The lines for people, and the sums.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) lines: Vec<String>,
    pub(super) passed: usize,
    pub(super) failed: usize,
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

/// Judges the console of one kernel.
pub(super) fn judge(version: &str, console: &str) -> Report {
    let mut report = Report::default();
    let mut part = "";
    let mut allowed = 0;
    let mut logged = Vec::new();
    for line in console.lines().map(str::trim_end) {
        if let Some(marker) = line.strip_prefix("@@") {
            part = marker;
            let (mode, code) = (value_of(marker, "mode"), value_of(marker, "code"));
            if marker.starts_with("check ") {
                allowed += usize::from(check(&mut report, version, mode, code));
            } else if marker.starts_with("lab-end ") {
                let name = format!(
                    "vm {version} {mode} run {} as a whole",
                    value_of(marker, "run")
                );
                let failure = (code != "0").then(|| format!("exit code {code}"));
                report.add(&name, failure.as_deref());
            }
        } else if part.starts_with("lab ") {
            scenario(&mut report, version, part, line);
        } else if part == "dmesg" {
            logged.push(line);
        } else if part.starts_with("lab-end ") || part.starts_with("check ") {
            report.lines.push(format!("     {line}"));
        }
    }
    let complaint = (!logged.is_empty()).then(|| logged.join("; "));
    report.add(&format!("vm {version} kernel log"), complaint.as_deref());
    let ended = console.lines().any(|line| line.trim_end() == DONE);
    let failure = (!ended).then_some("the guest did not come to its end");
    report.add(&format!("vm {version} to its end"), failure);
    if allowed == 0 {
        report.add(
            &format!("vm {version} any mode"),
            Some("the kernel allows none"),
        );
    }
    report
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
        _ => report.add(&name, Some(&format!("exit code {code}"))),
    }
    code == "0"
}

/// One result of the lab.
fn scenario(report: &mut Report, version: &str, part: &str, line: &str) {
    let Ok(result) = serde_json::from_str::<Value>(line) else {
        return;
    };
    let word = |key: &str| result[key].as_str().unwrap_or("?").to_owned();
    let details: Vec<&str> = result["detail"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let verdict = word("verdict");
    let name = format!(
        "vm {version} {} run {} {}/{} ({verdict})",
        value_of(part, "mode"),
        value_of(part, "run"),
        word("scenario"),
        word("family")
    );
    let passed = matches!(verdict.as_str(), "matched" | "undiagnosed" | "not-visible");
    let failure = (!passed).then(|| details.join("; "));
    report.add(&name, failure.as_deref());
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
@@lab-end mode=probe run=1 code=1\r
@@check mode=classic code=4\r
rstmon: no tracefs\r
@@dmesg\r
@@done\r
";

    #[test]
    fn a_console_is_judged_line_by_line() {
        let report = judge("6.1", CONSOLE);
        // Passed: the check, one scenario, the kernel's log, the end.
        assert_eq!(
            (report.passed, report.failed),
            (4, 2),
            "{:#?}",
            report.lines
        );
        let text = report.lines.join("\n");
        assert!(text.contains("vm 6.1 probe run 1 port-closed/ipv6 (differs) ... FAILED: missing"));
        assert!(text.contains("check classic ... not allowed"));
    }

    #[test]
    fn a_warning_or_a_guest_that_dies_fails() {
        let warned = judge(
            "6.1",
            &CONSOLE.replace("@@dmesg\r\n", "@@dmesg\r\nWARNING: x\r\n"),
        );
        assert_eq!(warned.failed, 3);
        let died = judge(
            "6.1",
            "@@begin\n@@check mode=probe code=0\n@@lab mode=probe run=1\n",
        );
        assert!(died.failed >= 1, "{:#?}", died.lines);
    }
}
