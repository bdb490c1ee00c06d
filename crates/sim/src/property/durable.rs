//! What was acknowledged or read is on the disk of each member, whatever happens next.
//!
//! A disk is right if a host that read it now, after everything else, could be told so by one correct disk. That may be asked
//! at any moment about what would survive a loss of power at that moment, of a node whose copy is good there.

use std::collections::BTreeSet;

use block::{Lba, SECTOR_BYTES};
use thiserror::Error;

use super::Replica;
use crate::content::Value;
use crate::history::{History, Moment};
use crate::oracle::{self, Violation};

/// A disk that lacks something.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("the disk of node {node} does not hold what it must: {violation}")]
pub struct NotDurable {
    /// Whose.
    pub node: usize,
    /// What, as seen by somebody who reads it now.
    pub violation: Violation,
}

/// Judges one copy in all sectors that hosts have used and where it is said to be good: it holds what a host may read now, or
/// might have read at some time `since` then.
///
/// # Errors
/// The first sector with something that a host must not read any more.
pub fn check(
    history: &History,
    node: usize,
    replica: &dyn Replica,
    since: Moment,
    is_good: impl Fn(Lba) -> bool,
) -> Result<(), NotDurable> {
    let mut found = held(history, replica);
    found.retain(|(sector, _)| is_good(*sector));
    oracle::check_with(history, &found, since).map_err(|violation| NotDurable { node, violation })
}

/// What a copy holds in the sectors that hosts have used.
#[must_use]
pub fn held(history: &History, replica: &dyn Replica) -> Vec<(Lba, Value)> {
    let mut bytes = [0; SECTOR_BYTES];
    let read = |sector| {
        replica.read(sector, &mut bytes);
        (sector, Value::of(sector, &bytes))
    };
    touched(history).into_iter().map(read).collect()
}

/// The sectors that hosts have used.
#[must_use]
pub fn touched(history: &History) -> BTreeSet<Lba> {
    let ranges = history.operations().iter().map(|operation| operation.range);
    ranges.flat_map(|range| (range.start().0..range.end().0).map(Lba)).collect()
}

#[cfg(test)]
mod tests {
    use block::{Duration, Instant, LbaRange, SectorCount};

    use super::super::Sectors;
    use super::*;
    use crate::history::Action;

    #[test]
    fn an_acknowledged_write_that_one_disk_lost_is_found_unless_the_sector_is_known_to_be_stale() {
        let now = Instant::from_nanos(1);
        let range = LbaRange::new(Lba(1), SectorCount(1)).expect("a sector");
        let mut history = History::new(Duration::from_secs(1));
        let value = Value::new(1, 1);
        let write = history.call(now, 1, Action::Write { value, sequenced: false }, range);
        let empty = Sectors(vec![[0; SECTOR_BYTES]; 2]);
        assert_eq!(check(&history, 0, &empty, Moment::END, |_| true), Ok(()), "it is not acknowledged yet");
        history.written(now, write, range);
        let error = check(&history, 0, &empty, Moment::END, |_| true).expect_err("it is lost");
        assert!(error.to_string().starts_with("the disk of node 0 does not hold what it must: sector 1"));
        assert_eq!(check(&history, 0, &empty, Moment::END, |sector| sector != Lba(1)), Ok(()));
        let mut full = empty;
        value.fill(Lba(1), &mut full.0[1]);
        assert_eq!(check(&history, 0, &full, Moment::END, |_| true), Ok(()));
    }
}
