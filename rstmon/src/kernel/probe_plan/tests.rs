//! The plan as a table over kernel generations, and what happens when something is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

use super::generations::*;
use super::plan as make_plan;
use super::*;
use crate::kernel::capabilities::CapabilitySet;
use crate::kernel::facts::{CgroupMode, FieldFact, MemlockLimit, ProbeSupport, Support};
use crate::kernel::symbols::Symbols;

use std::path::PathBuf;

const TRACEPOINT_HOOKS: &str = "tracepoint tcp_send_reset:raw_tp! \
     kfree_skb:tp_btf|raw_tp inet_sock_set_state:tp_btf|raw_tp signal_generate:raw_tp \
     tcp_receive_reset:tp_btf|raw_tp!";

#[test]
fn tracepoint_mode_is_the_same_hooks_on_every_kernel() {
    let cases: [(&Generation, &str, &[&str]); 7] = [
        (
            &LINUX_5_10,
            "tagged",
            &[
                "no-kernel-reason",
                "socketless-resets-unseen",
                "rejected-resets-partly",
            ],
        ),
        (
            &LINUX_5_15,
            "",
            &[
                "no-kernel-reason",
                "socketless-resets-unseen",
                "rejected-resets-partly",
            ],
        ),
        (
            &UBUNTU_5_15,
            "kfree_reason deduce",
            &[
                "no-kernel-reason",
                "socketless-resets-deduced",
                "rejected-resets-partly",
            ],
        ),
        (
            &LINUX_6_1,
            "kfree_reason deduce",
            &["no-kernel-reason", "socketless-resets-deduced"],
        ),
        (
            &LINUX_6_8,
            "kfree_reason deduce",
            &["no-kernel-reason", "socketless-resets-deduced"],
        ),
        (
            &LINUX_6_12,
            "reason sees_all kfree_reason kfree_socket",
            &[],
        ),
        (
            &LINUX_7_3,
            "reason sees_all kfree_reason kfree_socket embryonic",
            &[],
        ),
    ];
    let of_mode = [
        "received-segment-unseen",
        "handshake-unseen",
        "firewall-rejects-unseen",
    ];
    for (generation, switches, expected) in cases {
        let plan = plan_in(&facts_of(generation), "tracepoint");
        let release = generation.release;
        assert_eq!(render_hooks(&plan), TRACEPOINT_HOOKS, "{release}");
        assert_eq!(render_switches(plan.switches), switches, "{release}");
        let mut rest = ids(&plan);
        rest.retain(|id| !of_mode.contains(id));
        assert_eq!(rest, expected, "{release}");
        assert_eq!(
            ids(&plan).len(),
            expected.len() + of_mode.len(),
            "{release}"
        );
    }
}

#[test]
fn without_their_type_ids_in_the_kernels_own_btf_tracepoints_are_raw() {
    let mut facts = facts_of(&LINUX_7_3);
    if let BtfState::Present(btf) = &mut facts.btf {
        btf.tracepoint_ids.clear();
    }
    let hooks = render_hooks(&plan_in(&facts, "tracepoint"));
    assert_eq!(hooks, TRACEPOINT_HOOKS.replace("tp_btf|", ""));
}

#[test]
fn probe_mode_adds_what_each_kernel_does_not_trace() {
    let begin = "probe tcp_send_reset:raw_tp! kfree_skb:tp_btf|raw_tp \
         inet_sock_set_state:tp_btf|raw_tp signal_generate:raw_tp";
    let passive = "tcp_v4_send_reset:fentry|kprobe! tcp_v6_send_reset:fentry|kprobe!";
    let judges = "tcp_validate_incoming:fentry|kprobe tcp_rcv_state_process:fentry|kprobe";
    let killed = "inet_csk_reqsk_queue_drop:fentry|kprobe";
    let handshake = "tcp_init_transfer:fentry|kprobe";
    let reset = "tcp_reset:fentry|kprobe!";
    let loaded = "nf_send_reset:kprobe nf_send_reset6:kprobe";
    let netdev = "nf_reject_skb_v4_tcp_reset:kprobe nf_reject_skb_v6_tcp_reset:kprobe";
    let deferred = "nf_send_reset:kprobe? nf_send_reset6:kprobe? \
         nf_reject_skb_v4_tcp_reset:kprobe? nf_reject_skb_v6_tcp_reset:kprobe?";
    let cases: [(&Generation, String, &str, &[&str]); 7] = [
        (
            &LINUX_5_10,
            format!(
                "{begin} {passive} {reset} tcp_validate_incoming:fentry|kprobe! \
                 tcp_rcv_state_process:fentry|kprobe! {killed} {handshake} {loaded}"
            ),
            "passive_by_probe receive_by_probe killed_request_by_probe refused_by_probe tagged",
            &["no-kernel-reason", "hook-unavailable", "hook-unavailable"],
        ),
        (
            &LINUX_5_15,
            format!("{begin} {passive} {reset} {judges} {killed} {handshake} {loaded} {netdev}"),
            "passive_by_probe receive_by_probe killed_request_by_probe refused_by_probe",
            &["no-kernel-reason"],
        ),
        (
            &UBUNTU_5_15,
            format!("{begin} {passive} {reset} {judges} {killed} {handshake} {loaded} {netdev}"),
            "passive_by_probe receive_by_probe kfree_reason killed_request_by_probe refused_by_probe",
            &["no-kernel-reason"],
        ),
        (
            &LINUX_6_1,
            format!("{begin} {passive} {reset} {killed} {handshake} {deferred}"),
            "passive_by_probe receive_by_probe kfree_reason killed_request_by_probe",
            &["no-kernel-reason"],
        ),
        (
            &LINUX_6_8,
            format!("{begin} {passive} {reset} {killed} {handshake} {deferred}"),
            "passive_by_probe receive_by_probe kfree_reason killed_request_by_probe",
            &["no-kernel-reason"],
        ),
        (
            &LINUX_6_12,
            format!("{begin} {reset} {handshake} {deferred}"),
            "reason sees_all receive_by_probe kfree_reason kfree_socket",
            &[],
        ),
        (
            &LINUX_7_3,
            format!("{begin} {reset} {handshake} {deferred}"),
            "reason sees_all receive_by_probe kfree_reason kfree_socket embryonic",
            &[],
        ),
    ];
    for (generation, hooks, switches, degradations) in cases {
        let facts = facts_of(generation);
        let plan = plan_in(&facts, "auto");
        let release = generation.release;
        assert_eq!(render_hooks(&plan), hooks, "{release}");
        assert_eq!(render_switches(plan.switches), switches, "{release}");
        assert_eq!(ids(&plan), degradations, "{release}");
        assert_eq!(plan_in(&facts, "probe"), plan, "{release}: auto is probe");
    }
}

#[test]
fn a_hardened_host_gets_tracepoint_mode_and_is_told_why() {
    let facts = hardened_6_18();
    let plan = plan_in(&facts, "auto");
    assert_eq!(render_hooks(&plan), TRACEPOINT_HOOKS);
    assert_eq!(
        ids(&plan),
        [
            "received-segment-unseen",
            "handshake-unseen",
            "firewall-rejects-unseen"
        ]
    );
    for degradation in &plan.degradations {
        let reason = degradation.reason();
        assert_eq!(reason, "fentry: EPERM; kprobe: the kernel has no kprobes");
        assert!(degradation.remedy().contains("CONFIG_KPROBE_EVENTS"));
    }
    let error = refusal_in(&facts, "probe");
    assert_eq!(error.exit_code(), 4);
    let text = error.to_string();
    assert!(
        text.contains("cannot support probe mode: fentry: EPERM"),
        "{text}"
    );
    assert!(text.contains("leave `--mode` at auto"), "{text}");
}

#[test]
fn a_kernel_without_btf_gets_classic_mode_or_a_clear_refusal() {
    let facts = linux_5_4_without_btf();
    let plan = plan_in(&facts, "auto");
    let hooks = "classic tcp_send_reset:tp! tcp_receive_reset:tp! inet_sock_set_state:tp";
    assert_eq!(render_hooks(&plan), hooks);
    assert_eq!(render_switches(plan.switches), "");
    assert_eq!(
        ids(&plan),
        [
            "classic-mode",
            "no-kernel-reason",
            "socketless-resets-unseen"
        ]
    );
    assert!(plan.degradations[0].remedy().contains("--btf FILE"));
    assert!(plan.degradations[0].reason().contains("No such file"));

    for mode in ["tracepoint", "probe"] {
        let error = refusal_in(&facts, mode);
        assert_eq!(error.exit_code(), 4, "{mode}");
        assert!(error.to_string().contains("--btf FILE"), "{error}");
    }

    let nothing = without_btf(facts_of(&LINUX_5_10));
    let error = refusal_in(&nothing, "auto");
    assert_eq!(error.exit_code(), 4);
    let text = error.to_string();
    assert!(
        text.contains("--btf FILE") && text.contains("mount tracefs"),
        "{text}"
    );
}

#[test]
fn classic_mode_can_be_forced_where_more_is_possible() {
    let facts = with_tracefs(facts_of(&LINUX_6_12), SEND_RESET_6_18);
    let plan = plan_in(&facts, "classic");
    assert_eq!(plan.mode, Mode::Classic);
    assert_eq!(render_switches(plan.switches), "reason sees_all");
    assert_eq!(ids(&plan), ["classic-mode"]);
    assert_eq!(plan.degradations[0].reason(), "`--mode classic` was given");

    let error = super::plan(&facts_of(&LINUX_6_12), &request("classic")).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("mount -t tracefs"), "{error}");
}

#[test]
fn no_ring_buffer_and_locked_down_memory_refuse_every_mode() {
    let mut old = linux_5_4_without_btf();
    old.probe_support.ring_buffer = Support::Refused("EINVAL".to_owned());
    let mut locked = facts_of(&LINUX_6_12);
    locked.lockdown = Lockdown::Confidentiality;
    for mode in ["auto", "probe", "tracepoint", "classic"] {
        let error = refusal_in(&old, mode);
        assert_eq!(error.exit_code(), 4);
        assert!(error.to_string().contains("Linux 5.8"), "{error}");
        let error = refusal_in(&locked, mode);
        assert_eq!(error.exit_code(), 4);
        assert!(error.to_string().contains("lockdown=integrity"), "{error}");
    }
    locked.lockdown = Lockdown::Integrity;
    assert_eq!(plan_in(&locked, "auto").mode, Mode::Probe);
}

#[test]
fn one_refused_kind_of_probe_leaves_the_other() {
    let mut facts = facts_of(&LINUX_6_1);
    facts.probe_support.fentry = Support::Refused("no direct calls".to_owned());
    let plan = plan_in(&facts, "probe");
    assert_eq!(
        plan.hook(Hook::TcpReset).unwrap().variants,
        [Variant::Kprobe]
    );
    assert_eq!(ids(&plan), ["no-kernel-reason"]);

    facts.probe_support.fentry = Support::Works;
    facts.probe_support.kprobe = Support::Refused("no kprobes".to_owned());
    let plan = plan_in(&facts, "probe");
    assert_eq!(
        plan.hook(Hook::TcpReset).unwrap().variants,
        [Variant::Fentry]
    );
    assert_eq!(plan.hook(Hook::NfSendReset), None);
    assert_eq!(ids(&plan), ["no-kernel-reason", "firewall-rejects-unseen"]);
}

#[test]
fn probes_that_nobody_tried_are_planned_unless_the_kernel_has_none() {
    let mut facts = facts_of(&LINUX_6_12);
    facts.probe_support = ProbeSupport::default();
    assert_eq!(plan_in(&facts, "auto").mode, Mode::Probe);
    facts.kprobe_events = Support::Refused("none".to_owned());
    let plan = plan_in(&facts, "auto");
    assert_eq!(
        plan.hook(Hook::TcpReset).unwrap().variants,
        [Variant::Fentry]
    );
}

#[test]
fn functions_are_entered_as_asked_where_there_is_a_choice() {
    let asked = |facts: &KernelFacts, probe| {
        let request = PlanRequest {
            probe: Some(probe),
            ..request("probe")
        };
        make_plan(facts, &request)
    };
    let mut facts = facts_of(&LINUX_6_1);
    for probe in [Variant::Fentry, Variant::Kprobe] {
        let plan = asked(&facts, probe).unwrap();
        let variants = |hook| plan.hook(hook).unwrap().variants.clone();
        assert_eq!(variants(Hook::TcpReset), [probe]);
        assert_eq!(variants(Hook::TcpV4SendReset), [probe]);
        assert_eq!(variants(Hook::NfSendReset), [Variant::Kprobe]);
        assert_eq!(variants(Hook::TcpSendReset), [Variant::RawTracepoint]);
    }
    facts.probe_support.fentry = Support::Refused("ENOTSUPP".to_owned());
    let error = asked(&facts, Variant::Fentry).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("ENOTSUPP"), "{error}");
    assert!(asked(&facts, Variant::Kprobe).is_ok());
}

#[test]
fn a_hook_that_failed_to_attach_is_planned_around() {
    let facts = facts_of(&LINUX_6_1);
    let refuse = |hook| PlanRequest {
        refused: BTreeMap::from([(hook, "EBUSY".to_owned())]),
        ..PlanRequest::default()
    };
    let plan_without = |hook| make_plan(&facts, &refuse(hook)).unwrap();

    let plan = plan_without(Hook::TcpReset);
    assert!(!plan.switches.receive_by_probe);
    assert!(plan.hook(Hook::TcpReceiveReset).unwrap().required);
    assert!(ids(&plan).contains(&"received-segment-unseen"));

    let plan = plan_without(Hook::TcpV6SendReset);
    assert!(!plan.switches.passive_by_probe && plan.switches.deduce_socketless);
    assert_eq!(plan.hook(Hook::TcpV4SendReset), None);
    assert!(ids(&plan).contains(&"socketless-resets-deduced"));

    let plan = plan_without(Hook::KfreeSkb);
    assert!(!plan.switches.kfree_has_reason);
    assert!(plan.hook(Hook::TcpValidateIncoming).is_some());
    assert!(ids(&plan).contains(&"hook-unavailable"));

    let error = make_plan(&facts, &refuse(Hook::TcpSendReset)).unwrap_err();
    assert!(error.to_string().contains("EBUSY"), "{error}");
}

#[test]
fn a_function_that_the_compiler_inlined_is_not_planned() {
    let mut facts = facts_of(&LINUX_6_12);
    if let Symbols::Known(places) = &mut facts.symbols {
        places.remove(&Hook::TcpInitTransfer);
    }
    let plan = plan_in(&facts, "auto");
    assert_eq!(plan.hook(Hook::TcpInitTransfer), None);
    assert_eq!(ids(&plan), ["handshake-unseen"]);
    // Where the list of functions cannot be read, BTF decides.
    facts.symbols = Symbols::default();
    assert!(
        plan_in(&facts, "auto")
            .hook(Hook::TcpInitTransfer)
            .is_some()
    );
}

#[test]
fn btf_without_tracepoints_is_completed_from_tracefs() {
    let mut facts = facts_of(&LINUX_5_10);
    if let BtfState::Present(btf) = &mut facts.btf {
        btf.parameters.retain(|hook, _| hook.is_function());
        btf.parameters.insert(Hook::TcpInitTransfer, 2);
    }
    let error = refusal_in(&facts, "tracepoint");
    assert!(
        error.to_string().contains("neither BTF nor tracefs"),
        "{error}"
    );

    let facts = with_tracefs(facts, SEND_RESET_5_4);
    let plan = plan_in(&facts, "auto");
    assert_eq!(plan.mode, Mode::Probe);
    assert!(!plan.switches.send_reset_sees_all);
    assert!(ids(&plan).contains(&"handshake-unseen"));
}

#[test]
fn btf_that_lacks_a_required_field_is_as_good_as_none() {
    let mut facts = with_tracefs(facts_of(&LINUX_6_12), SEND_RESET_6_18);
    if let BtfState::Present(btf) = &mut facts.btf {
        btf.fields.push(FieldFact {
            name: "sock_state",
            structure: "sock",
            required: true,
            place: Err("struct sock has no member skc_state".to_owned()),
        });
    }
    let plan = plan_in(&facts, "auto");
    assert_eq!(plan.mode, Mode::Classic);
    assert!(plan.degradations[0].reason().contains("sock_state"));
}

#[test]
fn a_btf_file_that_the_user_named_is_never_passed_over() {
    let mut facts = with_tracefs(facts_of(&LINUX_6_12), SEND_RESET_6_18);
    facts.btf = BtfState::Absent {
        source: PathBuf::from("my.btf"),
        asked_for: true,
        reason: "BTF is cut short".to_owned(),
    };
    let error = refusal_in(&facts, "auto");
    assert_eq!(error.exit_code(), 1);
    assert!(
        error
            .to_string()
            .contains("cannot use my.btf as BTF: BTF is cut short")
    );
}

#[test]
fn what_the_host_withholds_is_told_in_every_mode() {
    let mut facts = facts_of(&LINUX_5_10);
    facts.privilege.effective_uid = Some(1000);
    facts.privilege.capabilities = Some(CapabilitySet::EMPTY);
    facts.memlock = Some(MemlockLimit {
        soft_bytes: 65_536,
        hard_bytes: 65_536,
    });
    facts.cgroup_mode = Some(CgroupMode::Legacy);
    facts.bpf_jit_enable = Some(0);
    if let BtfState::Present(btf) = &mut facts.btf {
        for name in ["sock_ino", "tcp_linger2", "tcp_is_mptcp"] {
            btf.fields.push(FieldFact {
                name,
                structure: "sock",
                required: false,
                place: Err("absent".to_owned()),
            });
        }
    }
    let plan = plan_in(&facts, "probe");
    let last: Vec<_> = plan.degradations.iter().rev().take(5).rev().collect();
    assert_eq!(
        last,
        [
            // The inode is also found through the socket's allocation, and without MPTCP there is no subflow.
            &Degradation::FieldsAbsent {
                names: vec!["tcp_linger2"]
            },
            &Degradation::OwnersNotSeeded,
            &Degradation::MemlockLow {
                limit_bytes: 65_536
            },
            &Degradation::CgroupsUnseen,
            &Degradation::NoJit,
        ]
    );
    if let BtfState::Present(btf) = &mut facts.btf {
        btf.charges_memlock = false;
    }
    assert!(!ids(&plan_in(&facts, "probe")).contains(&"memlock-low"));
}

#[test]
fn every_degradation_says_what_why_and_what_to_do() {
    let all_modes = [
        facts_of(&LINUX_5_10),
        facts_of(&LINUX_6_1),
        hardened_6_18(),
        linux_5_4_without_btf(),
    ];
    for facts in all_modes {
        for mode in ["auto", "tracepoint"] {
            let Ok(plan) = make_plan(&facts, &request(mode)) else {
                continue;
            };
            for degradation in &plan.degradations {
                let report = degradation.report();
                for text in [&report.id, &report.effect, &report.reason, &report.remedy] {
                    assert!(!text.is_empty(), "{degradation:?}");
                    assert!(!text.contains("  "), "{text}");
                }
            }
        }
    }
}

#[test]
fn the_programs_are_told_of_every_switch_that_is_on() {
    let mut config = ProbeConfig::NONE;
    let plan = plan_in(&facts_of(&LINUX_5_10), "probe");
    plan.switches.write_to(&mut config);
    let expected = ProbeConfig {
        passive_by_probe: 1,
        receive_by_probe: 1,
        killed_request_by_probe: 1,
        refused_by_probe: 1,
        cgroup_is_tagged: 1,
        ..ProbeConfig::NONE
    };
    assert_eq!(config, expected);

    let plan = plan_in(&facts_of(&UBUNTU_5_15), "tracepoint");
    plan.switches.write_to(&mut config);
    let expected = ProbeConfig {
        kfree_has_reason: 1,
        deduce_socketless: 1,
        ..ProbeConfig::NONE
    };
    assert_eq!(config, expected);

    let plan = plan_in(&facts_of(&LINUX_7_3), "tracepoint");
    plan.switches.write_to(&mut config);
    let expected = ProbeConfig {
        send_reset_has_reason: 1,
        kfree_has_reason: 1,
        kfree_has_socket: 1,
        embryonic_kill_is_told: 1,
        ..ProbeConfig::NONE
    };
    assert_eq!(config, expected);
}

#[test]
fn what_keeps_the_process_from_bpf_is_no_fault_of_the_kernel() {
    let code = |obstacle: Obstacle| {
        let mut facts = facts_of(&LINUX_6_12);
        facts.probe_support.obstacle = Some(obstacle);
        plan(&facts, &PlanRequest::default())
            .map(|_| ())
            .map_err(|error| error.exit_code())
    };
    assert_eq!(code(Obstacle::NotPermitted("EPERM".to_owned())), Err(3));
    assert_eq!(code(Obstacle::Failed("ENOMEM".to_owned())), Err(1));
}
