//! stub
use rstmon::bpf::programs::*;
use rstmon::kernel::hook::*;
use rstmon_common::{classic::ClassicLayout, config::ProbeConfig, layout::KernelLayout};
#[allow(warnings)]
fn main() {
    let t=std::time::Instant::now();
    let mut layout = KernelLayout::NONE;
    for o in bytemuck::cast_slice_mut::<u8,u16>(bytemuck::bytes_of_mut(&mut layout)) { *o = 64; }
    let config = ProbeConfig{ send_reset_has_reason:1, send_reset_sees_all:1, kfree_has_reason:1, kfree_has_socket:1, ..ProbeConfig::NONE};
    let mut p = Programs::create(&FrozenFacts{layout, config, classic: ClassicLayout::NONE, log_level: 0}, 1<<20).unwrap();
    println!("create {:?}", t.elapsed());
    for h in [Hook::TcpSendReset, Hook::TcpReceiveReset, Hook::KfreeSkb, Hook::InetSockSetState] {
        let r = p.attach(&h.program_name(Variant::RawTracepoint), AttachPoint::RawTracepoint(h.name()));
        println!("{h} {:?} {:?}", r, t.elapsed());
    }
}
