//! Writes a recording, frame by frame.

use super::{BYTE_ORDERS, FORMAT_VERSION, FrameType, MAGIC, RecordingError};
use crate::event::annotation::Annotation;
use crate::event::capture::CaptureFacts;
use crate::sink::totals::Totals;
use rstmon_common::wire::RawEvent;
use serde::Serialize;
use std::io::{BufWriter, Write};

/// A recording being written. Buffered: what was not flushed is lost if the process is killed.
#[derive(Debug)]
pub struct Writer<W: Write> {
    pub(super) out: BufWriter<W>,
    /// Kept between frames for its allocation.
    json: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a recording with the facts of its capture.
    pub fn new(out: W, facts: &CaptureFacts) -> Result<Self, RecordingError> {
        let mut writer = Self {
            out: BufWriter::with_capacity(64 << 10, out),
            json: Vec::new(),
        };
        writer.out.write_all(&MAGIC)?;
        writer.out.write_all(&FORMAT_VERSION.to_le_bytes())?;
        writer.out.write_all(&[BYTE_ORDERS[0], 0])?;
        writer.json_frame(FrameType::Facts, facts)?;
        Ok(writer)
    }

    /// Writes a raw record with what user space looked up for it.
    pub fn write_record(
        &mut self,
        raw: &RawEvent,
        annotation: &Annotation,
    ) -> Result<(), RecordingError> {
        if !annotation.is_empty() {
            self.json_frame(FrameType::Annotation, annotation)?;
        }
        self.frame(FrameType::Raw, bytemuck::bytes_of(raw))
    }

    /// Hands everything written so far to the operating system.
    pub fn flush(&mut self) -> Result<(), RecordingError> {
        Ok(self.out.flush()?)
    }

    /// Ends the recording with the totals of its capture. Without it a reader reports that the
    /// capture was killed.
    pub fn finish(mut self, totals: &Totals) -> Result<W, RecordingError> {
        self.json_frame(FrameType::End, totals)?;
        let inner = self.out.into_inner();
        Ok(inner.map_err(std::io::IntoInnerError::into_error)?)
    }

    pub(super) fn json_frame(
        &mut self,
        frame_type: FrameType,
        value: &impl Serialize,
    ) -> Result<(), RecordingError> {
        let mut json = std::mem::take(&mut self.json);
        json.clear();
        serde_json::to_writer(&mut json, value).map_err(|source| RecordingError::Encode {
            what: frame_type.name(),
            source,
        })?;
        let written = self.frame(frame_type, &json);
        self.json = json;
        written
    }

    fn frame(&mut self, frame_type: FrameType, payload: &[u8]) -> Result<(), RecordingError> {
        let length = u32::try_from(payload.len())
            .ok()
            .filter(|length| *length <= frame_type.longest())
            .ok_or(RecordingError::TooLong {
                what: frame_type.name(),
                length: payload.len(),
            })?;
        let length = length.to_le_bytes();
        let number = [frame_type.number()];
        let mut crc = crc32fast::Hasher::new();
        for part in [&length[..], &number[..], payload] {
            crc.update(part);
            self.out.write_all(part)?;
        }
        Ok(self.out.write_all(&crc.finalize().to_le_bytes())?)
    }
}
