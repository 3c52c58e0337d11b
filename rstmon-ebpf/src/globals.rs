//! What the loader froze into `.rodata` before the programs were verified.
//!
//! Each value is read through its macro with a volatile load, so that the compiler cannot fold the
//! default in and the verifier, which knows the frozen bytes, can: a branch behind a flag that is
//! off, or behind an absent field, costs nothing and is never checked.

use rstmon_common::classic::ClassicLayout;
use rstmon_common::config::ProbeConfig;
use rstmon_common::layout::KernelLayout;

/// Where this kernel keeps its fields.
#[unsafe(no_mangle)]
pub(crate) static LAYOUT: KernelLayout = KernelLayout::NONE;
/// Choices of this run.
#[unsafe(no_mangle)]
pub(crate) static CONFIG: ProbeConfig = ProbeConfig::NONE;
/// Where the classic tracepoints keep their fields.
#[unsafe(no_mangle)]
pub(crate) static CLASSIC: ClassicLayout = ClassicLayout::NONE;

/// Offset of a field of [`LAYOUT`] in the running kernel.
macro_rules! offset {
    ($field:ident) => {{
        // SAFETY: a member of a static that nobody writes.
        unsafe { core::ptr::read_volatile(&raw const $crate::globals::LAYOUT.$field) }
    }};
}

/// A member of [`CONFIG`].
macro_rules! config {
    ($($member:tt)+) => {{
        // SAFETY: a member of a static that nobody writes.
        unsafe { core::ptr::read_volatile(&raw const $crate::globals::CONFIG.$($member)+) }
    }};
}

/// Offset of a member of a classic tracepoint's record.
macro_rules! classic {
    ($hook:ident.$field:ident) => {{
        // SAFETY: a member of a static that nobody writes.
        unsafe { core::ptr::read_volatile(&raw const $crate::globals::CLASSIC.$hook.$field) }
    }};
}

pub(crate) use {classic, config, offset};
