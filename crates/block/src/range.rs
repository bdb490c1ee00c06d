//! A run of sectors.

use std::fmt;

use crate::sector::{Lba, SectorCount};

/// The sectors `start .. start + count` of one volume. Never wraps: [`LbaRange::new`] refuses one that would.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LbaRange {
    start: Lba,
    count: SectorCount,
}

impl LbaRange {
    /// The range, unless its end lies beyond what an address can name.
    #[must_use]
    pub fn new(start: Lba, count: SectorCount) -> Option<Self> {
        start.0.checked_add(u64::from(count.0))?;
        Some(Self { start, count })
    }

    /// First sector.
    #[must_use]
    pub const fn start(self) -> Lba {
        self.start
    }

    /// How many sectors.
    #[must_use]
    pub const fn count(self) -> SectorCount {
        self.count
    }

    /// The sector after the last.
    #[must_use]
    pub const fn end(self) -> Lba {
        Lba(self.start.0 + self.count.0 as u64)
    }

    /// Length in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.count.bytes()
    }

    /// Whether it holds no sector.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.count.0 == 0
    }

    /// Whether the two share a sector.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start.0 < other.end().0 && other.start.0 < self.end().0
    }

    /// The smallest range around this one that begins and ends at multiples of `sectors`.
    ///
    /// # Panics
    /// If `sectors` is zero, or the widened range holds more than 65,535 sectors.
    #[must_use]
    pub fn widened_to(self, sectors: u16) -> Self {
        assert!(sectors > 0, "alignment of zero sectors");
        let unit = u64::from(sectors);
        let start = self.start.0 / unit * unit;
        let end = self.end().0.div_ceil(unit) * unit;
        let count = u16::try_from(end - start).expect("a widened request fits 65,535 sectors");
        Self { start: Lba(start), count: SectorCount(count) }
    }
}

impl fmt::Display for LbaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.start, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, count: u16) -> LbaRange {
        LbaRange::new(Lba(start), SectorCount(count)).expect("a range within bounds")
    }

    #[test]
    fn neighbours_do_not_overlap_and_nested_ranges_do() {
        assert!(!range(0, 8).overlaps(range(8, 8)));
        assert!(range(0, 8).overlaps(range(7, 1)));
        assert!(range(4, 1).overlaps(range(0, 8)));
        assert!(!range(4, 0).overlaps(range(5, 8)));
    }

    #[test]
    fn a_range_beyond_the_last_address_is_refused() {
        assert_eq!(LbaRange::new(Lba(u64::MAX), SectorCount(1)), None);
    }

    #[test]
    fn widening_covers_whole_blocks() {
        assert_eq!(range(9, 2).widened_to(8), range(8, 8));
        assert_eq!(range(7, 2).widened_to(8), range(0, 16));
        assert_eq!(range(8, 8).widened_to(8), range(8, 8));
    }
}
