//! What host and process withhold, whatever the mode.

use super::ProbePlan;
use crate::kernel::capabilities::Capability;
use crate::kernel::degradation::Degradation;
use crate::kernel::facts::{BtfFacts, CgroupMode, KernelFacts};
use crate::kernel::mode::Mode;

/// Enough for every map of rstmon, in bytes.
const MEMLOCK_ENOUGH: u64 = 64 << 20;

/// Fields that need not be there if another is: the row, and its stand-in.
const STAND_INS: &[(&str, &str)] = &[("sock_ino", "socket_inode")];

/// Fields of what a kernel may be built without; then there is nothing that they could tell.
const OF_FEATURES: &[&str] = &["tcp_is_mptcp"];

/// Adds the degradations that do not depend on the hooks.
pub(super) fn note_host(facts: &KernelFacts, plan: &mut ProbePlan) {
    let notes = &mut plan.degradations;
    if plan.mode != Mode::Classic
        && let Some(btf) = facts.btf_facts()
    {
        let names = missed_fields(btf);
        if !names.is_empty() {
            notes.push(Degradation::FieldsAbsent { names });
        }
    }
    if !facts.privilege.has(Capability::SysPtrace) {
        notes.push(Degradation::OwnersNotSeeded);
    }
    if let Some(limit_bytes) = low_memlock(facts) {
        notes.push(Degradation::MemlockLow { limit_bytes });
    }
    if facts.cgroup_mode == Some(CgroupMode::Legacy) {
        notes.push(Degradation::CgroupsUnseen);
    }
    if facts.bpf_jit_enable == Some(0) {
        notes.push(Degradation::NoJit);
    }
}

fn missed_fields(btf: &BtfFacts) -> Vec<&'static str> {
    let missing = btf.missing_optional();
    let stood_in_for = |name: &str| {
        STAND_INS
            .iter()
            .any(|(row, stand_in)| *row == name && !missing.contains(stand_in))
    };
    let mut missed = missing.clone();
    missed.retain(|name| !stood_in_for(name) && !OF_FEATURES.contains(name));
    missed
}

/// The hard limit, where it may not be enough and cannot be raised.
fn low_memlock(facts: &KernelFacts) -> Option<u64> {
    // Without BTF nobody knows, and kernels without BTF are old ones.
    let may_charge = facts.btf_facts().is_none_or(|btf| btf.charges_memlock);
    let hard_bytes = facts.memlock?.hard_bytes;
    let is_low = hard_bytes < MEMLOCK_ENOUGH && !facts.privilege.has(Capability::SysResource);
    (may_charge && is_low).then_some(hard_bytes)
}
