//! Names of processes as keys: looked up without a copy, and compared without a call.
//!
//! Used by the capped counters of the tally and by the tables of the board. Each looks a name up for
//! every event, and it is mostly the one that it was last time ([`super::hinted`]).

use crate::event::model::Cause;
use compact_str::CompactString;
use hashbrown::Equivalent;
use std::hash::{Hash, Hasher};

/// A name to look up.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a>(pub &'a str);

impl Hash for Name<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Equivalent<CompactString> for Name<'_> {
    fn equivalent(&self, known: &CompactString) -> bool {
        is_same(self.0.as_bytes(), known.as_bytes())
    }
}

/// A cause of a process, to look up.
#[derive(Clone, Copy, Debug, Hash)]
pub struct CauseOf<'a>(pub Cause, pub Name<'a>);

impl Equivalent<(Cause, CompactString)> for CauseOf<'_> {
    fn equivalent(&self, (cause, comm): &(Cause, CompactString)) -> bool {
        self.0 == *cause && self.1.equivalent(comm)
    }
}

/// Whether both are the same. Of up to 32 bytes the first and the last are compared, which may overlap:
/// pieces of known length, so that it takes a few instructions.
///
/// None at all, which is the name where nobody owns the socket, must not be left to memcmp(3): such a
/// string lies nowhere, and where that reads with a mask of no bytes, the processor needs some hundred
/// cycles to suppress the fault.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && (one.is_empty()
            || ends_agree::<16>(one, other)
                .or_else(|| ends_agree::<8>(one, other))
                .or_else(|| ends_agree::<4>(one, other))
                .or_else(|| ends_agree::<2>(one, other))
                .or_else(|| ends_agree::<1>(one, other))
                .unwrap_or_else(|| one == other))
}

/// Whether the first and the last `PIECE` bytes are the same, if that is all there is of them.
#[inline(always)]
fn ends_agree<const PIECE: usize>(one: &[u8], other: &[u8]) -> Option<bool> {
    if one.len() > 2 * PIECE {
        return None;
    }
    let first = one.first_chunk::<PIECE>()? == other.first_chunk::<PIECE>()?;
    let last = one.last_chunk::<PIECE>()? == other.last_chunk::<PIECE>()?;
    Some(first && last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;

    #[test]
    fn names_of_every_length_differ_by_each_of_their_bytes() {
        for length in 0..40 {
            let name = "x".repeat(length);
            assert!(Name(&name).equivalent(&CompactString::from(&name)));
            assert!(!Name(&name).equivalent(&CompactString::from(name.clone() + "x")));
            for place in 0..length {
                let mut other = name.clone();
                other.replace_range(place..=place, "y");
                assert!(!Name(&name).equivalent(&CompactString::from(other)));
            }
        }
    }

    #[test]
    fn what_looks_up_has_the_hash_of_what_is_there() {
        let hashes = hashbrown::DefaultHashBuilder::default();
        let comm = CompactString::from("nginx");
        assert_eq!(hashes.hash_one(Name("nginx")), hashes.hash_one(&comm));
        let of = CauseOf(Cause::PortClosed, Name("nginx"));
        assert_eq!(
            hashes.hash_one(of),
            hashes.hash_one((Cause::PortClosed, comm.clone()))
        );
        assert!(of.equivalent(&(Cause::PortClosed, comm.clone())));
        assert!(!of.equivalent(&(Cause::PeerGone, comm)));
    }
}
