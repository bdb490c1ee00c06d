//! The kernel: packet sockets, rings, io_uring, clock; the only unsafe code.
//!
//! What lies outside `sys` is safe Rust; every system call and every pointer is in `sys`, each with its reason.
#![deny(unsafe_code)]
// This is a shell: it may read the clock, start threads and sleep.
#![allow(clippy::disallowed_methods)]

mod buffer_pool;
pub mod clock;
pub mod cpu;
pub mod disk;
mod disk_engine;
pub mod file;
pub mod frame_port;
pub mod initiator_ports;
mod interface;
pub mod link_monitor;
pub mod metadata_file;
pub mod open_files;
mod page_cache;
pub mod pcap;
pub mod peer_link;
pub mod shard;
#[allow(unsafe_code)]
mod sys;

pub use disk_engine::EngineKind;
pub use interface::{Interface, InterfaceError};
pub use sys::large_pages::LargePageAllocator;
