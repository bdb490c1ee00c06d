//! Which blocks of 4 KiB are out of sync, and how many; nothing about what is on disk of that.
//!
//! The bits lie in blocks of 126 MiB of the volume, as they do on disk. A block with no bit set, or with all of them, is told by
//! its count alone: its words mean nothing then. So a whole volume is marked or cleared by a count for each of its blocks, whatever
//! its size, and takes memory only where some bits are set and some are not.

use std::ops::Range;

use block::{Lba, LbaRange, SectorCount};

use crate::message::BlockRun;
use crate::meta::bitmap::{WORDS_PER_BLOCK, bits_in_block, valid_mask};
use crate::meta::layout::{BITS_PER_BLOCK, Layout, SECTORS_PER_BIT};

const NONE: [u64; WORDS_PER_BLOCK] = [0; WORDS_PER_BLOCK];
const ALL: [u64; WORDS_PER_BLOCK] = [u64::MAX; WORDS_PER_BLOCK];
/// The count of a block whose words mean nothing, because all of them are set. The volume's last block may be a short one: it
/// never has so many, and its words always count.
const FULL: u16 = 32_256;
const _: () = assert!(FULL as u64 == BITS_PER_BLOCK, "all bits of a block");

/// Blocks of 4 KiB of one volume. What every write asks, whether there are any, stands where this stands.
#[derive(Clone, Debug)]
pub(crate) struct Bits {
    out_of_sync: u64,
    table: Box<Table>,
}

#[derive(Clone, Debug)]
struct Table {
    layout: Layout,
    /// Set bits of each block, apart from the rest so that a search passes over those without fast.
    counts: Vec<u16>,
    /// As many as the blocks have, or none before the first one is needed.
    words: Vec<u64>,
}

impl Bits {
    /// None set. Memory is asked for with the first block of which a part is set.
    pub(crate) fn new(layout: Layout) -> Self {
        let counts = vec![0; index(layout.bitmap_blocks())];
        Self { out_of_sync: 0, table: Box::new(Table { layout, counts, words: Vec::new() }) }
    }

    /// Asks for all memory that it may ever take.
    pub(crate) fn reserve(&mut self) {
        let words = self.table.counts.len() * WORDS_PER_BLOCK;
        if self.table.words.is_empty() {
            // Zeroed memory comes from the system untouched.
            self.table.words = vec![0; words];
        }
    }

    pub(crate) const fn out_of_sync(&self) -> u64 {
        self.out_of_sync
    }

    pub(crate) const fn layout(&self) -> Layout {
        self.table.layout
    }

    #[cfg(test)]
    pub(crate) const fn has_memory(&self) -> bool {
        !self.table.words.is_empty()
    }

    /// Whether a block has any bit set.
    pub(crate) fn has_any(&self, block: u32) -> bool {
        self.table.counts[index(block)] > 0
    }

    /// The volume is larger from now on.
    pub(crate) fn grow(&mut self, layout: Layout) {
        let table = &mut *self.table;
        table.layout = layout;
        table.counts.resize(index(layout.bitmap_blocks()), 0);
        if !table.words.is_empty() {
            table.words.resize(table.counts.len() * WORDS_PER_BLOCK, 0);
        }
    }

    /// Whether any sector of `range` lies in a block that is set.
    pub(crate) fn touches(&self, range: LbaRange) -> bool {
        self.count_in(self.around(range)) > 0
    }

    /// How many of these are set.
    pub(crate) fn count_in(&self, bits: Range<u64>) -> u64 {
        by_block(bits)
            .map(|(block, within)| match self.table.counts[index(block)] {
                0 => 0,
                FULL => within.end - within.start,
                _ => {
                    let base = u64::from(block) * BITS_PER_BLOCK;
                    masks(base + within.start, base + within.end)
                        .map(|(word, mask)| u64::from((self.table.words[word] & mask).count_ones()))
                        .sum()
                }
            })
            .sum()
    }

    /// Sets every block that `range` touches.
    pub(crate) fn set(&mut self, range: LbaRange) {
        by_block(self.around(range)).for_each(|(block, within)| _ = self.set_in(block, within));
    }

    /// Sets all of a run.
    pub(crate) fn set_run(&mut self, run: BlockRun) {
        let bits = run.start..run.start + run.count;
        by_block(bits).for_each(|(block, within)| _ = self.set_in(block, within));
    }

    /// Clears every block that lies in `range` as a whole.
    pub(crate) fn clear(&mut self, range: LbaRange) {
        by_block(self.within(range)).for_each(|(block, within)| _ = self.clear_in(block, within));
    }

    pub(crate) fn clear_all(&mut self) {
        self.out_of_sync = 0;
        self.table.counts.fill(0);
    }

    /// Sets bits of one block, counted from its first; says how many were not set.
    pub(crate) fn set_in(&mut self, block: u32, bits: Range<u64>) -> u64 {
        let at = index(block);
        let count = self.table.counts[at];
        let added = if count == FULL {
            0
        } else if bits == (0..BITS_PER_BLOCK) {
            u64::from(FULL - count)
        } else {
            change(self.open(block), bits, |word, mask| {
                let added = (mask & !*word).count_ones();
                *word |= mask;
                added
            })
        };
        self.table.counts[at] += small(added);
        self.out_of_sync += added;
        added
    }

    /// Clears bits of one block, counted from its first; says how many were set.
    pub(crate) fn clear_in(&mut self, block: u32, bits: Range<u64>) -> u64 {
        let at = index(block);
        let count = self.table.counts[at];
        let removed = if count == 0 {
            0
        } else if bits == (0..bits_in_block(self.table.layout, block)) {
            u64::from(count)
        } else {
            change(self.open(block), bits, |word, mask| {
                let removed = (mask & *word).count_ones();
                *word &= !mask;
                removed
            })
        };
        self.table.counts[at] -= small(removed);
        self.out_of_sync -= removed;
        removed
    }

    /// Sets what is set in these words of a block; bits beyond the end of the volume are passed over. Says how many were not.
    pub(crate) fn merge(&mut self, block: u32, words: impl Iterator<Item = u64> + Clone) -> u64 {
        let valid = bits_in_block(self.table.layout, block);
        if valid == BITS_PER_BLOCK && words.clone().all(|word| word == u64::MAX) {
            return self.set_in(block, 0..BITS_PER_BLOCK);
        }
        let is_full = self.table.counts[index(block)] == FULL;
        let valid_words = || words.clone().zip(0..).map(|(word, at)| word & valid_mask(valid, at));
        if is_full || valid_words().all(|word| word == 0) {
            return 0;
        }
        let mut added = 0;
        for (held, word) in self.open(block).iter_mut().zip(valid_words()) {
            added += u64::from((word & !*held).count_ones());
            *held |= word;
        }
        self.table.counts[index(block)] += small(added);
        self.out_of_sync += added;
        added
    }

    /// Sets what is set in the same block of `other`, which is of the same volume; says how many were not.
    pub(crate) fn add(&mut self, block: u32, other: &Self) -> u64 {
        match other.table.counts[index(block)] {
            0 => 0,
            _ => self.merge(block, other.words(block).iter().copied()),
        }
    }

    /// The bits of a block.
    pub(crate) fn words(&self, block: u32) -> &[u64] {
        match self.table.counts[index(block)] {
            0 => &NONE,
            FULL => &ALL,
            _ => &self.table.words[index(block) * WORDS_PER_BLOCK..][..WORDS_PER_BLOCK],
        }
    }

    /// The first run that begins at `from` or after it.
    pub(crate) fn next_run(&self, from: u64) -> Option<BlockRun> {
        let start = self.next_set(from)?;
        Some(BlockRun { start, count: self.run_end(start, self.table.layout.bits()) - start })
    }

    /// The first sectors at or after `cursor` that lie in one run, at most `max` of them.
    pub(crate) fn next_out_of_sync(&self, cursor: Lba, max: SectorCount) -> Option<LbaRange> {
        let start = self.next_set(cursor.0.div_ceil(SECTORS_PER_BIT))?;
        let max_bits = u64::from(max.0) / SECTORS_PER_BIT;
        let limit = (start + max_bits.max(1)).min(self.table.layout.bits());
        let end = self.run_end(start, limit);
        let sectors =
            (end * SECTORS_PER_BIT).min(self.table.layout.volume_sectors()) - start * SECTORS_PER_BIT;
        let count = SectorCount(u16::try_from(sectors).expect("no longer than max, or a block"));
        LbaRange::new(Lba(start * SECTORS_PER_BIT), count)
    }

    /// The bits of all blocks that `range` touches.
    ///
    /// # Panics
    /// If the range ends beyond the volume.
    pub(crate) fn around(&self, range: LbaRange) -> Range<u64> {
        assert!(range.end().0 <= self.table.layout.volume_sectors(), "a range of this volume");
        if range.is_empty() {
            return 0..0;
        }
        range.start().0 / SECTORS_PER_BIT..range.end().0.div_ceil(SECTORS_PER_BIT)
    }

    /// The bits of all blocks that lie in `range`; the volume's last block may be a short one.
    ///
    /// # Panics
    /// If the range ends beyond the volume.
    pub(crate) fn within(&self, range: LbaRange) -> Range<u64> {
        assert!(range.end().0 <= self.table.layout.volume_sectors(), "a range of this volume");
        let whole = range.end().0 == self.table.layout.volume_sectors();
        let end = if whole { self.table.layout.bits() } else { range.end().0 / SECTORS_PER_BIT };
        let start = range.start().0.div_ceil(SECTORS_PER_BIT);
        start..end.max(start)
    }

    /// The words of a block, as they are to be changed: from now on they count.
    fn open(&mut self, block: u32) -> &mut [u64] {
        self.reserve();
        let words = &mut self.table.words[index(block) * WORDS_PER_BLOCK..][..WORDS_PER_BLOCK];
        match self.table.counts[index(block)] {
            0 => words.fill(0),
            FULL => words.fill(u64::MAX),
            _ => {}
        }
        words
    }

    fn next_set(&self, from: u64) -> Option<u64> {
        if from >= self.table.layout.bits() {
            return None;
        }
        let (first, base) = (block_of(from), u64::from(block_of(from)) * BITS_PER_BLOCK);
        // The block the search begins in may have bits before it only.
        self.scan(first, from - base).or_else(|| {
            let counts = &self.table.counts[index(first) + 1..];
            let beyond = counts.iter().position(|count| *count > 0)?;
            self.scan(first + 1 + u32::try_from(beyond).expect("blocks are counted in 32 bits"), 0)
        })
    }

    /// The first set bit of a block from there on.
    fn scan(&self, block: u32, from: u64) -> Option<u64> {
        let base = u64::from(block) * BITS_PER_BLOCK;
        match self.table.counts[index(block)] {
            0 => None,
            FULL => Some(base + from),
            _ => first_set(base + from, base + BITS_PER_BLOCK, |word| self.table.words[word]),
        }
    }

    fn run_end(&self, start: u64, limit: u64) -> u64 {
        let gap = by_block(start..limit).find_map(|(block, within)| {
            let base = u64::from(block) * BITS_PER_BLOCK;
            match self.table.counts[index(block)] {
                0 => Some(base + within.start),
                FULL => None,
                _ => first_set(base + within.start, base + within.end, |word| !self.table.words[word]),
            }
        });
        gap.unwrap_or(limit)
    }
}

/// Cuts a range of bits where the blocks end: each block, and the bits counted from its first.
pub(crate) fn by_block(bits: Range<u64>) -> impl Iterator<Item = (u32, Range<u64>)> {
    let mut start = bits.start;
    std::iter::from_fn(move || {
        if start >= bits.end {
            return None;
        }
        let block = block_of(start);
        let base = u64::from(block) * BITS_PER_BLOCK;
        let end = bits.end.min(base + BITS_PER_BLOCK);
        let within = start - base..end - base;
        start = end;
        Some((block, within))
    })
}

/// Changes the words of a block that have bits of these; says how many bits in all `change` says.
fn change(words: &mut [u64], bits: Range<u64>, mut change: impl FnMut(&mut u64, u64) -> u32) -> u64 {
    masks(bits.start, bits.end).map(|(word, mask)| u64::from(change(&mut words[word], mask))).sum()
}

fn first_set(start: u64, end: u64, word_at: impl Fn(usize) -> u64) -> Option<u64> {
    masks(start, end).find_map(|(word, mask)| {
        let found = word_at(word) & mask;
        (found != 0).then(|| word as u64 * 64 + u64::from(found.trailing_zeros()))
    })
}

/// The words that hold the bits `start .. end`, and which of each.
fn masks(start: u64, end: u64) -> impl Iterator<Item = (usize, u64)> {
    let words = start / 64..end.div_ceil(64).max(start / 64);
    words.map(move |word| {
        let from = start.saturating_sub(word * 64);
        let mask = valid_mask(end, word) & (u64::MAX << from.min(63));
        (usize::try_from(word).expect("as many as fit memory"), mask)
    })
}

pub(crate) fn block_of(bit: u64) -> u32 {
    u32::try_from(bit / BITS_PER_BLOCK).expect("blocks are counted in 32 bits")
}

pub(crate) fn index(block: u32) -> usize {
    usize::try_from(block).expect("as many as fit memory")
}

fn small(bits: u64) -> u16 {
    u16::try_from(bits).expect("a block has 32,256 bits")
}
