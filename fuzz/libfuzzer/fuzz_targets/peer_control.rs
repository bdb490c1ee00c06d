//! [`fuzz::peer_control`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::peer_control(data));
