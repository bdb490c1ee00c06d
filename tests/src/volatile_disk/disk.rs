//! What a disk with a volatile cache holds, and what of it a loss of power leaves.

use super::content::Content;
use crate::random::Random;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const SECTOR_BYTES: usize = 512;

/// A disk as it is at a moment.
#[derive(Debug, Clone)]
pub struct VolatileDisk {
    /// What reads see.
    current: Content,
    /// What no loss of power takes away.
    durable: Content,
    /// What was written since and may be lost, sector by sector, in order.
    at_risk: Vec<Sector>,
    writes: u64,
    /// Writes without an answer: no flush need cover them.
    under_way: BTreeSet<u64>,
}

#[derive(Debug, Clone)]
struct Sector {
    write: u64,
    offset: usize,
    data: Vec<u8>,
}

/// How much of what is at risk is there after the power has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// All of it: the cache was written back just now.
    All,
    /// Nothing.
    Nothing,
    /// Of each write, by chance, all, nothing, or some of its sectors: the order in which a disk empties its cache is its own.
    Chance,
}

impl Survival {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Nothing, Self::Chance, Self::All];
}

impl VolatileDisk {
    pub(super) fn new(content: Content) -> Self {
        let (at_risk, under_way) = (Vec::new(), BTreeSet::new());
        Self { current: content.clone(), durable: content, at_risk, writes: 0, under_way }
    }

    /// All that reads see.
    pub fn content(&self) -> Vec<u8> {
        self.read(0, self.length())
    }

    /// What reads of this range see.
    pub(super) fn read(&self, offset: usize, length: usize) -> Vec<u8> {
        self.current.read(offset, length)
    }

    pub(super) fn length(&self) -> usize {
        self.current.length()
    }

    /// How many sectors may be lost.
    pub fn sectors_at_risk(&self) -> usize {
        self.at_risk.len()
    }

    /// What is on it when the power comes back.
    pub fn after_loss(&self, survival: Survival, random: &mut Random) -> Vec<u8> {
        self.left(survival, random).read(0, self.length())
    }

    pub(super) fn left(&self, survival: Survival, random: &mut Random) -> Content {
        let mut image = self.durable.clone();
        let (mut write, mut fate) = (u64::MAX, 0);
        for sector in &self.at_risk {
            if sector.write != write {
                (write, fate) = (sector.write, random.below(3));
            }
            let survives = match survival {
                Survival::All => true,
                Survival::Nothing => false,
                Survival::Chance => fate == 0 || fate == 2 && random.below(2) == 0,
            };
            if survives {
                image.write(sector.offset, &sector.data);
            }
        }
        image
    }

    /// From now on reads see it. The number of the write, which is under way until it is answered.
    pub(super) fn write(&mut self, offset: usize, data: &[u8]) -> u64 {
        self.writes += 1;
        self.current.write(offset, data);
        let offsets = (offset..).step_by(SECTOR_BYTES);
        let sectors = offsets.zip(data.chunks(SECTOR_BYTES));
        let write = self.writes;
        self.at_risk.extend(sectors.map(|(offset, data)| Sector { write, offset, data: data.into() }));
        self.under_way.insert(write);
        write
    }

    /// A write is answered: a flush that comes now covers it.
    pub(super) fn answered(&mut self, write: u64) {
        self.under_way.remove(&write);
    }

    /// What a flush that comes now covers.
    pub(super) fn covered(&self) -> BTreeSet<u64> {
        let writes = self.at_risk.iter().map(|sector| sector.write);
        writes.filter(|write| !self.under_way.contains(write)).collect()
    }

    /// Makes these writes durable; what was written to their sectors before is out of the world.
    pub(super) fn keep(&mut self, writes: &BTreeSet<u64>) {
        let (kept, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.at_risk).into_iter().partition(|sector| writes.contains(&sector.write));
        let mut last = BTreeMap::new();
        for sector in &kept {
            self.durable.write(sector.offset, &sector.data);
            last.insert(sector.offset, sector.write);
        }
        let is_replaced = |old: &Sector| last.get(&old.offset).is_some_and(|write| old.write < *write);
        self.at_risk = others.into_iter().filter(|sector| !is_replaced(sector)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> VolatileDisk {
        let mut disk = VolatileDisk::new(Content::blank(8192));
        let first = disk.write(0, &[1; 4096]);
        disk.answered(first);
        disk.keep(&disk.covered());
        disk.write(0, &[2; 4096]);
        disk.write(4096, &[3; 4096]);
        disk
    }

    #[test]
    fn what_was_flushed_is_never_lost_and_the_rest_may_be() {
        let mut random = Random::new(1);
        let nothing = disk().after_loss(Survival::Nothing, &mut random);
        assert_eq!((nothing[0], nothing[4096]), (1, 0));
        let all = disk().after_loss(Survival::All, &mut random);
        assert_eq!(all, disk().content());
    }

    #[test]
    fn by_chance_writes_survive_whole_or_torn_between_sectors() {
        let mut random = Random::new(1);
        let images: Vec<Vec<u8>> =
            (0..50).map(|_| disk().after_loss(Survival::Chance, &mut random)).collect();
        let torn = |image: &Vec<u8>| image[..4096].contains(&1) && image[..4096].contains(&2);
        assert!(images.iter().any(torn));
        assert!(images.iter().any(|image| image[4096..].iter().all(|byte| *byte == 3)));
        assert!(images.iter().any(|image| image[4096..].iter().all(|byte| *byte == 0)));
        assert!(images.iter().all(|image| image.chunks(SECTOR_BYTES).all(|s| s.iter().all(|b| *b == s[0]))));
    }

    #[test]
    fn a_durable_write_is_kept_alone_and_takes_older_ones_of_its_sectors_with_it() {
        let mut disk = disk();
        let last = disk.write(512, &[4; 512]);
        disk.keep(&BTreeSet::from([last]));
        assert_eq!(disk.sectors_at_risk(), 15);
        let mut random = Random::new(1);
        let all = disk.after_loss(Survival::All, &mut random);
        assert_eq!((all[0], all[512], all[1024], all[4096]), (2, 4, 2, 3));
        let nothing = disk.after_loss(Survival::Nothing, &mut random);
        assert_eq!((nothing[0], nothing[512], nothing[1024], nothing[4096]), (1, 4, 1, 0));
    }

    #[test]
    fn a_flush_covers_what_was_answered_before_it_came() {
        let mut disk = disk();
        let (early, late) = (disk.write(0, &[4; 512]), disk.write(512, &[5; 512]));
        disk.answered(early);
        let covered = disk.covered();
        disk.answered(late);
        disk.keep(&covered);
        let nothing = disk.after_loss(Survival::Nothing, &mut Random::new(1));
        assert_eq!((nothing[0], nothing[512]), (4, 1));
    }
}
