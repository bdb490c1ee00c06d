//! Whether what the initiators saw could have come from sectors that do one thing at a time.
//!
//! Sectors are judged one by one. Every write's value is its own, so what is known of a value is when it was there: from
//! the first end of any access to it to the last beginning of one (Gibbons and Korach 1997 call this its zone). If the first
//! end comes first, the value held the sector through the whole zone, and no other may have held it meanwhile, nor have
//! come and gone in it. Otherwise all accesses were under way together at some moment between the two, and happened then.
//! That is enough, and takes the time of a sort.
//!
//! A write without an end may have happened, or not: it counts once it was read. Three kinds of reads say less than they
//! might: of a value that the same host wrote twice, or that a late copy may have brought back, where it is open which of
//! the two was read. Those are passed over; all others of the same value count.

use block::{Lba, LbaRange};
use thiserror::Error;

use crate::content::Value;
use crate::history::{Action, History, Moment, OperationId};

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
    /// All of the request's sectors.
    pub range: LbaRange,
    /// When it began.
    pub call: Moment,
    /// When it ended, if it did.
    pub end: Option<Moment>,
}

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

/// Judges a history.
///
/// # Errors
/// The first violation, by sector.
pub fn check(history: &History) -> Result<(), Violation> {
    check_with(history, &[])
}

/// Judges a history together with what is found in some sectors now, after all of it, by somebody who is no initiator.
///
/// # Errors
/// The first violation, by sector.
pub fn check_with(history: &History, found: &[(Lba, Value)]) -> Result<(), Violation> {
    let mut points = points(history, found);
    points.sort_unstable_by_key(|point| {
        (point.sector, point.value, !point.access.is_write, point.access.call.order)
    });
    let mut zones = Vec::new();
    for sector in points.chunk_by(|a, b| a.sector == b.sector) {
        zones.clear();
        for value in sector.chunk_by(|a, b| a.value == b.value) {
            zones_of(value, &mut zones)?;
        }
        judge(sector[0].sector, &mut zones)?;
    }
    Ok(())
}

/// An access to one sector with what it read or wrote.
struct Point {
    sector: Lba,
    value: Value,
    access: Access,
}

fn points(history: &History, found: &[(Lba, Value)]) -> Vec<Point> {
    let mut points = Vec::with_capacity(history.operations().len() * 8);
    for (id, operation) in history.enumerated() {
        let is_write = operation.action != Action::Read;
        for (sector, end) in (operation.range.start().0..).zip(history.sector_ends(operation)) {
            if !is_write && end.end.is_none() {
                continue;
            }
            let access = Access {
                operation: Some(id),
                initiator: operation.initiator,
                is_write,
                range: operation.range,
                call: operation.call,
                end: end.end,
            };
            points.push(Point { sector: Lba(sector), value: end.value, access });
        }
    }
    for copy in history.late_copies() {
        let operation = history.operation(copy.operation);
        let Action::Write { value, .. } = operation.action else { continue };
        let Some(access) = again(copy.operation, operation.initiator, copy.part, copy.arrival) else {
            continue;
        };
        let sectors = copy.part.start().0..copy.part.end().0;
        points.extend(sectors.map(|sector| Point { sector: Lba(sector), value, access }));
    }
    let nobody = Access {
        operation: None,
        initiator: 0,
        is_write: false,
        range: LbaRange::default(),
        call: Moment { order: u64::MAX, ..Moment::BEGINNING },
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
    points
}

/// The effect that a late copy may have.
fn again(operation: OperationId, initiator: u16, range: LbaRange, call: Moment) -> Option<Access> {
    (!range.is_empty()).then_some(Access {
        operation: Some(operation),
        initiator,
        is_write: true,
        range,
        call,
        end: None,
    })
}

/// The zones of one value: one for each write of it that happened. Writes come first, in the order of their calls.
fn zones_of(points: &[Point], zones: &mut Vec<Zone>) -> Result<(), Violation> {
    let Point { sector, value, .. } = points[0];
    let (writes, reads) = points.split_at(points.partition_point(|point| point.access.is_write));
    if writes.is_empty() {
        return Err(Violation::Unwritten { sector, value, read: Box::new(reads[0].access) });
    }
    let first = zones.len();
    zones.extend(writes.iter().map(|write| Zone {
        value,
        ended_first: write.access,
        began_last: write.access,
    }));
    for Point { access: read, .. } in reads {
        match assign(read, writes) {
            Written::By(index) => zones[first + index].add(*read),
            Written::Later => {
                let (read, write) = (Box::new(*read), Box::new(writes[0].access));
                return Err(Violation::FromTheFuture { sector, value, read, write });
            }
            Written::Unknown => {}
        }
    }
    let happened = |zone: &Zone| zone.ended_first.end.is_some();
    let mut kept = first;
    for index in first..zones.len() {
        if happened(&zones[index]) {
            zones[kept] = zones[index];
            kept += 1;
        }
    }
    zones.truncate(kept);
    Ok(())
}

/// Which write a read's value comes from.
enum Written {
    By(usize),
    /// All of them were called after the read had ended.
    Later,
    Unknown,
}

fn assign(read: &Access, writes: &[Point]) -> Written {
    let called = match read.end {
        Some(end) => writes.partition_point(|write| write.access.call < end),
        None => writes.len(),
    };
    let Some(last) = called.checked_sub(1) else { return Written::Later };
    if last == 0 {
        return Written::By(0);
    }
    let before = |write: &Point, moment: Moment| write.access.end.is_some_and(|end| end < moment);
    let call = writes[last].access.call;
    let alone = writes[..last].iter().all(|write| before(write, call));
    if alone && before(&writes[last], read.call) { Written::By(last) } else { Written::Unknown }
}

impl Zone {
    fn add(&mut self, access: Access) {
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

fn judge(sector: Lba, zones: &mut [Zone]) -> Result<(), Violation> {
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

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(OperationId(operation)) = self.operation else {
            return write!(f, "{}", if self.is_write { "the beginning" } else { "a look at the disk" });
        };
        let kind = if self.is_write { "write" } else { "read" };
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

impl std::fmt::Display for Zone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { value, ended_first, began_last } = self;
        if ended_first == began_last {
            write!(f, "{value} by {ended_first}")
        } else {
            write!(f, "{value}, known to be there by [{ended_first}], still there for [{began_last}]")
        }
    }
}

#[cfg(test)]
mod tests {
    use block::{Duration, Instant, SectorCount};

    use super::*;

    /// Two initiators and a sector, a nanosecond an event.
    struct Scene {
        history: History,
        now: u64,
    }

    const SECTOR: Lba = Lba(5);
    const OLD: Value = Value::new(1, 1);
    const NEW: Value = Value::new(2, 1);

    fn range() -> LbaRange {
        LbaRange::new(SECTOR, SectorCount(1)).expect("a sector")
    }

    impl Scene {
        fn new() -> Self {
            Self { history: History::new(Duration::from_nanos(10)), now: 0 }
        }

        fn tick(&mut self) -> Instant {
            self.now += 1;
            Instant::from_nanos(self.now)
        }

        fn write(&mut self, value: Value) -> OperationId {
            let now = self.tick();
            self.history.call(now, 1, Action::Write { value, sequenced: false }, range())
        }

        fn done(&mut self, write: OperationId) {
            let now = self.tick();
            self.history.written(now, write, range());
        }

        fn sees(&mut self, value: Value) {
            let now = self.tick();
            let read = self.history.call(now, 2, Action::Read, range());
            let now = self.tick();
            self.history.read(now, read, range(), [value]);
        }
    }

    #[test]
    fn an_answered_write_is_read_until_the_next_one() {
        let mut scene = Scene::new();
        scene.sees(Value::INITIAL);
        let old = scene.write(OLD);
        scene.sees(Value::INITIAL);
        scene.sees(OLD);
        scene.done(old);
        let new = scene.write(NEW);
        scene.sees(OLD);
        scene.done(new);
        assert_eq!(check(&scene.history), Ok(()));
        scene.sees(OLD);
        assert!(matches!(check(&scene.history), Err(Violation::Vanished { sector: SECTOR, .. })));
    }

    #[test]
    fn what_was_read_once_is_never_unread() {
        let mut scene = Scene::new();
        scene.write(OLD);
        scene.sees(OLD);
        scene.sees(Value::INITIAL);
        assert!(matches!(check(&scene.history), Err(Violation::Vanished { .. })));
        scene.sees(OLD);
        assert!(matches!(check(&scene.history), Err(Violation::Reappeared { .. })));
    }

    #[test]
    fn an_unanswered_write_may_show_late_or_never_but_once() {
        let mut scene = Scene::new();
        scene.write(OLD);
        let new = scene.write(NEW);
        scene.done(new);
        scene.sees(NEW);
        assert_eq!(check(&scene.history), Ok(()));
        scene.sees(OLD);
        assert_eq!(check(&scene.history), Ok(()));
        scene.sees(NEW);
        assert!(check(&scene.history).is_err(), "it was applied twice");
    }

    #[test]
    fn a_copy_that_came_after_the_memory_may_take_effect_once_more() {
        let mut scene = Scene::new();
        let old = scene.write(OLD);
        scene.history.write_arrived(Instant::from_nanos(1), OLD, range());
        scene.sees(OLD);
        scene.history.write_arrived(Instant::from_nanos(11), OLD, range());
        let new = scene.write(NEW);
        scene.done(new);
        scene.sees(NEW);
        scene.sees(OLD);
        scene.done(old);
        assert!(check(&scene.history).is_err(), "eleven less one is not more than ten");
        let mut late = scene.history;
        late.write_arrived(Instant::from_nanos(12), OLD, range());
        assert!(check(&late).is_err(), "the copy came after it was seen");

        let mut scene = Scene::new();
        scene.write(OLD);
        scene.history.write_arrived(Instant::from_nanos(1), OLD, range());
        scene.sees(OLD);
        let new = scene.write(NEW);
        scene.done(new);
        scene.sees(NEW);
        scene.history.write_arrived(Instant::from_nanos(12), OLD, range());
        scene.sees(OLD);
        assert_eq!(check(&scene.history), Ok(()));
    }

    #[test]
    fn a_value_from_nowhere_or_from_the_future_is_told() {
        let mut scene = Scene::new();
        scene.sees(OLD);
        assert!(matches!(check(&scene.history), Err(Violation::Unwritten { value: OLD, .. })));
        scene.write(OLD);
        let violation = check(&scene.history).expect_err("too early");
        assert!(matches!(violation, Violation::FromTheFuture { value: OLD, .. }));
        assert_eq!(
            violation.to_string(),
            "sector 5: read 0 of initiator 2 at 5+1, called 0.000000 s (#1), answered 0.000000 s (#2) returned \
             write 1:1 before write 1 of initiator 1 at 5+1, called 0.000000 s (#3), not answered was called"
        );
    }

    #[test]
    fn the_same_content_written_again_holds_again() {
        let mut scene = Scene::new();
        for value in [OLD, NEW, OLD] {
            let write = scene.write(value);
            scene.done(write);
            scene.sees(value);
        }
        assert_eq!(check(&scene.history), Ok(()));
        scene.sees(NEW);
        assert!(check(&scene.history).is_err(), "the third write was answered and not done");
    }

    #[test]
    fn what_a_disk_holds_counts_as_a_last_read() {
        let mut scene = Scene::new();
        let old = scene.write(OLD);
        scene.done(old);
        assert_eq!(check_with(&scene.history, &[(SECTOR, OLD)]), Ok(()));
        assert!(check_with(&scene.history, &[(SECTOR, Value::INITIAL)]).is_err());
        scene.write(NEW);
        assert_eq!(check_with(&scene.history, &[(SECTOR, OLD)]), Ok(()));
        assert_eq!(check_with(&scene.history, &[(SECTOR, NEW)]), Ok(()));
    }
}
