//! Loads and attaches every variant of every hook for a moment, whether or not a plan would choose it.
//!
//! For `rstmon check --variants`, the test that the programs pass a kernel's verifier: a capture
//! alone never shows the second choice.

use super::capture::attach_point;
use super::programs::{FrozenFacts, MapSizes, Programs, ProgramsError};
use crate::kernel::hook::{Hook, Variant};

/// What became of one variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariantOutcome {
    /// The hook.
    pub hook: Hook,
    /// The variant of it.
    pub variant: Variant,
    /// Why the kernel did not take it, if it did not.
    pub refusal: Option<String>,
}

/// The facts of one way to run a variant, and what people call it.
pub type WayToRun = (&'static str, FrozenFacts);

/// Tries each variant in each of the ways that `ways_of` has for it, alone, and takes it out again.
pub fn try_variants(
    ways_of: impl Fn(Variant) -> Vec<WayToRun>,
) -> Result<Vec<VariantOutcome>, ProgramsError> {
    let mut outcomes = Vec::new();
    for &hook in Hook::ALL {
        for &variant in hook.variants() {
            outcomes.push(VariantOutcome {
                hook,
                variant,
                refusal: try_variant(&ways_of(variant), hook, variant)?,
            });
        }
    }
    Ok(outcomes)
}

/// What the kernel said against it; an error is about the maps, not about this program.
fn try_variant(
    ways: &[WayToRun],
    hook: Hook,
    variant: Variant,
) -> Result<Option<String>, ProgramsError> {
    if ways.is_empty() {
        return Ok(Some(
            "this kernel has no plan with such programs".to_owned(),
        ));
    }
    for (way, facts) in ways {
        let mut programs = Programs::create(facts, MapSizes::ToAsk)?;
        let attached = programs.attach(&hook.program_name(variant), attach_point(hook, variant));
        programs.unload();
        if let Err(error) = attached {
            return Ok(Some(format!("{way}: {error}")));
        }
    }
    Ok(None)
}
