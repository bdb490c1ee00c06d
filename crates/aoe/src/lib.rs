//! The ATA over Ethernet protocol without I/O: wire format, target and initiator.
//!
//! Read in this order: [`Address`], [`limits`], [`wire`] (what the bytes mean), [`ata`] (what a disk is asked),
//! [`target`] (what it answers), [`initiator`] (who asks).
//! Nothing here reads a clock, owns a socket or sees the bytes of a disk; frames come in as slices.
#![forbid(unsafe_code)]

pub mod ata;
pub mod initiator;
pub mod limits;
pub mod target;
pub mod wire;

mod address;
mod digest;
mod mac;

pub use address::{Address, AddressError, AddressPattern, Shelf, Slot};
pub use digest::Digest;
pub use mac::{MacAddress, MacAddressError};
pub use wire::header::{AoeError, Command, Tag};
pub use wire::{Frame, Head, WireError};
