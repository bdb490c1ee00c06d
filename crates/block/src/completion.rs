//! What a disk answers.

use crate::buffer::BufferSlice;
use crate::error::BlockError;
use crate::request::RequestId;

/// The end of one [`crate::BlockRequest`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Completion {
    /// The request that ended.
    pub id: RequestId,
    /// For a read the bytes, whose buffer now belongs to the receiver; for a write or flush `None`.
    pub result: Result<Option<BufferSlice>, BlockError>,
}
