//! Resolves the table of kernel fields against a kernel's BTF.
//!
//! Called at start by the commands; the loader freezes the result into the programs' `.rodata`.

use crate::kernel::btf::Btf;
use rstmon_common::layout::{ABSENT, FIELDS, FieldSpec, KernelLayout, Need};

/// The row of a socket's cgroup.
const CGROUP_ROW: &str = "sock_cgroup";

/// The spelling of that row in kernels that keep a tagged word instead of a pointer.
const TAGGED_CGROUP: &str = "sk_cgrp_data.val";

/// What became of one row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldOutcome {
    /// This kernel has the field.
    Found {
        /// Bytes from the beginning of the structure.
        offset: u16,
        /// The spelling of the path that this kernel has.
        path: &'static str,
        /// The structure that holds it.
        structure: &'static str,
    },
    /// This kernel does not have it, or not in the width that the programs read.
    Absent {
        /// Why, in words for the user.
        reason: String,
    },
}

/// One row of the table and what became of it.
#[derive(Clone, Debug)]
pub struct FieldResolution {
    /// The row.
    pub spec: &'static FieldSpec,
    /// What became of it.
    pub outcome: FieldOutcome,
}

/// The table, resolved for one kernel.
#[derive(Clone, Debug)]
pub struct ResolvedLayout {
    /// The offsets for the programs.
    pub layout: KernelLayout,
    /// A resolution for each row of the table, in its order.
    pub fields: Vec<FieldResolution>,
}

/// Resolves every row of [`FIELDS`].
#[must_use]
pub fn resolve_layout(btf: &Btf) -> ResolvedLayout {
    let mut offsets = [ABSENT; FIELDS.len()];
    let mut fields = Vec::with_capacity(FIELDS.len());
    for (spec, place) in FIELDS.iter().zip(&mut offsets) {
        let outcome = resolve_field(btf, spec);
        if let FieldOutcome::Found { offset, .. } = outcome {
            *place = offset;
        }
        fields.push(FieldResolution { spec, outcome });
    }
    ResolvedLayout {
        layout: bytemuck::cast(offsets),
        fields,
    }
}

/// Tries the spellings in their order; where none will do, the reasons of all are told.
fn resolve_field(btf: &Btf, spec: &'static FieldSpec) -> FieldOutcome {
    let mut reasons: Vec<String> = Vec::new();
    for &path in spec.paths {
        match resolve_path(btf, spec, path) {
            Ok(offset) => {
                return FieldOutcome::Found {
                    offset,
                    path,
                    structure: spec.structure,
                };
            }
            Err(reason) if reasons.contains(&reason) => {}
            Err(reason) => reasons.push(reason),
        }
    }
    FieldOutcome::Absent {
        reason: reasons.join("; "),
    }
}

fn resolve_path(btf: &Btf, spec: &FieldSpec, path: &str) -> Result<u16, String> {
    let structure = spec.structure;
    let member = btf
        .member(structure, path)
        .map_err(|error| error.to_string())?;
    if spec.size != 0 {
        if member.bitfield_bits.is_some() || member.bit_offset_in_byte != 0 {
            return Err(format!("{path} in struct {structure} is a bit field"));
        }
        if member.size_bytes != u32::from(spec.size) {
            return Err(format!(
                "{path} in struct {structure} has {} bytes, rstmon reads {}",
                member.size_bytes, spec.size
            ));
        }
    }
    match u16::try_from(member.offset_bytes) {
        Ok(offset) if offset != ABSENT => Ok(offset),
        _ => Err(format!(
            "{path} in struct {structure} is at byte {}, rstmon reaches {}",
            member.offset_bytes,
            ABSENT - 1
        )),
    }
}

impl ResolvedLayout {
    /// The fields without which rstmon cannot work and that this kernel does not have.
    #[must_use]
    pub fn missing_required(&self) -> Vec<&FieldResolution> {
        self.fields
            .iter()
            .filter(|field| {
                field.spec.need == Need::Required
                    && matches!(field.outcome, FieldOutcome::Absent { .. })
            })
            .collect()
    }

    /// Whether the socket's cgroup word is a pointer only if its lowest bit is clear, and else a class
    /// and a priority (`struct sock_cgroup_data` before 5.15).
    #[must_use]
    pub fn cgroup_is_tagged(&self) -> bool {
        self.fields.iter().any(|field| {
            field.spec.name == CGROUP_ROW
                && matches!(
                    field.outcome,
                    FieldOutcome::Found {
                        path: TAGGED_CGROUP,
                        ..
                    }
                )
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

    use super::*;
    use crate::kernel::btf::fixtures::{Builder, bits_at, read_running_kernel};

    fn outcome<'a>(resolved: &'a ResolvedLayout, name: &str) -> &'a FieldOutcome {
        &resolved
            .fields
            .iter()
            .find(|field| field.spec.name == name)
            .unwrap()
            .outcome
    }

    fn absence<'a>(resolved: &'a ResolvedLayout, name: &str) -> &'a str {
        match outcome(resolved, name) {
            FieldOutcome::Absent { reason } => reason,
            found @ FieldOutcome::Found { .. } => panic!("{name}: {found:?}"),
        }
    }

    #[test]
    fn offsets_stand_in_the_member_of_their_row() {
        let mut b = Builder::new();
        let int = b.int("unsigned int", 4);
        b.structure(
            "tcp_sock",
            32,
            &[("rcv_nxt", int, 8 * 12), ("snd_nxt", int, 8 * 20)],
        );
        let resolved = resolve_layout(&b.parse());
        let expected = KernelLayout {
            tcp_rcv_nxt: 12,
            tcp_snd_nxt: 20,
            ..KernelLayout::NONE
        };
        assert_eq!(resolved.layout, expected);
        assert_eq!(resolved.fields.len(), FIELDS.len());
    }

    #[test]
    fn the_first_spelling_that_the_kernel_has_is_taken() {
        let mut b = Builder::new();
        let short = b.int("unsigned short", 2);
        let headers = b.structure("", 4, &[("transport_header", short, 16)]);
        b.structure("sk_buff", 64, &[("headers", headers, 8 * 40)]);
        let resolved = resolve_layout(&b.parse());
        assert_eq!(resolved.layout.skb_transport_header, 42);
        let found = FieldOutcome::Found {
            offset: 42,
            path: "headers.transport_header",
            structure: "sk_buff",
        };
        assert_eq!(outcome(&resolved, "skb_transport_header"), &found);
    }

    #[test]
    fn a_field_of_another_width_is_absent_and_says_so() {
        let mut b = Builder::new();
        let long = b.int("unsigned long", 8);
        b.structure(
            "tcp_sock",
            64,
            &[("rcv_nxt", long, 0), ("rtt_min", long, 64)],
        );
        let resolved = resolve_layout(&b.parse());
        assert_eq!(resolved.layout.tcp_rcv_nxt, ABSENT);
        assert_eq!(
            absence(&resolved, "tcp_rcv_nxt"),
            "rcv_nxt in struct tcp_sock has 8 bytes, rstmon reads 4"
        );
        assert_eq!(
            resolved.layout.tcp_rtt_min, 8,
            "a row of size 0 takes any width"
        );
    }

    #[test]
    fn a_bit_field_is_absent_unless_its_byte_is_what_is_wanted() {
        let mut b = Builder::new();
        let short = b.int("unsigned short", 2);
        b.flagged("sock", 64, &[("sk_protocol", short, bits_at(8, 8))]);
        b.flagged("sk_buff", 64, &[("pkt_type", short, bits_at(3, 8 * 6))]);
        let resolved = resolve_layout(&b.parse());
        assert_eq!(
            absence(&resolved, "sock_protocol"),
            "sk_protocol in struct sock is a bit field"
        );
        assert_eq!(resolved.layout.skb_pkt_type, 6);
    }

    #[test]
    fn an_offset_that_means_absent_is_never_written() {
        let mut b = Builder::new();
        let int = b.int("unsigned int", 4);
        b.structure(
            "tcp_sock",
            70_000,
            &[("rcv_nxt", int, 8 * 65_535), ("snd_nxt", int, 8 * 65_534)],
        );
        let resolved = resolve_layout(&b.parse());
        assert_eq!(
            absence(&resolved, "tcp_rcv_nxt"),
            "rcv_nxt in struct tcp_sock is at byte 65535, rstmon reaches 65534"
        );
        assert_eq!(resolved.layout.tcp_snd_nxt, 65_534);
    }

    #[test]
    fn a_kernel_of_which_nothing_is_known_lacks_every_required_field() {
        let resolved = resolve_layout(&Builder::new().parse());
        let required = FIELDS
            .iter()
            .filter(|spec| spec.need == Need::Required)
            .count();
        assert_eq!(resolved.missing_required().len(), required);
        assert_eq!(resolved.layout, KernelLayout::NONE);
        assert_eq!(
            absence(&resolved, "skb_len"),
            "the kernel has no struct sk_buff"
        );
        assert!(!resolved.cgroup_is_tagged());
    }

    #[test]
    fn a_cgroup_without_its_pointer_is_tagged() {
        for (member, tagged) in [("cgroup", false), ("val", true)] {
            let mut b = Builder::new();
            let long = b.int("unsigned long", 8);
            let data = b.structure("sock_cgroup_data", 8, &[(member, long, 0)]);
            b.structure("sock", 16, &[("sk_cgrp_data", data, 64)]);
            let resolved = resolve_layout(&b.parse());
            assert_eq!(resolved.layout.sock_cgroup, 8);
            assert_eq!(resolved.cgroup_is_tagged(), tagged);
        }
    }

    #[test]
    fn the_running_kernel_has_every_required_field() {
        let Some(btf) = read_running_kernel() else {
            return;
        };
        let resolved = resolve_layout(&btf);
        assert!(
            resolved.missing_required().is_empty(),
            "{:?}",
            resolved.missing_required()
        );
        // Offsets that every kernel from 5.4 to 7.3 shares.
        let layout = resolved.layout;
        let shared = (
            layout.sock_family,
            layout.sock_state,
            layout.sock_dport,
            layout.sock_num,
        );
        assert_eq!(shared, (16, 18, 12, 14));
    }

    #[test]
    fn the_tagged_spelling_is_one_of_the_table() {
        let row = FIELDS.iter().find(|spec| spec.name == CGROUP_ROW).unwrap();
        assert!(row.paths.contains(&TAGGED_CGROUP));
    }
}
