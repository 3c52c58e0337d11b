//! The BTF reader on bytes that no kernel wrote, and every lookup that rstmon makes in them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rstmon::kernel::btf::Btf;
use rstmon::kernel::layout::resolve_layout;
use rstmon::kernel::reasons::ReasonNames;

fuzz_target!(|bytes: &[u8]| {
    let Ok(btf) = Btf::parse(bytes) else { return };
    let layout = resolve_layout(&btf);
    let _ = layout.missing_required();
    let _ = ReasonNames::from_btf(&btf).drop_reason_bitmap();
    for name in ["tcp_reset", "tcp_v4_send_reset", "nf_send_reset6"] {
        let _ = btf.function_parameters(name);
        let _ = btf.tracepoint_parameters(name);
    }
});
