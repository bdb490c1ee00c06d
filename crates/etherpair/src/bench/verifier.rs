//! Whether what was read is what was written last: remembers for each sector the newest acknowledged generation.
//!
//! A read may give any write that was under way while it was, but nothing older than what was acknowledged when it was
//! submitted. Sectors that this run has not written are checked for being whole and in their place, if stamped at all.

use block::{SECTOR_BYTES, SectorCount};
use serde::Serialize;

use super::stamp::{self, Content, Stamp};

/// What was found.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Findings {
    /// Sectors looked at.
    pub(crate) sectors_checked: u64,
    /// Of those, not written by any load generator with `--verify`.
    pub(crate) foreign: u64,
    /// Older than what was acknowledged before the read.
    pub(crate) stale: u64,
    /// Damaged, or another sector's.
    pub(crate) damaged: u64,
    /// The first sector that was wrong.
    pub(crate) first_wrong: Option<u64>,
}

/// The memory of a run.
#[derive(Debug)]
pub(crate) struct Verifier {
    run: u64,
    first_sector: u64,
    block: usize,
    /// For each sector the newest acknowledged generation; 0 before the first.
    acknowledged: Vec<u32>,
    /// For each slot, what was acknowledged for each sector of its read when that was submitted.
    required: Vec<u32>,
    findings: Findings,
}

impl Verifier {
    pub(crate) fn new(run: u64, first_sector: u64, blocks: u64, block: SectorCount, slots: u32) -> Self {
        let block = usize::from(block.0);
        let sectors = usize::try_from(blocks).expect("the size was checked") * block;
        let required = vec![0; slots as usize * block];
        Self {
            run,
            first_sector,
            block,
            acknowledged: vec![0; sectors],
            required,
            findings: Findings::default(),
        }
    }

    pub(crate) const fn findings(&self) -> Findings {
        self.findings
    }

    /// A read of that block is submitted.
    pub(crate) fn reading(&mut self, slot: u32, block: u64) {
        let sectors = self.sectors(block);
        let slot = slot as usize * self.block;
        self.required[slot..slot + self.block].copy_from_slice(&self.acknowledged[sectors]);
    }

    /// A write of that block was acknowledged.
    pub(crate) fn written(&mut self, block: u64, generation: u32) {
        let sectors = self.sectors(block);
        self.acknowledged[sectors].fill(generation);
    }

    /// The read of that slot gave `data`.
    pub(crate) fn check(&mut self, slot: u32, block: u64, data: &[u8]) {
        let first = self.first_sector + block * self.block as u64;
        let slot = slot as usize * self.block;
        for (index, bytes) in data.chunks_exact(SECTOR_BYTES).enumerate() {
            let (sector, required) = (first + index as u64, self.required[slot + index]);
            self.findings.sectors_checked += 1;
            let wrong = match stamp::read(bytes) {
                Content::Stamped(stamp) if stamp.sector != sector => &mut self.findings.damaged,
                Content::Stamped(Stamp { run, generation, .. })
                    if required > 0 && (run != self.run || generation < required) =>
                {
                    &mut self.findings.stale
                }
                Content::Stamped(_) => continue,
                Content::Damaged => &mut self.findings.damaged,
                Content::Foreign if required > 0 => &mut self.findings.stale,
                Content::Foreign => {
                    self.findings.foreign += 1;
                    continue;
                }
            };
            *wrong += 1;
            self.findings.first_wrong.get_or_insert(sector);
        }
    }

    fn sectors(&self, block: u64) -> std::ops::Range<usize> {
        let first = usize::try_from(block).expect("the size was checked") * self.block;
        first..first + self.block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: u64 = 5;

    fn sealed(sector: u64, generation: u32, run: u64) -> [u8; SECTOR_BYTES] {
        let mut bytes = [0; SECTOR_BYTES];
        Stamp { sector, generation, run }.seal(&mut bytes);
        bytes
    }

    fn verifier() -> Verifier {
        Verifier::new(RUN, 100, 4, SectorCount(1), 2)
    }

    fn check(verifier: &mut Verifier, data: &[u8]) -> (u64, u64) {
        let before = verifier.findings();
        verifier.check(1, 2, data);
        let after = verifier.findings();
        (after.stale - before.stale, after.damaged - before.damaged)
    }

    #[test]
    fn data_from_before_the_acknowledged_write_is_stale_and_data_from_after_it_is_not() {
        let mut verifier = verifier();
        verifier.written(2, 7);
        verifier.reading(1, 2);
        verifier.written(2, 8);
        assert_eq!(check(&mut verifier, &sealed(102, 7, RUN)), (0, 0));
        assert_eq!(check(&mut verifier, &sealed(102, 8, RUN)), (0, 0));
        assert_eq!(check(&mut verifier, &sealed(102, 6, RUN)), (1, 0));
        assert_eq!(check(&mut verifier, &sealed(102, 9, RUN + 1)), (1, 0));
        assert_eq!(check(&mut verifier, &[0; SECTOR_BYTES]), (1, 0));
        assert_eq!(verifier.findings().first_wrong, Some(102));
    }

    #[test]
    fn a_sector_of_another_place_or_a_damaged_one_is_noticed_even_if_never_written() {
        let mut verifier = verifier();
        verifier.reading(1, 2);
        assert_eq!(check(&mut verifier, &sealed(103, 1, RUN)), (0, 1));
        let mut damaged = sealed(102, 1, RUN);
        damaged[300] ^= 1;
        assert_eq!(check(&mut verifier, &damaged), (0, 1));
        assert_eq!(check(&mut verifier, &sealed(102, 1, RUN + 1)), (0, 0));
        assert_eq!(check(&mut verifier, &[0; SECTOR_BYTES]), (0, 0));
        assert_eq!(verifier.findings().foreign, 1);
    }
}
