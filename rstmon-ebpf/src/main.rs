//! The programs that rstmon loads into the kernel.
//!
//! One file a hook family below `hooks/`, each with all its variants (tracepoint by its BTF, raw and
//! classic tracepoint, fentry, kprobe). A program's name is `<variant>_<kernel symbol>`; the user side
//! derives it the same way (`kernel::probe_plan`). A hook decides *what* was seen and hands a
//! [`emit::Sighting`] to [`emit::report`], which counts it and puts a record on the ring.
//!
//! What always holds: nothing here runs per packet; a count is made before anything that can drop
//! the event; kernel memory is read in [`read`] only, at offsets that the loader froze into
//! `.rodata`.

#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![no_std]
#![no_main]
#![allow(
    clippy::needless_pass_by_value,
    reason = "aya's macros hand a program its context by value"
)]

mod budget;
mod counts;
mod emit;
mod globals;
mod hooks;
mod maps;
mod notes;
mod owner;
mod read;
mod scratch;
mod segment;
mod sock;

/// Programs cannot unwind; the verifier rejects any path that would come here.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: no panicking path survives compilation, so this is never reached.
    unsafe { core::hint::unreachable_unchecked() }
}

/// The licence that the kernel's GPL-only helpers (`bpf_probe_read_kernel`) ask for.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
