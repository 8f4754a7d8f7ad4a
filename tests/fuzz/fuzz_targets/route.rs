//! libFuzzer's door to `targets::route`.
#![no_main]

#[path = "../src/targets.rs"]
#[expect(dead_code, reason = "each target uses its own function")]
mod targets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| targets::route(input));
