//! Facts of kernel generations, made by hand, and plans drawn in one line.
#![allow(
    clippy::unwrap_used,
    reason = "only tests use it, and a failed test panics"
)]
use super::*;
use crate::kernel::capabilities::{CapabilitySet, Privilege};
use crate::kernel::facts::{BtfFacts, CgroupMode, ProbeSupport, Support};
use crate::kernel::hook::Hook;
use crate::kernel::reasons::ReasonNames;
use crate::kernel::symbols::{SymbolPlace, Symbols};
use crate::kernel::tracefs::{TracefsFacts, TracepointFormat};
use rstmon_common::layout::KernelLayout;
use std::path::PathBuf;

/// What a test kernel differs in from the others.
pub(crate) struct Generation {
    pub(crate) release: &'static str,
    pub(crate) send_reset: usize,
    pub(crate) kfree: usize,
    pub(crate) tcp_reset: usize,
    pub(crate) init_transfer: usize,
    pub(crate) drop_names: &'static [&'static str],
    pub(crate) netfilter_loaded: bool,
    pub(crate) has_netdev_reject: bool,
    pub(crate) check_req_has_reason: bool,
}

pub(crate) const LINUX_5_10: Generation = Generation {
    release: "5.10",
    send_reset: 2,
    kfree: 2,
    tcp_reset: 1,
    init_transfer: 3,
    drop_names: &[],
    netfilter_loaded: true,
    has_netdev_reject: false,
    check_req_has_reason: false,
};
pub(crate) const LINUX_5_15: Generation = Generation {
    release: "5.15",
    tcp_reset: 2,
    has_netdev_reject: true,
    ..LINUX_5_10
};
/// Ubuntu gave its 5.15 the argument `reason`, but TCP's own drops go untraced.
pub(crate) const UBUNTU_5_15: Generation = Generation {
    release: "5.15.0-ubuntu",
    kfree: 3,
    drop_names: &["NO_SOCKET", "TCP_CSUM"],
    ..LINUX_5_15
};
pub(crate) const LINUX_6_1: Generation = Generation {
    release: "6.1",
    kfree: 3,
    drop_names: &["NO_SOCKET", "TCP_RESET"],
    netfilter_loaded: false,
    ..LINUX_5_15
};
pub(crate) const LINUX_6_8: Generation = Generation {
    release: "6.8",
    ..LINUX_6_1
};
pub(crate) const LINUX_6_12: Generation = Generation {
    release: "6.12",
    send_reset: 3,
    kfree: 4,
    ..LINUX_6_1
};
pub(crate) const LINUX_7_3: Generation = Generation {
    release: "7.3",
    check_req_has_reason: true,
    ..LINUX_6_12
};

pub(crate) fn facts_of(generation: &Generation) -> KernelFacts {
    KernelFacts {
        release: generation.release.to_owned(),
        architecture: "x86_64".to_owned(),
        privilege: Privilege {
            effective_uid: Some(0),
            capabilities: Some(CapabilitySet::ALL),
            last_capability: Some(40),
            in_initial_user_namespace: Some(true),
        },
        btf: BtfState::Present(Box::new(btf_of(generation))),
        symbols: Symbols::Known(symbols_of(generation)),
        kprobe_events: Support::Works,
        cgroup_mode: Some(CgroupMode::Unified),
        bpf_jit_enable: Some(1),
        probe_support: ProbeSupport {
            obstacle: None,
            fentry: Support::Works,
            kprobe: Support::Works,
            raw_tracepoint: Support::Works,
            ring_buffer: Support::Works,
        },
        ..KernelFacts::default()
    }
}

pub(crate) fn btf_of(generation: &Generation) -> BtfFacts {
    let numbered = (2..).zip(generation.drop_names.iter().map(|&name| name.into()));
    BtfFacts {
        source: PathBuf::from("/sys/kernel/btf/vmlinux"),
        parameters: BTreeMap::from([
            (Hook::TcpSendReset, generation.send_reset),
            (Hook::TcpReceiveReset, 1),
            (Hook::KfreeSkb, generation.kfree),
            (Hook::SignalGenerate, 5),
            (Hook::InetSockSetState, 3),
            (Hook::TcpV4SendReset, generation.send_reset),
            (Hook::TcpV6SendReset, generation.send_reset),
            (Hook::TcpReset, generation.tcp_reset),
            (Hook::TcpValidateIncoming, 4),
            (Hook::TcpRcvStateProcess, 2),
            (Hook::InetCskReqskQueueDrop, 2),
            (Hook::TcpInitTransfer, generation.init_transfer),
        ]),
        tracepoint_ids: Hook::ALL
            .iter()
            .filter(|hook| hook.variants().contains(&Variant::BtfTracepoint))
            .copied()
            .zip(1..)
            .collect(),
        layout: KernelLayout::NONE,
        fields: Vec::new(),
        reasons: ReasonNames {
            drop: numbered.collect(),
            ..ReasonNames::default()
        },
        check_req_has_reason: generation.check_req_has_reason,
        cgroup_is_tagged: generation.release == "5.10",
        charges_memlock: generation.release == "5.10",
    }
}

pub(crate) fn symbols_of(generation: &Generation) -> BTreeMap<Hook, SymbolPlace> {
    let mut places: BTreeMap<_, _> = Hook::ALL
        .iter()
        .filter(|hook| hook.is_function())
        .map(|&hook| {
            let place = match hook.module() {
                Some(module) if module != "ipv6" => SymbolPlace::Module(module.to_owned()),
                _ => SymbolPlace::BuiltIn,
            };
            (hook, place)
        })
        .collect();
    places.retain(|hook, place| match hook {
        Hook::NfRejectSkbV4 | Hook::NfRejectSkbV6 if !generation.has_netdev_reject => false,
        _ => generation.netfilter_loaded || *place == SymbolPlace::BuiltIn,
    });
    places
}

/// A hardened host: kprobes not built, trampolines refused.
pub(crate) fn hardened_6_18() -> KernelFacts {
    let mut facts = facts_of(&Generation {
        release: "6.18",
        ..LINUX_6_12
    });
    let no_kprobes = "the kernel has no kprobes".to_owned();
    facts.kprobe_events = Support::Refused(no_kprobes.clone());
    facts.probe_support.kprobe = Support::Refused(no_kprobes);
    facts.probe_support.fentry = Support::Refused("EPERM".to_owned());
    facts
}

pub(crate) fn without_btf(mut facts: KernelFacts) -> KernelFacts {
    facts.btf = BtfState::Absent {
        source: PathBuf::from("/sys/kernel/btf/vmlinux"),
        asked_for: false,
        reason: "No such file or directory".to_owned(),
    };
    facts
}

pub(crate) fn with_tracefs(mut facts: KernelFacts, send_reset: &str) -> KernelFacts {
    let parse = |text| TracepointFormat::parse(text).map_err(|error| error.to_string());
    facts.tracefs = TracefsFacts::Mounted {
        path: PathBuf::from("/sys/kernel/tracing"),
        formats: BTreeMap::from([
            (Hook::TcpSendReset, parse(send_reset)),
            (
                Hook::TcpReceiveReset,
                parse(include_str!(
                    "../tracefs/fixtures/linux-5.4-tcp_receive_reset.format"
                )),
            ),
            (
                Hook::InetSockSetState,
                parse(include_str!(
                    "../tracefs/fixtures/linux-5.4-inet_sock_set_state.format"
                )),
            ),
        ]),
    };
    facts
}

pub(crate) const SEND_RESET_5_4: &str =
    include_str!("../tracefs/fixtures/linux-5.4-tcp_send_reset.format");
pub(crate) const SEND_RESET_6_18: &str =
    include_str!("../tracefs/fixtures/linux-6.18-tcp_send_reset.format");

pub(crate) fn linux_5_4_without_btf() -> KernelFacts {
    let mut facts = with_tracefs(without_btf(facts_of(&LINUX_5_10)), SEND_RESET_5_4);
    facts.release = "5.4".to_owned();
    facts.probe_support = ProbeSupport::default();
    facts
}

pub(crate) fn request(mode: &str) -> PlanRequest {
    PlanRequest {
        mode: mode.parse().unwrap(),
        ..PlanRequest::default()
    }
}

pub(crate) fn refusal_in(facts: &KernelFacts, mode: &str) -> PlanError {
    plan(facts, &request(mode)).unwrap_err()
}

pub(crate) fn plan_in(facts: &KernelFacts, mode: &str) -> ProbePlan {
    plan(facts, &request(mode)).unwrap()
}

/// The plan in one line: mode, hooks with variants (`!` required, `?` deferred).
pub(crate) fn render_hooks(plan: &ProbePlan) -> String {
    let hooks = plan.hooks.iter().map(|planned| {
        let variants: Vec<_> = planned.variants.iter().map(|v| v.name()).collect();
        let required = if planned.required { "!" } else { "" };
        let deferred = if planned.deferred_until_module {
            "?"
        } else {
            ""
        };
        format!(
            "{}:{}{required}{deferred}",
            planned.hook,
            variants.join("|")
        )
    });
    format!("{} {}", plan.mode, hooks.collect::<Vec<_>>().join(" "))
}

pub(crate) fn render_switches(switches: PlanSwitches) -> String {
    [
        (switches.send_reset_has_reason, "reason"),
        (switches.send_reset_sees_all, "sees_all"),
        (switches.passive_by_probe, "passive_by_probe"),
        (switches.receive_by_probe, "receive_by_probe"),
        (switches.kfree_has_reason, "kfree_reason"),
        (switches.kfree_has_socket, "kfree_socket"),
        (switches.embryonic_kill_is_told, "embryonic"),
        (switches.killed_request_by_probe, "killed_request_by_probe"),
        (switches.refused_by_probe, "refused_by_probe"),
        (switches.deduce_socketless, "deduce"),
        (switches.cgroup_is_tagged, "tagged"),
    ]
    .into_iter()
    .filter_map(|(is_on, name)| is_on.then_some(name))
    .collect::<Vec<_>>()
    .join(" ")
}

pub(crate) fn ids(plan: &ProbePlan) -> Vec<&'static str> {
    plan.degradations.iter().map(Degradation::id).collect()
}
