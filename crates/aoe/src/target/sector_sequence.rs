//! Which write was admitted last to each sector: what decides whether a completed write is still the latest.
//!
//! One record, a cache line, stands for a block of eight sectors of one export, and lives while a write that touches
//! the block is in flight or remembered. Sequence numbers may wrap: the only question ever asked is whether a
//! sector still carries exactly the number that a remembered write gave it, and no number lives for 2^32 writes.

use block::{ExportId, LbaRange};

use super::slab::{NIL, Slab};

/// Sectors that share a record.
const BLOCK_SECTORS: u64 = 8;
/// The same, as an array's length.
const SECTORS: usize = 8;

/// The place of a write in the order of admission.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Sequence(u32);

/// The last write admitted to each sector of every block in use.
#[derive(Debug)]
pub(crate) struct SectorSequences {
    /// First record of each chain plus one, so that memory never touched reads as empty.
    chains: Box<[u32]>,
    records: Slab<Record>,
    /// An odd number from the digest's seed: nobody outside knows which blocks share a chain.
    multiplier: u64,
    last: Sequence,
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Record {
    block: u64,
    export: ExportId,
    next: u32,
    /// Writes in flight or remembered that touch the block.
    writes: u32,
    sectors: [Sequence; SECTORS],
}

const _: () = assert!(size_of::<Record>() == 64, "a record is one cache line");

impl SectorSequences {
    /// Room for `capacity` blocks.
    pub(crate) fn new(capacity: usize, seed: u64) -> Self {
        let chains = vec![0; capacity.next_power_of_two()].into_boxed_slice();
        Self { chains, records: Slab::new(capacity), multiplier: spread(seed), last: Sequence::default() }
    }

    /// Whether a write to `range` can be admitted.
    pub(crate) fn has_room(&self, range: LbaRange) -> bool {
        let (first, last) = blocks(range);
        self.records.room() as u64 > last - first
    }

    /// Gives every sector of `range` the next number. The caller has asked [`Self::has_room`].
    pub(crate) fn admit(&mut self, export: ExportId, range: LbaRange) -> Sequence {
        self.last = Sequence(self.last.0.wrapping_add(1));
        let sequence = self.last;
        let (first, last) = blocks(range);
        for block in first..=last {
            let index = match self.find(export, block) {
                NIL => self.insert(export, block),
                index => index,
            };
            let record = &mut self.records[index];
            record.writes += 1;
            record.sectors[sectors_of(range, block)].fill(sequence);
        }
        sequence
    }

    /// Whether no write was admitted to any sector of `range` after the one that got `sequence`, which still counts
    /// (it was not released).
    pub(crate) fn is_latest(&self, export: ExportId, range: LbaRange, sequence: Sequence) -> bool {
        let (first, last) = blocks(range);
        (first..=last).all(|block| {
            let index = self.find(export, block);
            assert_ne!(index, NIL, "the blocks of a remembered write are known");
            self.records[index].sectors[sectors_of(range, block)].iter().all(|sector| *sector == sequence)
        })
    }

    /// Forgets one write to `range`; a block that no write touches any more is forgotten with it.
    pub(crate) fn release(&mut self, export: ExportId, range: LbaRange) {
        let (first, last) = blocks(range);
        for block in first..=last {
            let index = self.find(export, block);
            assert_ne!(index, NIL, "a write is released once");
            let record = &mut self.records[index];
            record.writes -= 1;
            if record.writes == 0 {
                self.remove(index);
            }
        }
    }

    fn find(&self, export: ExportId, block: u64) -> u32 {
        let mut next = self.chains[self.chain(export, block)];
        while next != 0 {
            let record = &self.records[next - 1];
            if record.block == block && record.export == export {
                return next - 1;
            }
            next = record.next;
        }
        NIL
    }

    fn insert(&mut self, export: ExportId, block: u64) -> u32 {
        let chain = self.chain(export, block);
        let sectors = [Sequence::default(); SECTORS];
        let record = Record { block, export, next: self.chains[chain], writes: 0, sectors };
        let index = self.records.insert(record);
        self.chains[chain] = index + 1;
        index
    }

    fn remove(&mut self, index: u32) {
        let Record { block, export, next: after, .. } = self.records[index];
        let chain = self.chain(export, block);
        if self.chains[chain] == index + 1 {
            self.chains[chain] = after;
        } else {
            let mut previous = self.chains[chain] - 1;
            while self.records[previous].next != index + 1 {
                previous = self.records[previous].next - 1;
            }
            self.records[previous].next = after;
        }
        self.records.remove(index);
    }

    fn chain(&self, export: ExportId, block: u64) -> usize {
        bucket((block ^ (u64::from(export.0) << 46)).wrapping_mul(self.multiplier), self.chains.len())
    }
}

/// An odd multiplier whose bits all depend on `seed`.
pub(crate) const fn spread(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)) | 1
}

/// The bucket for a product whose upper half is well mixed; `buckets` is a power of two, at most 2^32.
pub(crate) const fn bucket(product: u64, buckets: usize) -> usize {
    (product >> 32) as usize & (buckets - 1)
}

const fn blocks(range: LbaRange) -> (u64, u64) {
    (range.start().0 / BLOCK_SECTORS, (range.end().0 - 1) / BLOCK_SECTORS)
}

/// Which sectors of `block` lie in `range`, as indices within the block.
fn sectors_of(range: LbaRange, block: u64) -> std::ops::Range<usize> {
    let start = block * BLOCK_SECTORS;
    let first = range.start().0.max(start) - start;
    let end = range.end().0.min(start + BLOCK_SECTORS) - start;
    index(first)..index(end)
}

fn index(sector: u64) -> usize {
    usize::try_from(sector).expect("a sector's place in its block")
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::{Lba, SectorCount};

    const EXPORT: ExportId = ExportId(3);

    fn range(start: u64, count: u16) -> LbaRange {
        LbaRange::new(Lba(start), SectorCount(count)).expect("a range within bounds")
    }

    #[test]
    fn a_later_write_to_one_sector_of_the_range_is_noticed_and_a_neighbour_is_not() {
        let mut sequences = SectorSequences::new(16, 1);
        let first = sequences.admit(EXPORT, range(6, 12));
        sequences.admit(EXPORT, range(5, 1));
        sequences.admit(EXPORT, range(18, 1));
        sequences.admit(ExportId(4), range(6, 12));
        assert!(sequences.is_latest(EXPORT, range(6, 12), first));
        sequences.admit(EXPORT, range(16, 1));
        assert!(!sequences.is_latest(EXPORT, range(6, 12), first));
    }

    #[test]
    fn blocks_are_forgotten_with_their_last_write() {
        let mut sequences = SectorSequences::new(2, 1);
        sequences.admit(EXPORT, range(0, 16));
        sequences.admit(EXPORT, range(0, 1));
        assert!(!sequences.has_room(range(16, 1)));
        sequences.release(EXPORT, range(0, 16));
        assert!(sequences.has_room(range(16, 1)) && !sequences.has_room(range(15, 2)));
        sequences.release(EXPORT, range(0, 1));
        assert!(sequences.has_room(range(15, 2)));
        assert_eq!(sequences.records.len(), 0);
    }

    #[test]
    fn chains_survive_removal_in_any_order() {
        let mut sequences = SectorSequences::new(64, 9);
        for round in 0..7u64 {
            let order: Vec<u64> = (0..64).map(|step| (step * (2 * round + 1)) % 64).collect();
            let admitted: Vec<_> =
                order.iter().map(|block| (*block, sequences.admit(EXPORT, range(block * 8, 8)))).collect();
            for (done, (block, sequence)) in admitted.iter().enumerate().rev() {
                assert!(sequences.is_latest(EXPORT, range(block * 8, 8), *sequence));
                sequences.release(EXPORT, range(block * 8, 8));
                assert_eq!(sequences.records.len(), done);
            }
        }
    }
}
