//! A disk: what it holds, what it is asked, what of that survives, and what goes wrong with it.
//!
//! The same for a volume's sectors and for its metadata. A write may come into effect sector by sector at any time between
//! its beginning and its end. What was written and not flushed may be lost with the power, sector by sector, as in
//! FoundationDB's simulator: kept, dropped, one half of each, or garbage.

use std::collections::{BTreeMap, BTreeSet};

use block::{BlockError, Duration, Instant, SECTOR_BYTES};

use crate::fault::{Fault, FaultCounts};
use crate::random::Random;
use crate::store::Store;

/// How long a slow disk takes at most.
const SLOWEST: Duration = Duration::from_secs(5);

/// What is asked of a disk.
#[derive(Debug)]
pub enum Ask {
    /// So many bytes from there.
    Read {
        /// From where.
        offset: u64,
        /// How many.
        length: usize,
    },
    /// Put these there.
    Write {
        /// Where.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
        /// Whether to answer only when they survive a loss of power.
        durable: bool,
    },
    /// Have everything that was answered survive.
    Flush,
}

/// What the disk answers: for a read the bytes.
pub type Answer = Result<Option<Vec<u8>>, BlockError>;

/// Names what a disk was asked until it has answered.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Ticket(pub u64);

/// What is wrong with a disk just now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Condition {
    /// Everything takes so many times as long.
    pub slowness: u32,
    /// Nothing is answered before this moment.
    pub hangs_until: Instant,
    /// Writes fail, so often in a million.
    pub write_errors: u32,
    /// Flushes and durable writes fail.
    pub flush_errors: u32,
    /// There is no room to write anything.
    pub full: bool,
    /// A flush is answered, and makes nothing durable. No fault that anything survives: for a test of who is to notice.
    pub lies: bool,
}

/// How badly a loss of power treats what was not durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Loss {
    /// The process ended, the machine did not: sectors that were on their way arrive or not.
    ProcessOnly,
    /// Sectors are kept or dropped.
    KeepOrDrop,
    /// Or torn in halves, or garbage.
    Tear,
}

/// A disk.
#[derive(Debug)]
pub struct Disk {
    random: Random,
    store: Store,
    latency: Duration,
    /// What is wrong with it.
    pub condition: Condition,
    /// Few at a time, so they are searched one by one.
    under_way: Vec<(Ticket, UnderWay)>,
    tickets: u64,
    /// Sectors answered and not durable: what stood there before each write, oldest first.
    unsynced: BTreeMap<u64, Vec<Before>>,
    /// Writes that came into effect so far, sector by sector.
    writes: u64,
    /// Sectors that cannot be read.
    unreadable: BTreeSet<u64>,
    /// What stood in sectors before a loss of power tore them.
    torn: BTreeMap<u64, [u8; SECTOR_BYTES]>,
}

/// What a write that is not durable has taken the place of.
#[derive(Debug)]
struct Before {
    bytes: [u8; SECTOR_BYTES],
    /// The number of that write.
    write: u64,
}

#[derive(Debug)]
struct UnderWay {
    ask: Ask,
    /// Writes that had come into effect when it began: a flush makes no later ones durable.
    begun: u64,
    /// Sectors of a write that came into effect at its beginning.
    early: u64,
    fails: Option<BlockError>,
}

impl Disk {
    /// A disk of zeros.
    #[must_use]
    pub fn new(random: Random, latency: Duration) -> Self {
        Self {
            random,
            store: Store::default(),
            latency,
            condition: Condition::default(),
            under_way: Vec::new(),
            tickets: 0,
            unsynced: BTreeMap::new(),
            writes: 0,
            unreadable: BTreeSet::new(),
            torn: BTreeMap::new(),
        }
    }

    /// Begins with something; tells when [`Disk::finish`] is to be called.
    pub fn start(&mut self, now: Instant, ask: Ask, counts: &mut FaultCounts) -> (Ticket, Instant) {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let fails = self.failure(&ask, counts);
        let mut early = 0;
        if let (Ask::Write { offset, bytes, .. }, None) = (&ask, fails) {
            // One write in eight comes into effect in part at once.
            early = if self.random.below(8) == 0 { self.random.any() } else { 0 };
            for (index, sector) in bytes.chunks_exact(SECTOR_BYTES).enumerate() {
                if early >> (index % 64) & 1 == 1 {
                    self.put(offset / SECTOR_BYTES as u64 + index as u64, sector);
                }
            }
        }
        let at = self.when_done(now, &ask, counts);
        self.under_way.push((ticket, UnderWay { ask, begun: self.writes, early, fails }));
        (ticket, at)
    }

    /// Ends what was begun. `None` if a crash came in between.
    pub fn finish(&mut self, ticket: Ticket, counts: &mut FaultCounts) -> Option<Answer> {
        let place = self.under_way.iter().position(|(known, _)| *known == ticket)?;
        let (_, UnderWay { ask, begun, early, fails }) = self.under_way.remove(place);
        if let Some(error) = fails {
            return Some(Err(error));
        }
        Some(match ask {
            Ask::Read { offset, length } => self.read(offset, length, counts),
            Ask::Write { offset, bytes, durable } => {
                self.write(offset, &bytes, early, durable);
                Ok(None)
            }
            Ask::Flush => {
                if !self.condition.lies {
                    self.flush(begun);
                }
                Ok(None)
            }
        })
    }

    /// The machine or the process is gone: what was under way ends nowhere.
    pub fn crash(&mut self, loss: Loss) {
        for (_, under_way) in std::mem::take(&mut self.under_way) {
            if let Ask::Write { offset, bytes, .. } = under_way.ask {
                let first = offset / SECTOR_BYTES as u64;
                for (sector, bytes) in (first..).zip(bytes.chunks_exact(SECTOR_BYTES)) {
                    self.tear_in_flight(sector, bytes, loss);
                }
            }
        }
        if loss == Loss::ProcessOnly {
            return;
        }
        for (sector, befores) in std::mem::take(&mut self.unsynced) {
            let before = befores[self.random.index(befores.len())].bytes;
            let mut now = [0; SECTOR_BYTES];
            self.store.read(sector * SECTOR_BYTES as u64, &mut now);
            self.tear(sector, &before, &now, loss);
        }
    }

    /// Everything that was answered survives from now on.
    pub fn flush_now(&mut self) {
        self.unsynced.clear();
    }

    /// Sectors torn by losses of power are taken to have been dropped after all: nobody is left who has a good copy.
    pub fn forgive_torn(&mut self) {
        for (sector, before) in std::mem::take(&mut self.torn) {
            self.store.write(sector * SECTOR_BYTES as u64, &before);
        }
    }

    /// A sector cannot be read until it is written.
    pub fn spoil(&mut self, sector: u64) {
        self.unreadable.insert(sector);
    }

    /// Everything can be read again, and nothing fails.
    pub fn heal(&mut self) {
        self.unreadable.clear();
        self.condition = Condition::default();
    }

    /// Whether everything that is asked can be read.
    #[must_use]
    pub fn is_readable(&self, offset: u64, length: usize) -> bool {
        let first = offset / SECTOR_BYTES as u64;
        let end = (offset + length as u64).div_ceil(SECTOR_BYTES as u64);
        self.unreadable.range(first..end).next().is_none()
    }

    /// What stands there, without waiting: for what reads before anything else happens.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read_now(&self, offset: u64, bytes: &mut [u8]) -> Result<(), BlockError> {
        if !self.is_readable(offset, bytes.len()) {
            return Err(BlockError::Medium);
        }
        self.store.read(offset, bytes);
        Ok(())
    }

    /// What it holds.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The same, for whoever changes it behind the node's back.
    pub const fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    /// What stood in a sector before all writes to it that are not durable, if there are any.
    #[must_use]
    pub fn before(&self, sector: u64) -> Option<&[u8; SECTOR_BYTES]> {
        Some(&self.unsynced.get(&sector)?.first()?.bytes)
    }

    /// Whether a loss of power could lose anything that stands there.
    #[must_use]
    pub fn has_unsynced(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// The sectors with writes that are not durable.
    #[must_use]
    pub fn unsynced_sectors(&self) -> Vec<u64> {
        self.unsynced.keys().copied().collect()
    }

    /// Whether every sector can be read and none is torn.
    #[must_use]
    pub fn is_flawless(&self) -> bool {
        self.unreadable.is_empty() && self.torn.is_empty()
    }

    /// It is another disk now: an empty one that nothing is wrong with.
    pub fn replace(&mut self) {
        self.under_way.clear();
        self.unsynced.clear();
        self.unreadable.clear();
        self.torn.clear();
        self.store = Store::default();
        self.condition = Condition::default();
    }

    /// Whether it has nothing to do.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    fn failure(&mut self, ask: &Ask, counts: &mut FaultCounts) -> Option<BlockError> {
        let Condition { write_errors, flush_errors, full, .. } = self.condition;
        let (error, fault) = match ask {
            Ask::Read { .. } => return None,
            Ask::Write { .. } if full => (BlockError::NoSpace, Fault::MetadataFull),
            Ask::Write { .. } if self.random.chance(write_errors) => (BlockError::Medium, Fault::WriteError),
            Ask::Write { durable: true, .. } | Ask::Flush if self.random.chance(flush_errors) => {
                (BlockError::Medium, Fault::FlushError)
            }
            _ => return None,
        };
        counts.add(fault);
        Some(error)
    }

    fn when_done(&mut self, now: Instant, ask: &Ask, counts: &mut FaultCounts) -> Instant {
        let mut takes = self.random.tailed(self.latency);
        if matches!(ask, Ask::Write { durable: true, .. } | Ask::Flush) {
            takes *= 2;
        }
        if self.condition.slowness > 1 {
            counts.add(Fault::DiskSlow);
            // Not for longer than a disk that hangs.
            takes = (takes * self.condition.slowness).min(SLOWEST);
        }
        if now < self.condition.hangs_until {
            counts.add(Fault::DiskHang);
        }
        now.max(self.condition.hangs_until).after(takes)
    }

    fn read(&self, offset: u64, length: usize, counts: &mut FaultCounts) -> Answer {
        if !self.is_readable(offset, length) {
            counts.add(Fault::ReadError);
            return Err(BlockError::Medium);
        }
        Ok(Some(self.store.read_to_vec(offset, length)))
    }

    fn write(&mut self, offset: u64, bytes: &[u8], early: u64, durable: bool) {
        let is_plain = self.unsynced.is_empty() && self.unreadable.is_empty() && self.torn.is_empty();
        if durable && early == 0 && is_plain {
            return self.store.write(offset, bytes);
        }
        let first = offset / SECTOR_BYTES as u64;
        for (index, bytes) in bytes.chunks_exact(SECTOR_BYTES).enumerate() {
            let sector = first + index as u64;
            let is_new = early >> (index % 64) & 1 == 0;
            if durable {
                self.unsynced.remove(&sector);
            }
            match (is_new, durable) {
                (true, true) => self.store.write(sector * SECTOR_BYTES as u64, bytes),
                (true, false) => self.put(sector, bytes),
                (false, _) => {}
            }
            self.unreadable.remove(&sector);
            self.torn.remove(&sector);
        }
    }

    fn tear_in_flight(&mut self, sector: u64, bytes: &[u8], loss: Loss) {
        if loss == Loss::ProcessOnly {
            if self.random.coin() {
                self.put(sector, bytes);
            }
            return;
        }
        let mut before = [0; SECTOR_BYTES];
        self.store.read(sector * SECTOR_BYTES as u64, &mut before);
        if let Some(befores) = self.unsynced.remove(&sector) {
            before = befores[self.random.index(befores.len())].bytes;
        }
        self.tear(sector, &before, bytes, loss);
    }

    /// FoundationDB's table: a quarter is kept; of the rest two thirds are corrupt, the others dropped.
    fn tear(&mut self, sector: u64, before: &[u8], after: &[u8], loss: Loss) {
        let half = SECTOR_BYTES / 2;
        let mut result = [0; SECTOR_BYTES];
        result.copy_from_slice(before);
        let corrupt = loss == Loss::Tear && self.random.below(3) < 2;
        if self.random.below(4) == 0 {
            result.copy_from_slice(after);
        } else if corrupt {
            let mut kept = [0; SECTOR_BYTES];
            kept.copy_from_slice(before);
            self.torn.entry(sector).or_insert(kept);
            match self.random.below(3) {
                0 => result[..half].copy_from_slice(&after[..half]),
                1 => result[half..].copy_from_slice(&after[half..]),
                _ => self.random.fill(&mut result),
            }
        }
        self.store.write(sector * SECTOR_BYTES as u64, &result);
    }

    /// A sector is written, and not durable.
    fn put(&mut self, sector: u64, bytes: &[u8]) {
        let mut before = [0; SECTOR_BYTES];
        self.store.read(sector * SECTOR_BYTES as u64, &mut before);
        self.writes += 1;
        self.unsynced.entry(sector).or_default().push(Before { bytes: before, write: self.writes });
        self.store.write(sector * SECTOR_BYTES as u64, bytes);
    }

    /// These first writes are durable.
    fn flush(&mut self, writes: u64) {
        self.unsynced.retain(|_, befores| {
            befores.retain(|before| before.write > writes);
            !befores.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_nanos(1);

    fn disk(seed: u64) -> Disk {
        Disk::new(Random::new(seed, "disk"), Duration::from_micros(100))
    }

    fn write(disk: &mut Disk, byte: u8, durable: bool) -> Ticket {
        let ask = Ask::Write { offset: 512, bytes: vec![byte; 512], durable };
        disk.start(NOW, ask, &mut FaultCounts::default()).0
    }

    fn sector(disk: &Disk) -> [u8; 512] {
        let mut bytes = [0; 512];
        disk.store().read(512, &mut bytes);
        bytes
    }

    #[test]
    fn what_is_durable_survives_and_what_is_not_may_be_lost_or_kept() {
        let mut seen = BTreeSet::new();
        for seed in 0..40 {
            let mut disk = disk(seed);
            let ticket = write(&mut disk, 1, true);
            disk.finish(ticket, &mut FaultCounts::default());
            let ticket = write(&mut disk, 2, false);
            disk.finish(ticket, &mut FaultCounts::default());
            disk.crash(Loss::KeepOrDrop);
            seen.insert(sector(&disk)[0]);
        }
        assert_eq!(seen, BTreeSet::from([1, 2]));
    }

    #[test]
    fn a_flush_makes_durable_what_was_written_before_it_began_and_nothing_else() {
        let mut seen = BTreeSet::new();
        for seed in 0..40 {
            let (mut disk, mut counts) = (disk(seed), FaultCounts::default());
            let ticket = write(&mut disk, 1, false);
            disk.finish(ticket, &mut counts);
            let (flush, _) = disk.start(NOW, Ask::Flush, &mut counts);
            let ticket = write(&mut disk, 2, false);
            disk.finish(ticket, &mut counts);
            disk.finish(flush, &mut counts);
            disk.crash(Loss::KeepOrDrop);
            seen.insert(sector(&disk)[0]);
        }
        assert_eq!(seen, BTreeSet::from([1, 2]));
    }

    #[test]
    fn a_torn_sector_can_be_taken_to_have_been_dropped() {
        let mut torn = 0;
        for seed in 0..40 {
            let mut disk = disk(seed);
            write(&mut disk, 3, true);
            disk.crash(Loss::Tear);
            let bytes = sector(&disk);
            torn += usize::from(bytes != [0; 512] && bytes != [3; 512]);
            disk.forgive_torn();
            assert!(sector(&disk) == [0; 512] || sector(&disk) == [3; 512]);
        }
        assert!(torn > 10);
    }

    #[test]
    fn a_sector_that_cannot_be_read_can_after_a_write() {
        let mut disk = disk(1);
        let mut counts = FaultCounts::default();
        disk.spoil(1);
        let (ticket, _) = disk.start(NOW, Ask::Read { offset: 0, length: 1024 }, &mut counts);
        assert_eq!(disk.finish(ticket, &mut counts), Some(Err(BlockError::Medium)));
        let ticket = write(&mut disk, 1, true);
        disk.finish(ticket, &mut counts);
        assert!(disk.is_readable(0, 1024));
    }
}
