//! Follows a path of member names to its place in a structure.
//!
//! Types may be circular or nested without end in damaged BTF, so every step is counted: a lookup
//! ends after [`MAX_STEPS`] members and modifiers, whatever the types look like.

use super::Member;
use super::error::LookupError;
use super::types::{Kind, Record, Types};

/// Members and modifiers that one lookup may look at. The largest structures of a kernel, all their
/// anonymous parts included, take some hundreds.
const MAX_STEPS: u32 = 1 << 16;

/// Levels of anonymous members within each other that are looked through. Kernels have up to five.
const MAX_NESTING: u32 = 32;

/// Size in bytes of a pointer on the 64-bit machines that rstmon runs on.
const POINTER_BYTES: u64 = 8;

/// Finds `path` in the first of the definitions of `structure` that has it.
pub(super) fn resolve_member<'a>(
    types: &'a Types,
    definitions: impl Iterator<Item = Record<'a>>,
    structure: &str,
    path: &str,
) -> Result<Member, LookupError> {
    let mut walk = Walk {
        types,
        steps_left: MAX_STEPS,
    };
    let mut first_failure = None;
    for definition in definitions {
        match walk.follow(definition, path) {
            Ok(member) => return Ok(member),
            Err(failure @ Failure::TooDeep) => return Err(failure.describe(structure, path)),
            Err(failure) => first_failure = first_failure.or(Some(failure)),
        }
    }
    Err(first_failure.map_or_else(
        || LookupError::NoStructure {
            structure: structure.to_owned(),
        },
        |failure| failure.describe(structure, path),
    ))
}

/// Why one definition does not have the path; names are parts of the path.
enum Failure<'p> {
    NoMember(&'p str),
    NotAStructure(&'p str),
    NoSize,
    TooDeep,
}

impl Failure<'_> {
    fn describe(&self, structure: &str, path: &str) -> LookupError {
        let (structure, path) = (structure.to_owned(), path.to_owned());
        match *self {
            Self::NoMember(member) => LookupError::NoMember {
                structure,
                member: member.to_owned(),
                path,
            },
            Self::NotAStructure(member) => LookupError::NotAStructure {
                structure,
                member: member.to_owned(),
                path,
            },
            Self::NoSize => LookupError::NoSize { structure, path },
            Self::TooDeep => LookupError::TooDeep { structure, path },
        }
    }
}

/// A member and its distance in bits from where the search began.
struct Place {
    bits: u64,
    type_id: u32,
    bitfield_bits: Option<u8>,
}

struct Walk<'a> {
    types: &'a Types,
    steps_left: u32,
}

impl<'a> Walk<'a> {
    fn step<'p>(&mut self) -> Result<(), Failure<'p>> {
        self.steps_left = self.steps_left.checked_sub(1).ok_or(Failure::TooDeep)?;
        Ok(())
    }

    fn follow<'p>(&mut self, definition: Record<'a>, path: &'p str) -> Result<Member, Failure<'p>> {
        let mut names = path.split('.').peekable();
        let mut within = definition;
        let mut bits = 0;
        while let Some(name) = names.next() {
            let place = self.find(within, name, 0)?.ok_or(Failure::NoMember(name))?;
            bits += place.bits;
            if names.peek().is_none() {
                return self.measure(&Place { bits, ..place });
            }
            within = self
                .first_element(place.type_id)?
                .filter(|record| record.kind.is_composite())
                .ok_or(Failure::NotAStructure(name))?;
        }
        Err(Failure::NoMember(path))
    }

    /// Searches the members of a structure, and those of its anonymous members as C does.
    fn find<'p>(
        &mut self,
        within: Record<'a>,
        name: &str,
        nesting: u32,
    ) -> Result<Option<Place>, Failure<'p>> {
        if nesting > MAX_NESTING {
            return Err(Failure::TooDeep);
        }
        for &[member_name, type_id, offset] in within.entries::<3>() {
            self.step()?;
            if self.types.string_is(member_name, name) {
                return Ok(Some(self.place(within.kind_flag, type_id, offset)?));
            }
            if !self.types.string_is(member_name, "") {
                continue;
            }
            let inner = self
                .bare(type_id)?
                .filter(|record| record.kind.is_composite());
            if let Some(inner) = inner
                && let Some(place) = self.find(inner, name, nesting + 1)?
            {
                let bits = place.bits + u64::from(member_bits(within.kind_flag, offset));
                return Ok(Some(Place { bits, ..place }));
            }
        }
        Ok(None)
    }

    /// Reads the offset word of a member; the two encodings of bit fields meet here.
    fn place<'p>(
        &mut self,
        kind_flag: bool,
        type_id: u32,
        offset: u32,
    ) -> Result<Place, Failure<'p>> {
        let bits = u64::from(member_bits(kind_flag, offset));
        if kind_flag {
            let width = (offset >> 24) as u8;
            let bitfield_bits = (width != 0).then_some(width);
            return Ok(Place {
                bits,
                type_id,
                bitfield_bits,
            });
        }
        // Without kind_flag a bit field is an integer type of its own that fills part of its bytes.
        let int = self
            .bare(type_id)?
            .filter(|record| record.kind == Kind::Int);
        if let Some(record) = int
            && let Some([encoding]) = record.entry::<1>()
        {
            let (shift, width) = ((encoding >> 16) & 0xff, encoding & 0xff);
            if shift != 0 || u64::from(width) != 8 * u64::from(record.size_or_type) {
                let bits = bits + u64::from(shift);
                return Ok(Place {
                    bits,
                    type_id,
                    bitfield_bits: Some(width as u8),
                });
            }
        }
        Ok(Place {
            bits,
            type_id,
            bitfield_bits: None,
        })
    }

    fn measure<'p>(&mut self, place: &Place) -> Result<Member, Failure<'p>> {
        let size = self.size(place.type_id)?;
        Ok(Member {
            offset_bytes: u32::try_from(place.bits / 8).map_err(|_| Failure::TooDeep)?,
            bit_offset_in_byte: (place.bits % 8) as u8,
            bitfield_bits: place.bitfield_bits,
            size_bytes: u32::try_from(size).map_err(|_| Failure::TooDeep)?,
        })
    }

    /// The type itself, typedefs and qualifiers looked through; [`None`] is `void`.
    fn bare<'p>(&mut self, mut id: u32) -> Result<Option<Record<'a>>, Failure<'p>> {
        loop {
            self.step()?;
            match self.types.get(id) {
                Some(record) if record.kind.is_modifier() => id = record.size_or_type,
                bare => return Ok(bare),
            }
        }
    }

    /// Like [`Self::bare`]; of an array, the type of its elements.
    fn first_element<'p>(&mut self, mut id: u32) -> Result<Option<Record<'a>>, Failure<'p>> {
        loop {
            match self.bare(id)? {
                Some(record) if record.kind == Kind::Array => {
                    let [element, _, _] = record.entry().ok_or(Failure::NoSize)?;
                    id = element;
                }
                record => return Ok(record),
            }
        }
    }

    fn size<'p>(&mut self, mut id: u32) -> Result<u64, Failure<'p>> {
        let mut elements = 1_u64;
        loop {
            let record = self.bare(id)?.ok_or(Failure::NoSize)?;
            let bytes = match record.kind {
                Kind::Ptr => POINTER_BYTES,
                Kind::Int
                | Kind::Struct
                | Kind::Union
                | Kind::Enum
                | Kind::Enum64
                | Kind::Float => u64::from(record.size_or_type),
                Kind::Array => {
                    let [element, _, count] = record.entry().ok_or(Failure::NoSize)?;
                    elements = elements
                        .checked_mul(u64::from(count))
                        .ok_or(Failure::TooDeep)?;
                    id = element;
                    continue;
                }
                _ => return Err(Failure::NoSize),
            };
            return elements.checked_mul(bytes).ok_or(Failure::TooDeep);
        }
    }
}

/// The distance in bits of a member from the beginning of the structure that declares it.
const fn member_bits(kind_flag: bool, offset: u32) -> u32 {
    if kind_flag {
        offset & 0x00ff_ffff
    } else {
        offset
    }
}
