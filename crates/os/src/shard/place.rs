//! What a buffer's name means in this shard: the cores pass names on, here they are read again.

use block::{BufferName, ExportId};

/// Where bytes are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// A buffer of the pool.
    Pool(u32),
    /// A frame that was copied into a buffer of the pool; what is named are its bytes, not those of the buffer.
    Frame(u32),
    /// A short frame that was copied into a buffer of the pool for those.
    Short(u32),
    /// A slot of the receive memory that a port has, or had before it was opened anew.
    Slot { port: u8, generation: u16, slot: u32 },
    /// The page cache of an export's disk, from this 512-byte sector of its file on.
    Cached { export: ExportId, file_sector: u64 },
}

/// The kind stands in the highest byte: the pool, a port (counted from 1), a copied frame (short or not), the page cache.
const KIND_SHIFT: u32 = 56;
const KIND_POOL: u64 = 0;
const KIND_SHORT: u64 = 0xfd;
const KIND_FRAME: u64 = 0xfe;
const KIND_CACHED: u64 = 0xff;
/// Above the number of a slot.
const GENERATION_SHIFT: u32 = 32;
/// A file sector takes 40 bits (512 TiB), an export the 16 above.
const SECTOR_BITS: u32 = 40;
/// Exports beyond this cannot be served from the page cache, because their name would not fit.
const CACHED_EXPORT_MAX: u32 = 0xffff;

impl Place {
    /// The name of this place, or `None` if it has none: a page so far out is read through the engine.
    pub(super) fn name(self) -> Option<BufferName> {
        let name = match self {
            Self::Pool(buffer) => KIND_POOL << KIND_SHIFT | u64::from(buffer),
            Self::Frame(buffer) => KIND_FRAME << KIND_SHIFT | u64::from(buffer),
            Self::Short(buffer) => KIND_SHORT << KIND_SHIFT | u64::from(buffer),
            Self::Slot { port, generation, slot } => {
                (u64::from(port) + 1) << KIND_SHIFT
                    | u64::from(generation) << GENERATION_SHIFT
                    | u64::from(slot)
            }
            Self::Cached { export, file_sector } => {
                if export.0 > CACHED_EXPORT_MAX || file_sector >> SECTOR_BITS != 0 {
                    return None;
                }
                KIND_CACHED << KIND_SHIFT | u64::from(export.0) << SECTOR_BITS | file_sector
            }
        };
        Some(BufferName(name))
    }

    /// The place of this name.
    pub(super) fn of(name: BufferName) -> Self {
        let low = |bits: u32| name.0 & ((1 << bits) - 1);
        let low_u32 = u32::try_from(low(32)).expect("32 bits");
        match name.0 >> KIND_SHIFT {
            KIND_POOL => Self::Pool(low_u32),
            KIND_FRAME => Self::Frame(low_u32),
            KIND_SHORT => Self::Short(low_u32),
            KIND_CACHED => Self::Cached {
                export: ExportId(u32::try_from(name.0 >> SECTOR_BITS & 0xffff).expect("16 bits")),
                file_sector: low(SECTOR_BITS),
            },
            port => Self::Slot {
                port: u8::try_from(port - 1).expect("below 0xfd"),
                generation: u16::try_from(name.0 >> GENERATION_SHIFT & 0xffff).expect("16 bits"),
                slot: low_u32,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_a_name_that_leads_back_to_it() {
        for place in [
            Place::Pool(0),
            Place::Pool(u32::MAX),
            Place::Frame(0),
            Place::Frame(u32::MAX),
            Place::Short(0),
            Place::Short(u32::MAX),
            Place::Slot { port: 0, generation: 0, slot: 7 },
            Place::Slot { port: 250, generation: u16::MAX, slot: u32::MAX },
            Place::Cached { export: ExportId(0xffff), file_sector: (1 << 40) - 1 },
        ] {
            assert_eq!(place.name().map(Place::of), Some(place));
        }
        assert_eq!(Place::Cached { export: ExportId(1), file_sector: 1 << 40 }.name(), None);
    }
}
