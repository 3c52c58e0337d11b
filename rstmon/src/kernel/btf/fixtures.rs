//! Writes small BTF for tests, and reads the running kernel's.
//!
//! The writer knows nothing of the reader: it sets bytes as include/uapi/linux/btf.h has them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use super::Btf;

pub(crate) const HEADER_BYTES: usize = 24;

/// The running kernel's types, or [`None`], said aloud, where it has none. With
/// `RSTMON_REQUIRE_BPF=1` a kernel without BTF fails the test.
pub(crate) fn read_running_kernel() -> Option<Btf> {
    const PATH: &str = "/sys/kernel/btf/vmlinux";
    match std::fs::read(PATH) {
        Ok(bytes) => Some(Btf::parse(&bytes).unwrap()),
        Err(error) => {
            crate::skip::cannot_run(&format!("{PATH}: {error}"));
            None
        }
    }
}

/// A member: its name, its type, and the offset word as it will stand in the BTF.
pub(crate) type MemberSpec<'a> = (&'a str, u32, u32);

/// BTF in the making. Every function that adds a type returns its number.
pub(crate) struct Builder {
    words: Vec<u32>,
    strings: Vec<u8>,
    types: u32,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            words: Vec::new(),
            strings: vec![0],
            types: 0,
        }
    }

    pub(crate) fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let offset = u32::try_from(self.strings.len()).unwrap();
        self.strings.extend(text.bytes());
        self.strings.push(0);
        offset
    }

    /// A type of any kind: `info` is `kind_flag`, kind and number of entries.
    pub(crate) fn raw(&mut self, name: &str, info: u32, size_or_type: u32, tail: &[u32]) -> u32 {
        let name = self.string(name);
        self.words.extend([name, info, size_or_type]);
        self.words.extend(tail);
        self.types += 1;
        self.types
    }

    pub(crate) fn int(&mut self, name: &str, bytes: u32) -> u32 {
        self.partial_int(name, bytes, 0, 8 * bytes)
    }

    /// An integer that fills only `bits` of its bytes: how old BTF writes a bit field.
    pub(crate) fn partial_int(&mut self, name: &str, bytes: u32, shift: u32, bits: u32) -> u32 {
        self.raw(name, 1 << 24, bytes, &[shift << 16 | bits])
    }

    pub(crate) fn pointer(&mut self, to: u32) -> u32 {
        self.raw("", 2 << 24, to, &[])
    }

    pub(crate) fn array(&mut self, of: u32, count: u32) -> u32 {
        self.raw("", 3 << 24, 0, &[of, of, count])
    }

    pub(crate) fn structure(&mut self, name: &str, bytes: u32, members: &[MemberSpec<'_>]) -> u32 {
        self.composite(4, name, bytes, members)
    }

    pub(crate) fn union(&mut self, name: &str, bytes: u32, members: &[MemberSpec<'_>]) -> u32 {
        self.composite(5, name, bytes, members)
    }

    /// A structure whose offset words carry the width of bit fields in their upper byte.
    pub(crate) fn flagged(&mut self, name: &str, bytes: u32, members: &[MemberSpec<'_>]) -> u32 {
        self.composite(1 << 7 | 4, name, bytes, members)
    }

    fn composite(&mut self, kind: u32, name: &str, bytes: u32, members: &[MemberSpec<'_>]) -> u32 {
        let tail: Vec<u32> = members
            .iter()
            .flat_map(|&(name, id, offset)| [self.string(name), id, offset])
            .collect();
        self.raw(name, kind << 24 | count(members), bytes, &tail)
    }

    pub(crate) fn enumeration(&mut self, name: &str, signed: bool, values: &[(&str, i32)]) -> u32 {
        let tail: Vec<u32> = values
            .iter()
            .flat_map(|&(name, value)| [self.string(name), value.cast_unsigned()])
            .collect();
        self.raw(
            name,
            u32::from(signed) << 31 | 6 << 24 | count(values),
            4,
            &tail,
        )
    }

    pub(crate) fn enum64(&mut self, name: &str, signed: bool, values: &[(&str, i64)]) -> u32 {
        let tail: Vec<u32> = values
            .iter()
            .flat_map(|&(name, value)| {
                let value = value.cast_unsigned();
                [self.string(name), value as u32, (value >> 32) as u32]
            })
            .collect();
        self.raw(
            name,
            u32::from(signed) << 31 | 19 << 24 | count(values),
            8,
            &tail,
        )
    }

    pub(crate) fn forward(&mut self, name: &str) -> u32 {
        self.raw(name, 7 << 24, 0, &[])
    }

    pub(crate) fn typedef(&mut self, name: &str, of: u32) -> u32 {
        self.raw(name, 8 << 24, of, &[])
    }

    pub(crate) fn volatile(&mut self, of: u32) -> u32 {
        self.raw("", 9 << 24, of, &[])
    }

    pub(crate) fn constant(&mut self, of: u32) -> u32 {
        self.raw("", 10 << 24, of, &[])
    }

    pub(crate) fn restrict(&mut self, of: u32) -> u32 {
        self.raw("", 11 << 24, of, &[])
    }

    pub(crate) fn prototype(&mut self, parameters: &[(&str, u32)]) -> u32 {
        let tail: Vec<u32> = parameters
            .iter()
            .flat_map(|&(name, id)| [self.string(name), id])
            .collect();
        self.raw("", 13 << 24 | count(parameters), 0, &tail)
    }

    pub(crate) fn function(&mut self, name: &str, parameters: &[(&str, u32)]) -> u32 {
        let prototype = self.prototype(parameters);
        self.raw(name, 12 << 24 | 1, prototype, &[])
    }

    pub(crate) fn tracepoint(&mut self, name: &str, parameters: &[(&str, u32)]) -> u32 {
        let prototype = self.prototype(parameters);
        let pointer = self.pointer(prototype);
        self.typedef(&format!("btf_trace_{name}"), pointer)
    }

    pub(crate) fn strings_len(&self) -> usize {
        self.strings.len()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let type_bytes = u32::try_from(4 * self.words.len()).unwrap();
        let string_bytes = u32::try_from(self.strings.len()).unwrap();
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [HEADER_BYTES as u32, 0, type_bytes, type_bytes, string_bytes] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.words.iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend(&self.strings);
        bytes
    }

    pub(crate) fn parse(&self) -> Btf {
        Btf::parse(&self.bytes()).unwrap()
    }
}

/// The offset word of a bit field in a structure with `kind_flag`.
pub(crate) const fn bits_at(width: u32, first_bit: u32) -> u32 {
    width << 24 | first_bit
}

fn count<T>(entries: &[T]) -> u32 {
    u32::try_from(entries.len()).unwrap()
}
