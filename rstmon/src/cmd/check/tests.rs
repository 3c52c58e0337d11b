//! What `check` says of kernels and processes made by hand, and of the one that runs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use super::*;
use crate::event::capture::HookReport;
use crate::kernel::capabilities::CapabilitySet;
use crate::kernel::degradation::Degradation;
use crate::kernel::facts::Support;
use crate::kernel::hook::Hook;
use crate::kernel::probe_plan::generations::{
    LINUX_5_10, LINUX_6_1, LINUX_6_12, facts_of, hardened_6_18, linux_5_4_without_btf, request,
    without_btf,
};

/// The report on facts whose bpf(2) answers are already in them.
fn report_on(facts: KernelFacts) -> CheckReport {
    let answers = facts.probe_support.clone();
    check_facts(facts, &PlanRequest::default(), |_| answers, PLAN_ONLY)
}

type Attempt = fn(&KernelFacts, &PlanRequest) -> Result<Trial, Failure>;
const PLAN_ONLY: Option<Attempt> = None;

/// The report after this attempt to attach.
fn report_after(
    facts: KernelFacts,
    attempt: impl FnOnce(&KernelFacts, &PlanRequest) -> Result<Trial, Failure>,
) -> CheckReport {
    let answers = facts.probe_support.clone();
    check_facts(facts, &PlanRequest::default(), |_| answers, Some(attempt))
}

/// All hooks attached as planned, but one.
fn all_but(lost: Hook) -> impl FnOnce(&KernelFacts, &PlanRequest) -> Result<Trial, Failure> {
    move |facts, request| {
        let plan = plan(facts, request).unwrap();
        let hooks = plan.hooks.iter().map(|planned| HookReport {
            hook: planned.hook.name().to_owned(),
            variant: (planned.hook != lost).then(|| planned.variants[0].name().to_owned()),
            attached: planned.hook != lost,
            awaits_module: false,
        });
        let reason = "verifier: R1 invalid mem access".to_owned();
        Ok(Trial {
            hooks: hooks.collect(),
            degradations: vec![Degradation::HookUnavailable { hook: lost, reason }],
            plan,
        })
    }
}

#[test]
fn what_could_not_be_attached_is_told_by_hook() {
    let report = report_after(facts_of(&LINUX_6_12), all_but(Hook::TcpReset));
    assert!(report.ok);
    let of = |name: &str| report.hooks.iter().find(|hook| hook.hook == name).unwrap();
    assert_eq!(of("tcp_reset").attached, Some(false));
    assert_eq!(of("tcp_send_reset").attached_as.as_deref(), Some("raw_tp"));
    let text = render_check(&report, 100);
    assert!(text.contains("  FAILED         tcp_reset "), "{text}");
    assert!(text.contains("R1 invalid mem access"), "{text}");
}

#[test]
fn a_gap_of_the_audit_is_explained() {
    let whole = report_after(facts_of(&LINUX_6_12), all_but(Hook::TcpReset));
    assert!(whole.audit_gaps.is_empty());
    let text = render_check(&whole, 100);
    assert!(
        text.contains("No path that the kernel counts is out of sight"),
        "{text}"
    );
    let gap = report_after(facts_of(&LINUX_5_10), all_but(Hook::TcpV4SendReset));
    let text = render_check(&gap, 100);
    assert!(
        text.contains("unseen   hook-unavailable answers to IPv4 segments without a full socket"),
        "{text}"
    );
    let json = serde_json::to_value(&gap).unwrap();
    assert_eq!(json["audit_gaps"][0]["degradation"], "hook-unavailable");
}

#[test]
fn a_plan_that_cannot_be_attached_is_not_ready() {
    let report = report_after(facts_of(&LINUX_6_12), |_, _| {
        Err(Failure::kernel("cannot attach to tcp_send_reset: EINVAL"))
    });
    assert_eq!((report.ok, report.exit_code), (false, 4));
    assert_eq!(report.problems[0].id, "attach");
    let text = render_check(&report, 100);
    assert!(text.contains("not ready\n  cannot attach to tcp_send_reset: EINVAL"));
}

#[test]
fn nothing_is_attached_without_privilege() {
    report_after(as_nobody(facts_of(&LINUX_6_12)), |_, _| {
        panic!("attached without privilege")
    });
}

fn as_nobody(mut facts: KernelFacts) -> KernelFacts {
    facts.privilege.effective_uid = Some(1000);
    facts.privilege.capabilities = Some(CapabilitySet::EMPTY);
    facts.probe_support = ProbeSupport::default();
    facts
}

#[test]
fn a_kernel_that_gives_everything_says_so() {
    let report = report_on(facts_of(&LINUX_6_12));
    let text = render_check(&report, 100);
    assert_eq!((report.ok, report.exit_code), (true, 0));
    assert!(text.starts_with("rstmon "), "{text}");
    assert!(
        text.contains("on Linux 6.12 x86_64: ready, probe mode\n"),
        "{text}"
    );
    assert!(text.contains("  fentry, kprobe tcp_reset "), "{text}");
    let unwrapped = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        unwrapped.contains("IPv4; waits for the module nf_reject_ipv4"),
        "{text}"
    );
    assert!(text.contains("Nothing is degraded"), "{text}");
}

#[test]
fn a_degraded_kernel_is_told_effect_reason_and_remedy() {
    let report = report_on(hardened_6_18());
    let text = render_check(&report, 100);
    assert_eq!((report.mode, report.exit_code), (Some("tracepoint"), 0));
    assert!(text.contains("\n  firewall-rejects-unseen\n    effect   resets that netfilter"));
    assert!(text.contains("\n    because  fentry: EPERM; kprobe: the kernel has no kprobes\n"));
    assert!(text.contains("\n    remedy   use a kernel with CONFIG_KPROBE_EVENTS"));
    assert!(
        text.contains("\n  no       fentry               EPERM\n"),
        "{text}"
    );
}

#[test]
fn without_privilege_the_kernel_is_not_asked_and_the_plan_is_still_shown() {
    let facts = as_nobody(facts_of(&LINUX_6_1));
    let report = check_facts(
        facts,
        &PlanRequest::default(),
        |_| panic!("bpf(2) was asked without privilege"),
        PLAN_ONLY,
    );
    let text = render_check(&report, 100);
    assert_eq!((report.ok, report.exit_code), (false, 3));
    assert_eq!(report.problems[0].id, "privilege");
    assert_eq!(
        report.problems[0].missing_capabilities,
        ["CAP_BPF", "CAP_PERFMON"]
    );
    assert!(text.contains("not ready\n  cannot load BPF programs as uid 1000: CAP_BPF and"));
    assert!(text.contains("sudo"), "{text}");
    assert!(text.contains("\n  unknown  fentry "), "{text}");
    assert!(text.contains("Hooks in probe mode, once what is missing is there"));
    assert!(text.contains("tcp_v4_send_reset"), "{text}");
}

#[test]
fn without_btf_the_way_to_it_is_shown() {
    let classic = report_on(linux_5_4_without_btf());
    assert_eq!((classic.mode, classic.exit_code), (Some("classic"), 0));
    let text = render_check(&classic, 100);
    assert!(text.contains("\n  no       BTF "), "{text}");
    assert!(text.contains("--btf FILE"), "{text}");

    let nothing = report_on(without_btf(facts_of(&LINUX_5_10)));
    assert_eq!((nothing.mode, nothing.exit_code), (None, 4));
    assert_eq!(nothing.problems[0].id, "kernel");
    assert!(nothing.hooks.is_empty() && nothing.degradations.is_empty());
    // What the process may not do comes first: it decides the exit code.
    let both = report_on(as_nobody(without_btf(facts_of(&LINUX_5_10))));
    assert_eq!((both.problems.len(), both.exit_code), (2, 3));
}

#[test]
fn a_forced_mode_that_cannot_be_had_is_a_problem_of_the_kernel() {
    let facts = hardened_6_18();
    let answers = facts.probe_support.clone();
    let report = check_facts(facts, &request("probe"), |_| answers, PLAN_ONLY);
    assert_eq!((report.exit_code, report.mode), (4, None));
    assert_eq!(report.mode_requested, "probe");
    assert!(report.problems[0].message.contains("fentry: EPERM"));
}

#[test]
fn json_has_the_schema_and_one_entry_for_each_line() {
    let report = report_on(facts_of(&LINUX_5_10));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["schema"], "rstmon.check/1");
    assert_eq!(json["kernel"], "5.10");
    assert_eq!(json["mode"], "probe");
    assert_eq!(json["hooks"].as_array().unwrap().len(), report.hooks.len());
    assert_eq!(json["hooks"][0]["hook"], "tcp_send_reset");
    assert_eq!(json["hooks"][0]["variant"], "raw_tp");
    assert_eq!(json["degradations"][0]["id"], "no-kernel-reason");
    let tagged = json["switches"]
        .as_array()
        .unwrap()
        .iter()
        .find(|switch| switch["name"] == "cgroup_is_tagged");
    assert_eq!(tagged.unwrap()["on"], true);
    assert_eq!(json.get("problems").unwrap().as_array().unwrap().len(), 0);
}

#[test]
fn no_line_is_wider_than_the_terminal_unless_one_word_is() {
    let mut kernels = vec![
        facts_of(&LINUX_5_10),
        facts_of(&LINUX_6_1),
        hardened_6_18(),
        linux_5_4_without_btf(),
        without_btf(facts_of(&LINUX_5_10)),
        read_kernel_facts(None),
    ];
    kernels.extend(kernels.clone().into_iter().map(as_nobody));
    for facts in kernels {
        let report = report_on(facts);
        for width in [48, 80, 100] {
            for line in render_check(&report, width).lines() {
                // What stands before the words, or one of them.
                let is_whole =
                    line.trim_start().split("  ").count() > 1 || !line.trim().contains(' ');
                let fits = line.chars().count() <= width;
                assert!(fits || (width < 80 && is_whole), "{width}: {line}");
                assert_eq!(line, line.trim_end());
            }
        }
    }
}

/// A writer that fails in one way.
struct Failing(io::ErrorKind);

impl Write for Failing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_left_is_no_failure_and_a_full_disk_is() {
    let args = CheckArgs {
        output: CheckOutput::Json,
        mode: ModeRequest::Auto,
        probe: None,
        variants: false,
        btf: None,
        no_load: true,
    };
    let run = |kind| {
        let ask = Questions {
            probe_support: |_: &KernelFacts| ProbeSupport::default(),
            trial: |_: &KernelFacts, _: &PlanRequest| panic!("nothing was to be loaded"),
        };
        run_check(&args, ask, &mut Failing(kind))
    };
    assert_eq!(run(io::ErrorKind::BrokenPipe).unwrap(), 0);
    let error = run(io::ErrorKind::StorageFull).unwrap_err();
    assert!(error.to_string().contains("standard output"), "{error}");
}

#[test]
fn a_btf_file_of_no_use_ends_with_1_where_privilege_is_there() {
    let mut facts = read_kernel_facts(Some(std::path::Path::new("/proc/self/status")));
    facts.privilege = facts_of(&LINUX_6_12).privilege;
    let report = check_facts(
        facts,
        &PlanRequest::default(),
        |_| ProbeSupport {
            ring_buffer: Support::Works,
            ..ProbeSupport::default()
        },
        PLAN_ONLY,
    );
    assert_eq!(report.exit_code, 1);
    assert_eq!(report.problems[0].id, "btf-file");
    assert!(report.problems[0].message.contains("/proc/self/status"));
}
