//! [`fuzz::admin_socket`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::admin_socket(data));
