//! The 128-bit names: of a volume, of the pair of nodes that keeps it, and of one formatting of its metadata.
//!
//! All three are drawn at random by whoever makes the metadata; this crate only compares them.

use std::fmt;

/// Names a volume for ever, on both nodes alike, whatever its address, its file or its host.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct VolumeIdentity(pub u128);

/// Names the two nodes together: metadata of one pair is never taken for another's.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct PairIdentity(pub u128);

/// Names one formatting of one node's metadata of one volume, and stands in each of its records. So a record is foreign
/// not only when another volume wrote it, but also when the other node did, or this one before it was formatted anew.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct FormatIdentity(pub u128);

impl fmt::Display for VolumeIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Display for PairIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Display for FormatIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}
