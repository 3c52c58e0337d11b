//! Tests of the recording: round trips, damage, other versions.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

use super::{Reader, Record, RecordingError, Writer};
use crate::event::annotation::Annotation;
use crate::event::model::Process;
use crate::sink::samples;
use crate::sink::totals::Totals;
use bytemuck::Zeroable;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rstmon_common::wire::{self, RAW_EVENT_SIZE, RawEvent};

fn totals() -> Totals {
    Totals {
        seen: u64::MAX,
        lost: [("ring-full".into(), 3)].into(),
        ..Totals::default()
    }
}

fn write(records: &[Record]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &samples::facts()).unwrap();
    for record in records {
        writer
            .write_record(&record.raw, &record.annotation)
            .unwrap();
    }
    writer.finish(&totals()).unwrap()
}

/// Every record up to the end or the error, and which of the two it was.
fn read(bytes: &[u8]) -> (Vec<Record>, Result<Option<Totals>, RecordingError>) {
    let mut reader = match Reader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Err(error)),
    };
    let mut records = Vec::new();
    loop {
        match reader.next_record() {
            Ok(Some(record)) => records.push(record),
            Ok(None) => return (records, Ok(reader.totals().cloned())),
            Err(error) => {
                assert!(
                    matches!(reader.next_record(), Ok(None)),
                    "nothing follows an error"
                );
                return (records, Err(error));
            }
        }
    }
}

fn records(count: usize) -> Vec<Record> {
    (0..count)
        .map(|number| {
            let mut raw = RawEvent::zeroed();
            raw.abi = wire::ABI;
            raw.mono_ns = number as u64;
            let mut annotation = Annotation::default();
            if number % 2 == 1 {
                annotation.exe = Some(format!("/bin/{number}").into());
            }
            Record { raw, annotation }
        })
        .collect()
}

#[test]
fn facts_records_and_totals_come_back() {
    let bytes = write(&records(3));
    assert_eq!(Reader::new(&bytes[..]).unwrap().facts(), &samples::facts());
    let (read, end) = read(&bytes);
    assert_eq!(read, records(3));
    assert_eq!(end.unwrap(), Some(totals()));
}

#[test]
fn a_killed_capture_is_told_from_a_damaged_file() {
    let mut writer = Writer::new(Vec::new(), &samples::facts()).unwrap();
    for record in records(3) {
        writer
            .write_record(&record.raw, &record.annotation)
            .unwrap();
    }
    writer.flush().unwrap();
    let bytes = writer.out.get_ref().clone();
    let (killed, end) = read(&bytes);
    assert_eq!(killed, records(3));
    assert!(matches!(
        end,
        Err(RecordingError::Unfinished { records: 3 })
    ));

    let (cut, end) = read(&bytes[..bytes.len() - 1]);
    assert_eq!(cut, records(2));
    assert!(matches!(
        end,
        Err(RecordingError::Truncated { records: 2, .. })
    ));
}

#[test]
fn another_file_is_refused() {
    for bytes in [
        &b""[..],
        b"R",
        b"{\"schema\":\"rstmon.start/1\"}\n",
        &[0xff; 4096],
    ] {
        let (_, end) = read(bytes);
        let refused = match bytes {
            b"R" => matches!(end, Err(RecordingError::Truncated { .. })),
            _ => matches!(end, Err(RecordingError::NotARecording)),
        };
        assert!(refused, "{bytes:?}: {end:?}");
    }
}

#[test]
fn other_versions_are_refused_by_name() {
    let bytes = write(&records(1));
    let altered = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        read(&bytes).1.unwrap_err().to_string()
    };
    assert!(altered(8, 9).contains("format 9"), "{}", altered(8, 9));
    assert!(altered(10, b'b').contains("other byte order"));
    assert!(altered(10, b'x').contains("damaged at byte 0"));
    assert!(altered(11, 1).contains("damaged at byte 0"));

    let mut facts = samples::facts();
    facts.abi = wire::ABI + 1;
    facts.version = "9.9.9".into();
    let newer = Writer::new(Vec::new(), &facts)
        .unwrap()
        .finish(&totals())
        .unwrap();
    let error = read(&newer).1.unwrap_err().to_string();
    assert!(
        error.contains("ABI 2") && error.contains("rstmon 9.9.9"),
        "{error}"
    );
}

#[test]
fn damage_is_placed() {
    let bytes = write(&records(3));
    let frame = RAW_EVENT_SIZE + 9;
    // The last raw frame stands before the frame of totals.
    let totals_frame = serde_json::to_vec(&totals()).unwrap().len() + 9;
    let start = bytes.len() - totals_frame - frame;
    let mut flipped = bytes.clone();
    flipped[start + 100] ^= 1;
    let (read_before, end) = read(&flipped);
    assert_eq!(read_before, records(2));
    let error = end.unwrap_err().to_string();
    assert!(error.contains(&format!("at byte {start}")), "{error}");
    assert!(
        error.contains("checksum") && error.contains("2 records"),
        "{error}"
    );
}

#[test]
fn what_follows_the_end_is_damage() {
    let mut bytes = write(&records(1));
    bytes.push(0);
    let (read, end) = read(&bytes);
    assert_eq!(read, records(1));
    assert!(
        matches!(end, Err(RecordingError::Corrupt { .. })),
        "{end:?}"
    );
}

#[test]
fn a_promised_length_is_not_allocated() {
    let mut bytes = Writer::new(Vec::new(), &samples::facts())
        .unwrap()
        .out
        .into_inner()
        .unwrap();
    let before = bytes.len();
    bytes.extend_from_slice(&u32::MAX.to_le_bytes());
    bytes.push(2);
    assert!(matches!(
        read(&bytes).1,
        Err(RecordingError::Corrupt { .. })
    ));
    // A length within the limit, of which nothing is there.
    bytes.truncate(before);
    bytes.extend_from_slice(&(256u32 << 10).to_le_bytes());
    bytes.push(3);
    let mut reader = Reader::new(&bytes[..]).unwrap();
    assert!(matches!(
        reader.next_record(),
        Err(RecordingError::Truncated { .. })
    ));
}

#[test]
fn frames_in_the_wrong_order_are_damage() {
    let mut writer = Writer::new(Vec::new(), &samples::facts()).unwrap();
    let annotation = Annotation {
        exe: Some("/a".into()),
        ..Annotation::default()
    };
    for _ in 0..2 {
        writer
            .json_frame(super::FrameType::Annotation, &annotation)
            .unwrap();
    }
    let end = read(&writer.finish(&totals()).unwrap()).1;
    assert!(
        matches!(end, Err(RecordingError::Corrupt { .. })),
        "{end:?}"
    );
}

#[test]
fn a_full_disk_is_reported() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut writer = Writer::new(Full, &samples::facts()).unwrap();
    assert!(matches!(writer.flush(), Err(RecordingError::Write { .. })));
}

fn any_record() -> impl Strategy<Value = Record> {
    let text = || option::of("\\PC{0,12}");
    let process = || {
        option::of(
            (any::<u32>(), "\\PC{0,12}").prop_map(|(pid, comm)| Process {
                pid,
                comm: comm.into(),
            }),
        )
    };
    let annotation = (process(), text(), text(), any::<bool>(), process()).prop_map(
        |(owner, exe, cgroup, has_workload, actor)| Annotation {
            owner,
            exe: exe.map(Into::into),
            cgroup: cgroup.map(Into::into),
            workload: has_workload.then(|| samples::workload().into()),
            actor,
            clock_step_ns: if has_workload { -1_000_000_001 } else { 0 },
        },
    );
    (vec(any::<u8>(), RAW_EVENT_SIZE), annotation).prop_map(|(bytes, annotation)| {
        let mut raw: RawEvent = bytemuck::pod_read_unaligned(&bytes);
        raw.abi = wire::ABI;
        Record { raw, annotation }
    })
}

proptest! {
    #[test]
    fn any_records_come_back(records in vec(any_record(), 0..8)) {
        let (read, end) = read(&write(&records));
        prop_assert_eq!(read, records);
        prop_assert_eq!(end.unwrap(), Some(totals()));
    }

    #[test]
    fn a_cut_file_gives_its_beginning(
        records in vec(any_record(), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = write(&records);
        let (read, end) = read(&bytes[..cut.index(bytes.len())]);
        prop_assert!(records.starts_with(&read));
        prop_assert!(end.is_err());
    }

    #[test]
    fn a_changed_byte_is_found(
        records in vec(any_record(), 0..6),
        at in any::<prop::sample::Index>(),
        change in 1u8..,
    ) {
        let mut bytes = write(&records);
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        let (read, end) = read(&bytes);
        prop_assert!(records.starts_with(&read));
        prop_assert!(end.is_err());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..600), valid_head: bool) {
        let mut file = if valid_head {
            Writer::new(Vec::new(), &samples::facts()).unwrap().out.into_inner().unwrap()
        } else {
            super::MAGIC.to_vec()
        };
        file.extend(bytes);
        let (_, end) = read(&file);
        prop_assert!(end.is_err());
    }
}
