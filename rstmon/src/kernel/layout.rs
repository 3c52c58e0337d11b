//! Resolves the table of kernel fields against a kernel's BTF.
//!
//! Called at start by the commands; the loader freezes the result into the programs' `.rodata`.

use crate::kernel::btf::Btf;
use rstmon_common::layout::{ABSENT, FIELDS, FieldSpec, KernelLayout, Need};

/// The spelling of `sock_cgroup` in kernels that keep a tagged word instead of a pointer.
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
            field.spec.name == "sock_cgroup"
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
