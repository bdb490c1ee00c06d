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
//!       │               ▲    ▲ set                │     └── set meanwhile ──▶ must be written
//!       │ join          │    │
//!       ├──────▶ must be written, but nobody waits for it yet: after those
//!       └── clear ──▶ may be written ── poll_idle_write ──▶ in flight
//! ```
//!
//! Memory: a bit for 4 KiB, 512 MiB for 16 TiB, of which the system gives only the pages where some bits of a block have been set
//! and others not (`bits.rs`); and 54 bytes for each block of 126 MiB, 7.2 MB for 16 TiB. All of it is asked for when the bitmap is
//! made.

mod bits;
mod repairs;

use std::collections::VecDeque;
use std::ops::Range;

use block::{Lba, LbaRange, SectorCount};

pub(crate) use self::bits::Bits;
use self::bits::{block_of, by_block, index};
use crate::identity::FormatIdentity;
use crate::message::BlockRun;
use crate::meta::activity_log::Extent;
use crate::meta::bitmap::{bits_in_block, emit, read};
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
    queue: Queue,
    /// Bits were cleared since it was written.
    cleared: bool,
}

/// Where a block waits that must be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Queue {
    /// Nowhere: it need not be, or is being written.
    No,
    /// Writes wait for it, or will.
    Urgent,
    /// It is written when none of these is left.
    Joined,
}

/// The out-of-sync blocks of one volume. What every write asks, whether there are any, stands where the bitmap stands.
#[derive(Debug)]
pub struct Bitmap {
    bits: Bits,
    /// Blocks that the peer is to be given anew though its copy counts as much as this one. Which of the two is the good one is known
    /// only while the nodes are together, so these are on no disk and offered to nobody.
    repairs: Bits,
    stored: Box<Stored>,
}

/// What is on disk of the bits.
#[derive(Debug)]
struct Stored {
    format: FormatIdentity,
    states: Vec<Block>,
    /// Blocks that must be written soon, in the order they became so.
    urgent: VecDeque<u32>,
    /// How many blocks must be written that nobody waits for, and where to look for the next.
    joined: usize,
    joined_cursor: usize,
    /// How many blocks have cleared bits to write, and where to look for the next.
    cleared: usize,
    cleared_cursor: usize,
}

impl Block {
    const FRESH: Self = Self {
        sequence: Sequence::NONE,
        version: 0,
        durable: 0,
        writing: None,
        queue: Queue::No,
        cleared: false,
    };
}

impl Bitmap {
    /// No bit set, as on blank metadata.
    #[must_use]
    pub fn new(layout: Layout, format: FormatIdentity) -> Self {
        let blocks = index(layout.bitmap_blocks());
        let stored = Stored {
            format,
            states: vec![Block::FRESH; blocks],
            urgent: VecDeque::with_capacity(blocks),
            joined: 0,
            joined_cursor: 0,
            cleared: 0,
            cleared_cursor: 0,
        };
        let mut bits = Bits::new(layout);
        bits.reserve();
        Self { bits, repairs: Bits::new(layout), stored: Box::new(stored) }
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
            self.stored.states[at].version == 0 && !self.bits.has_any(block),
            "a block is loaded before it is used"
        );
        match read(pair, self.bits.layout(), self.stored.format, block) {
            Ok(twin) => {
                self.stored.states[at].sequence = twin.sequence();
                if let Some((_, bits)) = twin.newest {
                    self.bits.merge(block, bits.words());
                }
                Ok(twin.flaw.map_or(Loaded::Good, Loaded::Torn))
            }
            Err(error @ TwinError::Refused(_)) => Err(error),
            Err(error) => {
                self.doubt(block);
                Ok(Loaded::InDoubt(error))
            }
        }
    }

    /// One of its places cannot be read, and may hold the newest: it is not written first, so that it stays until the other one says
    /// what is in doubt.
    pub(crate) fn doubt_unreadable(&mut self, block: u32) {
        self.doubt(block);
        let state = &mut self.stored.states[index(block)];
        state.sequence = state.sequence.next();
    }

    /// What a block of it says is not known: all that it stands for is out of sync.
    fn doubt(&mut self, block: u32) {
        self.set_bits(block, 0..bits_in_block(self.bits.layout(), block));
    }

    /// Out-of-sync blocks of 4 KiB, those to be repaired among them.
    #[must_use]
    pub const fn out_of_sync(&self) -> u64 {
        self.bits.out_of_sync() + self.repairs.out_of_sync()
    }

    /// How many of them are on disk, or on their way there.
    pub(crate) const fn noted(&self) -> u64 {
        self.bits.out_of_sync()
    }

    /// How many of these blocks of 4 KiB are out of sync.
    pub(crate) fn count_in(&self, bits: Range<u64>) -> u64 {
        let repairs = if self.has_repairs() { self.repairs.count_in(bits.clone()) } else { 0 };
        self.bits.count_in(bits) + repairs
    }

    /// Whether any sector of `range` lies in an out-of-sync block.
    ///
    /// # Panics
    /// If the range ends beyond the volume.
    #[must_use]
    pub fn touches(&self, range: LbaRange) -> bool {
        self.bits.touches(range) || self.has_repairs() && self.repairs.touches(range)
    }

    /// The blocks of 4 KiB that `range` touches.
    ///
    /// # Panics
    /// If the range ends beyond the volume.
    pub(crate) fn around(&self, range: LbaRange) -> Range<u64> {
        self.bits.around(range)
    }

    /// The peer misses `range`: sets every block it touches. What is returned must be durable before the write that did
    /// this is answered.
    ///
    /// # Panics
    /// If the range ends beyond the volume.
    pub fn set(&mut self, range: LbaRange) -> Tickets {
        let mut blocks = by_block(self.bits.around(range));
        let (first, second) = (blocks.next(), blocks.next());
        assert!(blocks.next().is_none(), "a request touches two blocks of the bitmap at most");
        let mut set = |part: Option<(u32, Range<u64>)>| self.set_bits(part.as_ref()?.0, part?.1);
        Tickets([set(first), set(second)])
    }

    /// An extent is in doubt after a crash: sets all of it.
    ///
    /// # Panics
    /// If the volume has no such extent.
    pub fn set_extent(&mut self, extent: Extent) -> Tickets {
        let start = u64::from(extent.0) * EXTENT_SECTORS;
        assert!(start < self.bits.layout().volume_sectors(), "an extent of this volume");
        let sectors = EXTENT_SECTORS.min(self.bits.layout().volume_sectors() - start);
        let count = SectorCount(u16::try_from(sectors).expect("an extent is 8,192 sectors"));
        self.set(LbaRange::new(Lba(start), count).expect("within the volume"))
    }

    /// The volume is to have the size of `layout`, which is larger. If what is new is `in_doubt` it counts as missed by the
    /// peer; what is returned must be durable before the size is.
    ///
    /// # Panics
    /// If it is not larger.
    pub fn grow(&mut self, layout: Layout, in_doubt: bool) -> Vec<Ticket> {
        let old = self.bits.layout();
        assert!(layout.volume_sectors() > old.volume_sectors(), "a bitmap only grows");
        self.bits.grow(layout);
        self.repairs.grow(layout);
        let (stored, blocks) = (&mut *self.stored, index(layout.bitmap_blocks()));
        stored.states.resize(blocks, Block::FRESH);
        stored.urgent.reserve(blocks - stored.urgent.len());
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
        self.join_all(0..self.bits.layout().bitmap_blocks());
    }

    /// Sets all bits of these blocks. They are written after those that writes wait for.
    pub(crate) fn join_all(&mut self, blocks: Range<u32>) {
        for block in blocks {
            if self.bits.set_in(block, 0..bits_in_block(self.bits.layout(), block)) > 0 {
                self.touched(block, Queue::Joined);
            }
        }
    }

    /// Adds what the peer says it has missed, or has written alone, in these blocks; likewise.
    pub(crate) fn join(&mut self, missed: &Bits, blocks: Range<u32>) {
        for block in blocks {
            if self.bits.add(block, missed) > 0 {
                self.touched(block, Queue::Joined);
            }
        }
    }

    /// The same for all blocks, of which nothing is left in `missed`.
    pub(crate) fn take_over(&mut self, missed: &mut Bits) {
        let blocks = 0..self.bits.layout().bitmap_blocks();
        self.repairs.clear_all();
        if self.bits.out_of_sync() > 0 {
            self.join(missed, blocks);
        } else {
            std::mem::swap(&mut self.bits, missed);
            self.bits.reserve();
            for block in blocks {
                if self.bits.has_any(block) {
                    self.touched(block, Queue::Joined);
                }
            }
        }
        missed.clear_all();
    }

    /// `range` is in sync again, durably: clears every block that lies in it as a whole.
    ///
    /// # Panics
    /// If the range ends beyond the volume.
    pub fn clear(&mut self, range: LbaRange) {
        if self.has_repairs() {
            self.repairs.clear(range);
        }
        for (block, within) in by_block(self.bits.within(range)) {
            self.clear_bits(block, within);
        }
    }

    /// Nothing is out of sync any more.
    pub fn clear_all(&mut self) {
        self.repairs.clear_all();
        for block in 0..self.bits.layout().bitmap_blocks() {
            if self.bits.has_any(block) {
                self.clear_bits(block, 0..bits_in_block(self.bits.layout(), block));
            }
        }
    }

    /// The first run of out-of-sync blocks that begins at `from` or after it, of those that the peer is to hear of. The end of what is
    /// returned is where to go on.
    #[must_use]
    pub fn next_run(&self, from: u64) -> Option<BlockRun> {
        self.bits.next_run(from)
    }

    /// Whether a block must be written that is not being written.
    #[must_use]
    pub fn has_urgent(&self) -> bool {
        !self.stored.urgent.is_empty() || self.stored.joined > 0
    }

    /// Whether any of these is one that no write waits for.
    pub(crate) const fn has_joined(&self) -> bool {
        self.stored.joined > 0
    }

    /// Whether everything a write waits for is durable.
    #[must_use]
    pub fn is_durable(&self, tickets: Tickets) -> bool {
        tickets.0.iter().flatten().all(|ticket| self.are_durable(std::slice::from_ref(ticket)))
    }

    /// The same for what a growth waits for.
    #[must_use]
    pub fn are_durable(&self, tickets: &[Ticket]) -> bool {
        tickets.iter().all(|ticket| self.stored.states[index(ticket.block)].durable >= ticket.version)
    }

    /// Makes the next block that must be written, in `slot`; writes wait for it.
    pub fn poll_write(&mut self, slot: &mut [u8; RECORD_BYTES]) -> Option<BlockWrite> {
        let stored = &mut *self.stored;
        let block = match stored.urgent.pop_front() {
            Some(block) => block,
            None if stored.joined > 0 => {
                stored.joined -= 1;
                let found =
                    find_from(&stored.states, stored.joined_cursor, |block| block.queue == Queue::Joined);
                stored.joined_cursor = found.expect("counted");
                number(stored.joined_cursor)
            }
            None => return None,
        };
        Some(self.begin_write(block, slot))
    }

    /// Makes the next block that only has cleared bits to write: for when there is nothing better to do.
    pub fn poll_idle_write(&mut self, slot: &mut [u8; RECORD_BYTES]) -> Option<BlockWrite> {
        let stored = &mut *self.stored;
        if stored.cleared == 0 {
            return None;
        }
        let free = |block: &Block| block.cleared && block.writing.is_none() && block.version == block.durable;
        stored.cleared_cursor = find_from(&stored.states, stored.cleared_cursor, free)?;
        let block = number(stored.cleared_cursor);
        Some(self.begin_write(block, slot))
    }

    /// A block that was being written is durable.
    ///
    /// # Panics
    /// If it was not being written.
    pub fn handle_written(&mut self, block: u32) {
        let state = &mut self.stored.states[index(block)];
        state.durable = state.writing.take().expect("a block that was being written");
        state.sequence = state.sequence.next();
        if state.version > state.durable {
            state.queue = Queue::Urgent;
            self.stored.urgent.push_back(block);
        }
    }

    /// The first out-of-sync run at or after `cursor`, at most `max` sectors of it. The end of what is returned is the next
    /// cursor.
    #[must_use]
    pub fn next_out_of_sync(&self, cursor: Lba, max: SectorCount) -> Option<LbaRange> {
        let noted = self.bits.next_out_of_sync(cursor, max);
        if !self.has_repairs() {
            return noted;
        }
        let repair = self.repairs.next_out_of_sync(cursor, max);
        [noted, repair].into_iter().flatten().min_by_key(|range| range.start())
    }

    fn set_bits(&mut self, block: u32, bits: Range<u64>) -> Option<Ticket> {
        let is_joined = self.stored.states[index(block)].queue == Queue::Joined;
        if self.has_repairs() {
            self.repairs.clear_in(block, bits.clone());
        }
        if self.bits.set_in(block, bits) > 0 {
            self.touched(block, Queue::Urgent);
        } else if is_joined {
            self.hurry(block);
        }
        self.ticket(block)
    }

    fn clear_bits(&mut self, block: u32, bits: Range<u64>) {
        if self.bits.clear_in(block, bits) > 0 {
            let stored = &mut *self.stored;
            stored.cleared += usize::from(!stored.states[index(block)].cleared);
            stored.states[index(block)].cleared = true;
        }
    }

    /// Bits were set: the block must be written, now or after the write in flight.
    fn touched(&mut self, block: u32, queue: Queue) {
        let state = &mut self.stored.states[index(block)];
        state.version += 1;
        match (state.queue, queue) {
            (Queue::No, _) if state.writing.is_some() => {}
            (Queue::No, Queue::Joined) => {
                state.queue = Queue::Joined;
                self.stored.joined += 1;
            }
            (Queue::No, _) => {
                state.queue = Queue::Urgent;
                self.stored.urgent.push_back(block);
            }
            (Queue::Joined, Queue::Urgent) => self.hurry(block),
            (Queue::Joined | Queue::Urgent, _) => {}
        }
    }

    /// Somebody waits for a block that nobody has waited for.
    fn hurry(&mut self, block: u32) {
        self.stored.states[index(block)].queue = Queue::Urgent;
        self.stored.joined -= 1;
        self.stored.urgent.push_back(block);
    }

    fn ticket(&self, block: u32) -> Option<Ticket> {
        let Block { version, durable, .. } = self.stored.states[index(block)];
        (version > durable).then_some(Ticket { block, version })
    }

    fn begin_write(&mut self, block: u32, slot: &mut [u8; RECORD_BYTES]) -> BlockWrite {
        let state = &mut self.stored.states[index(block)];
        assert!(state.writing.is_none(), "two writes of a block at once could tear both slots");
        state.writing = Some(state.version);
        state.queue = Queue::No;
        self.stored.cleared -= usize::from(state.cleared);
        state.cleared = false;
        let sequence = state.sequence.next();
        let layout = self.bits.layout();
        emit(slot, layout, self.stored.format, block, sequence, self.bits.words(block));
        BlockWrite { block, place: layout.bitmap_block(block, Side::of(sequence)) }
    }
}

/// The first that is meant, from there on and then from the beginning.
fn find_from(states: &[Block], cursor: usize, is_meant: impl Fn(&Block) -> bool) -> Option<usize> {
    (cursor..states.len()).chain(0..cursor).find(|at| is_meant(&states[*at]))
}

fn number(block: usize) -> u32 {
    u32::try_from(block).expect("blocks are counted in 32 bits")
}

const _: () =
    assert!(size_of::<Block>() + size_of::<u16>() + size_of::<u32>() == 54, "as the top of this file says");

#[cfg(test)]
mod tests;
