//! System calls that the agent gives up once its hooks are attached.
//!
//! Called by `privilege`, before any other thread is started, so that all have the filter. It holds
//! however the agent was started, also where the container runs unconfined, and it names what whoever
//! took the agent over would want and the agent never does; that fails with EPERM. It is no list of
//! what is allowed: that one would differ by C library, kernel and architecture, and the systemd unit
//! has one (`SystemCallFilter=`). Reading maps, late hooks, /proc, the log, TLS and the audit's
//! entering of network namespaces stay as they were.

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// Conditions on a call's arguments, any of which is enough; none: the call as such.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Never made by the agent, whatever the arguments.
const REFUSED: &[c_long] = &[
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes: their memory, descriptors and lives.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    // Files of which only a number is known, outside of every mount: the way out of a container
    // that CAP_DAC_READ_SEARCH opens.
    libc::SYS_open_by_handle_at,
    // Mounts and roots.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_quotactl,
    // Kernel and modules.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    // The host's clock and name.
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    // Namespaces of its own, with all capabilities in them.
    libc::SYS_unshare,
    // Ways around this filter, and parts of the kernel known for the holes they had.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_userfaultfd,
    libc::SYS_personality,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// `clone(2)` with any of these makes a namespace.
const NEW_NAMESPACE: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// What kept the filter from being made or applied.
pub(super) type FilterError = Box<dyn std::error::Error>;

/// Applies the filter to this thread and to those that it will start. Needs no_new_privs.
pub(super) fn refuse_system_calls() -> Result<(), FilterError> {
    for program in [
        program(refused()?, libc::EPERM)?,
        program(absent(), libc::ENOSYS)?,
    ] {
        seccompiler::apply_filter(&program)?;
    }
    Ok(())
}

fn program(rules: Rules, error: i32) -> Result<BpfProgram, FilterError> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let matched = SeccompAction::Errno(error.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, matched, architecture)?;
    Ok(filter.try_into()?)
}

/// `clone3(2)` keeps its flags in memory, where no filter can look. C libraries that do not find it
/// take `clone(2)`.
fn absent() -> Rules {
    Rules::from([(libc::SYS_clone3, Vec::new())])
}

fn refused() -> Result<Rules, FilterError> {
    let mut rules: Rules = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let of_namespaces: Result<Vec<SeccompRule>, FilterError> = NEW_NAMESPACE
        .iter()
        .map(|flag| {
            let flag = u64::from(flag.unsigned_abs());
            when(0, SeccompCmpOp::MaskedEq(flag), flag)
        })
        .collect();
    rules.insert(libc::SYS_clone, of_namespaces?);
    // The audit enters network namespaces, and none of another kind.
    let network = u64::from(libc::CLONE_NEWNET.unsigned_abs());
    rules.insert(libc::SYS_setns, vec![when(1, SeccompCmpOp::Ne, network)?]);
    // What a C library ends its own process with.
    let own_process = u64::from(std::process::id());
    rules.insert(
        libc::SYS_tgkill,
        vec![when(0, SeccompCmpOp::Ne, own_process)?],
    );
    #[cfg(target_arch = "x86_64")]
    refuse_x32(&mut rules);
    Ok(rules)
}

/// A rule on the lower half of an argument, which is all that the kernel looks at of flags and ids.
fn when(argument: u8, is: SeccompCmpOp, value: u64) -> Result<SeccompRule, FilterError> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

/// The same calls by their second numbers, where the kernel has the x32 interface; and what only x32
/// numbers, which is all of the kind that carries pointers: execve, ptrace and others.
#[cfg(target_arch = "x86_64")]
fn refuse_x32(rules: &mut Rules) {
    const X32: i64 = 0x4000_0000;
    let numbers: Vec<i64> = rules.keys().copied().chain(512..=547).collect();
    rules.extend(numbers.into_iter().map(|call| (call | X32, Vec::new())));
}
