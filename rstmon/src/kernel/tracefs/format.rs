//! The `format` file of a tracepoint: where its record keeps each field.
//!
//! The form is that of the kernel's `f_show` (`kernel/trace/trace_events.c`). Only the lines `name:`,
//! `ID:` and `field:` are read.

use rstmon_common::classic::{RECORD_FIELDS, RecordLayout};
use rstmon_common::layout::ABSENT;
use thiserror::Error;

/// Size of `struct sockaddr_in6`, which newer records hold in place of addresses and ports.
const SOCKADDR_IN6_SIZE: u16 = 28;
/// `sin_port` and `sin6_port`, network order.
const SOCKADDR_PORT: u16 = 2;
/// `sin_addr`.
const SOCKADDR_V4: u16 = 4;
/// `sin6_addr`.
const SOCKADDR_V6: u16 = 8;

/// Why a text is not the format of a tracepoint.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FormatError {
    /// A line that should be there is not.
    #[error("the format has no line `{0}`")]
    NoLine(&'static str),
    /// A `field:` line that cannot be read.
    #[error("line {line} of the format cannot be read: {text}")]
    BadLine {
        /// Number of the line, from 1 up.
        line: usize,
        /// The line.
        text: String,
    },
}

/// One field of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMember {
    /// Name, without its type and array bounds.
    pub name: String,
    /// Bytes from the record's beginning.
    pub offset: u16,
    /// Size in bytes.
    pub size: u16,
}

/// A tracepoint's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracepointFormat {
    /// Name of the tracepoint.
    pub name: String,
    /// The number by which `perf_event_open` knows it.
    pub id: u32,
    /// The fields, in the order of the file.
    pub members: Vec<RecordMember>,
}

impl TracepointFormat {
    /// Reads a `format` file.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let mut name = None;
        let mut id = None;
        let mut members = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let bad_line = || FormatError::BadLine {
                line: index + 1,
                text: line.trim().to_owned(),
            };
            if let Some(rest) = line.strip_prefix("name:") {
                name = Some(rest.trim().to_owned());
            } else if let Some(rest) = line.strip_prefix("ID:") {
                id = Some(rest.trim().parse().map_err(|_| bad_line())?);
            } else if let Some(rest) = line.trim_start().strip_prefix("field:") {
                members.push(parse_member(rest).ok_or_else(bad_line)?);
            }
        }
        if members.is_empty() {
            return Err(FormatError::NoLine("field:"));
        }
        Ok(Self {
            name: name.ok_or(FormatError::NoLine("name:"))?,
            id: id.ok_or(FormatError::NoLine("ID:"))?,
            members,
        })
    }

    /// A field by its name.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&RecordMember> {
        self.members.iter().find(|member| member.name == name)
    }

    /// Offsets for the programs. A field of another width than they read is absent.
    #[must_use]
    pub fn resolve_record(&self) -> RecordLayout {
        let mut record = RecordLayout::NONE;
        for field in RECORD_FIELDS {
            *(field.slot)(&mut record) = self
                .member(field.name)
                .filter(|member| member.size == field.size)
                .map_or(ABSENT, |member| member.offset);
        }
        self.resolve_sockaddrs(&mut record);
        record
    }

    /// Points the members into the socket addresses, where the record has those: the local one in
    /// `saddr`, the remote one in `daddr`.
    fn resolve_sockaddrs(&self, record: &mut RecordLayout) {
        let sockaddr = |name| {
            self.member(name)
                .filter(|member| member.size == SOCKADDR_IN6_SIZE)
                .map(|member| member.offset)
        };
        let (Some(local), Some(remote)) = (sockaddr("saddr"), sockaddr("daddr")) else {
            return;
        };
        record.family = local;
        record.sport = local + SOCKADDR_PORT;
        record.dport = remote + SOCKADDR_PORT;
        record.saddr = local + SOCKADDR_V4;
        record.daddr = remote + SOCKADDR_V4;
        record.saddr_v6 = local + SOCKADDR_V6;
        record.daddr_v6 = remote + SOCKADDR_V6;
        record.ports_are_network_order = 1;
    }
}

/// Reads `TYPE NAME[BOUNDS];\toffset:N;\tsize:N;\tsigned:N;`. `None`: not of that form, or the
/// field does not end before [`ABSENT`].
fn parse_member(text: &str) -> Option<RecordMember> {
    let mut parts = text.split(';').map(str::trim);
    let declaration = parts.next()?;
    // The bounds of an array stand after the name, those of `__data_loc char[] name` before it.
    let declared = if declaration.ends_with(']') {
        declaration.rsplit_once('[')?.0
    } else {
        declaration
    };
    let name = declared.rsplit([' ', '*', '\t']).next()?;
    let mut offset = None;
    let mut size = None;
    for part in parts {
        if let Some(number) = part.strip_prefix("offset:") {
            offset = number.trim().parse::<u16>().ok();
        } else if let Some(number) = part.strip_prefix("size:") {
            size = number.trim().parse::<u16>().ok();
        }
    }
    let (offset, size) = (offset?, size?);
    offset.checked_add(size).filter(|&end| end < ABSENT)?;
    (!name.is_empty()).then(|| RecordMember {
        name: name.to_owned(),
        offset,
        size,
    })
}

#[cfg(test)]
mod tests;
