//! The hot extents: which runs of 4 MiB may have writes in flight.
//!
//! Decides when a write may start: every extent it touches must be in the log on disk *before*, so that after a crash the
//! log names everything that may differ between the nodes. It never does the writing: it says that there is a transaction,
//! makes its bytes, and learns that it is durable. A write touches its extents with [`ActivityLog::begin`] and leaves them
//! with [`ActivityLog::finish`]; an extent stays in the log after its last write until its slot is needed, and one with
//! writes in flight never leaves it.
//!
//! ```text
//!                  begin, slot taken            its transaction is durable
//!      absent ───────────────────────▶ pending ───────────────────────────▶ hot, in use ◀──┐
//!        ▲                                │ finished early                    │            │ begin
//!        │                                ▼                                   ▼ finish     │
//!        │                             pending, unused ──── durable ───────▶ hot, idle ────┘
//!        └──────────────────── least recently used, slot needed ────────────────┘
//! ```
//!
//! One transaction is in flight at a time; changes that come meanwhile gather in the next one. A transaction whose write
//! fails is not tried again: whoever drives this gives up the disk. Nothing is allocated after the log is made.

mod idle;
mod table;

use block::LbaRange;

use self::idle::Idle;
use self::table::{Entry, Table};
use crate::identity::FormatIdentity;
use crate::meta::activity_log::{CHANGES_MAX, Change, Extent, Replay, emit};
use crate::meta::layout::{EXTENT_SECTORS, HOT_EXTENTS_MIN, Layout, Place, RECORD_BYTES};
use crate::meta::record::Sequence;

/// Extents that one request touches at most: 65,535 sectors, not aligned.
pub const EXTENTS_PER_REQUEST_MAX: usize = 9;

/// What became of a write that wants to start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Begun {
    /// All its extents are in the log on disk: go.
    Ready,
    /// They are in the log, but not on disk before this transaction: wait until it is durable.
    After(Sequence),
    /// Too many extents are in use; nothing was taken. Try again after a [`ActivityLog::finish`] said that one fell idle,
    /// or after a transaction.
    Full,
}

/// A slot of the log on disk; what writes ask for stands in the [`Table`].
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The extent that the log names here once the next transactions are durable.
    extent: Option<Extent>,
    /// The transaction that put it there.
    since: Sequence,
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Writes that found all their extents hot.
    pub hits: u64,
    /// Writes that had to wait for a transaction.
    pub misses: u64,
    /// Writes turned away because every slot was in use.
    pub full: u64,
    /// Transactions made.
    pub transactions: u64,
}

/// The hot extents of one volume on one node. What every write asks for comes first.
#[derive(Debug)]
#[repr(C)]
pub struct ActivityLog {
    layout: Layout,
    table: Table,
    /// Slots below this hold an extent; the rest were never used.
    used: usize,
    /// The newest transaction that is durable.
    durable: Sequence,
    /// The log as the next transactions will leave it, pending changes included.
    slots: Vec<Slot>,
    idle: Idle,
    counters: Counters,
    format: FormatIdentity,
    writing: bool,
    batch: Batch,
}

/// Changes not yet in a transaction, oldest first: slots in a ring, since each slot changes at most once before it is
/// durable.
#[derive(Debug)]
struct Batch {
    slots: Vec<u32>,
    first: usize,
    count: usize,
    /// The transaction that takes the newest of them, and how many it takes so far.
    open: Sequence,
    open_count: usize,
}

impl ActivityLog {
    /// An empty log on blank metadata.
    #[must_use]
    pub fn new(layout: Layout, format: FormatIdentity) -> Self {
        let slots = usize::try_from(layout.hot_extents()).expect("as many as fit memory");
        let salt = u32::try_from(format.0 & u128::from(u32::MAX)).expect("32 bits");
        Self {
            layout,
            format,
            slots: vec![Slot { extent: None, since: Sequence::NONE }; slots],
            table: Table::new(slots, salt),
            idle: Idle::new(slots),
            used: 0,
            durable: Sequence::NONE,
            writing: false,
            batch: Batch::new(slots, Sequence::NONE),
            counters: Counters::default(),
        }
    }

    /// The volume has the size of `layout` from now on, which is larger.
    ///
    /// # Panics
    /// If it is not, or has another number of hot extents.
    pub fn grow(&mut self, layout: Layout) {
        assert!(layout.volume_sectors() > self.layout.volume_sectors(), "a volume only grows");
        assert!(layout.hot_extents() == self.layout.hot_extents(), "the log keeps its size");
        self.layout = layout;
    }

    /// Goes on with what a replay found; all of it is idle.
    ///
    /// # Panics
    /// If the replay is of another layout.
    #[must_use]
    pub fn resume(layout: Layout, format: FormatIdentity, replay: &Replay) -> Self {
        let mut log = Self::new(layout, format);
        assert!(replay.slots.len() == log.slots.len(), "a replay of this layout");
        log.durable = replay.newest;
        log.batch.open = replay.newest;
        // Slots are taken in order, and never given back empty.
        log.used = replay.slots.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        for (slot, extent) in replay.slots[..log.used].iter().enumerate() {
            log.slots[slot].extent = *extent;
            let since = log.idle.fall();
            // A log that two slots give to one extent is as good: the second stays out of the table until it is evicted.
            if let Some(extent) = *extent
                && log.table.find(extent).is_none()
            {
                log.table.insert(Entry::idle(extent, slot, since));
            }
        }
        log
    }

    /// A write of `range` wants to start.
    ///
    /// # Panics
    /// If the range is empty or ends beyond the volume.
    pub fn begin(&mut self, range: LbaRange) -> Begun {
        let extents = self.extents_of(range);
        let mut found = [None; EXTENTS_PER_REQUEST_MAX];
        let mut since = Sequence::NONE;
        let mut missing = 0;
        for (extent, found) in extents.clone().zip(&mut found) {
            *found = self.table.find(extent);
            match *found {
                Some(place) => since = since.max(self.take(place)),
                None => missing += 1,
            }
        }
        if missing > self.idle.count() + (self.slots.len() - self.used) {
            found.iter().flatten().for_each(|place| self.leave(*place));
            self.counters.full += 1;
            return Begun::Full;
        }
        for (extent, _) in extents.zip(&found).filter(|(_, found)| found.is_none()) {
            since = since.max(self.admit(extent));
        }
        if since <= self.durable {
            self.counters.hits += 1;
            Begun::Ready
        } else {
            self.counters.misses += 1;
            Begun::After(since)
        }
    }

    /// A write of `range` that had begun is done on both nodes, or was given up. Says whether an extent fell idle.
    ///
    /// # Panics
    /// If no write of these extents is in flight.
    pub fn finish(&mut self, range: LbaRange) -> bool {
        let mut fell_idle = false;
        for extent in self.extents_of(range) {
            let place = self.table.find(extent).expect("an extent in use is in the log");
            self.leave(place);
            fell_idle |= self.table.at(place).users() == 0;
        }
        fell_idle
    }

    /// Whether the transaction with that number is durable: then what waits for it may start.
    #[must_use]
    pub fn is_durable(&self, sequence: Sequence) -> bool {
        sequence <= self.durable
    }

    /// Makes the next transaction in `slot` if there are changes and none is in flight; says where to write it.
    pub fn poll_transaction(&mut self, slot: &mut [u8; RECORD_BYTES]) -> Option<(Sequence, Place)> {
        if self.writing || self.batch.count == 0 {
            return None;
        }
        let sequence = self.durable.next();
        let changed = self.batch.iter().take_while(|slot| self.slots[*slot as usize].since == sequence);
        let changes = changed.map(|slot| Change {
            slot,
            extent: self.slots[slot as usize].extent.expect("a slot that changed holds an extent"),
        });
        // The window may tell changes of later transactions early. That is safe: what they put out was idle already.
        emit(slot, self.layout, self.format, sequence, changes, self.told());
        self.writing = true;
        self.counters.transactions += 1;
        Some((sequence, Layout::transaction(sequence.0)))
    }

    /// The transaction in flight is durable: what waits for it may start.
    ///
    /// # Panics
    /// If another one or none is in flight.
    pub fn handle_durable(&mut self, sequence: Sequence) {
        assert!(
            self.writing && sequence == self.durable.next(),
            "the completion of the transaction in flight"
        );
        self.writing = false;
        self.durable = sequence;
        while self.batch.iter().next().is_some_and(|slot| self.slots[slot as usize].since == sequence) {
            let extent = self.slots[self.batch.pop()].extent.expect("a slot that changed holds an extent");
            let place = self.table.find(extent).expect("what is pending stays in the log");
            self.table.at_mut(place).settle();
            self.note_if_idle(place);
        }
    }

    /// Every extent that is in the log, or will be by a pending transaction.
    pub fn extents(&self) -> impl Iterator<Item = Extent> + '_ {
        self.told().flatten()
    }

    /// How often what happened.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }
}

impl ActivityLog {
    /// What each slot holds.
    fn told(&self) -> impl ExactSizeIterator<Item = Option<Extent>> {
        self.slots.iter().map(|slot| slot.extent)
    }

    fn extents_of(&self, range: LbaRange) -> impl Iterator<Item = Extent> + Clone + use<> {
        assert!(!range.is_empty() && range.end().0 <= self.layout.volume_sectors(), "a range of this volume");
        let number =
            |sector: u64| u32::try_from(sector / EXTENT_SECTORS).expect("a volume has 2³² extents at most");
        (number(range.start().0)..=number(range.end().0 - 1)).map(Extent)
    }

    /// One more write in the extent at a place of the table; says which transaction it waits for, if any.
    fn take(&mut self, place: usize) -> Sequence {
        let entry = self.table.at_mut(place);
        if entry.is_idle() {
            self.idle.use_one();
        }
        entry.take();
        if entry.is_pending() { self.slots[entry.slot()].since } else { Sequence::NONE }
    }

    /// One write less.
    fn leave(&mut self, place: usize) {
        self.table.at_mut(place).leave();
        self.note_if_idle(place);
    }

    fn note_if_idle(&mut self, place: usize) {
        let entry = self.table.at_mut(place);
        if entry.is_idle() {
            entry.idle_since = self.idle.fall();
        }
    }

    /// Gives a slot to `extent`, and to its first write; says which transaction will tell.
    fn admit(&mut self, extent: Extent) -> Sequence {
        let slot = if self.used < self.slots.len() {
            self.used += 1;
            self.used - 1
        } else {
            let (slots, table) = (&self.slots, &self.table);
            self.idle.pop(slots.len(), |slot| idle_since(slots, table, slot)).expect("counted before")
        };
        if let Some(place) = place_of(&self.slots, &self.table, slot) {
            self.table.remove(place);
        }
        self.table.insert(Entry::pending(extent, slot));
        let started = if self.writing { self.durable.next() } else { self.durable };
        let since = self.batch.push(slot, started);
        self.slots[slot] = Slot { extent: Some(extent), since };
        since
    }
}

/// Where the extent of a slot is. After a replay a slot may hold nothing, or an extent that another slot stands for.
fn place_of(slots: &[Slot], table: &Table, slot: usize) -> Option<usize> {
    table.find(slots[slot].extent?).filter(|place| table.at(*place).slot() == slot)
}

/// When a slot fell idle, if it is so. One that is not in the table was idle from the start.
fn idle_since(slots: &[Slot], table: &Table, slot: usize) -> Option<u32> {
    let Some(place) = place_of(slots, table, slot) else { return Some(0) };
    let entry = table.at(place);
    entry.is_idle().then_some(entry.idle_since)
}

impl Batch {
    fn new(slots: usize, newest: Sequence) -> Self {
        Self { slots: vec![0; slots], first: 0, count: 0, open: newest, open_count: 0 }
    }

    /// Adds a change to the newest transaction that has not `started` and has room; says which that is.
    fn push(&mut self, slot: usize, started: Sequence) -> Sequence {
        if self.open <= started {
            (self.open, self.open_count) = (started.next(), 0);
        } else if self.open_count == CHANGES_MAX {
            (self.open, self.open_count) = (self.open.next(), 0);
        }
        let end = (self.first + self.count) % self.slots.len();
        self.slots[end] = u32::try_from(slot).expect("slots are counted in 32 bits");
        self.count += 1;
        self.open_count += 1;
        self.open
    }

    fn pop(&mut self) -> usize {
        let slot = self.slots[self.first] as usize;
        self.first = (self.first + 1) % self.slots.len();
        self.count -= 1;
        slot
    }

    /// The slots that changed, oldest first.
    fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.count).map(|index| self.slots[(self.first + index) % self.slots.len()])
    }
}

const _: () = {
    let request = u16::MAX as u64;
    assert!((request + 2 * EXTENT_SECTORS - 2) / EXTENT_SECTORS == EXTENTS_PER_REQUEST_MAX as u64);
    assert!(HOT_EXTENTS_MIN as usize >= EXTENTS_PER_REQUEST_MAX, "a single request always fits");
};

#[cfg(test)]
mod tests;
