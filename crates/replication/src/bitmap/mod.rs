//! The out-of-sync blocks: a bit for each 4 KiB that the absent peer has missed.
//!
//! Decides what has to be resynced, and when a write that is served alone may be answered: only when its bits are durable.
//! It never writes: it says which of its blocks must be written, makes the bytes, and learns that they are durable. A set
//! bit that is not needed costs a resync of 4 KiB; a missing one costs data. So sets are rounded outwards and written at
//! once, clears are rounded inwards and written when there is time.
//!
//! ```text
//!             set                    poll_write             handle_written
//!     clean ───────▶ must be written ──────────▶ in flight ────────────────▶ clean
//!       │                                         │     └── set meanwhile ──▶ must be written
//!       └── clear ──▶ may be written ── poll_idle_write ──▶ in flight
//! ```
//!
//! Memory: a bit for 4 KiB, 512 MiB for 16 TiB, of which the system gives only the pages that have ever held a set bit; and
//! 54 bytes for each block of 126 MiB, 7.2 MB for 16 TiB. All of it is asked for when the bitmap is made.

use std::collections::VecDeque;
use std::ops::Range;

use block::{Lba, LbaRange, SectorCount};

use crate::identity::FormatIdentity;
use crate::message::BlockRun;
use crate::meta::activity_log::Extent;
use crate::meta::bitmap::{WORDS_PER_BLOCK, bits_in_block, emit, read, valid_mask};
use crate::meta::layout::{BITS_PER_BLOCK, EXTENT_SECTORS, Layout, Place, RECORD_BYTES, SECTORS_PER_BIT};
use crate::meta::record::{RecordError, Sequence};
use crate::meta::twin::{Side, TwinError};

/// What a write waits for: that a block of the bitmap is durable as it was when the write's bits were set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ticket {
    block: u32,
    version: u64,
}

/// What a write waits for altogether: a request touches two blocks at most. Empty if its bits are durable already.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tickets([Option<Ticket>; 2]);

impl Tickets {
    /// Whether there is nothing to wait for.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0[0].is_none() && self.0[1].is_none()
    }
}

/// What became of a block that was read from disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Loaded {
    /// It is what was written last.
    Good,
    /// One of its two slots cannot be used: after a crash a torn write of bits that nothing was answered for; at another
    /// time damage, and the bits may be older than they were.
    Torn(RecordError),
    /// Neither slot can be used: every bit counts as set.
    InDoubt(TwinError),
}

/// A block that is to be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BlockWrite {
    /// Which.
    pub block: u32,
    /// Where.
    pub place: Place,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    /// The newest record on disk.
    sequence: Sequence,
    /// How often bits were set; which of these is durable; which is being written.
    version: u64,
    durable: u64,
    writing: Option<u64>,
    /// Bits were cleared since it was written.
    cleared: bool,
}

/// The out-of-sync blocks of one volume. What every write asks, whether there are any, stands where the bitmap stands.
#[derive(Debug)]
pub struct Bitmap {
    out_of_sync: u64,
    blocks: Box<Blocks>,
}

/// The bits, and what is on disk of them.
#[derive(Debug)]
struct Blocks {
    layout: Layout,
    format: FormatIdentity,
    words: Vec<u64>,
    /// Set bits of each block, apart from the rest so that a search passes over empty ones fast.
    counts: Vec<u16>,
    states: Vec<Block>,
    /// Blocks that must be written, in the order they became so.
    urgent: VecDeque<u32>,
    /// How many blocks have cleared bits to write, and where to look for the next.
    cleared: usize,
    cleared_cursor: usize,
}

impl Bitmap {
    /// No bit set, as on blank metadata.
    #[must_use]
    pub fn new(layout: Layout, format: FormatIdentity) -> Self {
        let blocks = index(layout.bitmap_blocks());
        let block = Block { sequence: Sequence::NONE, version: 0, durable: 0, writing: None, cleared: false };
        let blocks = Blocks {
            layout,
            format,
            words: vec![0; blocks * WORDS_PER_BLOCK],
            counts: vec![0; blocks],
            states: vec![block; blocks],
            urgent: VecDeque::with_capacity(blocks),
            cleared: 0,
            cleared_cursor: 0,
        };
        Self { out_of_sync: 0, blocks: Box::new(blocks) }
    }

    /// Takes a block as it was read from disk, both slots.
    ///
    /// # Errors
    /// [`TwinError::Refused`] if a later version wrote it: the bitmap cannot be used. Everything else has an answer.
    ///
    /// # Panics
    /// If bits of the block were changed since the bitmap was made, or `pair` is not both slots.
    pub fn load(&mut self, block: u32, pair: &[u8]) -> Result<Loaded, TwinError> {
        let at = index(block);
        assert!(
            self.blocks.states[at].version == 0 && self.blocks.counts[at] == 0,
            "a block is loaded before it is used"
        );
        match read(pair, self.blocks.layout, self.blocks.format, block) {
            Ok(twin) => {
                self.blocks.states[at].sequence = twin.sequence();
                if let Some((_, bits)) = twin.newest {
                    self.merge_words(block, bits.words());
                }
                Ok(twin.flaw.map_or(Loaded::Good, Loaded::Torn))
            }
            Err(error @ TwinError::Refused(_)) => Err(error),
            Err(error) => {
                self.set_bits(block, 0..bits_in_block(self.blocks.layout, block));
                Ok(Loaded::InDoubt(error))
            }
        }
    }

    /// Out-of-sync blocks of 4 KiB.
    #[must_use]
    pub const fn out_of_sync(&self) -> u64 {
        self.out_of_sync
    }

    /// Whether any sector of `range` lies in an out-of-sync block.
    ///
    /// # Panics
    /// If the range ends beyond the volume.
    #[must_use]
    pub fn touches(&self, range: LbaRange) -> bool {
        let bits = self.bits_around(range);
        masks(bits.start, bits.end).any(|(word, mask)| self.blocks.words[word] & mask != 0)
    }

    /// The peer misses `range`: sets every block it touches. What is returned must be durable before the write that did
    /// this is answered.
    ///
    /// # Panics
    /// If the range ends beyond the volume.
    pub fn set(&mut self, range: LbaRange) -> Tickets {
        let bits = self.bits_around(range);
        if bits.is_empty() {
            return Tickets::default();
        }
        let first = block_of(bits.start);
        let boundary = (u64::from(first) + 1) * BITS_PER_BLOCK;
        let within = |bit: u64, block: u32| bit - u64::from(block) * BITS_PER_BLOCK;
        let one = self.set_bits(first, within(bits.start, first)..within(bits.end.min(boundary), first));
        let two =
            if bits.end > boundary { self.set_bits(first + 1, 0..within(bits.end, first + 1)) } else { None };
        Tickets([one, two])
    }

    /// An extent is in doubt after a crash: sets all of it.
    ///
    /// # Panics
    /// If the volume has no such extent.
    pub fn set_extent(&mut self, extent: Extent) -> Tickets {
        let start = u64::from(extent.0) * EXTENT_SECTORS;
        assert!(start < self.blocks.layout.volume_sectors(), "an extent of this volume");
        let sectors = EXTENT_SECTORS.min(self.blocks.layout.volume_sectors() - start);
        let count = SectorCount(u16::try_from(sectors).expect("an extent is 8,192 sectors"));
        self.set(LbaRange::new(Lba(start), count).expect("within the volume"))
    }

    /// The volume is to have the size of `layout`, which is larger. If what is new is `in_doubt` it counts as missed by the
    /// peer; what is returned must be durable before the size is.
    ///
    /// # Panics
    /// If it is not larger.
    pub fn grow(&mut self, layout: Layout, in_doubt: bool) -> Vec<Ticket> {
        let old = std::mem::replace(&mut self.blocks.layout, layout);
        assert!(layout.volume_sectors() > old.volume_sectors(), "a bitmap only grows");
        let blocks = index(layout.bitmap_blocks());
        let fresh = Block { sequence: Sequence::NONE, version: 0, durable: 0, writing: None, cleared: false };
        self.blocks.words.resize(blocks * WORDS_PER_BLOCK, 0);
        self.blocks.counts.resize(blocks, 0);
        self.blocks.states.resize(blocks, fresh);
        self.blocks.urgent.reserve(blocks - self.blocks.urgent.len());
        if !in_doubt {
            return Vec::new();
        }
        // The last block of 4 KiB may have been a short one; what it holds beyond that is new.
        let first = old.volume_sectors() / SECTORS_PER_BIT;
        let within = |block: u32| {
            let start = first.saturating_sub(u64::from(block) * BITS_PER_BLOCK);
            start..bits_in_block(layout, block)
        };
        (block_of(first)..layout.bitmap_blocks())
            .filter_map(|block| self.set_bits(block, within(block)))
            .collect()
    }

    /// Nothing is known: sets everything.
    pub fn set_all(&mut self) {
        for block in 0..self.blocks.layout.bitmap_blocks() {
            self.set_bits(block, 0..bits_in_block(self.blocks.layout, block));
        }
    }

    /// Adds what the peer says it has missed, or has written alone: a block of its bitmap. Bits beyond the end of the volume
    /// are passed over.
    ///
    /// # Panics
    /// If the bitmap has no such block.
    pub fn union(&mut self, block: u32, words: impl Iterator<Item = u64>) -> Tickets {
        if self.merge_words(block, words) > 0 {
            self.touched(block);
        }
        Tickets([self.ticket(block), None])
    }

    /// `range` is in sync again, durably: clears every block that lies in it as a whole.
    ///
    /// # Panics
    /// If the range ends beyond the volume.
    pub fn clear(&mut self, range: LbaRange) {
        let bits = self.bits_within(range);
        for (word, mask) in masks(bits.start, bits.end) {
            let removed = (self.blocks.words[word] & mask).count_ones();
            if removed > 0 {
                self.blocks.words[word] &= !mask;
                let block = word / WORDS_PER_BLOCK;
                self.blocks.counts[block] -= small(removed);
                self.out_of_sync -= u64::from(removed);
                self.blocks.cleared += usize::from(!self.blocks.states[block].cleared);
                self.blocks.states[block].cleared = true;
            }
        }
    }

    /// Nothing is out of sync any more.
    pub fn clear_all(&mut self) {
        let mut cursor = Lba(0);
        while let Some(run) = self.next_out_of_sync(cursor, SectorCount(u16::MAX)) {
            self.clear(run);
            cursor = run.end();
        }
    }

    /// Every run of out-of-sync blocks, in order.
    pub fn for_each_run(&self, mut visit: impl FnMut(BlockRun)) {
        let mut from = 0;
        while let Some(start) = self.next_set(from) {
            let end = self.run_end(start, self.blocks.layout.bits());
            visit(BlockRun { start, count: end - start });
            from = end;
        }
    }

    /// Whether a block must be written that is not being written.
    #[must_use]
    pub fn has_urgent(&self) -> bool {
        !self.blocks.urgent.is_empty()
    }

    /// Whether everything a write waits for is durable.
    #[must_use]
    pub fn is_durable(&self, tickets: Tickets) -> bool {
        tickets.0.iter().flatten().all(|ticket| self.are_durable(std::slice::from_ref(ticket)))
    }

    /// The same for what a growth waits for.
    #[must_use]
    pub fn are_durable(&self, tickets: &[Ticket]) -> bool {
        tickets.iter().all(|ticket| self.blocks.states[index(ticket.block)].durable >= ticket.version)
    }

    /// Makes the next block that must be written, in `slot`; writes wait for it.
    pub fn poll_write(&mut self, slot: &mut [u8; RECORD_BYTES]) -> Option<BlockWrite> {
        let block = self.blocks.urgent.pop_front()?;
        Some(self.begin_write(block, slot))
    }

    /// Makes the next block that only has cleared bits to write: for when there is nothing better to do.
    pub fn poll_idle_write(&mut self, slot: &mut [u8; RECORD_BYTES]) -> Option<BlockWrite> {
        if self.blocks.cleared == 0 {
            return None;
        }
        let blocks = self.blocks.states.len();
        let free = |block: &Block| block.cleared && block.writing.is_none() && block.version == block.durable;
        let found = (0..blocks)
            .map(|step| (self.blocks.cleared_cursor + step) % blocks)
            .find(|at| free(&self.blocks.states[*at]))?;
        self.blocks.cleared_cursor = found;
        Some(self.begin_write(u32::try_from(found).expect("blocks are counted in 32 bits"), slot))
    }

    /// A block that was being written is durable.
    ///
    /// # Panics
    /// If it was not being written.
    pub fn handle_written(&mut self, block: u32) {
        let state = &mut self.blocks.states[index(block)];
        state.durable = state.writing.take().expect("a block that was being written");
        state.sequence = state.sequence.next();
        if state.version > state.durable {
            self.blocks.urgent.push_back(block);
        }
    }

    /// The first out-of-sync run at or after `cursor`, at most `max` sectors of it. The end of what is returned is the next
    /// cursor.
    #[must_use]
    pub fn next_out_of_sync(&self, cursor: Lba, max: SectorCount) -> Option<LbaRange> {
        let start = self.next_set(cursor.0.div_ceil(SECTORS_PER_BIT))?;
        let max_bits = u64::from(max.0) / SECTORS_PER_BIT;
        let limit = (start + max_bits.max(1)).min(self.blocks.layout.bits());
        let end = self.run_end(start, limit);
        let sectors =
            (end * SECTORS_PER_BIT).min(self.blocks.layout.volume_sectors()) - start * SECTORS_PER_BIT;
        let count = SectorCount(u16::try_from(sectors).expect("no longer than max, or a block"));
        LbaRange::new(Lba(start * SECTORS_PER_BIT), count)
    }

    /// The bits of a block, for the peer.
    ///
    /// # Panics
    /// If the bitmap has no such block.
    #[must_use]
    pub fn words(&self, block: u32) -> &[u64] {
        &self.blocks.words[index(block) * WORDS_PER_BLOCK..][..WORDS_PER_BLOCK]
    }

    fn set_bits(&mut self, block: u32, bits: Range<u64>) -> Option<Ticket> {
        let base = u64::from(block) * BITS_PER_BLOCK;
        let mut added = 0;
        for (word, mask) in masks(base + bits.start, base + bits.end) {
            added += (mask & !self.blocks.words[word]).count_ones();
            self.blocks.words[word] |= mask;
        }
        if added > 0 {
            self.blocks.counts[index(block)] += small(added);
            self.out_of_sync += u64::from(added);
            self.touched(block);
        }
        self.ticket(block)
    }

    /// Adds bits without making the block one that must be written; says how many.
    fn merge_words(&mut self, block: u32, words: impl Iterator<Item = u64>) -> u32 {
        let valid = bits_in_block(self.blocks.layout, block);
        let held = &mut self.blocks.words[index(block) * WORDS_PER_BLOCK..][..WORDS_PER_BLOCK];
        let mut added = 0;
        for ((held, word), at) in held.iter_mut().zip(words).zip(0..) {
            let new = word & valid_mask(valid, at) & !*held;
            // An untouched page stays untouched.
            if new != 0 {
                *held |= new;
                added += new.count_ones();
            }
        }
        self.blocks.counts[index(block)] += small(added);
        self.out_of_sync += u64::from(added);
        added
    }

    /// Bits were set: the block must be written, now or after the write in flight.
    fn touched(&mut self, block: u32) {
        let state = &mut self.blocks.states[index(block)];
        let queued = state.version > state.durable || state.writing.is_some();
        state.version += 1;
        if !queued {
            self.blocks.urgent.push_back(block);
        }
    }

    fn ticket(&self, block: u32) -> Option<Ticket> {
        let Block { version, durable, .. } = self.blocks.states[index(block)];
        (version > durable).then_some(Ticket { block, version })
    }

    fn begin_write(&mut self, block: u32, slot: &mut [u8; RECORD_BYTES]) -> BlockWrite {
        let state = &mut self.blocks.states[index(block)];
        assert!(state.writing.is_none(), "two writes of a block at once could tear both slots");
        state.writing = Some(state.version);
        self.blocks.cleared -= usize::from(state.cleared);
        state.cleared = false;
        let sequence = state.sequence.next();
        emit(slot, self.blocks.layout, self.blocks.format, block, sequence, self.words(block));
        BlockWrite { block, place: self.blocks.layout.bitmap_block(block, Side::of(sequence)) }
    }

    fn next_set(&self, from: u64) -> Option<u64> {
        if from >= self.blocks.layout.bits() {
            return None;
        }
        let first = index(block_of(from));
        // The block the search begins in may have bits before it only.
        let end = (first as u64 + 1) * BITS_PER_BLOCK;
        if self.blocks.counts[first] > 0
            && let Some(bit) = self.scan(from, end)
        {
            return Some(bit);
        }
        let block = first + 1 + self.blocks.counts[first + 1..].iter().position(|count| *count > 0)?;
        self.scan(block as u64 * BITS_PER_BLOCK, (block as u64 + 1) * BITS_PER_BLOCK)
    }

    fn scan(&self, from: u64, end: u64) -> Option<u64> {
        masks(from, end).find_map(|(word, mask)| {
            let found = self.blocks.words[word] & mask;
            (found != 0).then(|| word as u64 * 64 + u64::from(found.trailing_zeros()))
        })
    }

    fn run_end(&self, start: u64, limit: u64) -> u64 {
        let gap = masks(start, limit).find_map(|(word, mask)| {
            let clear = !self.blocks.words[word] & mask;
            (clear != 0).then(|| word as u64 * 64 + u64::from(clear.trailing_zeros()))
        });
        gap.unwrap_or(limit)
    }

    /// The bits of all blocks that `range` touches.
    fn bits_around(&self, range: LbaRange) -> Range<u64> {
        assert!(range.end().0 <= self.blocks.layout.volume_sectors(), "a range of this volume");
        if range.is_empty() {
            return 0..0;
        }
        range.start().0 / SECTORS_PER_BIT..range.end().0.div_ceil(SECTORS_PER_BIT)
    }

    /// The bits of all blocks that lie in `range`; the volume's last block may be a short one.
    fn bits_within(&self, range: LbaRange) -> Range<u64> {
        assert!(range.end().0 <= self.blocks.layout.volume_sectors(), "a range of this volume");
        let whole = range.end().0 == self.blocks.layout.volume_sectors();
        let end = if whole { self.blocks.layout.bits() } else { range.end().0 / SECTORS_PER_BIT };
        let start = range.start().0.div_ceil(SECTORS_PER_BIT);
        start..end.max(start)
    }
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

fn block_of(bit: u64) -> u32 {
    u32::try_from(bit / BITS_PER_BLOCK).expect("blocks are counted in 32 bits")
}

fn index(block: u32) -> usize {
    usize::try_from(block).expect("as many as fit memory")
}

fn small(bits: u32) -> u16 {
    u16::try_from(bits).expect("a block has 32,256 bits")
}

const _: () =
    assert!(size_of::<Block>() + size_of::<u16>() + size_of::<u32>() == 54, "as the top of this file says");

#[cfg(test)]
mod tests;
