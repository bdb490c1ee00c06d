//! Bodies of the fuzz targets: each takes arbitrary bytes and panics if a promise is broken.
//!
//! The same bodies run as property tests (`tests/`, part of the test command, on the stable toolchain) and under
//! libFuzzer (`libfuzzer/`, on nightly, for as long as one likes). `README.md` says how.

mod admin_socket;
mod peer;
mod peer_control;
mod target;
mod wire;
mod witness;

pub use admin_socket::admin_socket;
pub use peer::{peer_body, peer_preamble, peer_stream};
pub use peer_control::peer_control;
pub use target::{OURS, target_frames};
pub use wire::{identify_page, text, wire_frame};
pub use witness::witness_stream;
