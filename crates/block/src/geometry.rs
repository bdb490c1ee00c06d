//! The shape of a volume: how many sectors, and the unit that the disk beneath can write.

use crate::error::GeometryError;
use crate::range::LbaRange;
use crate::sector::SECTOR_BYTES;

/// The smallest unit that the disk under a volume reads or writes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum LogicalSectorSize {
    /// 512 bytes: every request goes to the disk as it is.
    #[default]
    B512,
    /// 4096 bytes: a smaller or misaligned write is read, modified and written.
    B4096,
}

impl LogicalSectorSize {
    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::B512 => 512,
            Self::B4096 => 4096,
        }
    }

    /// The size in 512-byte sectors.
    #[must_use]
    pub const fn sectors(self) -> u16 {
        match self {
            Self::B512 => 1,
            Self::B4096 => 8,
        }
    }

    /// The unit with that many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: usize) -> Option<Self> {
        match bytes {
            512 => Some(Self::B512),
            4096 => Some(Self::B4096),
            _ => None,
        }
    }
}

/// Size of a volume and the unit of its disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Geometry {
    sectors: u64,
    logical_sector_size: LogicalSectorSize,
}

impl Geometry {
    /// LBA48 can name no more sectors than this.
    pub const SECTORS_MAX: u64 = 1 << 48;

    /// A geometry of `bytes`.
    ///
    /// # Errors
    /// If `bytes` is zero, is not a multiple of the logical sector size, or is more than LBA48 can name.
    pub fn from_bytes(bytes: u64, logical_sector_size: LogicalSectorSize) -> Result<Self, GeometryError> {
        if bytes == 0 {
            return Err(GeometryError::Empty);
        }
        let unit = logical_sector_size.bytes() as u64;
        if !bytes.is_multiple_of(unit) {
            return Err(GeometryError::Unaligned { bytes, unit });
        }
        let sectors = bytes / SECTOR_BYTES as u64;
        if sectors > Self::SECTORS_MAX {
            return Err(GeometryError::TooLarge { bytes });
        }
        Ok(Self { sectors, logical_sector_size })
    }

    /// Number of 512-byte sectors.
    #[must_use]
    pub const fn sectors(self) -> u64 {
        self.sectors
    }

    /// Unit of the disk beneath.
    #[must_use]
    pub const fn logical_sector_size(self) -> LogicalSectorSize {
        self.logical_sector_size
    }

    /// Whether every sector of `range` exists.
    #[must_use]
    pub const fn contains(self, range: LbaRange) -> bool {
        range.end().0 <= self.sectors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sector::{Lba, SectorCount};

    #[test]
    fn a_size_that_is_empty_unaligned_or_too_large_is_refused() {
        assert_eq!(Geometry::from_bytes(0, LogicalSectorSize::B512), Err(GeometryError::Empty));
        assert_eq!(
            Geometry::from_bytes(1000, LogicalSectorSize::B512),
            Err(GeometryError::Unaligned { bytes: 1000, unit: 512 })
        );
        assert!(Geometry::from_bytes(512, LogicalSectorSize::B4096).is_err());
        let bytes = (Geometry::SECTORS_MAX + 1) * 512;
        assert_eq!(
            Geometry::from_bytes(bytes, LogicalSectorSize::B512),
            Err(GeometryError::TooLarge { bytes })
        );
    }

    #[test]
    fn the_last_sector_is_inside_and_the_next_is_not() {
        let geometry = Geometry::from_bytes(8192, LogicalSectorSize::B512).expect("16 sectors");
        let inside = LbaRange::new(Lba(15), SectorCount(1)).expect("range");
        let outside = LbaRange::new(Lba(15), SectorCount(2)).expect("range");
        assert!(geometry.contains(inside));
        assert!(!geometry.contains(outside));
    }
}
