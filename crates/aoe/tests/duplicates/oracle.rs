//! Whether what initiators saw of one sector could have come from a sector that does one thing at a time.
//!
//! A write that was never answered, or answered with an error, may have happened at any time after it was sent, or
//! not at all. It matters only if its value was read, so it is placed right before a read of it or nowhere.

use std::collections::BTreeSet;

/// One operation on one sector, in the order of the events of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    /// When it was first sent.
    pub(crate) start: u64,
    /// When its answer came; `None` for a write that may or may not have happened.
    pub(crate) end: Option<u64>,
    /// What was written or read.
    pub(crate) value: u32,
    pub(crate) is_write: bool,
}

/// Whether some order of `operations` that respects who ended before whom explains every read, beginning with 0.
pub(crate) fn is_linearizable(operations: &[Operation]) -> bool {
    assert!(operations.len() <= 128, "the search keeps its state in 128 bits");
    let answered = mask(operations, |operation| operation.end.is_some());
    let mut seen = BTreeSet::new();
    let mut open = vec![(0u128, 0u32)];
    while let Some((done, value)) = open.pop() {
        if done & answered == answered {
            return true;
        }
        if !seen.insert((done, value)) {
            continue;
        }
        let latest_start = left(operations, done).filter_map(|(_, operation)| operation.end).min();
        let latest_start = latest_start.expect("an answered operation is left");
        let may_be_next = |operation: &Operation| operation.start < latest_start;
        for (index, operation) in left(operations, done) {
            if operation.end.is_none() || !may_be_next(operation) {
                continue;
            }
            let next = done | 1 << index;
            if operation.is_write || operation.value == value {
                open.push((next, operation.value));
                continue;
            }
            let mut lost = left(operations, done).filter(|(_, other)| {
                other.end.is_none() && may_be_next(other) && other.value == operation.value
            });
            if let Some((writer, _)) = lost.next() {
                open.push((next | 1 << writer, operation.value));
            }
        }
    }
    false
}

fn left(operations: &[Operation], done: u128) -> impl Iterator<Item = (usize, &Operation)> {
    operations.iter().enumerate().filter(move |(index, _)| done & (1 << index) == 0)
}

fn mask(operations: &[Operation], wanted: impl Fn(&Operation) -> bool) -> u128 {
    let wanted = operations.iter().enumerate().filter(|(_, operation)| wanted(operation));
    wanted.fold(0, |mask, (index, _)| mask | 1 << index)
}

#[test]
fn the_oracle_tells_old_data_from_concurrent_data() {
    let write = |start, end, value| Operation { start, end, value, is_write: true };
    let read = |start, end, value| Operation { start, end: Some(end), value, is_write: false };
    assert!(is_linearizable(&[write(1, Some(2), 7), read(3, 4, 7)]));
    assert!(!is_linearizable(&[write(1, Some(2), 7), read(3, 4, 0)]));
    // Two writes one after the other, and the first comes back.
    assert!(!is_linearizable(&[write(1, Some(2), 7), write(3, Some(4), 8), read(5, 6, 7)]));
    // Two writes at the same time: either may be the last, but not both.
    let both = [write(1, Some(4), 7), write(2, Some(5), 8)];
    assert!(is_linearizable(&[both[0], both[1], read(6, 7, 7)]));
    assert!(!is_linearizable(&[both[0], both[1], read(6, 7, 7), read(8, 9, 8)]));
    // A write without an answer may show late, but not come and go.
    let lost = write(1, None, 7);
    assert!(is_linearizable(&[lost, read(2, 3, 0), read(4, 5, 7)]));
    assert!(!is_linearizable(&[lost, read(2, 3, 7), read(4, 5, 0)]));
    // What was read once stays read, even while the write is still under way.
    assert!(!is_linearizable(&[write(1, Some(9), 7), read(2, 3, 7), read(4, 5, 0)]));
}
