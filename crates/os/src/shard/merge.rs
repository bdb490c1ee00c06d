//! Neighbours on a disk become one operation with several buffers.
//!
//! An initiator cuts a large request into frames, and each frame is a request of its own here. Those that wait at the same
//! time, want the same of the same disk and follow each other there are given to it together. This decides which requests
//! share an operation and keeps the rows of their buffers. It never delays a request, and it decides nothing about order:
//! the target never has overlapping requests under way at once, so the disk may take them in any.

use block::ExportId;

use crate::sys::memory::{Buffers, IoSlice};

/// Requests in one operation: what arrives in one turn of the loop.
pub(super) const MERGED_MAX: usize = 64;
/// One merged operation for so many requests that may be outstanding. Each takes a row of a kilobyte; requests for which no
/// row is left go alone.
const REQUESTS_A_ROW: usize = 8;

/// Requests that may share an operation.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Lane {
    pub(super) export: ExportId,
    pub(super) work: Work,
}

/// What is wanted of the disk.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Work {
    Read,
    Write,
    DurableWrite,
}

/// A request that waits to be given to its disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// Names it.
    pub(super) slot: usize,
    pub(super) lane: Lane,
    /// In bytes, in the file.
    pub(super) offset: u64,
    pub(super) data: IoSlice,
}

impl Waiting {
    const fn end(&self) -> u64 {
        self.offset + self.data.length() as u64
    }
}

/// Requests that are one operation now: [`Merger::member`] from `first` on, in the order of the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) first: usize,
    pub(super) count: usize,
    /// The row of their buffers, if there is more than one.
    pub(super) row: Option<u32>,
}

/// The requests that wait, and the rows of those that are under way together.
pub(super) struct Merger {
    waiting: Vec<Waiting>,
    /// The first that is in no run yet.
    next: usize,
    /// [`MERGED_MAX`] for each row; they stay where they are as long as the merger lives.
    rows: Box<[IoSlice]>,
    free: Vec<u32>,
}

impl Merger {
    pub(super) fn new(outstanding_max: usize) -> Self {
        let rows = (outstanding_max / REQUESTS_A_ROW).max(1);
        Self {
            waiting: Vec::with_capacity(outstanding_max),
            next: 0,
            rows: vec![IoSlice::empty(); rows * MERGED_MAX].into_boxed_slice(),
            free: (0..u32::try_from(rows).expect("fewer than requests")).collect(),
        }
    }

    /// Requests that are in no run yet.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting.len() - self.next
    }

    /// Whether one of them is to write.
    pub(super) fn has_writes(&self) -> bool {
        self.waiting[self.next..].iter().any(|waiting| waiting.lane.work != Work::Read)
    }

    pub(super) fn push(&mut self, waiting: Waiting) {
        assert!(self.next == 0, "nobody comes while the runs are given out");
        self.waiting.push(waiting);
    }

    /// The next run, until there is none: then nobody waits any more. Its row is the caller's until
    /// [`Merger::give_back`].
    pub(super) fn next_run(&mut self) -> Option<Run> {
        if self.next == 0 {
            self.waiting.sort_unstable_by_key(|waiting| (waiting.lane, waiting.offset));
        }
        let first = self.next;
        let mut count = neighbours(&self.waiting[first..]);
        if count == 0 {
            self.waiting.clear();
            self.next = 0;
            return None;
        }
        let row = if count > 1 { self.free.pop() } else { None };
        if row.is_none() {
            count = 1;
        }
        self.next += count;
        Some(Run { first, count, row })
    }

    /// A request of a run, until the next call of [`Merger::next_run`].
    pub(super) fn member(&self, index: usize) -> Waiting {
        self.waiting[index]
    }

    /// The buffers of a run that has a row.
    pub(super) fn buffers(&mut self, run: Run, row: u32) -> Buffers {
        let row = &mut self.rows[row as usize * MERGED_MAX..][..run.count];
        for (slice, member) in row.iter_mut().zip(&self.waiting[run.first..]) {
            *slice = member.data;
        }
        Buffers::many(row)
    }

    /// The operation of this row has ended.
    pub(super) fn give_back(&mut self, row: u32) {
        assert!(self.free.len() < self.rows.len() / MERGED_MAX, "a row is given back once");
        self.free.push(row);
    }
}

/// How many of these, which are sorted, the first one shares its operation with, itself included.
fn neighbours(sorted: &[Waiting]) -> usize {
    let pairs = sorted.iter().zip(sorted.iter().skip(1));
    let joined = pairs.take_while(|(a, b)| a.lane == b.lane && a.end() == b.offset).count();
    (joined + 1).min(MERGED_MAX).min(sorted.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn waiting(slot: usize, lane: Lane, sector: u64, sectors: usize) -> Waiting {
        // Only its length is looked at.
        let data = IoSlice::received(&[0; 16 * 512][..sectors * 512]);
        Waiting { slot, lane, offset: sector * 512, data }
    }

    fn lane() -> impl Strategy<Value = Lane> {
        let work = prop_oneof![Just(Work::Read), Just(Work::Write), Just(Work::DurableWrite)];
        (0..2u32, work).prop_map(|(export, work)| Lane { export: ExportId(export), work })
    }

    fn runs(merger: &mut Merger) -> Vec<Vec<Waiting>> {
        let mut runs = Vec::new();
        while let Some(run) = merger.next_run() {
            assert_eq!(run.row.is_some(), run.count > 1);
            runs.push((run.first..run.first + run.count).map(|index| merger.member(index)).collect());
        }
        runs
    }

    proptest! {
        #[test]
        fn a_run_is_one_stretch_of_one_lane_and_every_request_is_in_one_run(
            requests in prop::collection::vec((lane(), 0..40u64, 1..4usize), 0..100),
        ) {
            let mut merger = Merger::new(256);
            for (slot, (lane, sector, sectors)) in (0..).zip(&requests) {
                merger.push(waiting(slot, *lane, *sector, *sectors));
            }
            let runs = runs(&mut merger);
            for run in &runs {
                prop_assert!(run.len() <= MERGED_MAX);
                for pair in run.windows(2) {
                    prop_assert_eq!(pair[0].lane, pair[1].lane);
                    prop_assert_eq!(pair[0].end(), pair[1].offset);
                }
            }
            let mut slots: Vec<usize> = runs.iter().flatten().map(|member| member.slot).collect();
            slots.sort_unstable();
            prop_assert!(slots.into_iter().eq(0..requests.len()));
            prop_assert_eq!(merger.waiting(), 0);
        }
    }

    #[test]
    fn frames_of_one_large_request_share_operations_whatever_their_order() {
        let lane = Lane { export: ExportId(0), work: Work::DurableWrite };
        let mut merger = Merger::new(256);
        for slot in (0..128).map(|index| index * 37 % 128) {
            merger.push(waiting(slot, lane, slot as u64 * 16, 16));
        }
        let runs = runs(&mut merger);
        assert_eq!(runs.iter().map(Vec::len).collect::<Vec<_>>(), [64, 64]);
        assert!(runs.iter().flatten().map(|member| member.slot).eq(0..128));
    }

    #[test]
    fn without_a_row_requests_go_alone() {
        let lane = Lane { export: ExportId(0), work: Work::Read };
        let mut merger = Merger::new(REQUESTS_A_ROW);
        let three = |merger: &mut Merger| {
            (0..3).for_each(|slot| merger.push(waiting(slot, lane, slot as u64, 1)));
        };
        three(&mut merger);
        let run = merger.next_run().expect("a run");
        assert_eq!(run.count, 3);
        assert!(merger.next_run().is_none());
        three(&mut merger);
        assert_eq!(runs(&mut merger).len(), 3);
        merger.give_back(run.row.expect("its row"));
        three(&mut merger);
        assert_eq!(merger.next_run().expect("a run").count, 3);
    }
}
