//! Where a node answers ahead of its follower, the follower lacks so many bytes at most.
//!
//! What it lacks are the sectors in which it holds what a host must not read any more. Each was answered ahead at least once.

use block::SECTOR_BYTES;
use thiserror::Error;

use super::Replica;
use super::durable::held;
use crate::history::{History, Moment};
use crate::oracle::{self, Violation};

/// A follower that lacks what it must not.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Behind {
    /// More than was promised.
    #[error(
        "the follower lacks {bytes} bytes that were answered, and {promised} at most were promised; the first: {first}"
    )]
    TooFar {
        /// How many, at least.
        bytes: u64,
        /// How many it may.
        promised: u64,
        /// One of them.
        first: Box<Violation>,
    },
    /// It holds what was never there.
    #[error("the follower holds what was never there: {0}")]
    Wrong(Box<Violation>),
}

/// Judges the copy of a follower.
///
/// # Errors
/// If it lacks more than `promised` bytes, or holds something else than old values.
pub fn check(history: &History, follower: &dyn Replica, promised: u64) -> Result<(), Behind> {
    let held = held(history, follower);
    oracle::check_with(history, &held, Moment::BEGINNING)
        .map_err(|violation| Behind::Wrong(Box::new(violation)))?;
    let lost = oracle::violations(history, &held, Moment::END);
    let bytes = (lost.len() * SECTOR_BYTES) as u64;
    match lost.into_iter().next() {
        Some(first) if bytes > promised => Err(Behind::TooFar { bytes, promised, first: Box::new(first) }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use block::{Duration, Instant, Lba, LbaRange, SectorCount};

    use super::super::Sectors;
    use super::*;
    use crate::content::Value;
    use crate::history::Action;

    #[test]
    fn a_follower_may_lack_what_was_promised_and_no_sector_more() {
        let now = Instant::from_nanos(1);
        let mut history = History::new(Duration::from_secs(1));
        let mut copy = Sectors(vec![[0; SECTOR_BYTES]; 4]);
        for (number, sector) in [(1, 0), (2, 2)] {
            let range = LbaRange::new(Lba(sector), SectorCount(2)).expect("two sectors");
            let action = Action::Write { value: Value::new(1, number), sequenced: false };
            let write = history.call(now, 1, action, range);
            history.written(now, write, range);
        }
        assert_eq!(check(&history, &copy, 2048), Ok(()));
        let behind = check(&history, &copy, 2047);
        assert!(matches!(behind, Err(Behind::TooFar { bytes: 2048, promised: 2047, .. })));
        Value::new(1, 2).fill(Lba(2), &mut copy.0[2]);
        assert_eq!(check(&history, &copy, 2047), Ok(()));
        copy.0[2] = [7; SECTOR_BYTES];
        assert!(matches!(check(&history, &copy, 2048), Err(Behind::Wrong(_))));
    }
}
