//! Sectors in which the copies differ are known to differ: some bitmap or activity log that will be looked at when the nodes
//! meet has them.
//!
//! Copies are compared where they were written, so that asking costs little. The world says what covers:
//! the records in memory for the copies as they are read, those on the metadata disk for the copies as they would be
//! after a loss of power.

use std::collections::BTreeSet;

use block::{Lba, LbaRange};
use thiserror::Error;

use super::Replica;
use super::replicas_equal::{Unequal, difference};

/// A difference that nobody will look for.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("{0}, and neither a bitmap nor an activity log says so")]
pub struct Uncovered(pub Unequal);

/// The sectors in which the copies differ.
#[derive(Debug, Default)]
pub struct Differences {
    sectors: BTreeSet<Lba>,
}

impl Differences {
    /// One of the copies has changed in this range, or may have.
    pub fn changed(&mut self, replicas: [&dyn Replica; 2], range: LbaRange) {
        for sector in (range.start().0..range.end().0).map(Lba) {
            if difference(replicas, sector).is_some() {
                self.sectors.insert(sector);
            } else {
                self.sectors.remove(&sector);
            }
        }
    }

    /// Where they differ.
    #[must_use]
    pub const fn sectors(&self) -> &BTreeSet<Lba> {
        &self.sectors
    }

    /// Judges what covers them.
    ///
    /// # Errors
    /// The first sector that differs and is not covered.
    pub fn check(
        &self,
        replicas: [&dyn Replica; 2],
        is_covered: impl Fn(Lba) -> bool,
    ) -> Result<(), Uncovered> {
        let uncovered = self.sectors.iter().copied().find(|sector| !is_covered(*sector));
        uncovered
            .and_then(|sector| difference(replicas, sector))
            .map_or(Ok(()), |unequal| Err(Uncovered(unequal)))
    }
}

#[cfg(test)]
mod tests {
    use block::{SECTOR_BYTES, SectorCount};

    use super::super::Sectors;
    use super::*;
    use crate::content::Value;

    #[test]
    fn a_bit_that_was_not_set_is_found_and_one_too_many_is_not() {
        let zero = Sectors(vec![[0; SECTOR_BYTES]; 8]);
        let mut one = Sectors(vec![[0; SECTOR_BYTES]; 8]);
        let mut differences = Differences::default();
        let range = LbaRange::new(Lba(2), SectorCount(2)).expect("two sectors");
        Value::new(1, 1).fill(Lba(2), &mut one.0[2]);
        differences.changed([&zero, &one], range);
        assert_eq!(differences.check([&zero, &one], |_| true), Ok(()));
        let error = differences.check([&zero, &one], |sector| sector != Lba(2)).expect_err("not covered");
        assert_eq!(error.0.sector, Lba(2));
        one.0[2] = zero.0[2];
        differences.changed([&zero, &one], range);
        assert_eq!(differences.check([&zero, &one], |_| false), Ok(()));
    }
}
