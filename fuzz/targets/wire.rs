//! Records that no hook wrote, through the whole path of an event: parse, decode, diagnose, print.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rstmon::diagnose::Engine;
use rstmon::event::capture::CaptureFacts;
use rstmon::event::decode::{decode, parse_raw_event};
use rstmon_common::wire::{ABI, RAW_EVENT_SIZE};

fuzz_target!(|bytes: &[u8]| {
    let _ = parse_raw_event(bytes);
    let facts = CaptureFacts { hz: Some(250), ..CaptureFacts::default() };
    let mut engine = Engine::new();
    // Several records, so that the memory of the engine is reached too; each made to pass the
    // first check, which would otherwise eat nearly all of them.
    for (index, chunk) in bytes.chunks(RAW_EVENT_SIZE).enumerate() {
        let mut record = [0; RAW_EVENT_SIZE];
        record[..chunk.len()].copy_from_slice(chunk);
        record[..2].copy_from_slice(&ABI.to_ne_bytes());
        let Ok(raw) = parse_raw_event(&record) else { continue };
        let Ok(mut event) = decode(&raw, index as u64 + 1, &facts) else { continue };
        engine.diagnose(&mut event);
    }
});
