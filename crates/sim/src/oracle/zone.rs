//! When values were there, and whether that can be true of all of them.

use std::fmt;

use block::Lba;

use super::{Access, Violation};
use crate::content::Value;
use crate::history::Moment;

/// When a value was there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Zone {
    /// What was there.
    pub value: Value,
    /// The access that ended first.
    pub ended_first: Access,
    /// The access that began last.
    pub began_last: Access,
}

impl Zone {
    /// That of a write that nobody has read yet.
    pub(super) const fn of(value: Value, write: Access) -> Self {
        Self { value, ended_first: write, began_last: write }
    }

    pub(super) fn add(&mut self, access: Access) {
        if self.began_last.call < access.call {
            self.began_last = access;
        }
        let earlier = match (access.end, self.ended_first.end) {
            (Some(end), Some(first)) => end < first,
            (end, None) => end.is_some(),
            (None, Some(_)) => false,
        };
        if earlier {
            self.ended_first = access;
        }
    }

    /// Whether its write happened for certain.
    pub(super) const fn happened(&self) -> bool {
        self.ended_first.end.is_some()
    }

    /// When the first access ended.
    fn end(&self) -> Moment {
        self.ended_first.end.expect("only what happened has a zone")
    }

    /// When the last one began.
    const fn call(&self) -> Moment {
        self.began_last.call
    }

    /// Whether it held the sector from its end to its call.
    fn holds(&self) -> bool {
        self.end() < self.call()
    }
}

/// Judges the zones of one sector.
pub(super) fn judge(sector: Lba, zones: &mut [Zone]) -> Result<(), Violation> {
    zones.sort_unstable_by_key(|zone| (!zone.holds(), zone.end()));
    let (holding, moments) = zones.split_at(zones.partition_point(Zone::holds));
    for pair in holding.windows(2) {
        if pair[1].end() < pair[0].call() {
            let (one, other) = (Box::new(pair[0]), Box::new(pair[1]));
            return Err(Violation::Reappeared { sector, one, other });
        }
    }
    for moment in moments {
        let before = holding.partition_point(|zone| zone.end() < moment.call());
        let Some(held) = before.checked_sub(1).map(|index| holding[index]) else { continue };
        if moment.end() < held.call() {
            return Err(Violation::Vanished { sector, lost: Box::new(*moment), held: Box::new(held) });
        }
    }
    Ok(())
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, ended_first, began_last } = self;
        if ended_first == began_last {
            write!(f, "{value} by {ended_first}")
        } else {
            write!(f, "{value}, known to be there by [{ended_first}], still there for [{began_last}]")
        }
    }
}
