//! The hooks: one file a family, each with all its variants.
//!
//! To add one: write its programs here, named `<variant>_<symbol>`, and its row in the user side's
//! `kernel::hook`.

mod drop;
mod handshake;
mod netfilter;
mod receive_reset;
mod request;
mod send_reset;
mod set_state;
mod signal;
mod support;
mod validate;

use crate::read::{KernelAddr, Members};
use crate::sock::Ends;
use aya_ebpf::EbpfContext;
use aya_ebpf::programs::TracePointContext;
use rstmon_common::wire::{AF_INET, AF_INET6};

/// Argument `n` of a raw tracepoint.
macro_rules! raw_tp_arg {
    ($ctx:ident, $n:literal) => {
        $crate::read::KernelAddr::new($ctx.arg::<u64>($n))
    };
}

/// Argument `n`, which is never null, of a tracepoint that is entered by its BTF.
macro_rules! tp_btf_arg {
    ($ctx:ident, $n:literal) => {
        $crate::read::TypedAddr::new($ctx.arg::<*const u8>($n))
    };
}

/// The same of one that may be null.
macro_rules! tp_btf_nullable_arg {
    ($ctx:ident, $n:literal) => {
        $crate::read::NullableAddr::new($ctx.arg::<*const u8>($n))
    };
}

/// Argument `n` of a function entered through fentry. It is read like other memory, as a number: keys
/// are made of addresses, and functions are not so strict about null as tracepoints.
macro_rules! fentry_arg {
    ($ctx:ident, $n:literal) => {
        $crate::hooks::context_word(aya_ebpf::EbpfContext::as_ptr(&$ctx) as u64, $n)
    };
}

/// Argument `n` of a function entered through a kprobe.
macro_rules! kprobe_arg {
    ($ctx:ident, $n:literal) => {
        $crate::hooks::register($ctx.arg::<u64>($n))
    };
}

pub(crate) use {fentry_arg, kprobe_arg, raw_tp_arg, tp_btf_arg, tp_btf_nullable_arg};

/// A register that holds an argument. An argument that travels on the stack does not occur here.
#[inline(always)]
pub(crate) fn register(value: Option<u64>) -> KernelAddr {
    match value {
        Some(value) => KernelAddr::new(value),
        None => KernelAddr::NULL,
    }
}

/// Word `n` of a program's context.
#[inline(always)]
pub(crate) fn context_word(context: u64, n: u64) -> KernelAddr {
    let place = KernelAddr::new(context).plus(n * size_of::<u64>() as u64);
    register(place.read())
}

/// The record of a classic tracepoint.
#[inline(always)]
pub(crate) fn record(ctx: &TracePointContext) -> KernelAddr {
    KernelAddr::new(ctx.as_ptr() as u64)
}

/// Reads both ends from a classic tracepoint's record. `$record.<member>` is a frozen constant, so
/// this must be a macro: a reference to the layout would hide it from the verifier.
macro_rules! read_record_ends {
    ($record:expr, $hook:ident, $ends:expr) => {
        $crate::hooks::put_record_ends(
            $record,
            &$crate::hooks::RecordOffsets {
                family: classic!($hook.family),
                sport: classic!($hook.sport),
                dport: classic!($hook.dport),
                saddr: classic!($hook.saddr),
                daddr: classic!($hook.daddr),
                saddr_v6: classic!($hook.saddr_v6),
                daddr_v6: classic!($hook.daddr_v6),
                ports_are_network_order: classic!($hook.ports_are_network_order) != 0,
            },
            $ends,
        )
    };
}

pub(crate) use read_record_ends;

/// Where a classic tracepoint's record keeps both ends.
pub(crate) struct RecordOffsets {
    pub(crate) family: u16,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
    pub(crate) saddr: u16,
    pub(crate) daddr: u16,
    pub(crate) saddr_v6: u16,
    pub(crate) daddr_v6: u16,
    pub(crate) ports_are_network_order: bool,
}

/// See `read_record_ends!`. Without a family field (before 5.15), an IPv6 address that is v4-mapped
/// says IPv4: the kernel writes it so.
#[inline(always)]
pub(crate) fn put_record_ends(record: KernelAddr, offsets: &RecordOffsets, ends: &mut Ends) {
    let local_port: u16 = record.field(offsets.sport).unwrap_or(0);
    let remote_port: u16 = record.field(offsets.dport).unwrap_or(0);
    let network_order = offsets.ports_are_network_order;
    ends.local_port = if network_order {
        u16::from_be(local_port)
    } else {
        local_port
    };
    ends.remote_port = if network_order {
        u16::from_be(remote_port)
    } else {
        remote_port
    };
    record.field_into(offsets.saddr_v6, &mut ends.local_addr);
    record.field_into(offsets.daddr_v6, &mut ends.remote_addr);
    ends.family = AF_INET6;
    if record.field(offsets.family) == Some(AF_INET) || ends.is_mapped() {
        ends.family = AF_INET;
        ends.local_addr = [0; 16];
        ends.remote_addr = [0; 16];
        if let Some(addr) = record.field::<[u8; 4]>(offsets.saddr) {
            ends.local_addr[..4].copy_from_slice(&addr);
        }
        if let Some(addr) = record.field::<[u8; 4]>(offsets.daddr) {
            ends.remote_addr[..4].copy_from_slice(&addr);
        }
    }
}
