//! Whether what the initiators saw could have come from sectors that do one thing at a time.
//!
//! Sectors are judged one by one. Every write's value is its own, so what is known of a value is when it was there: from
//! the first end of any access to it to the last beginning of one (Gibbons and Korach 1997 call this its zone). If the first
//! end comes first, the value held the sector through the whole zone, and no other may have held it meanwhile, nor have
//! come and gone in it. Otherwise all accesses were under way together at some moment between the two, and happened then.
//! That is enough, and takes the time of a sort (`zone`).
//!
//! A write without an end may have happened, or not: it counts once it was read. A value can have been written more than once:
//! by a host that writes the same again, or by a late copy. Which of the writes a read saw is then tried out, as far as that
//! is a matter of few possibilities; a read of which it stays open is passed over (`reading`).

mod loss;
mod reading;
mod zone;

use block::{Lba, LbaRange};
use thiserror::Error;

use crate::content::Value;
use crate::history::{Action, History, Moment, OperationId};
use loss::judge_sector;
pub use zone::Zone;

/// Why a history is not legal. Of each value two accesses are named: what ended first, and what began last.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Violation {
    /// A value that was never written there.
    #[error("sector {sector}: {read} returned {value}, which nobody wrote there")]
    Unwritten {
        /// Where.
        sector: Lba,
        /// What was read.
        value: Value,
        /// By whom.
        read: Box<Access>,
    },
    /// A value that was read before its write was called.
    #[error("sector {sector}: {read} returned {value} before {write} was called")]
    FromTheFuture {
        /// Where.
        sector: Lba,
        /// What was read.
        value: Value,
        /// By whom.
        read: Box<Access>,
        /// Its write.
        write: Box<Access>,
    },
    /// A value came back after another had taken its place for certain.
    #[error("sector {sector}: two values at once, or one that came back: {one}; {other}")]
    Reappeared {
        /// Where.
        sector: Lba,
        /// The one that was seen first.
        one: Box<Zone>,
        /// The other.
        other: Box<Zone>,
    },
    /// A write took effect, and nothing of it was there before or after.
    #[error(
        "sector {sector}: a write was lost, or an old value read again: {lost}, while all the time {held}"
    )]
    Vanished {
        /// Where.
        sector: Lba,
        /// The one that must have come and gone.
        lost: Box<Zone>,
        /// The one that held the sector.
        held: Box<Zone>,
    },
}

/// An access to one sector.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Access {
    /// The request, unless it is what the sector held at the beginning, or what was found on a disk.
    pub operation: Option<OperationId>,
    /// By whom.
    pub initiator: u16,
    /// Whether it wrote.
    pub is_write: bool,
    /// Whether its initiator numbers its writes.
    pub sequenced: bool,
    /// All of the request's sectors.
    pub range: LbaRange,
    /// When it began.
    pub call: Moment,
    /// When it ended, if it did.
    pub end: Option<Moment>,
}

/// Judges a history.
///
/// # Errors
/// The first violation, by sector.
pub fn check(history: &History) -> Result<(), Violation> {
    check_with(history, &[], Moment::END)
}

/// Judges a history together with what is found in some sectors by somebody who is no initiator: what was there now, or at
/// some time `since` then.
///
/// # Errors
/// The first violation, by sector.
pub fn check_with(history: &History, found: &[(Lba, Value)], since: Moment) -> Result<(), Violation> {
    let points = points(history, found, since);
    sectors(&points).try_for_each(|points| judge_sector(history, points))
}

/// The same, sector by sector: every violation, one for each sector.
#[must_use]
pub fn violations(history: &History, found: &[(Lba, Value)], since: Moment) -> Vec<Violation> {
    let points = points(history, found, since);
    sectors(&points).filter_map(|points| judge_sector(history, points).err()).collect()
}

fn sectors(points: &[Point]) -> impl Iterator<Item = &[Point]> {
    points.chunk_by(|a, b| a.sector == b.sector)
}

/// An access to one sector with what it read or wrote.
#[derive(Clone, Copy)]
struct Point {
    sector: Lba,
    value: Value,
    access: Access,
}

impl Point {
    /// Sectors one after the other, value by value, writes first, in the order of their calls.
    fn place(&self) -> (Lba, Value, bool, u64) {
        (self.sector, self.value, !self.access.is_write, self.access.call.order)
    }
}

fn points(history: &History, found: &[(Lba, Value)], since: Moment) -> Vec<Point> {
    let mut points = Vec::with_capacity(history.operations().len() * 8);
    for (id, operation) in history.enumerated() {
        let is_write = matches!(operation.action, Action::Write { .. });
        for (sector, end) in (operation.range.start().0..).zip(history.sector_ends(operation)) {
            if !is_write && end.end.is_none() {
                continue;
            }
            let access = Access {
                operation: Some(id),
                initiator: operation.initiator,
                is_write,
                sequenced: matches!(operation.action, Action::Write { sequenced: true, .. }),
                range: operation.range,
                call: operation.call,
                end: end.end,
            };
            points.push(Point { sector: Lba(sector), value: end.value, access });
        }
    }
    for copy in history.late_copies() {
        let operation = history.operation(copy.operation);
        let Action::Write { value, sequenced } = operation.action else { continue };
        let access = Access {
            operation: Some(copy.operation),
            initiator: operation.initiator,
            is_write: true,
            sequenced,
            range: copy.part,
            call: copy.arrival,
            end: None,
        };
        let sectors = copy.part.start().0..copy.part.end().0;
        points.extend(sectors.map(|sector| Point { sector: Lba(sector), value, access }));
    }
    let nobody = Access {
        operation: None,
        initiator: 0,
        is_write: false,
        sequenced: false,
        range: LbaRange::default(),
        call: since,
        end: None,
    };
    points.extend(found.iter().map(|&(sector, value)| Point { sector, value, access: nobody }));
    let mut sectors: Vec<Lba> = points.iter().map(|point| point.sector).collect();
    sectors.sort_unstable();
    sectors.dedup();
    let beginning =
        Access { is_write: true, call: Moment::BEGINNING, end: Some(Moment::BEGINNING), ..nobody };
    points.extend(sectors.into_iter().map(|sector| Point {
        sector,
        value: history.beginning(sector),
        access: beginning,
    }));
    points.sort_unstable_by_key(Point::place);
    points
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(OperationId(operation)) = self.operation else {
            return match (self.is_write, self.call) {
                (true, Moment::BEGINNING) => write!(f, "the beginning"),
                (true, _) => write!(f, "what both nodes' loss left at {}", self.call),
                (false, _) => write!(f, "a look at the disk"),
            };
        };
        let kind = match (self.is_write, self.sequenced) {
            (true, true) => "sequenced write",
            (true, false) => "write",
            (false, _) => "read",
        };
        write!(
            f,
            "{kind} {operation} of initiator {} at {}, called {}",
            self.initiator, self.range, self.call
        )?;
        match self.end {
            Some(end) => write!(f, ", answered {end}"),
            None => write!(f, ", not answered"),
        }
    }
}

#[cfg(test)]
mod tests;
