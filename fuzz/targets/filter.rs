//! The filter language on text that nobody would type: it parses or says where it does not.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = rstmon::filter::Filter::parse(text);
});
