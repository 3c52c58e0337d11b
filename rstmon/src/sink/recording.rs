//! Recordings: raw records of a capture with all that is needed to read them elsewhere.
//!
//! Written by `trace -w`, read by `trace -r` and by tests, which replay through the same decoder
//! and rules as a live capture.
//!
//! ```text
//! file   = "RSTMONRC" version:u16 byte-order:u8 0:u8 facts { [annotation] raw } end
//! frame  = length:u32 type:u8 payload crc:u32
//! ```
//!
//! The frame's numbers are little-endian. `length` is that of the payload; `crc` is the CRC-32 of
//! length, type and payload. Facts, annotations and totals are JSON, so fields can be added;
//! a raw record is `wire::RawEvent` as the kernel side wrote it, in the byte order of its host
//! (`l` or `b`). An annotation belongs to the raw record after it.
//!
//! What always holds: a reader gives every record before the damage of a damaged file, then says
//! what and where it is, and never allocates more than the file holds.

mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub use reader::{Reader, Record};
pub use writer::Writer;

use std::io;

/// First bytes of a recording.
pub const MAGIC: [u8; 8] = *b"RSTMONRC";
/// Version of the frames. Raise it when a reader of the old one would misread the new.
pub const FORMAT_VERSION: u16 = 1;

const HEADER_LEN: usize = 12;
/// Length and type.
const FRAME_HEAD_LEN: usize = 5;
const CRC_LEN: usize = 4;

/// Byte order of this machine's raw records, and the other one.
const BYTE_ORDERS: [u8; 2] = if cfg!(target_endian = "little") {
    *b"lb"
} else {
    *b"bl"
};

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FrameType {
    Facts,
    Raw,
    Annotation,
    End,
}

impl FrameType {
    const ALL: [Self; 4] = [Self::Facts, Self::Raw, Self::Annotation, Self::End];

    const fn number(self) -> u8 {
        match self {
            Self::Facts => 1,
            Self::Raw => 2,
            Self::Annotation => 3,
            Self::End => 4,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|frame_type| frame_type.number() == number)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Facts => "facts of the capture",
            Self::Raw => "raw record",
            Self::Annotation => "annotation",
            Self::End => "totals",
        }
    }

    /// Longest payload that is written and read. Generous: it only bounds what a damaged length
    /// can ask for.
    const fn longest(self) -> u32 {
        match self {
            Self::Facts => 8 << 20,
            Self::Raw => rstmon_common::wire::RAW_EVENT_SIZE as u32,
            Self::Annotation => 256 << 10,
            Self::End => 1 << 20,
        }
    }
}

/// Why a recording could not be written or read (on). Says nothing of the file, which whoever opened
/// it names: "cannot read the recording FILE: ...".
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// Another kind of file.
    #[error(
        "this is no rstmon recording: it does not begin with RSTMONRC; give a file that was \
         written with `rstmon trace -w`"
    )]
    NotARecording,
    /// The frames are of a version that this program does not know.
    #[error(
        "the recording has format {found}, and this rstmon reads format {FORMAT_VERSION}: read it \
         with the version of rstmon that wrote it"
    )]
    OtherFormat {
        /// The file's version.
        found: u16,
    },
    /// The raw records are of a version that this program does not know.
    #[error(
        "the records have ABI {found}, written by rstmon {version}, and this rstmon reads ABI \
         {expected}: read the recording with rstmon {version}",
        expected = rstmon_common::wire::ABI
    )]
    OtherAbi {
        /// The recording's ABI.
        found: u16,
        /// Version of the rstmon that wrote it.
        version: String,
    },
    /// Written on a machine whose integers are the other way round.
    #[error(
        "the recording was written on a machine of the other byte order: read it on such a machine"
    )]
    OtherByteOrder,
    /// The file ends within a frame.
    #[error(
        "the recording is cut off: it ends at byte {offset} in the middle of a frame; the {records} \
         records before it were read. Was the disk full, or the file still being written or copied?"
    )]
    Truncated {
        /// Length of the file.
        offset: u64,
        /// Records read before.
        records: u64,
    },
    /// The file is whole up to here, and its last frame is missing.
    #[error(
        "the recording has no end: its capture was killed or still runs; all {records} records that \
         it holds were read, its totals are not known"
    )]
    Unfinished {
        /// Records read.
        records: u64,
    },
    /// A frame is not what was written.
    #[error(
        "the recording is damaged at byte {offset}: {what}; the {records} records before it were \
         read. Copy the file again from where it was recorded"
    )]
    Corrupt {
        /// Where the damaged frame begins.
        offset: u64,
        /// What is wrong with it.
        what: String,
        /// Records read before.
        records: u64,
    },
    /// The operating system could not read.
    #[error("byte {offset}: {source}")]
    Read {
        /// Where.
        offset: u64,
        /// Its error.
        source: io::Error,
    },
    /// The operating system could not write.
    #[error("{source}; is there space left on the disk?")]
    Write {
        /// Its error.
        #[from]
        source: io::Error,
    },
    /// Facts that do not fit into a frame.
    #[error("cannot record the {what}: {length} bytes are more than a frame may hold")]
    TooLong {
        /// Which facts.
        what: &'static str,
        /// Their length.
        length: usize,
    },
    /// Facts that cannot be written as JSON.
    #[error("cannot record the {what}: {source}")]
    Encode {
        /// Which facts.
        what: &'static str,
        /// Why not.
        source: serde_json::Error,
    },
}
