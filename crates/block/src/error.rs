//! What can be wrong with a disk or with a size.

use thiserror::Error;

/// Why the disk could not do what it was asked; the target turns it into ATA status and error bits.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum BlockError {
    /// The medium could not be read or written (EIO and its like).
    #[error("the disk reports an input/output error")]
    Medium,
    /// No space for a sparse file to grow (ENOSPC, EDQUOT).
    #[error("no space left under the backing file")]
    NoSpace,
    /// The volume or its disk may not be written (EROFS, EPERM, a read-only export).
    #[error("the disk is read-only")]
    ReadOnly,
    /// The sectors lie beyond the end of what is there now (a file truncated beneath its export).
    #[error("the sectors lie beyond the end of the backing file")]
    BeyondEnd,
    /// The disk is gone (ENODEV, ENXIO).
    #[error("the disk is gone")]
    Gone,
}

/// Why a volume cannot have this size.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum GeometryError {
    /// No sectors at all.
    #[error("it is empty; make it as large as the disk is to be, for example with `truncate -s 10G`")]
    Empty,
    /// The end falls inside a sector.
    #[error(
        "its size of {bytes} bytes is not a multiple of {unit}; grow it to the next multiple with `truncate -s %{unit}`"
    )]
    Unaligned {
        /// Size found.
        bytes: u64,
        /// Size of a sector.
        unit: u64,
    },
    /// More sectors than LBA48 can name.
    #[error(
        "its size of {bytes} bytes is more than the 128 PiB that ATA can address; export a part with --length"
    )]
    TooLarge {
        /// Size found.
        bytes: u64,
    },
}
