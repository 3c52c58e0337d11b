//! BTF made to hurt: whatever the bytes, the reader neither panics nor works for long.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use super::fixtures::{Builder, HEADER_BYTES};
use super::tests::{elf_with, small_kernel};
use super::{Btf, LookupError};
use nix::time::{ClockId, clock_gettime};
use proptest::prelude::*;
use std::time::Duration;

/// Asks everything that rstmon asks, so that a test sees whether any of it panics or hangs.
fn interrogate(btf: &Btf) {
    let _ = crate::kernel::layout::resolve_layout(btf);
    let reasons = crate::kernel::reasons::ReasonNames::from_btf(btf);
    let _ = reasons.drop_reason_bitmap();
    for name in ["tcp_reset", "sock", "f", "loop", "wide"] {
        let _ = btf.has_function(name);
        let _ = btf.function_parameters(name);
        let _ = btf.tracepoint_parameters(name);
        let _ = btf.enum_values(name);
        let _ = btf.member(name, "sk_socket");
        let _ = btf.member(name, "slots.skc_net.net");
        let _ = btf.member(name, "absent");
    }
}

/// What no input may take.
const LONG: Duration = Duration::from_secs(1);

/// Time that this thread has worked; what others do on a busy machine is not the reader's.
fn worked() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .unwrap()
        .into()
}

fn assert_quick(what: &str, work: impl FnOnce()) {
    let start = worked();
    work();
    let took = worked().saturating_sub(start);
    assert!(took < LONG, "{what} took {took:?}");
}

#[test]
fn circles_of_types_end_in_an_error() {
    let mut b = Builder::new();
    // Typedef 1 is typedef 2 is const 1; an array of itself; a struct that holds itself unnamed.
    b.typedef("loop", 2);
    b.constant(1);
    b.array(3, 2);
    b.structure("inside", 8, &[("", 4, 8)]);
    b.structure("sock", 8, &[("around", 1, 0), ("array", 3, 0)]);
    b.function("f", &[("around", 1)]);
    let btf = b.parse();
    for (structure, path) in [
        ("sock", "around"),
        ("sock", "around.x"),
        ("sock", "array"),
        ("sock", "array.x"),
        ("inside", "x"),
    ] {
        let error = btf.member(structure, path).unwrap_err();
        assert!(
            matches!(error, LookupError::TooDeep { .. }),
            "{structure}.{path}: {error}"
        );
    }
    assert!(!btf.function_parameters("f").unwrap()[0].is_pointer);
    assert_quick("circular types", || interrogate(&btf));
}

#[test]
fn unnamed_members_that_double_at_every_level_end_soon() {
    let mut b = Builder::new();
    let mut inner = b.int("int", 4);
    for _ in 0..30 {
        inner = b.structure("", 4, &[("", inner, 0), ("", inner, 0)]);
    }
    b.structure("sock", 4, &[("", inner, 0)]);
    let btf = b.parse();
    assert_quick("a lookup in 2^30 members", || {
        let error = btf.member("sock", "absent").unwrap_err();
        assert!(matches!(error, LookupError::TooDeep { .. }), "{error}");
    });
}

#[test]
fn ten_thousand_definitions_of_one_name_end_soon() {
    let mut b = Builder::new();
    let int = b.int("int", 4);
    for _ in 0..10_000 {
        b.structure(
            "sock",
            4,
            &[("a", int, 0), ("b", int, 0), ("c", int, 0), ("d", int, 0)],
        );
    }
    let btf = b.parse();
    assert_quick("all lookups", || interrogate(&btf));
}

#[test]
fn sizes_and_offsets_beyond_32_bits_are_an_error_not_another_number() {
    let mut b = Builder::new();
    let int = b.int("int", 4);
    let big = b.array(int, u32::MAX);
    let bigger = b.array(big, u32::MAX);
    let biggest = b.array(bigger, u32::MAX);
    b.structure("sock", 4, &[("big", big, 0), ("biggest", biggest, 0)]);
    let btf = b.parse();
    for path in ["big", "biggest"] {
        let error = btf.member("sock", path).unwrap_err();
        assert!(
            matches!(error, LookupError::TooDeep { .. }),
            "{path}: {error}"
        );
    }
}

proptest! {
    #[test]
    fn changed_bytes_never_panic_and_never_hang(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        keep in any::<prop::sample::Index>(),
        cut in prop::bool::weighted(0.2),
    ) {
        let mut bytes = small_kernel().bytes();
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if cut {
            bytes.truncate(keep.index(bytes.len()));
        }
        let start = worked();
        match Btf::parse(&bytes) {
            Ok(btf) => interrogate(&btf),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
        prop_assert!(worked().saturating_sub(start) < LONG);
    }

    /// Aims at the words of the types, where changes survive parsing more often.
    #[test]
    fn changed_types_never_panic_and_never_hang(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0_u32..60), 1..6),
    ) {
        let mut bytes = small_kernel().bytes();
        let words = (bytes.len() - small_kernel().strings_len() - HEADER_BYTES) / 4;
        for (index, value) in changes {
            let at = HEADER_BYTES + 4 * index.index(words);
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let start = worked();
        if let Ok(btf) = Btf::parse(&bytes) {
            interrogate(&btf);
        }
        prop_assert!(worked().saturating_sub(start) < LONG);
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..4096), sound in any::<bool>()) {
        if sound && bytes.len() >= HEADER_BYTES {
            let types = (bytes.len() as u32 - 24) / 8 * 4;
            let strings = bytes.len() as u32 - 24 - types;
            bytes[..4].copy_from_slice(&[0x9f, 0xeb, 1, 0]);
            for (at, word) in [(4, 24), (8, 0), (12, types), (16, types), (20, strings)] {
                bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(word));
            }
        }
        if let Ok(btf) = Btf::parse(&bytes) {
            interrogate(&btf);
        }
    }

    #[test]
    fn changed_elf_files_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = elf_with(b".BTF", &small_kernel().bytes());
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(btf) = Btf::parse(&bytes) {
            interrogate(&btf);
        }
    }
}
