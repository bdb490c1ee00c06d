//! The versions of what is on disk, and where a later one finds its way from an earlier.
//!
//! The 64 bytes that head every record keep their shape in all versions, so that any program can name the version of any
//! metadata. What follows them is read by the version that the record itself names: a later program keeps the readers of
//! the earlier versions (each `parse` matches on [`Version`]) and writes only its own, so metadata migrates record by
//! record as they are rewritten. A program never reads, and never writes over, a version that it does not know.

use std::fmt;

/// A version of the format.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Version {
    /// The first.
    V1,
}

/// Every version with what came with it, oldest first.
pub const HISTORY: [(Version, &str); 1] =
    [(Version::V1, "superblock and small state twice, activity-log ring, bitmap in pairs of blocks")];

impl Version {
    /// What this program writes.
    pub const CURRENT: Self = HISTORY[HISTORY.len() - 1].0;

    /// The number in the record.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::V1 => 1,
        }
    }

    /// The version with that number, if this program knows it.
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::V1),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(formatter)
    }
}
