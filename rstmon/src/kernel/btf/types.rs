//! The types and strings of one BTF blob, checked once, then read as records.
//!
//! [`Types::parse`] is the only way in. After it every record lies inside the type section, every
//! type number names a type and every name a string, so what asks later need not check again. What
//! is *not* promised: types may refer to each other in circles; whoever follows them must count.
//! The format is include/uapi/linux/btf.h and Documentation/bpf/btf.rst of the kernel.

use super::error::BtfError;

const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
/// Size in bytes of the header that every version 1 has; newer ones may be longer.
const HEADER_BYTES: usize = 24;
/// Words of `struct btf_type`: name, info, size or type.
const RECORD_WORDS: usize = 3;

/// `BTF_KIND_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Ptr,
    Array,
    Struct,
    Union,
    Enum,
    Fwd,
    Typedef,
    Volatile,
    Const,
    Restrict,
    Func,
    FuncProto,
    Var,
    Datasec,
    Float,
    DeclTag,
    TypeTag,
    Enum64,
}

impl Kind {
    /// In the order of their numbers, from 1.
    const ALL: [Self; 19] = [
        Self::Int,
        Self::Ptr,
        Self::Array,
        Self::Struct,
        Self::Union,
        Self::Enum,
        Self::Fwd,
        Self::Typedef,
        Self::Volatile,
        Self::Const,
        Self::Restrict,
        Self::Func,
        Self::FuncProto,
        Self::Var,
        Self::Datasec,
        Self::Float,
        Self::DeclTag,
        Self::TypeTag,
        Self::Enum64,
    ];

    fn from_number(number: u32) -> Option<Self> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        Self::ALL.get(index).copied()
    }

    /// What follows the record: words of one entry, and whether there is one for each of `vlen`.
    const fn tail(self) -> Tail {
        match self {
            Self::Int | Self::Var | Self::DeclTag => Tail {
                words: 1,
                repeats: false,
            },
            Self::Array => Tail {
                words: 3,
                repeats: false,
            },
            Self::Struct | Self::Union | Self::Datasec | Self::Enum64 => Tail {
                words: 3,
                repeats: true,
            },
            Self::Enum | Self::FuncProto => Tail {
                words: 2,
                repeats: true,
            },
            Self::Ptr
            | Self::Fwd
            | Self::Typedef
            | Self::Volatile
            | Self::Const
            | Self::Restrict
            | Self::Func
            | Self::Float
            | Self::TypeTag => Tail {
                words: 0,
                repeats: false,
            },
        }
    }

    /// Which words of an entry of the tail name a string, and which a type.
    const fn entry_references(self) -> (Option<usize>, &'static [usize]) {
        match self {
            Self::Array => (None, &[0, 1]),
            Self::Struct | Self::Union | Self::FuncProto => (Some(0), &[1]),
            Self::Enum | Self::Enum64 => (Some(0), &[]),
            Self::Datasec => (None, &[0]),
            _ => (None, &[]),
        }
    }

    /// Whether the third word of the record is the number of a type, not a size.
    const fn refers_to_type(self) -> bool {
        matches!(
            self,
            Self::Ptr
                | Self::Typedef
                | Self::Volatile
                | Self::Const
                | Self::Restrict
                | Self::Func
                | Self::FuncProto
                | Self::Var
                | Self::DeclTag
                | Self::TypeTag
        )
    }

    /// Whether a value of this type is a value of the type that it refers to.
    pub(super) const fn is_modifier(self) -> bool {
        matches!(
            self,
            Self::Typedef | Self::Volatile | Self::Const | Self::Restrict | Self::TypeTag
        )
    }

    /// Whether it has members.
    pub(super) const fn is_composite(self) -> bool {
        matches!(self, Self::Struct | Self::Union)
    }
}

#[derive(Clone, Copy)]
struct Tail {
    words: usize,
    repeats: bool,
}

/// One type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) kind: Kind,
    /// `kind_flag`: of structs, offsets carry widths of bit fields; of enums, values are signed.
    pub(super) kind_flag: bool,
    /// Offset of its name among the strings; 0 if it has none.
    pub(super) name: u32,
    /// Bytes of a type that has a size, or the number of the type referred to.
    pub(super) size_or_type: u32,
    /// The words that follow: members, enumerators, parameters, ... as the kind has it.
    tail: &'a [u32],
}

impl<'a> Record<'a> {
    /// Entries of the tail, each of `N` words.
    pub(super) fn entries<const N: usize>(self) -> &'a [[u32; N]] {
        self.tail.as_chunks().0
    }

    /// The first entry of the tail of a kind that has just one.
    pub(super) fn entry<const N: usize>(self) -> Option<[u32; N]> {
        self.tail.first_chunk().copied()
    }
}

/// The checked types and strings.
#[derive(Clone, Debug)]
pub(super) struct Types {
    words: Box<[u32]>,
    strings: Box<str>,
    /// Index in `words` of each record; type 1 is the first.
    starts: Vec<u32>,
}

impl Types {
    /// Reads raw BTF. See the module for what holds afterwards.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        let header = Header::parse(bytes)?;
        let strings = parse_strings(bytes, &header)?;
        let words = parse_words(bytes, &header)?;
        let starts = find_records(&words, &header)?;
        let types = Self {
            words,
            strings,
            starts,
        };
        types.check_references(&header)?;
        Ok(types)
    }

    /// The type of a number; [`None`] for 0, which is `void`.
    pub(super) fn get(&self, id: u32) -> Option<Record<'_>> {
        let index = usize::try_from(id).ok()?.checked_sub(1)?;
        self.record_at(*self.starts.get(index)? as usize)
    }

    /// Every type with its number, from 1.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, Record<'_>)> {
        (1_u32..)
            .zip(&self.starts)
            .filter_map(|(id, start)| Some((id, self.record_at(*start as usize)?)))
    }

    /// Number of types, `void` not counted.
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The string at an offset; empty for things without a name.
    pub(super) fn string(&self, offset: u32) -> &str {
        let rest = self.strings.get(offset as usize..).unwrap_or_default();
        let end = rest
            .bytes()
            .position(|byte| byte == 0)
            .unwrap_or(rest.len());
        rest.get(..end).unwrap_or_default()
    }

    /// Whether the string at an offset is `wanted`; dearer comparisons are not worth their time.
    pub(super) fn string_is(&self, offset: u32, wanted: &str) -> bool {
        let bytes = self
            .strings
            .as_bytes()
            .get(offset as usize..)
            .unwrap_or_default();
        bytes
            .strip_prefix(wanted.as_bytes())
            .is_some_and(|rest| rest.first() == Some(&0))
    }

    fn record_at(&self, start: usize) -> Option<Record<'_>> {
        let rest = self.words.get(start..)?;
        let (&[name, info, size_or_type], tail) = rest.split_first_chunk()?;
        let (kind, count) = split_info(info)?;
        Some(Record {
            kind,
            kind_flag: info >> 31 == 1,
            name,
            size_or_type,
            tail: tail.get(..tail_words(kind, count))?,
        })
    }

    /// Every name and type number must lead to something; in split BTF they lead to the base.
    fn check_references(&self, header: &Header) -> Result<(), BtfError> {
        for (&start, (_, record)) in self.starts.iter().zip(self.iter()) {
            let start = start as usize;
            self.check_name(record.name, start, header)?;
            if record.kind.refers_to_type() {
                self.check_type(record.size_or_type, start + 2, header)?;
            }
            let (name_word, type_words) = record.kind.entry_references();
            let entry_words = record.kind.tail().words.max(1);
            for (index, entry) in record.tail.chunks_exact(entry_words).enumerate() {
                let at = start + RECORD_WORDS + index * entry_words;
                if let Some(word) = name_word {
                    self.check_name(entry[word], at + word, header)?;
                }
                for &word in type_words {
                    self.check_type(entry[word], at + word, header)?;
                }
            }
        }
        Ok(())
    }

    fn check_name(&self, name: u32, word: usize, header: &Header) -> Result<(), BtfError> {
        if self.strings.is_char_boundary(name as usize) && (name as usize) < self.strings.len() {
            return Ok(());
        }
        if (name as usize) < self.strings.len() {
            return Err(BtfError::BadStrings {
                offset: header.strings.start + u64::from(name),
                why: "a name begins within a character",
            });
        }
        Err(BtfError::Split {
            what: "a string offset",
            offset: header.word_offset(word),
            found: name,
            limit: self.strings.len() as u32,
        })
    }

    fn check_type(&self, id: u32, word: usize, header: &Header) -> Result<(), BtfError> {
        if id as usize <= self.starts.len() {
            return Ok(());
        }
        Err(BtfError::Split {
            what: "a type number",
            offset: header.word_offset(word),
            found: id,
            limit: self.starts.len() as u32 + 1,
        })
    }
}

/// Where the sections are, in bytes from the beginning of the header.
struct Header {
    types: Section,
    strings: Section,
}

struct Section {
    start: u64,
    len: u64,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        let have = bytes.len() as u64;
        let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            // Say what it is, where there is enough of it to tell.
            if let Some((magic, _)) = bytes.split_first_chunk() {
                check_magic(*magic)?;
            }
            return Err(BtfError::Truncated {
                what: "the header",
                offset: 0,
                need: HEADER_BYTES as u64,
                have,
            });
        };
        check_magic([header[0], header[1]])?;
        if header[2] != VERSION {
            return Err(BtfError::BadVersion { found: header[2] });
        }
        if header[3] != 0 {
            let why = "it has flags, and none are known";
            return Err(BtfError::BadHeader { offset: 3, why });
        }
        let word = |at: usize| {
            u64::from(u32::from_le_bytes([
                header[at],
                header[at + 1],
                header[at + 2],
                header[at + 3],
            ]))
        };
        let len = word(4);
        if len < HEADER_BYTES as u64 {
            let why = "it says that it is shorter than any header";
            return Err(BtfError::BadHeader { offset: 4, why });
        }
        let types = Section {
            start: len + word(8),
            len: word(12),
        };
        let strings = Section {
            start: len + word(16),
            len: word(20),
        };
        if !types.len.is_multiple_of(4) {
            let why = "the length of the types is not a multiple of four";
            return Err(BtfError::BadHeader { offset: 12, why });
        }
        Ok(Self { types, strings })
    }

    /// Offset in the blob of a word of the type section.
    fn word_offset(&self, word: usize) -> u64 {
        self.types.start + 4 * word as u64
    }
}

impl Section {
    fn of<'a>(&self, bytes: &'a [u8], what: &'static str) -> Result<&'a [u8], BtfError> {
        let start = usize::try_from(self.start).ok();
        let end = usize::try_from(self.start + self.len).ok();
        start
            .zip(end)
            .and_then(|(start, end)| bytes.get(start..end))
            .ok_or(BtfError::Truncated {
                what,
                offset: self.start,
                need: self.len,
                have: bytes.len() as u64,
            })
    }
}

fn check_magic(bytes: [u8; 2]) -> Result<(), BtfError> {
    match u16::from_le_bytes(bytes) {
        MAGIC => Ok(()),
        found if found == MAGIC.swap_bytes() => Err(BtfError::BigEndian),
        found => Err(BtfError::BadMagic { found }),
    }
}

fn parse_strings(bytes: &[u8], header: &Header) -> Result<Box<str>, BtfError> {
    let section = header.strings.of(bytes, "the string section")?;
    let start = header.strings.start;
    match (section.first(), section.last()) {
        (None, _) | (_, None) => Err(BtfError::BadStrings {
            offset: start,
            why: "there are none, not even the empty",
        }),
        // The base's first string is the empty one; only split BTF has no need of its own.
        (Some(first), _) if *first != 0 => Err(BtfError::SplitStrings { offset: start }),
        (_, Some(last)) if *last != 0 => Err(BtfError::BadStrings {
            offset: start + header.strings.len - 1,
            why: "the last one does not end",
        }),
        _ => std::str::from_utf8(section)
            .map(Box::from)
            .map_err(|error| BtfError::BadStrings {
                offset: start + error.valid_up_to() as u64,
                why: "not UTF-8",
            }),
    }
}

fn parse_words(bytes: &[u8], header: &Header) -> Result<Box<[u32]>, BtfError> {
    let section = header.types.of(bytes, "the type section")?;
    Ok(section
        .as_chunks()
        .0
        .iter()
        .map(|word| u32::from_le_bytes(*word))
        .collect())
}

/// The kind and the number of entries of an `info` word; [`None`] for a kind that is not known or
/// where bits are set that have no meaning yet.
fn split_info(info: u32) -> Option<(Kind, usize)> {
    const UNUSED: u32 = 0x60ff_0000;
    let kind = Kind::from_number((info >> 24) & 0x1f)?;
    (info & UNUSED == 0).then_some((kind, (info & 0xffff) as usize))
}

const fn tail_words(kind: Kind, count: usize) -> usize {
    let tail = kind.tail();
    if tail.repeats {
        tail.words * count
    } else {
        tail.words
    }
}

fn find_records(words: &[u32], header: &Header) -> Result<Vec<u32>, BtfError> {
    let mut starts = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let id = starts.len() as u32 + 1;
        let truncated = |need: usize| BtfError::Truncated {
            what: "a type",
            offset: header.word_offset(at),
            need: 4 * need as u64,
            have: header.types.start + header.types.len,
        };
        let info = *words.get(at + 1).ok_or_else(|| truncated(RECORD_WORDS))?;
        let (kind, count) = split_info(info).ok_or(BtfError::BadKind {
            id,
            offset: header.word_offset(at),
            kind: (info >> 24) & 0x7f,
        })?;
        let need = RECORD_WORDS + tail_words(kind, count);
        if words.len() - at < need {
            return Err(truncated(need));
        }
        starts.push(at as u32);
        at += need;
    }
    Ok(starts)
}
