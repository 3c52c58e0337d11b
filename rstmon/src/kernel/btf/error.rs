//! What can be wrong with BTF, and with a question to it, in words for the user.
//!
//! Offsets in [`BtfError`] count from the first byte of the BTF header, which in an ELF file is the
//! beginning of its section `.BTF`.

use thiserror::Error;

/// Why bytes are not the BTF of a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BtfError {
    /// The bytes end before the thing that should stand there.
    #[error(
        "BTF is cut short: {what} needs {need} bytes at byte {offset}, but only {have} bytes are \
         there in all; copy the file again"
    )]
    Truncated {
        /// What was to be read.
        what: &'static str,
        /// Where it begins.
        offset: u64,
        /// Its length in bytes.
        need: u64,
        /// How many bytes the BTF has.
        have: u64,
    },
    /// The first two bytes are not BTF's.
    #[error(
        "not BTF: it begins with {found:#06x} instead of 0xeb9f at byte 0; give \
         /sys/kernel/btf/vmlinux or a vmlinux file with a section .BTF"
    )]
    BadMagic {
        /// The first two bytes, read as little-endian.
        found: u16,
    },
    /// BTF of a big-endian machine.
    #[error(
        "this BTF is big-endian (byte 0); rstmon runs on little-endian machines only: give the BTF \
         of the kernel that runs here"
    )]
    BigEndian,
    /// A version that is not 1.
    #[error("BTF version {found} at byte 2 is not known (only 1 is); a newer rstmon may read it")]
    BadVersion {
        /// The version found.
        found: u8,
    },
    /// The header contradicts itself.
    #[error("the BTF header is damaged at byte {offset}: {why}; copy the file again")]
    BadHeader {
        /// Byte of the header field.
        offset: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A kind that this reader does not know, or none.
    #[error(
        "type {id} at byte {offset} has the unknown kind {kind}: the BTF is damaged or newer than \
         this rstmon"
    )]
    BadKind {
        /// Number of the type.
        id: u32,
        /// Where it begins.
        offset: u64,
        /// The kind found.
        kind: u32,
    },
    /// The string section is not a list of zero-terminated UTF-8 strings.
    #[error("the strings of the BTF are damaged at byte {offset}: {why}; copy the file again")]
    BadStrings {
        /// Where.
        offset: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// Numbers of types or strings refer to another BTF.
    #[error(
        "split BTF (of a kernel module) or damaged: {what} at byte {offset} is {found}, past the \
         {limit} that are here; give the base file, /sys/kernel/btf/vmlinux or the kernel's vmlinux"
    )]
    Split {
        /// The reference that leads outside.
        what: &'static str,
        /// Where it stands.
        offset: u64,
        /// The number found.
        found: u32,
        /// The first number that would be outside.
        limit: u32,
    },
    /// The string section begins as only that of split BTF does.
    #[error(
        "split BTF (of a kernel module): its strings at byte {offset} continue those of a base; \
         give the base file, /sys/kernel/btf/vmlinux or the kernel's vmlinux"
    )]
    SplitStrings {
        /// Where the strings begin.
        offset: u64,
    },
    /// An ELF file that cannot be read.
    #[error("the ELF file cannot be read: {why}; give a vmlinux that was not damaged")]
    BadElf {
        /// What the ELF reader says.
        why: String,
    },
    /// An ELF file without BTF.
    #[error(
        "the ELF file has no section .BTF; give a vmlinux built with CONFIG_DEBUG_INFO_BTF=y, or \
         add the section with `pahole -J`"
    )]
    NoElfSection,
}

/// Why a member of a structure could not be found.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LookupError {
    /// No structure or union of that name has members.
    #[error("the kernel has no struct {structure}")]
    NoStructure {
        /// Name asked for.
        structure: String,
    },
    /// The structure is there, the member is not.
    #[error("struct {structure} has no member {member} (of {path})")]
    NoMember {
        /// Name of the structure that was asked for.
        structure: String,
        /// The part of the path that was not found.
        member: String,
        /// The whole path.
        path: String,
    },
    /// Part of the path is a pointer, an integer or the like, which has no members.
    #[error("{member} in struct {structure} has no members of its own (of {path})")]
    NotAStructure {
        /// Name of the structure that was asked for.
        structure: String,
        /// The part of the path that has no members.
        member: String,
        /// The whole path.
        path: String,
    },
    /// The member's type has no size: a function, a void or a forward declaration.
    #[error("{path} in struct {structure} has no size")]
    NoSize {
        /// Name of the structure that was asked for.
        structure: String,
        /// The whole path.
        path: String,
    },
    /// The types refer to each other in a circle, or are nested or sized beyond anything a kernel has.
    #[error("the types of {path} in struct {structure} go in a circle or are beyond all measure")]
    TooDeep {
        /// Name of the structure that was asked for.
        structure: String,
        /// The whole path.
        path: String,
    },
}
