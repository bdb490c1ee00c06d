//! Keeping two copies of a volume equal, without I/O.
//!
//! Two nodes hold the same volume and both serve it. This crate decides; others send, read and write. What is here so
//! far are the parts that stand on their own; the engine that will drive them is not.
//!
//! - [`membership`]: who serves since which epoch, and what may follow what.
//! - [`activity_log`]: the extents that may have writes in flight; on disk before the first write to one starts.
//! - [`bitmap`]: the blocks that an absent peer has missed.
//! - [`dump`]: explains a metadata file to people.
//! - [`meta`]: what is on disk besides the volume's sectors. Every record names its version, place, owner and number in
//!   the row, so that torn, stale, misdirected and foreign ones are recognised.
//! - [`message`] and [`wire`]: what the nodes say to each other, as meanings and as bytes.
//!
//! No clock, thread, file or socket; time and bytes are arguments.
#![forbid(unsafe_code)]

pub mod activity_log;
pub mod bitmap;
mod conflict;
pub mod dump;
pub mod durability;
pub mod engine;
mod flush;
mod follow;
mod forward;
pub mod identity;
pub mod input;
pub mod lease;
pub mod limits;
mod meeting;
pub mod membership;
pub mod message;
pub mod meta;
pub mod output;
mod read;
mod records;
pub mod resync;
mod session;
mod slots;
mod small_state;
mod standing;
pub mod start;
pub mod volume;
pub mod wire;
mod write;
