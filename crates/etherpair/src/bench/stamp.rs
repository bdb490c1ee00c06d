//! What is in a sector that the load generator wrote: where it belongs, when it was written, and a checksum.
//!
//! Without `--verify` only place and generation are put in, which makes every write differ from every other.

use block::SECTOR_BYTES;

const MAGIC: [u8; 8] = *b"etherstm";
const CHECKSUM: usize = SECTOR_BYTES - 4;

/// What a stamp says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stamp {
    /// Which sector this is.
    pub(crate) sector: u64,
    /// Goes up with each write of a run.
    pub(crate) generation: u32,
    /// Which run wrote it.
    pub(crate) run: u64,
}

/// What is found in a sector.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Content {
    /// Whole.
    Stamped(Stamp),
    /// It begins like a stamp and is damaged.
    Damaged,
    /// Written by somebody else.
    Foreign,
}

impl Stamp {
    /// Makes the sector differ from every other.
    pub(crate) fn mark(&self, sector: &mut [u8]) {
        sector[8..16].copy_from_slice(&self.sector.to_le_bytes());
        sector[16..20].copy_from_slice(&self.generation.to_le_bytes());
        sector[20..28].copy_from_slice(&self.run.to_le_bytes());
    }

    /// The same, in a way that can be checked.
    pub(crate) fn seal(&self, sector: &mut [u8]) {
        sector[..8].copy_from_slice(&MAGIC);
        self.mark(sector);
        let checksum = crc32fast::hash(&sector[..CHECKSUM]);
        sector[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// Looks at a sector.
pub(crate) fn read(sector: &[u8]) -> Content {
    assert!(sector.len() == SECTOR_BYTES, "one sector at a time");
    if sector[..8] != MAGIC {
        return Content::Foreign;
    }
    if sector[CHECKSUM..] != crc32fast::hash(&sector[..CHECKSUM]).to_le_bytes() {
        return Content::Damaged;
    }
    let number = |range: std::ops::Range<usize>| {
        sector[range].iter().rev().fold(0_u64, |number, &byte| number << 8 | u64::from(byte))
    };
    let generation = u32::try_from(number(16..20)).expect("four bytes");
    Content::Stamped(Stamp { sector: number(8..16), generation, run: number(20..28) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { sector: 0x0102_0304_0506, generation: 77, run: u64::MAX - 1 };

    #[test]
    fn a_sealed_sector_is_read_back_and_a_changed_bit_is_noticed() {
        let mut sector = [0xa5; SECTOR_BYTES];
        STAMP.seal(&mut sector);
        assert_eq!(read(&sector), Content::Stamped(STAMP));
        for bit in (64..SECTOR_BYTES * 8).step_by(37) {
            let mut damaged = sector;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&damaged), Content::Damaged, "bit {bit}");
        }
    }

    #[test]
    fn what_somebody_else_wrote_is_no_stamp() {
        assert_eq!(read(&[0; SECTOR_BYTES]), Content::Foreign);
        let mut sector = [0; SECTOR_BYTES];
        STAMP.mark(&mut sector);
        assert_eq!(read(&sector), Content::Foreign);
    }
}
