//! Reads a kernel's BTF: where members are, what enumerators are called, what functions take.
//!
//! Called at start by `layout`, `reasons` and the probe plan, on /sys/kernel/btf/vmlinux or on the
//! file that the user names, so the bytes may be anything. Parsing checks every reference once;
//! lookups count their steps. Neither panics, and both end soon, whatever the bytes are.

mod elf;
mod error;
mod members;
mod types;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;

pub use error::{BtfError, LookupError};

use std::hash::{BuildHasher, RandomState};
use types::{Kind, Record, Types};

/// Prefix of the typedefs that give the prototypes of tracepoints (`include/trace/bpf_probe.h`).
const TRACEPOINT_TYPEDEF: &str = "btf_trace_";

/// A member of a structure, found by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bytes from the beginning of the outermost structure; of a bit field, to the byte that holds
    /// its first bit.
    pub offset_bytes: u32,
    /// Where a bit field begins in that byte, counted from the lowest bit; else 0.
    pub bit_offset_in_byte: u8,
    /// Width in bits of a bit field.
    pub bitfield_bits: Option<u8>,
    /// Size of the member's type; of a bit field, of the type that it was declared with.
    pub size_bytes: u32,
}

/// A parameter of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name; empty where the kernel's BTF gives none, as for tracepoints.
    pub name: String,
    /// Whether it is a pointer, typedefs and qualifiers looked through.
    pub is_pointer: bool,
}

/// The types of a kernel.
#[derive(Clone, Debug)]
pub struct Btf {
    types: Types,
    names: NameIndex,
}

impl Btf {
    /// Reads raw BTF, or the section `.BTF` of an ELF file. The bytes are not needed afterwards.
    pub fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        let types = Types::parse(elf::find_raw_btf(bytes)?)?;
        let names = NameIndex::build(&types);
        Ok(Self { types, names })
    }

    /// Where a member is. `path` names members from the outside in, separated by dots, as they are
    /// declared: the kernel's `#define`s are not in BTF. Anonymous structs and unions are looked
    /// through on every level, and so are typedefs, qualifiers and, to their first element, arrays;
    /// pointers are not. Of several definitions of the structure the first that has the path counts.
    pub fn member(&self, structure: &str, path: &str) -> Result<Member, LookupError> {
        members::resolve_member(&self.types, self.definitions(structure), structure, path)
    }

    /// Whether a struct or union of that name is defined with members, not only declared.
    #[must_use]
    pub fn struct_exists(&self, name: &str) -> bool {
        self.definitions(name).next().is_some()
    }

    /// The enumerators of an enum in the order of their declaration, or [`None`] if there is no such
    /// enum. Unsigned 64-bit values beyond [`i64::MAX`] come out negative.
    #[must_use]
    pub fn enum_values(&self, name: &str) -> Option<Vec<(i64, &str)>> {
        self.named(name).find_map(|record| {
            let values: Vec<_> = match record.kind {
                Kind::Enum => record
                    .entries()
                    .iter()
                    .map(|&[name, value]| {
                        let signed = i64::from(value.cast_signed());
                        let value = if record.kind_flag {
                            signed
                        } else {
                            i64::from(value)
                        };
                        (value, self.types.string(name))
                    })
                    .collect(),
                Kind::Enum64 => record
                    .entries()
                    .iter()
                    .map(|&[name, low, high]| {
                        let value = u64::from(high) << 32 | u64::from(low);
                        (value.cast_signed(), self.types.string(name))
                    })
                    .collect(),
                _ => return None,
            };
            (!values.is_empty()).then_some(values)
        })
    }

    /// Whether BTF lists a function of that name. It may list functions that cannot be probed, and
    /// leave out some that can.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        self.named(name).any(|record| record.kind == Kind::Func)
    }

    /// The parameters of a function; of several of that name, of the first. The dots of a variadic
    /// function are no parameter.
    #[must_use]
    pub fn function_parameters(&self, name: &str) -> Option<Vec<Parameter>> {
        let function = self.named(name).find(|record| record.kind == Kind::Func)?;
        self.prototype(function.size_or_type)
    }

    /// The id of the typedef by which a program names the tracepoint that it is for, in the BTF of
    /// the very kernel that loads it (`bpf_check_attach_target()` of kernel/bpf/verifier.c).
    #[must_use]
    pub fn tracepoint_id(&self, name: &str) -> Option<u32> {
        let typedef = format!("{TRACEPOINT_TYPEDEF}{name}");
        self.with_ids(&typedef)
            .find(|(_, record)| record.kind == Kind::Typedef)
            .map(|(id, _)| id)
    }

    /// The parameters of a tracepoint as a raw tracepoint program gets them: those of its typedef
    /// without the first, the `void *__data` that the kernel keeps to itself.
    #[must_use]
    pub fn tracepoint_parameters(&self, name: &str) -> Option<Vec<Parameter>> {
        let pointer = self
            .types
            .get(self.tracepoint_id(name)?)
            .and_then(|typedef| self.types.get(typedef.size_or_type))
            .filter(|record| record.kind == Kind::Ptr)?;
        let mut parameters = self.prototype(pointer.size_or_type)?;
        if parameters.is_empty() {
            return None;
        }
        parameters.remove(0);
        Some(parameters)
    }

    fn prototype(&self, type_id: u32) -> Option<Vec<Parameter>> {
        let prototype = self
            .types
            .get(type_id)
            .filter(|it| it.kind == Kind::FuncProto)?;
        let parameters = prototype
            .entries()
            .iter()
            // The dots of a variadic function: a last parameter without name and type.
            .filter(|&&[name, type_id]| (name, type_id) != (0, 0))
            .map(|&[name, type_id]| Parameter {
                name: self.types.string(name).to_owned(),
                is_pointer: self.is_pointer(type_id),
            })
            .collect();
        Some(parameters)
    }

    fn is_pointer(&self, mut type_id: u32) -> bool {
        // A chain longer than this is a circle, and a circle holds no pointer.
        const MAX_MODIFIERS: usize = 64;
        for _ in 0..MAX_MODIFIERS {
            match self.types.get(type_id) {
                Some(record) if record.kind.is_modifier() => type_id = record.size_or_type,
                record => return record.is_some_and(|record| record.kind == Kind::Ptr),
            }
        }
        false
    }

    fn definitions(&self, name: &str) -> impl Iterator<Item = Record<'_>> {
        self.named(name)
            .filter(|record| record.kind.is_composite() && !record.entries::<3>().is_empty())
    }

    fn named(&self, name: &str) -> impl Iterator<Item = Record<'_>> {
        self.with_ids(name).map(|(_, record)| record)
    }

    fn with_ids(&self, name: &str) -> impl Iterator<Item = (u32, Record<'_>)> {
        self.names
            .candidates(name)
            .filter_map(|id| Some((id, self.types.get(id)?)))
            .filter(move |(_, record)| self.types.string_is(record.name, name))
    }
}

/// Finds types by name: half the hash of the name above the number of the type, sorted.
///
/// A kernel has some 75,000 names and rstmon asks for a hundred of them at start: sorting plain
/// integers is several times cheaper than filling a map. The hash is keyed anew in every process, so
/// no file can make names collide.
#[derive(Clone, Debug)]
struct NameIndex {
    hasher: RandomState,
    entries: Vec<u64>,
}

impl NameIndex {
    fn build(types: &Types) -> Self {
        let hasher = RandomState::new();
        let mut entries = Vec::with_capacity(types.len());
        entries.extend(
            types
                .iter()
                .filter(|(_, record)| record.name != 0 && is_asked_for_by_name(record.kind))
                .map(|(id, record)| {
                    hash_half(&hasher, types.string(record.name)) << 32 | u64::from(id)
                }),
        );
        entries.sort_unstable();
        entries.shrink_to_fit();
        Self { hasher, entries }
    }

    /// Numbers of the types that may have that name, in their order.
    fn candidates(&self, name: &str) -> impl Iterator<Item = u32> {
        let half = hash_half(&self.hasher, name);
        let first = self.entries.partition_point(|entry| entry >> 32 < half);
        self.entries
            .iter()
            .skip(first)
            .take_while(move |entry| **entry >> 32 == half)
            .map(|entry| *entry as u32)
    }
}

fn hash_half(hasher: &RandomState, name: &str) -> u64 {
    hasher.hash_one(name) & 0xffff_ffff
}

const fn is_asked_for_by_name(kind: Kind) -> bool {
    kind.is_composite() || matches!(kind, Kind::Enum | Kind::Enum64 | Kind::Func | Kind::Typedef)
}
