//! Which write each read saw, where a value was written more than once.
//!
//! The writes of a value happen in some order. Where one has no end, or begins only after another has ended, that may as
//! well be the order of their calls: two that could change places are as good the other way round. Then of two reads the one
//! called later saw the same write or a later one: if it happened before the other, that one was under way as well and may
//! have happened at the same moment. So what is to be tried is where, among the reads in the order of their calls, the next
//! write begins.

use super::zone::{Zone, judge};
use super::{Access, Point, Violation};

/// More possibilities of one value, or of all values of a sector together, are not tried.
const TRIED_MAX: usize = 256;

/// Judges the accesses to one sector: value by value, writes first, each in the order of their calls.
pub(super) fn judge_sector(points: &[Point]) -> Result<(), Violation> {
    let mut certain = Vec::new();
    let mut open = Vec::new();
    for value in points.chunk_by(|a, b| a.value == b.value) {
        let mut possible = possibilities(value)?;
        if possible.len() == 1 {
            certain.append(&mut possible[0]);
        } else {
            open.push(possible);
        }
    }
    let sector = points[0].sector;
    // What is certain has to be right whatever the rest is; the rest of a good history adds nothing wrong to it.
    let mut zones = certain.clone();
    judge(sector, &mut zones)?;
    let count =
        |open: &[Vec<Vec<Zone>>]| open.iter().fold(1, |all: usize, one| all.saturating_mul(one.len()));
    while count(&open) > TRIED_MAX {
        let largest = (0..open.len()).max_by_key(|index| open[*index].len()).expect("there is more than one");
        open.swap_remove(largest);
    }
    let mut first = None;
    for number in 0..count(&open) {
        zones.clone_from(&certain);
        let mut rest = number;
        for possible in &open {
            zones.extend_from_slice(&possible[rest % possible.len()]);
            rest /= possible.len();
        }
        match judge(sector, &mut zones) {
            Ok(()) => return Ok(()),
            Err(violation) => first = first.or(Some(violation)),
        }
    }
    first.map_or(Ok(()), Err)
}

/// The zones of one value's writes, in each way in which its reads can be theirs.
fn possibilities(points: &[Point]) -> Result<Vec<Vec<Zone>>, Violation> {
    let Point { sector, value, .. } = points[0];
    let (writes, reads) = points.split_at(points.partition_point(|point| point.access.is_write));
    let Some(first) = writes.first() else {
        return Err(Violation::Unwritten { sector, value, read: Box::new(reads[0].access) });
    };
    let mut bounds = Vec::with_capacity(reads.len());
    for Point { access: read, .. } in reads {
        let Some(bound) = Bound::of(read, writes) else {
            let (read, write) = (Box::new(*read), Box::new(first.access));
            return Err(Violation::FromTheFuture { sector, value, read, write });
        };
        bounds.push(bound);
    }
    let mut seen = vec![None; reads.len()];
    let mut all = Vec::new();
    if in_order(writes) && enumerate(&bounds, 0, &mut seen, &mut all) {
        return Ok(all.iter().map(|seen| zones(writes, reads, seen)).collect());
    }
    // Too many, or in no order: only the reads count that can have seen but one write.
    let only =
        |bound: &Bound| (bound.low == bound.high && in_order(&writes[..=bound.high])).then_some(bound.low);
    let certain: Vec<Option<usize>> = bounds.iter().map(only).collect();
    Ok(vec![zones(writes, reads, &certain)])
}

/// Whether the order of the calls may be taken for the order of the writes.
fn in_order(writes: &[Point]) -> bool {
    let mut last_end = None;
    writes.iter().all(|Point { access: write, .. }| {
        let after_all = last_end.is_none_or(|end| end < write.call);
        let good = after_all || write.end.is_none();
        // One without an end may come after everything.
        last_end = last_end.max(Some(write.end.unwrap_or(crate::history::Moment::END)));
        good
    })
}

/// The writes that a read may have seen: not before one that had ended, not one called after its end.
struct Bound {
    low: usize,
    high: usize,
}

impl Bound {
    fn of(read: &Access, writes: &[Point]) -> Option<Self> {
        let called =
            read.end.map_or(writes.len(), |end| writes.partition_point(|write| write.access.call < end));
        let high = called.checked_sub(1)?;
        let ended = |write: &Point| write.access.end.is_some_and(|end| end < read.call);
        let low = writes[..called].iter().rposition(ended).unwrap_or(0);
        Some(Self { low, high })
    }
}

/// All ways to give each read a write, none an earlier one than the read before it. False if there are too many.
fn enumerate(
    bounds: &[Bound],
    lowest: usize,
    seen: &mut [Option<usize>],
    all: &mut Vec<Vec<Option<usize>>>,
) -> bool {
    let done = seen.len() - bounds.len();
    let Some((bound, rest)) = bounds.split_first() else {
        all.push(seen.to_vec());
        return all.len() <= TRIED_MAX;
    };
    (bound.low.max(lowest)..=bound.high).all(|write| {
        seen[done] = Some(write);
        enumerate(rest, write, seen, all)
    })
}

/// The zones of the writes that happened, when each read has seen the write of that number.
fn zones(writes: &[Point], reads: &[Point], seen: &[Option<usize>]) -> Vec<Zone> {
    let mut zones: Vec<Zone> = writes.iter().map(|write| Zone::of(write.value, write.access)).collect();
    for (read, seen) in reads.iter().zip(seen) {
        if let Some(write) = seen {
            zones[*write].add(read.access);
        }
    }
    zones.retain(Zone::happened);
    zones
}
