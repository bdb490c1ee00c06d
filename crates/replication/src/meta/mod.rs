//! What is on disk for one volume on one node: places, records, and what a reader makes of damaged ones.
//!
//! Read in this order: [`layout`] (the drawing), [`record`] (the one shape), [`twin`] (what is kept twice), then the four
//! kinds: [`superblock`], [`small_state`], [`activity_log`], [`bitmap`]; then the beginning of everything, [`Fresh`], and of
//! every start, [`open()`]. Nothing here reads or writes a file: a record is made in, and read from, bytes that somebody
//! else moves. No bytes whatever make a reader panic.

pub mod activity_log;
pub mod bitmap;
mod format;
pub mod layout;
mod open;
pub mod record;
pub mod small_state;
pub mod superblock;
pub mod twin;
pub mod version;

pub use format::{Format, Fresh, format};
pub use open::{FINDINGS_MAX, Finding, Findings, OpenError, Opened, Torn, open};
