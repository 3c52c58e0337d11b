//! How often the kernel did not run a program because its CPU was in it already.
//!
//! A reset in process context can be interrupted by one in a softirq; the kernel then leaves the
//! second program out and counts that in the program's information (`recursion_misses`, since
//! 5.12). aya does not show that member.

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_prog_info};
use std::os::fd::{AsFd, AsRawFd};

/// Sum over `programs`; programs that tell nothing count as zero, as kernels before 5.12 do.
pub(super) fn read_misses(programs: &[impl AsFd]) -> u64 {
    programs
        .iter()
        .filter_map(|program| read_one(program))
        .sum()
}

fn read_one(program: &impl AsFd) -> Option<u64> {
    // SAFETY: all members are integers; zero is the kernel's "not asked for".
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.info.bpf_fd = program.as_fd().as_raw_fd().unsigned_abs();
    attr.info.info_len = size_of::<bpf_prog_info>() as u32;
    attr.info.info = (&raw mut info) as u64;
    // SAFETY: the kernel reads `attr` and writes at most `info_len` bytes to `info`.
    let status = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            bpf_cmd::BPF_OBJ_GET_INFO_BY_FD,
            &raw mut attr,
            size_of::<bpf_attr>(),
        )
    };
    (status == 0).then_some(info.recursion_misses)
}
