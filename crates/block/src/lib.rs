//! The words that every other crate speaks.
//!
//! Sectors and ranges of them, the requests made of a disk and their completions, the names of buffers, and time
//! as a number. Nothing here does anything: no I/O, no clock, no allocation beyond what a type holds.
//!
//! Read in this order: [`Lba`] and [`SectorCount`], [`LbaRange`], [`Geometry`], [`Instant`], [`BufferSlice`],
//! [`BlockRequest`], [`Completion`], [`IntervalTable`].
#![forbid(unsafe_code)]

mod buffer;
mod completion;
mod error;
mod geometry;
mod interval;
mod range;
mod request;
mod sector;
mod time;

pub use buffer::{BufferName, BufferSlice};
pub use completion::Completion;
pub use error::{BlockError, GeometryError};
pub use geometry::{Geometry, LogicalSectorSize};
pub use interval::{EntryId, IntervalTable, Overlapping};
pub use range::LbaRange;
pub use request::{BlockRequest, ExportId, Operation, RequestId};
pub use sector::{Lba, SECTOR_BYTES, SectorCount};
pub use time::{Duration, Instant};
