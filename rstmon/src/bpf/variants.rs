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

/// Tries each variant that `facts_of` has facts for, alone, and takes it out again.
pub fn try_variants(
    facts_of: impl Fn(Variant) -> Option<FrozenFacts>,
) -> Result<Vec<VariantOutcome>, ProgramsError> {
    let mut outcomes = Vec::new();
    for &hook in Hook::ALL {
        for &variant in hook.variants() {
            let refusal = match facts_of(variant) {
                Some(facts) => try_variant(&facts, hook, variant)?,
                None => Some("this kernel has no plan with such programs".to_owned()),
            };
            outcomes.push(VariantOutcome {
                hook,
                variant,
                refusal,
            });
        }
    }
    Ok(outcomes)
}

/// What the kernel said against it; an error is about the maps, not about this program.
fn try_variant(
    facts: &FrozenFacts,
    hook: Hook,
    variant: Variant,
) -> Result<Option<String>, ProgramsError> {
    let mut programs = Programs::create(facts, MapSizes::ToAsk)?;
    let attached = programs.attach(&hook.program_name(variant), attach_point(hook, variant));
    programs.unload();
    Ok(attached.err().map(|error| error.to_string()))
}
