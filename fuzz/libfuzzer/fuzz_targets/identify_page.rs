//! [`fuzz::identify_page`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::identify_page(data));
