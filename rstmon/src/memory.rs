//! Memory that the allocator would keep for months.
//!
//! Called when the programs were created and when a capture has started, as both have read the kernel's
//! BTF; and by the agent's capture thread while it expires series.

/// Gives back to the kernel what the process has freed. Takes about a millisecond where there is much.
pub fn return_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: any thread may call it at any time; it has no arguments that could be wrong.
    unsafe {
        libc::malloc_trim(0);
    }
}
