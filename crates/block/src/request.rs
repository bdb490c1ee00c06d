//! What is asked of a disk.

use crate::buffer::BufferSlice;
use crate::range::LbaRange;

/// Which export of this node: an index that the node gives out and never uses twice while it runs.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ExportId(pub u32);

/// Names a request until its completion came back.
///
/// The low 16 bits are a slot, below the number of requests that may be outstanding at once and used by one of them at
/// a time; the others tell the users of a slot apart.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId(pub u32);

impl RequestId {
    /// Where a table with a place for each outstanding request keeps this one.
    #[must_use]
    pub const fn slot(self) -> usize {
        (self.0 & 0xffff) as usize
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operation {
    /// Read the sectors; the shell picks the buffer and names it in the completion.
    Read {
        /// Which sectors.
        range: LbaRange,
    },
    /// Write the sectors.
    Write {
        /// Which sectors.
        range: LbaRange,
        /// Their bytes; `length` is `range.bytes()`.
        data: BufferSlice,
        /// Complete only when the sectors are on stable storage.
        durable: bool,
    },
    /// Make everything completed so far durable.
    Flush,
}

/// One request to the disk of one export.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BlockRequest {
    /// Handed back with the completion.
    pub id: RequestId,
    /// Whose disk.
    pub export: ExportId,
    /// What to do.
    pub operation: Operation,
}
