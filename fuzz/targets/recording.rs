//! The recording reader on damaged files: it ends, with every record before the damage.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rstmon::sink::recording::Reader;

/// Magic, version, byte order.
const HEADER_LEN: usize = 12;
/// Length and type of a frame.
const FRAME_HEAD_LEN: usize = 5;
const CRC_LEN: usize = 4;

fuzz_target!(|bytes: &[u8]| {
    read_all(bytes);
    // Damage that the checksum would find ends the reading early; behind it lies the rest.
    read_all(&with_right_checksums(bytes));
});

fn read_all(bytes: &[u8]) {
    let Ok(mut reader) = Reader::new(bytes) else {
        return;
    };
    let mut records = 0;
    while let Ok(Some(_)) = reader.next_record() {
        records += 1;
    }
    // A raw record takes its own size at least.
    assert!(records <= bytes.len() / rstmon_common::wire::RAW_EVENT_SIZE);
}

/// The same frames, each with the checksum that its bytes have.
fn with_right_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut file = bytes.to_vec();
    let mut start = HEADER_LEN;
    while let Some(length) = file.get(start..start + 4) {
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
        let end = start + FRAME_HEAD_LEN + length as usize;
        let Some(checked) = file.get(start..end) else {
            break;
        };
        let crc = crc32fast::hash(checked).to_le_bytes();
        let Some(place) = file.get_mut(end..end + CRC_LEN) else {
            break;
        };
        place.copy_from_slice(&crc);
        start = end + CRC_LEN;
    }
    file
}
