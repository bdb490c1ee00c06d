//! Whether anything was lost, stale or diverged: judged from what the initiators wrote down and from the two copies as they lie
//! on the disks, by nothing that a node has said and with no code that a node runs.
//!
//! The history goes through the simulator's oracle, which asks of every sector whether one correct disk could have answered so,
//! together with what the copies hold now. What is found becomes the beginning of the next history.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use block::{Lba, SECTOR_BYTES};
use sim::content::Value;
use sim::oracle::{self, Violation};
use thiserror::Error;

use crate::record::{self, Entry, Event};

/// What is wrong.
#[derive(Debug, Error)]
pub(crate) enum Wrong {
    /// A copy cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The copies differ.
    #[error("the copies differ in {count} sectors, first in sector {first}: {} on node 0 and {} on node 1", .values[0], .values[1])]
    Diverged {
        /// In how many sectors.
        count: u64,
        /// Where first.
        first: Lba,
        /// What stands there.
        values: [Value; 2],
    },
    /// One is longer.
    #[error("the copies have {0} and {1} bytes")]
    Lengths(usize, usize),
    /// No correct disk could have answered so.
    #[error("{0}")]
    History(#[from] Violation),
    /// A request ended badly, or not at all.
    #[error("request {request} of initiator {initiator} failed: {why}")]
    Failed {
        /// Whose.
        initiator: u16,
        /// Which.
        request: u64,
        /// Why.
        why: String,
    },
    /// Somebody still waits.
    #[error("{0} requests were never answered")]
    Unanswered(usize),
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Looked {
    /// Sectors of reads and writes that were put in order.
    pub(crate) accesses: u64,
    /// Sectors compared between the copies.
    pub(crate) compared: u64,
    /// Copies of writes that may have taken effect once more.
    pub(crate) late_copies: u64,
}

impl std::ops::AddAssign for Looked {
    fn add_assign(&mut self, other: Self) {
        self.accesses += other.accesses;
        self.compared += other.compared;
        self.late_copies += other.late_copies;
    }
}

/// What the volume held when it was judged last: its sectors' values.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    known: Vec<Value>,
}

impl Judge {
    /// Judges everything since the last time. Nothing may be under way, and the copies must be whole.
    pub(crate) fn judge(&mut self, entries: &[Entry], images: [&Path; 2]) -> Result<Looked, Wrong> {
        let read = |path: &Path| {
            fs::read(path).map_err(|source| Wrong::Unreadable { path: path.to_owned(), source })
        };
        self.judge_bytes(entries, [&read(images[0])?, &read(images[1])?])
    }

    fn judge_bytes(&mut self, entries: &[Entry], copies: [&[u8]; 2]) -> Result<Looked, Wrong> {
        let failed = entries.iter().find_map(|entry| match &entry.event {
            Event::Failed(why) => Some((entry.initiator, entry.request, why.clone())),
            _ => None,
        });
        if let Some((initiator, request, why)) = failed {
            return Err(Wrong::Failed { initiator, request, why });
        }
        let values = compare(copies)?;
        let history = record::history(entries, std::mem::take(&mut self.known));
        match history.open().count() {
            0 => {}
            open => return Err(Wrong::Unanswered(open)),
        }
        let changed = |(sector, value): (u64, &Value)| {
            (*value != history.beginning(Lba(sector))).then_some((Lba(sector), *value))
        };
        let mut found: Vec<(Lba, Value)> = (0..).zip(&values).filter_map(changed).collect();
        // What was written and then looks as before was lost.
        for operation in history.operations() {
            let sectors = operation.range.start().0..operation.range.end().0;
            found.extend(sectors.map(|sector| {
                let value = usize::try_from(sector).ok().and_then(|index| values.get(index));
                (Lba(sector), *value.expect("initiators stay within the volume"))
            }));
        }
        found.sort_unstable_by_key(|(sector, _)| *sector);
        found.dedup();
        oracle::check_with(&history, &found, sim::history::Moment::END)?;
        let accesses =
            history.operations().iter().map(|operation| u64::from(operation.range.count().0)).sum();
        let looked = Looked {
            accesses,
            compared: values.len() as u64,
            late_copies: history.late_copies().len() as u64,
        };
        self.known = values;
        Ok(looked)
    }
}

/// The values of two equal copies.
fn compare(copies: [&[u8]; 2]) -> Result<Vec<Value>, Wrong> {
    let [one, other] = copies;
    if one.len() != other.len() {
        return Err(Wrong::Lengths(one.len(), other.len()));
    }
    let values = |bytes| Value::of_all(Lba(0), bytes).collect::<Vec<_>>();
    if one == other {
        return Ok(values(one));
    }
    let sectors = one.chunks(SECTOR_BYTES).zip(other.chunks(SECTOR_BYTES));
    let different: Vec<u64> =
        (0..).zip(sectors).filter(|(_, (one, other))| one != other).map(|(sector, _)| sector).collect();
    let index = usize::try_from(different[0]).expect("it lies in memory");
    Err(Wrong::Diverged {
        count: different.len() as u64,
        first: Lba(different[0]),
        values: [values(one)[index], values(other)[index]],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::{Instant, LbaRange, SectorCount};

    const SECTORS: usize = 16;

    /// A little volume, and what two initiators write down.
    struct Scene {
        judge: Judge,
        copies: [Vec<u8>; 2],
        entries: Vec<Entry>,
    }

    fn range(start: u64, count: u16) -> LbaRange {
        LbaRange::new(Lba(start), SectorCount(count)).expect("a range")
    }

    impl Scene {
        fn new() -> Self {
            let copy = vec![0; SECTORS * SECTOR_BYTES];
            Self { judge: Judge::default(), copies: [copy.clone(), copy], entries: Vec::new() }
        }

        fn note(&mut self, initiator: u16, request: u64, event: Event) {
            let at = Instant::from_nanos(self.entries.len() as u64 + 1);
            self.entries.push(Entry { at, initiator, request, event });
        }

        fn put(&mut self, node: usize, initiator: u16, request: u64, range: LbaRange) {
            let start = usize::try_from(range.start().0).expect("small") * SECTOR_BYTES;
            let bytes = &mut self.copies[node][start..start + range.bytes()];
            Value::new(initiator, request).fill(range.start(), bytes);
        }

        /// An acknowledged write that both nodes have.
        fn write(&mut self, initiator: u16, request: u64, range: LbaRange) {
            self.note(initiator, request, Event::CalledWrite(range, true));
            self.put(0, initiator, request, range);
            self.put(1, initiator, request, range);
            self.note(initiator, request, Event::Written);
        }

        fn sees(&mut self, initiator: u16, request: u64, range: LbaRange, value: Value) {
            self.note(initiator, request, Event::CalledRead(range));
            let values = vec![value; usize::from(range.count().0)];
            self.note(initiator, request, Event::Read(range, values));
        }

        fn verdict(&mut self) -> Result<Looked, Wrong> {
            let entries = std::mem::take(&mut self.entries);
            self.judge.judge_bytes(&entries, [&self.copies[0], &self.copies[1]])
        }
    }

    #[test]
    fn what_was_written_and_read_as_it_should_is_good_time_after_time() {
        let mut scene = Scene::new();
        scene.write(1, 1, range(2, 4));
        scene.sees(2, 1, range(2, 4), Value::new(1, 1));
        let looked = scene.verdict().expect("nothing is wrong");
        assert_eq!(looked, Looked { accesses: 8, compared: 16, late_copies: 0 });
        scene.sees(2, 2, range(5, 1), Value::new(1, 1));
        scene.write(2, 3, range(5, 2));
        scene.sees(1, 2, range(4, 1), Value::new(1, 1));
        scene.sees(1, 3, range(6, 1), Value::new(2, 3));
        scene.verdict().expect("nothing is wrong");
    }

    #[test]
    fn a_write_that_neither_copy_has_is_lost() {
        let mut scene = Scene::new();
        scene.note(1, 1, Event::CalledWrite(range(3, 1), true));
        scene.note(1, 1, Event::Written);
        let wrong = scene.verdict().expect_err("it is nowhere");
        assert!(matches!(wrong, Wrong::History(Violation::Vanished { sector: Lba(3), .. })), "{wrong}");
    }

    #[test]
    fn a_write_of_an_earlier_round_that_is_gone_is_lost() {
        let mut scene = Scene::new();
        scene.write(1, 1, range(3, 1));
        scene.verdict().expect("nothing is wrong");
        scene.copies.iter_mut().for_each(|copy| copy.fill(0));
        let wrong = scene.verdict().expect_err("nobody has touched it");
        assert!(matches!(wrong, Wrong::History(Violation::Unwritten { sector: Lba(3), .. })), "{wrong}");
    }

    #[test]
    fn an_old_value_is_stale_once_a_newer_one_was_acknowledged_or_read() {
        let mut scene = Scene::new();
        scene.write(1, 1, range(0, 1));
        scene.write(2, 1, range(0, 1));
        scene.sees(1, 2, range(0, 1), Value::new(1, 1));
        let wrong = scene.verdict().expect_err("it was overwritten");
        assert!(matches!(wrong, Wrong::History(_)), "{wrong}");

        let mut scene = Scene::new();
        scene.note(1, 1, Event::CalledWrite(range(0, 1), true));
        scene.sees(2, 1, range(0, 1), Value::new(1, 1));
        scene.sees(2, 2, range(0, 1), Value::INITIAL);
        scene.put(0, 1, 1, range(0, 1));
        scene.put(1, 1, 1, range(0, 1));
        scene.note(1, 1, Event::Written);
        let wrong = scene.verdict().expect_err("it was read, and then unread");
        assert!(matches!(wrong, Wrong::History(_)), "{wrong}");
    }

    #[test]
    fn a_value_that_nobody_wrote_there_is_found() {
        let mut scene = Scene::new();
        scene.write(1, 1, range(0, 1));
        scene.sees(2, 1, range(1, 1), Value::new(1, 1));
        let wrong = scene.verdict().expect_err("it was written next door");
        assert!(matches!(wrong, Wrong::History(Violation::Unwritten { sector: Lba(1), .. })), "{wrong}");
        let mut scene = Scene::new();
        scene.copies.iter_mut().for_each(|copy| copy[700] = 1);
        let wrong = scene.verdict().expect_err("half a sector of nothing");
        assert!(matches!(wrong, Wrong::History(Violation::Unwritten { sector: Lba(1), .. })), "{wrong}");
    }

    #[test]
    fn copies_that_differ_in_a_byte_have_diverged() {
        let mut scene = Scene::new();
        scene.write(1, 1, range(2, 2));
        scene.copies[1][3 * SECTOR_BYTES + 9] ^= 1;
        let wrong = scene.verdict().expect_err("one byte");
        assert!(matches!(wrong, Wrong::Diverged { count: 1, first: Lba(3), .. }), "{wrong}");
        let mut scene = Scene::new();
        scene.copies[1].pop();
        assert!(matches!(scene.verdict(), Err(Wrong::Lengths(..))));
    }

    #[test]
    fn a_request_that_fails_or_stays_open_is_not_passed_over() {
        let mut scene = Scene::new();
        scene.note(1, 1, Event::CalledRead(range(0, 1)));
        assert!(matches!(scene.verdict(), Err(Wrong::Unanswered(1))));
        let mut scene = Scene::new();
        scene.note(1, 1, Event::CalledRead(range(0, 1)));
        scene.note(1, 1, Event::Failed("no answer".into()));
        assert!(matches!(scene.verdict(), Err(Wrong::Failed { initiator: 1, request: 1, .. })));
    }

    #[test]
    fn a_numbered_write_sent_again_is_no_excuse_unless_a_node_has_forgotten_it() {
        let tell = |forgotten: bool| {
            let mut scene = Scene::new();
            let place = range(4, 1);
            scene.note(1, 1, Event::CalledWrite(place, true));
            scene.note(1, 1, Event::Sent(place, true));
            if forgotten {
                scene.note(0, 0, Event::Forgot);
            }
            scene.sees(2, 1, place, Value::new(1, 1));
            scene.note(1, 1, Event::Sent(place, true));
            scene.write(2, 2, place);
            // Both copies hold the first write again.
            scene.put(0, 1, 1, place);
            scene.put(1, 1, 1, place);
            scene.note(1, 1, Event::Written);
            scene.verdict()
        };
        assert_eq!(tell(true).expect("that cannot be had").late_copies, 1);
        assert!(matches!(tell(false), Err(Wrong::History(_))));
    }
}
