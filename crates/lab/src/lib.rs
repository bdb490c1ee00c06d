//! The test laboratory: real parts put together on one machine and taken away by their owner.
//!
//! Tests, `cargo xtask demo` and `cargo xtask bench` build their little worlds from the pieces here: Debian packages
//! ([`package`]), network namespaces and the wires between them ([`Namespace`], [`network`]), processes in them
//! ([`Program`], [`Process`]), disks that work and disks that fail ([`disk`]), whole machines ([`guest`]), and a mirrored pair
//! of our own with everything around it ([`pair`]).
//!
//! One rule holds for all of it: nothing outlives its owner, however the owner ends. Namespaces, taps, loop devices and
//! memory file systems are held by open descriptors and vanish with the last one; processes die with the thread that
//! started them (so keep that thread alive); directories are locked while in use and swept away by the next run.
//!
//! It never touches the interfaces of the host, and it decides nothing about what is tested.
#![allow(
    clippy::disallowed_methods,
    reason = "the laboratory is a shell: it waits for the real world, by the real clock"
)]

pub mod disk;
mod error;
mod frame_socket;
pub mod guest;
mod namespace;
pub mod network;
pub mod package;
pub mod pair;
mod process;
mod scratch;
mod sys;
mod wait;

pub use error::Error;
pub use frame_socket::FrameSocket;
pub use namespace::Namespace;
pub use process::{Output, Process, Program, Signal};
pub use scratch::{Scratch, cache_directory, target_directory, workspace_directory};
pub use wait::wait_until;
