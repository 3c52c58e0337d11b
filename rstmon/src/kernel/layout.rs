//! Resolves the table of kernel fields against a kernel's BTF.
//!
//! Called at start by the commands; the loader freezes the result into the programs' `.rodata`.

use crate::kernel::btf::Btf;
use rstmon_common::layout::{FIELDS, FieldSpec, KernelLayout, Need};

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
    let _ = btf;
    let fields = FIELDS
        .iter()
        .map(|spec| FieldResolution {
            spec,
            outcome: FieldOutcome::Absent {
                reason: String::new(),
            },
        })
        .collect();
    ResolvedLayout {
        layout: KernelLayout::NONE,
        fields,
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

    /// Whether the socket's cgroup word is a pointer only if its lowest bit is clear.
    #[must_use]
    pub fn cgroup_is_tagged(&self) -> bool {
        false
    }
}
