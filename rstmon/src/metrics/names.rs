//! Names of processes as keys: looked up without a copy, and compared without a call.
//!
//! Used by the capped counters of the tally and by the tables of the board. Each looks a name up for
//! every event that is no repeat, and it is often the one that it was last time ([`super::hinted`]).

use crate::event::model::Cause;
use crate::pieces::are_same;
use compact_str::CompactString;
use hashbrown::Equivalent;
use std::hash::Hash;

/// A name to look up.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Name<'a>(pub &'a str);

impl Equivalent<CompactString> for Name<'_> {
    fn equivalent(&self, known: &CompactString) -> bool {
        are_same(self.0.as_bytes(), known.as_bytes())
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;

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
        assert!(!of.equivalent(&(Cause::PortClosed, "nginz".into())));
    }
}
