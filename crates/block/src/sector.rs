//! A sector's address and a number of sectors. A sector is 512 bytes on the wire whatever the disk beneath uses:
//! no AoE initiator reads the ATA words that would say otherwise.

use std::fmt;

/// Bytes in a sector.
pub const SECTOR_BYTES: usize = 512;

/// Logical block address: the number of a sector, counted from the start of a volume.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Lba(pub u64);

impl Lba {
    /// Bytes from the start of the volume.
    #[must_use]
    pub const fn byte_offset(self) -> u64 {
        self.0 * SECTOR_BYTES as u64
    }
}

impl fmt::Display for Lba {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number of sectors: of one request, never of a whole volume (that is [`crate::Geometry::sectors`]).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SectorCount(pub u16);

impl SectorCount {
    /// The same in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.0 as usize * SECTOR_BYTES
    }

    /// Whole sectors in `bytes`, if it is a whole number of them that fits.
    #[must_use]
    pub fn from_bytes(bytes: usize) -> Option<Self> {
        if !bytes.is_multiple_of(SECTOR_BYTES) {
            return None;
        }
        u16::try_from(bytes / SECTOR_BYTES).ok().map(Self)
    }
}

impl fmt::Display for SectorCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_comes_only_from_whole_sectors() {
        assert_eq!(SectorCount::from_bytes(1024), Some(SectorCount(2)));
        assert_eq!(SectorCount::from_bytes(1000), None);
        assert_eq!(SectorCount::from_bytes(65_536 * SECTOR_BYTES), None);
    }
}
