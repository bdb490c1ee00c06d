//! What a node has on its disks: sectors as numbers, metadata as bytes, and what a loss of power does to both.

use std::collections::{BTreeMap, BTreeSet};

use block::{BlockRequest, LbaRange, Operation};
use replication::input::MetadataId;
use replication::meta::layout::Place;

use super::{Chance, Stage};

/// The sectors of a volume; those that are not listed hold zero.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sectors {
    shown: BTreeMap<u64, u64>,
    /// What is on stable storage, where that is something else than is shown.
    unstable: BTreeMap<u64, u64>,
    pub(crate) unreadable: BTreeSet<u64>,
    /// No write gets there.
    pub(crate) refuses_writes: bool,
    pub(crate) refuses_flushes: bool,
}

/// A request that the disk has not completed.
#[derive(Clone, Debug)]
pub(crate) struct AtDisk {
    pub(crate) request: BlockRequest,
    /// What a read has found, if the disk has looked already.
    pub(crate) found: Option<Vec<u64>>,
    /// Whether a write shows already.
    pub(crate) landed: bool,
}

impl AtDisk {
    pub(crate) const fn stage(&self) -> Stage {
        match self.request.operation {
            Operation::Write { .. } => Stage::Write,
            Operation::Read { .. } | Operation::Flush => Stage::Disk,
        }
    }
}

/// A record that is not durable yet.
#[derive(Clone, Debug)]
pub(crate) struct AtMetadata {
    pub(crate) id: MetadataId,
    pub(crate) place: Place,
    pub(crate) bytes: Vec<u8>,
}

/// How much of what was under way arrives when power is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Landing {
    Nothing,
    Everything,
    ByChance,
}

impl Landing {
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        [Self::Nothing, Self::Everything, Self::ByChance, Self::ByChance][chance.pick(4)]
    }

    fn lands(self, chance: &mut Chance) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::ByChance => chance.one_in(2),
        }
    }
}

impl Sectors {
    pub(crate) fn read(&self, range: LbaRange) -> Vec<u64> {
        let mut values = vec![0; usize::from(range.count().0)];
        for (sector, value) in self.shown.range(range.start().0..range.end().0) {
            values[usize::try_from(sector - range.start().0).expect("within the range")] = *value;
        }
        values
    }

    /// What the disk holds there though nobody has written it: it has become larger, or holds something wrong.
    pub(crate) fn begin_with(&mut self, sector: u64, value: u64) {
        self.put(sector, value);
    }

    pub(crate) fn at(&self, sector: u64) -> u64 {
        self.shown.get(&sector).copied().unwrap_or_default()
    }

    /// These values show from now on; a loss of power may bring back what was there before.
    pub(crate) fn land(&mut self, range: LbaRange, values: &[u64]) {
        for (sector, value) in (range.start().0..).zip(values) {
            let before = self.put(sector, *value);
            if before != *value {
                self.unstable.entry(sector).or_insert(before);
            }
            self.unreadable.remove(&sector);
        }
    }

    /// A write that has landed is on stable storage.
    pub(crate) fn settle(&mut self, range: LbaRange, values: &[u64]) {
        for (sector, value) in (range.start().0..).zip(values) {
            if self.at(sector) == *value {
                self.unstable.remove(&sector);
            } else if let Some(stable) = self.unstable.get_mut(&sector) {
                *stable = *value;
            }
        }
    }

    pub(crate) fn flush(&mut self) {
        self.unstable.clear();
    }

    /// A flush has failed, and what was in the cache is gone.
    pub(crate) fn fail_flush(&mut self) {
        for (sector, stable) in std::mem::take(&mut self.unstable) {
            self.put(sector, stable);
        }
    }

    pub(crate) fn lose_power(&mut self, landing: Landing, chance: &mut Chance) {
        for (sector, stable) in std::mem::take(&mut self.unstable) {
            if !landing.lands(chance) {
                self.put(sector, stable);
            }
        }
    }

    /// A write that had not landed: some of it does now.
    pub(crate) fn tear(&mut self, range: LbaRange, values: &[u64], landing: Landing, chance: &mut Chance) {
        for (sector, value) in (range.start().0..).zip(values) {
            if landing.lands(chance) {
                self.put(sector, *value);
            }
        }
    }

    /// The first of so many sectors in which two disks differ that both can read.
    pub(crate) fn difference(&self, other: &Self, sectors: u64) -> Option<u64> {
        let readable =
            |sector: &&u64| !self.unreadable.contains(sector) && !other.unreadable.contains(sector);
        let touched = self.shown.range(..sectors).chain(other.shown.range(..sectors));
        let touched = touched.map(|(sector, _)| sector).filter(readable);
        touched.copied().find(|sector| self.at(*sector) != other.at(*sector))
    }

    fn put(&mut self, sector: u64, value: u64) -> u64 {
        let before = if value == 0 { self.shown.remove(&sector) } else { self.shown.insert(sector, value) };
        before.unwrap_or_default()
    }
}

/// Of a record that was on its way when power was lost, some sectors arrive.
pub(crate) fn tear_record(metadata: &mut [u8], record: &AtMetadata, landing: Landing, chance: &mut Chance) {
    let at = usize::try_from(record.place.0).expect("small");
    for (part, number) in record.bytes.chunks(512).zip(0..) {
        if landing.lands(chance) {
            metadata[at + number * 512..][..part.len()].copy_from_slice(part);
        }
    }
}
