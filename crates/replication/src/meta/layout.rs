//! Where everything lies in a metadata file or device, and how large that is.
//!
//! ```text
//!   0        4 KiB      12 KiB   64 KiB            576 KiB   1 MiB      +4 KiB    +12 KiB   2 MiB
//!   ┌─────────┬──────────┬───────┬──────────────────┬────────┬──────────┬──────────┬────────┬──────────────────┐
//!   │ super-  │ small    │ free  │ activity log:    │ free   │ super-   │ small    │ free   │ bitmap: blocks   │
//!   │ block 0 │ state 0  │       │ 128 transactions │        │ block 1  │ state 1  │        │ in pairs of slots│
//!   └─────────┴──────────┴───────┴──────────────────┴────────┴──────────┴──────────┴────────┴──────────────────┘
//! ```
//!
//! Only the bitmap's length depends on the volume. Both superblocks lie at places known without knowing anything, far
//! enough apart that what overwrites the beginning of a disk (a partition table, mkfs) leaves the second one. No place
//! on disk is written while it holds the only good copy of anything.

use std::fmt;

use thiserror::Error;

use super::twin::Side;

/// A byte offset in the metadata.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place(pub u64);

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "byte {}", self.0)
    }
}

/// Bytes of a superblock, an activity-log transaction, or a slot of a bitmap block. One page: disks with sectors of
/// 4096 bytes write it whole.
pub const RECORD_BYTES: usize = 4096;
/// Bytes of a small-state record: a config string and two lists of 255 addresses need more than a page.
pub const SMALL_STATE_BYTES: usize = 8192;

/// Transactions in the ring.
pub const RING_TRANSACTIONS: u64 = 128;
/// Sectors of an extent: 4 MiB. Larger ones miss less and resync more after a crash: with the default of 4,096 hot
/// extents at most 16 GiB.
pub const EXTENT_SECTORS: u64 = 8192;
/// Fewest hot extents: several of the largest requests fit at once.
pub const HOT_EXTENTS_MIN: u32 = 64;
/// Hot extents unless told otherwise.
pub const HOT_EXTENTS_DEFAULT: u32 = 4096;
/// Most hot extents: 256 GiB of extents in doubt after a crash.
pub const HOT_EXTENTS_MAX: u32 = 65_536;

/// Sectors for which one bit stands: 4 KiB.
pub const SECTORS_PER_BIT: u64 = 8;
/// Bits in a bitmap block: all that a record holds.
pub const BITS_PER_BLOCK: u64 = 8 * (RECORD_BYTES - super::record::HEADER_BYTES) as u64;

/// Largest volume: 256 TiB, whose bitmap takes 8 GiB of memory where in every block of it some bits are set and some are not.
pub const VOLUME_SECTORS_MAX: u64 = 1 << 39;

const SUPERBLOCK: [u64; 2] = [0, 1 << 20];
const SMALL_STATE: [u64; 2] = [4 << 10, (1 << 20) + (4 << 10)];
const ACTIVITY_LOG: u64 = 64 << 10;
const BITMAP: u64 = 2 << 20;

/// Why there is no metadata for such a volume.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum LayoutError {
    /// No sectors.
    #[error("a volume of no sectors has no metadata; make it as large as the disk is to be")]
    Empty,
    /// More than the bitmap is meant for.
    #[error(
        "{sectors} sectors are more than the {VOLUME_SECTORS_MAX} (256 TiB) that a mirrored volume can have; make it \
         smaller or divide it"
    )]
    TooLarge {
        /// What was asked.
        sectors: u64,
    },
    /// Too few or too many hot extents.
    #[error(
        "{hot_extents} hot extents are outside {HOT_EXTENTS_MIN} to {HOT_EXTENTS_MAX}; {HOT_EXTENTS_DEFAULT} is the default"
    )]
    HotExtents {
        /// What was asked.
        hot_extents: u32,
    },
}

/// The places of one volume's metadata.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Layout {
    volume_sectors: u64,
    hot_extents: u32,
}

impl Layout {
    /// For a volume of that size, with so many extents in its activity log.
    ///
    /// # Errors
    /// [`LayoutError`] names the value that is out of bounds.
    pub const fn new(volume_sectors: u64, hot_extents: u32) -> Result<Self, LayoutError> {
        if volume_sectors == 0 {
            return Err(LayoutError::Empty);
        }
        if volume_sectors > VOLUME_SECTORS_MAX {
            return Err(LayoutError::TooLarge { sectors: volume_sectors });
        }
        if hot_extents < HOT_EXTENTS_MIN || hot_extents > HOT_EXTENTS_MAX {
            return Err(LayoutError::HotExtents { hot_extents });
        }
        Ok(Self { volume_sectors, hot_extents })
    }

    /// Sectors of the volume.
    #[must_use]
    pub const fn volume_sectors(self) -> u64 {
        self.volume_sectors
    }

    /// Extents the activity log holds at a time.
    #[must_use]
    pub const fn hot_extents(self) -> u32 {
        self.hot_extents
    }

    /// Extents of the volume, the last one perhaps not whole.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "asserted below for the largest volume")]
    pub const fn extents(self) -> u32 {
        self.volume_sectors.div_ceil(EXTENT_SECTORS) as u32
    }

    /// Bits of the bitmap.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.volume_sectors.div_ceil(SECTORS_PER_BIT)
    }

    /// Blocks of the bitmap.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "asserted below for the largest volume")]
    pub const fn bitmap_blocks(self) -> u32 {
        self.bits().div_ceil(BITS_PER_BLOCK) as u32
    }

    /// Bytes that the file or device must have at least.
    #[must_use]
    pub const fn byte_count(self) -> u64 {
        BITMAP + self.bitmap_blocks() as u64 * 2 * RECORD_BYTES as u64
    }

    /// Sectors of the largest volume whose metadata has room in so many bytes.
    #[must_use]
    pub const fn volume_sectors_within(bytes: u64) -> u64 {
        let blocks = bytes.saturating_sub(BITMAP) / (2 * RECORD_BYTES as u64);
        let sectors = blocks.saturating_mul(BITS_PER_BLOCK * SECTORS_PER_BIT);
        if sectors < VOLUME_SECTORS_MAX { sectors } else { VOLUME_SECTORS_MAX }
    }

    /// One of the two superblocks: the same in every layout.
    #[must_use]
    pub const fn superblock(side: Side) -> Place {
        Place(SUPERBLOCK[side.index()])
    }

    /// One of the two small states: the same in every layout.
    #[must_use]
    pub const fn small_state(side: Side) -> Place {
        Place(SMALL_STATE[side.index()])
    }

    /// The ring's slot for the transaction with that sequence number.
    #[must_use]
    pub const fn transaction(sequence: u64) -> Place {
        Place(ACTIVITY_LOG + sequence % RING_TRANSACTIONS * RECORD_BYTES as u64)
    }

    /// Whether a transaction of the activity log has its place there.
    #[must_use]
    pub fn is_transaction(place: Place) -> bool {
        (ACTIVITY_LOG..ACTIVITY_LOG + RING_TRANSACTIONS * RECORD_BYTES as u64).contains(&place.0)
    }

    /// One of the two slots of a bitmap block. Slot 1 follows slot 0 at once, so that both are loaded by one read.
    ///
    /// # Panics
    /// If the bitmap has no such block.
    #[must_use]
    pub const fn bitmap_block(self, block: u32, side: Side) -> Place {
        assert!(block < self.bitmap_blocks(), "a block of this bitmap");
        Place(BITMAP + (block as u64 * 2 + side.index() as u64) * RECORD_BYTES as u64)
    }
}

/// The figures that `docs/metadata.md` states for 16 TiB.
const SIXTEEN_TEBIBYTES: Layout = match Layout::new(1 << 35, HOT_EXTENTS_DEFAULT) {
    Ok(layout) => layout,
    Err(_) => panic!("16 TiB is a size"),
};

const _: () = {
    let record = RECORD_BYTES as u64;
    let small_state = SMALL_STATE_BYTES as u64;
    assert!(SUPERBLOCK[0] + record <= SMALL_STATE[0]);
    assert!(SMALL_STATE[0] + small_state <= ACTIVITY_LOG);
    assert!(ACTIVITY_LOG + RING_TRANSACTIONS * record <= SUPERBLOCK[1]);
    assert!(SUPERBLOCK[1] + record <= SMALL_STATE[1]);
    assert!(SMALL_STATE[1] + small_state <= BITMAP);
    assert!(BITMAP.is_multiple_of(record) && ACTIVITY_LOG.is_multiple_of(record));
    assert!(VOLUME_SECTORS_MAX.div_ceil(EXTENT_SECTORS) < u32::MAX as u64, "u32::MAX means no extent");
    assert!(VOLUME_SECTORS_MAX.div_ceil(SECTORS_PER_BIT * BITS_PER_BLOCK) <= u32::MAX as u64);
    assert!(EXTENT_SECTORS.is_multiple_of(SECTORS_PER_BIT), "an extent is whole bits");
    assert!(BITS_PER_BLOCK == 32_256 && BITS_PER_BLOCK.is_multiple_of(64), "a block is whole words");
    assert!(
        BITS_PER_BLOCK * SECTORS_PER_BIT >= u16::MAX as u64 + SECTORS_PER_BIT,
        "the largest request touches at most two blocks"
    );
    assert!(SIXTEEN_TEBIBYTES.bitmap_blocks() == 133_153);
    assert!(SIXTEEN_TEBIBYTES.byte_count() == 1_092_886_528);
    assert!(SIXTEEN_TEBIBYTES.extents() == 4 << 20);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_out_of_bounds_are_refused() {
        assert_eq!(Layout::new(0, 64), Err(LayoutError::Empty));
        let sectors = VOLUME_SECTORS_MAX + 1;
        assert_eq!(Layout::new(sectors, 64), Err(LayoutError::TooLarge { sectors }));
        assert_eq!(Layout::new(1, 63), Err(LayoutError::HotExtents { hot_extents: 63 }));
        assert_eq!(Layout::new(1, 65_537), Err(LayoutError::HotExtents { hot_extents: 65_537 }));
    }

    #[test]
    fn the_smallest_volume_has_one_block_and_the_file_ends_with_the_last() {
        let layout = Layout::new(1, 64).expect("small");
        assert_eq!((layout.bits(), layout.extents(), layout.bitmap_blocks()), (1, 1, 1));
        assert_eq!(layout.byte_count(), (2 << 20) + 8192);
        for sectors in [258_047, 258_048, 258_049, 1 << 35, VOLUME_SECTORS_MAX] {
            let layout = Layout::new(sectors, 64).expect("within bounds");
            let last = layout.bitmap_block(layout.bitmap_blocks() - 1, Side::One);
            assert_eq!(last.0 + RECORD_BYTES as u64, layout.byte_count());
            assert!(Layout::volume_sectors_within(layout.byte_count()) >= sectors);
            assert!(Layout::volume_sectors_within(layout.byte_count() - 1) < sectors);
        }
    }
}
