//! Makes many writes durable with one flush of the disk's cache.
//!
//! A few durable writes at a time each bring their own flush: that is the quickest for each of them. With more under way
//! a write goes to the disk without one and is complete only when a flush that began after it has ended; writes that
//! get there meanwhile share the next flush. A write here is an operation, named by its first request. It decides who waits
//! for which flush; it does no I/O.
//!
//! Through the page cache all of it is different. There a flush tells of pages that could not be written, whoever wrote them,
//! and the kernel tells of each once: the next flush succeeds though they are lost. So nothing there brings a flush of its own,
//! also what a client asks to be flushed joins, and after a flush that has failed nothing is durable any more.

use block::{BlockError, Duration, Instant, RequestId};

/// Durable writes of one disk under way before the next one joins a group. Below, a flush of its own is quicker: one
/// operation instead of two. Above, flushes are what the disk spends its time on.
const GROUPED_FROM: usize = 4;
/// Writes that may wait for a flush before their row grows; how many a busy minute brings is chance.
const ROOM: usize = 128;

/// The durable writes of one disk.
#[derive(Debug)]
pub(super) struct GroupCommit {
    /// Not through the page cache.
    is_direct: bool,
    /// Of a disk that is not direct: how a flush has failed.
    lost: Option<BlockError>,
    /// Durable writes that have begun and not ended, in whatever way they become durable.
    under_way: usize,
    /// On the disk, not durable yet: the next flush covers them.
    written: Vec<RequestId>,
    /// Covered by the flush under way.
    flushing: Vec<RequestId>,
    /// Since when the kernel has had that flush tried again.
    refused_since: Option<Instant>,
}

impl GroupCommit {
    /// Nothing is under way.
    pub(super) fn new(is_direct: bool) -> Self {
        Self {
            is_direct,
            lost: None,
            under_way: 0,
            written: Vec::with_capacity(ROOM),
            flushing: Vec::with_capacity(ROOM),
            refused_since: None,
        }
    }

    /// A durable write begins. Returns whether it belongs to a group, and must not bring its own flush.
    pub(super) const fn begin(&mut self) -> bool {
        self.under_way += 1;
        self.under_way > GROUPED_FROM || !self.is_direct
    }

    /// Whether a flush that a client asks for joins, too.
    pub(super) const fn takes_flushes(&self) -> bool {
        !self.is_direct
    }

    /// Why nothing becomes durable any more, if so.
    pub(super) const fn lost(&self) -> Option<BlockError> {
        self.lost
    }

    /// A durable write ended that had its own flush, or failed before any.
    pub(super) fn end(&mut self) {
        self.under_way = self.under_way.checked_sub(1).expect("a write that ends has begun");
    }

    /// A write of a group is on the disk.
    pub(super) fn written(&mut self, id: RequestId) {
        self.written.push(id);
    }

    /// Whether a flush is to start now, for all that is written: it is wanted, and none is under way.
    pub(super) fn starts_flush(&mut self) -> bool {
        if !self.flushing.is_empty() || self.written.is_empty() {
            return false;
        }
        std::mem::swap(&mut self.written, &mut self.flushing);
        self.refused_since = None;
        true
    }

    /// The kernel says that it cannot flush just now: whether it may be asked again, which it may for so long.
    pub(super) fn may_try_again(&mut self, now: Instant, patience: Duration) -> bool {
        now.since(*self.refused_since.get_or_insert(now)) < patience
    }

    /// The flush under way has failed: whatever is written goes by it, also what got there after it had begun. What it has told
    /// of may be theirs.
    pub(super) fn failed(&mut self, error: BlockError) {
        self.flushing.append(&mut self.written);
        if !self.is_direct {
            self.lost = Some(error);
        }
    }

    /// The flush under way has ended: one of the writes it covered, until none is left.
    pub(super) fn flushed(&mut self) -> Option<RequestId> {
        let id = self.flushing.pop()?;
        self.end();
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_writes_bring_their_own_flush_and_the_others_join() {
        let mut group = GroupCommit::new(true);
        for _ in 0..GROUPED_FROM {
            assert!(!group.begin());
        }
        assert!(group.begin());
        group.end();
        group.end();
        assert!(!group.begin());
    }

    #[test]
    fn a_write_waits_for_a_flush_that_began_after_it() {
        let mut group = GroupCommit::new(true);
        for _ in 0..GROUPED_FROM + 3 {
            group.begin();
        }
        group.written(RequestId(1));
        assert!(group.starts_flush());
        // These two come while the flush is under way, so it does not cover them.
        group.written(RequestId(2));
        group.written(RequestId(3));
        assert!(!group.starts_flush());
        assert_eq!(group.flushed(), Some(RequestId(1)));
        assert_eq!(group.flushed(), None);
        assert!(group.starts_flush());
        assert_eq!(group.flushed(), Some(RequestId(3)));
        assert_eq!(group.flushed(), Some(RequestId(2)));
        assert_eq!((group.flushed(), group.starts_flush()), (None, false));
        assert_eq!(group.under_way, GROUPED_FROM);
    }

    #[test]
    fn through_the_page_cache_everybody_joins_and_a_flush_that_has_failed_fails_all_that_is_written() {
        let mut group = GroupCommit::new(false);
        assert!(group.begin() && group.begin());
        group.written(RequestId(1));
        assert!(group.starts_flush());
        group.written(RequestId(2));
        group.failed(BlockError::Medium);
        assert_eq!(
            [group.flushed(), group.flushed(), group.flushed()],
            [Some(RequestId(2)), Some(RequestId(1)), None]
        );
        assert_eq!(group.lost(), Some(BlockError::Medium));
    }
}
