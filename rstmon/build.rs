//! Builds the eBPF programs with the same stable compiler, for the BPF target, and embeds them.

use aya_build::{Package, Toolchain, build_ebpf};

/// The compiler that bpf-linker's LLVM matches; the same as in rust-toolchain.toml.
const TOOLCHAIN: &str = "1.95.0";

fn main() -> aya_build::Result<()> {
    // The BPF target has no precompiled `core`; building it needs an unstable cargo flag, which
    // the stable compiler takes from whoever asks this way.
    // SAFETY: this process has one thread so far.
    unsafe { std::env::set_var("RUSTC_BOOTSTRAP", "1") };
    let programs = concat!(env!("CARGO_MANIFEST_DIR"), "/../rstmon-ebpf");
    println!(
        "cargo:rerun-if-changed={}",
        concat!(env!("CARGO_MANIFEST_DIR"), "/../rstmon-common")
    );
    build_ebpf(
        [Package {
            name: "rstmon-ebpf",
            root_dir: programs,
            ..Package::default()
        }],
        Toolchain::Custom(TOOLCHAIN),
    )
}
