//! Short texts in pieces of a length that the compiler knows: a copy or a comparison is then a few
//! instructions and no call.
//!
//! Used where every event passes: by the JSON line and by the tables that count names. Pure.

/// The first and the last `N` bytes, which may overlap, if that is all there is of them.
#[inline(always)]
pub(crate) fn ends<const N: usize>(bytes: &[u8]) -> Option<(&[u8; N], &[u8; N])> {
    if bytes.len() > 2 * N {
        return None;
    }
    Some((bytes.first_chunk()?, bytes.last_chunk()?))
}

/// Whether both are the same. Up to 32 bytes are compared in pieces.
///
/// That nothing is the same as nothing is not left to memcmp(3): an empty text may lie at an address
/// that nobody may read, and where memcmp loads with a mask of no bytes, the processor takes long to
/// suppress the fault.
#[inline(always)]
pub(crate) fn are_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && (one.is_empty()
            || ends_agree::<16>(one, other)
                .or_else(|| ends_agree::<8>(one, other))
                .or_else(|| ends_agree::<4>(one, other))
                .or_else(|| ends_agree::<2>(one, other))
                .or_else(|| ends_agree::<1>(one, other))
                .unwrap_or_else(|| one == other))
}

#[inline(always)]
fn ends_agree<const N: usize>(one: &[u8], other: &[u8]) -> Option<bool> {
    Some(ends::<N>(one)? == ends::<N>(other)?)
}

/// Copies to where there is room for as much. Up to 16 bytes are copied in pieces.
#[inline(always)]
pub(crate) fn copy(from: &[u8], to: &mut [u8]) {
    let is_copied = copy_ends::<8>(from, to)
        || copy_ends::<4>(from, to)
        || copy_ends::<2>(from, to)
        || copy_ends::<1>(from, to);
    if !is_copied {
        to.copy_from_slice(from);
    }
}

#[inline(always)]
fn copy_ends<const N: usize>(from: &[u8], to: &mut [u8]) -> bool {
    let Some((first, last)) = ends::<N>(from) else {
        return false;
    };
    if let Some(to) = to.first_chunk_mut() {
        *to = *first;
    }
    if let Some(to) = to.last_chunk_mut() {
        *to = *last;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length_are_copied_and_differ_by_each_of_their_bytes() {
        for length in 0..40 {
            let text: Vec<u8> = (1..=length).collect();
            let mut copied = vec![0; text.len()];
            copy(&text, &mut copied);
            assert_eq!(copied, text);
            assert!(are_same(&text, &copied));
            assert!(!are_same(&text, &[copied.as_slice(), &[0]].concat()));
            for place in 0..text.len() {
                let mut other = text.clone();
                other[place] = 0;
                assert!(!are_same(&text, &other), "{length}, {place}");
            }
        }
    }
}
