//! Reads a recording, also a damaged one, up to the damage.

use super::{
    BYTE_ORDERS, CRC_LEN, FORMAT_VERSION, FRAME_HEAD_LEN, FrameType, HEADER_LEN, MAGIC,
    RecordingError,
};
use crate::event::annotation::Annotation;
use crate::event::capture::CaptureFacts;
use crate::sink::totals::Totals;
use rstmon_common::wire::{self, RawEvent};
use serde::de::DeserializeOwned;
use std::io::{BufReader, Read};

/// One reset as it was captured.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// What the kernel side wrote.
    pub raw: RawEvent,
    /// What user space had looked up.
    pub annotation: Annotation,
}

/// A recording being read.
#[derive(Debug)]
pub struct Reader<R: Read> {
    input: BufReader<R>,
    facts: CaptureFacts,
    totals: Option<Totals>,
    /// Bytes read.
    offset: u64,
    records: u64,
    /// Nothing comes any more: the end was read, or an error was given.
    done: bool,
    payload: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Reads the header and the facts; refuses what this program would misread.
    pub fn new(input: R) -> Result<Self, RecordingError> {
        let mut reader = Self {
            input: BufReader::with_capacity(64 << 10, input),
            facts: CaptureFacts::default(),
            totals: None,
            offset: 0,
            records: 0,
            done: false,
            payload: Vec::new(),
        };
        reader.read_header()?;
        reader.facts = reader.read_facts()?;
        Ok(reader)
    }

    /// Facts of the capture.
    pub fn facts(&self) -> &CaptureFacts {
        &self.facts
    }

    /// Totals of the capture: known once [`Self::next_record`] gave `None`.
    pub fn totals(&self) -> Option<&Totals> {
        self.totals.as_ref()
    }

    /// The next record; `None` at the end. After an error only `None` follows.
    pub fn next_record(&mut self) -> Result<Option<Record>, RecordingError> {
        if self.done {
            return Ok(None);
        }
        let record = self.read_record();
        match &record {
            Ok(Some(_)) => self.records += 1,
            Ok(None) | Err(_) => self.done = true,
        }
        record
    }

    fn read_record(&mut self) -> Result<Option<Record>, RecordingError> {
        let mut annotation = None;
        loop {
            let start = self.offset;
            let Some(frame_type) = self.read_frame()? else {
                return Err(RecordingError::Unfinished {
                    records: self.records,
                });
            };
            match frame_type {
                FrameType::Raw => {
                    let raw = self.parse_raw(start)?;
                    let annotation = annotation.unwrap_or_default();
                    return Ok(Some(Record { raw, annotation }));
                }
                FrameType::Annotation if annotation.is_none() => {
                    annotation = Some(self.parse_json(start, frame_type)?);
                }
                FrameType::End if annotation.is_none() => {
                    self.totals = Some(self.parse_json(start, frame_type)?);
                    return self.expect_end_of_file().map(|()| None);
                }
                _ => {
                    let what = format!("unexpected {} here", frame_type.name());
                    return Err(self.corrupt(start, what));
                }
            }
        }
    }

    fn read_header(&mut self) -> Result<(), RecordingError> {
        let mut header = [0; HEADER_LEN];
        let length = self.read_up_to(&mut header)?;
        let magic_read = length.min(MAGIC.len());
        if header.get(..magic_read) != MAGIC.get(..magic_read) || length == 0 {
            return Err(RecordingError::NotARecording);
        }
        if length < HEADER_LEN {
            return Err(self.truncated());
        }
        let [.., low, high, byte_order, zero] = header;
        let found = u16::from_le_bytes([low, high]);
        if found != FORMAT_VERSION {
            return Err(RecordingError::OtherFormat { found });
        }
        let [ours, other] = BYTE_ORDERS;
        match (byte_order, zero) {
            (order, 0) if order == ours => Ok(()),
            (order, 0) if order == other => Err(RecordingError::OtherByteOrder),
            _ => Err(self.corrupt(0, "its header is not valid".into())),
        }
    }

    fn read_facts(&mut self) -> Result<CaptureFacts, RecordingError> {
        let start = self.offset;
        match self.read_frame()? {
            Some(FrameType::Facts) => {}
            Some(_) => {
                return Err(self.corrupt(start, "the facts of the capture are missing".into()));
            }
            None => return Err(self.truncated()),
        }
        let facts: CaptureFacts = self.parse_json(start, FrameType::Facts)?;
        if facts.abi != wire::ABI {
            return Err(RecordingError::OtherAbi {
                found: facts.abi,
                version: facts.version,
            });
        }
        Ok(facts)
    }

    /// Reads a frame into `payload`; `None` if the file ends here.
    fn read_frame(&mut self) -> Result<Option<FrameType>, RecordingError> {
        let start = self.offset;
        let mut head = [0; FRAME_HEAD_LEN];
        match self.read_up_to(&mut head)? {
            0 => return Ok(None),
            FRAME_HEAD_LEN => {}
            _ => return Err(self.truncated()),
        }
        let [l0, l1, l2, l3, number] = head;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let Some(frame_type) = FrameType::from_number(number) else {
            return Err(self.corrupt(start, format!("unknown frame type {number}")));
        };
        if length > frame_type.longest() {
            let what = format!("a {} of {length} bytes", frame_type.name());
            return Err(self.corrupt(start, what));
        }
        self.read_payload(length)?;
        let mut stored = [0; CRC_LEN];
        if self.read_up_to(&mut stored)? < CRC_LEN {
            return Err(self.truncated());
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(&head);
        crc.update(&self.payload);
        if crc.finalize() != u32::from_le_bytes(stored) {
            return Err(self.corrupt(start, "its checksum is wrong".into()));
        }
        Ok(Some(frame_type))
    }

    /// Grows the buffer with what arrives, not with what the length promises.
    fn read_payload(&mut self, length: u32) -> Result<(), RecordingError> {
        self.payload.clear();
        let mut limited = (&mut self.input).take(u64::from(length));
        let read = limited.read_to_end(&mut self.payload);
        self.offset += self.payload.len() as u64;
        read.map_err(|source| RecordingError::Read {
            offset: self.offset,
            source,
        })?;
        if self.payload.len() < length as usize {
            return Err(self.truncated());
        }
        Ok(())
    }

    fn parse_raw(&self, start: u64) -> Result<RawEvent, RecordingError> {
        let raw: RawEvent = bytemuck::try_pod_read_unaligned(&self.payload).map_err(|_| {
            self.corrupt(
                start,
                format!("a raw record of {} bytes", self.payload.len()),
            )
        })?;
        if raw.abi != wire::ABI {
            return Err(self.corrupt(start, format!("a raw record of ABI {}", raw.abi)));
        }
        Ok(raw)
    }

    fn parse_json<T: DeserializeOwned>(
        &self,
        start: u64,
        frame_type: FrameType,
    ) -> Result<T, RecordingError> {
        serde_json::from_slice(&self.payload).map_err(|error| {
            self.corrupt(
                start,
                format!("the {} cannot be read: {error}", frame_type.name()),
            )
        })
    }

    fn expect_end_of_file(&mut self) -> Result<(), RecordingError> {
        let end = self.offset;
        match self.read_up_to(&mut [0])? {
            0 => Ok(()),
            _ => Err(self.corrupt(end, "there is more after the recording's end".into())),
        }
    }

    /// Fills the buffer as far as the file goes.
    fn read_up_to(&mut self, buffer: &mut [u8]) -> Result<usize, RecordingError> {
        let mut length = 0;
        while let Some(free) = buffer.get_mut(length..).filter(|free| !free.is_empty()) {
            match self.input.read(free) {
                Ok(0) => break,
                Ok(read) => {
                    length += read;
                    self.offset += read as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(RecordingError::Read {
                        offset: self.offset,
                        source,
                    });
                }
            }
        }
        Ok(length)
    }

    fn truncated(&self) -> RecordingError {
        RecordingError::Truncated {
            offset: self.offset,
            records: self.records,
        }
    }

    fn corrupt(&self, offset: u64, what: String) -> RecordingError {
        RecordingError::Corrupt {
            offset,
            what,
            records: self.records,
        }
    }
}
