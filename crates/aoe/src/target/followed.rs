//! Writes that came by the other node of a pair and have not ended here.
//!
//! A frame that asks for one of them again is dropped: the other node will answer, or this one when it has ended.
//! Names are the other side's: any number may come, so they are looked up, never used as a place.

use block::{EntryId, ExportId, Instant, IntervalTable, LbaRange};

use super::duplicate::WriteIdentity;
use super::output::{FollowedWrite, Origin};
use super::sector_sequence::{Sequence, bucket};
use super::slab::Slab;

/// A write of the other node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Followed {
    pub(crate) name: FollowedWrite,
    pub(crate) export: ExportId,
    pub(crate) range: LbaRange,
    pub(crate) origin: Origin,
    /// Its place in the order of admission; `None` if the memory was full.
    pub(crate) sequence: Option<Sequence>,
    /// Whether something that overlaps it was under way here when it came.
    pub(crate) concurrent: bool,
    /// When it came.
    pub(crate) since: Instant,
}

/// All of them, over all exports.
#[derive(Debug)]
pub(crate) struct FollowedWrites {
    slots: Slab<Slot>,
    intervals: IntervalTable<u32>,
    /// First slot of each chain of names plus one.
    chains: Box<[u32]>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    followed: Followed,
    interval: Option<EntryId>,
    /// Next slot of the chain plus one.
    next: u32,
}

impl FollowedWrites {
    /// Room for `capacity` writes.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            slots: Slab::new(capacity.max(1)),
            intervals: IntervalTable::new(capacity.max(1)),
            chains: vec![0; capacity.next_power_of_two()].into_boxed_slice(),
        }
    }

    /// Enters a write.
    ///
    /// # Panics
    /// If there are too many, or its name is in use: whoever follows the other node sees to both.
    pub(crate) fn insert(&mut self, followed: Followed) {
        assert!(self.slots.room() > 0, "more writes are followed than TargetLimits::followed_max");
        assert!(self.find(followed.name).is_none(), "{:?} is followed already", followed.name);
        let chain = self.chain(followed.name);
        let index = self.slots.insert(Slot { followed, interval: None, next: self.chains[chain] });
        let interval = self.intervals.insert(followed.export, followed.range, index);
        self.slots[index].interval = Some(interval.expect("as many intervals as slots"));
        self.chains[chain] = index + 1;
    }

    /// Takes a write out.
    ///
    /// # Panics
    /// If it is not followed.
    pub(crate) fn remove(&mut self, name: FollowedWrite) -> Followed {
        let index = self.find(name).expect("a write that ends is followed");
        let Slot { followed, interval, next: after } = self.slots[index];
        let chain = self.chain(name);
        if self.chains[chain] == index + 1 {
            self.chains[chain] = after;
        } else {
            let mut previous = self.chains[chain] - 1;
            while self.slots[previous].next != index + 1 {
                previous = self.slots[previous].next - 1;
            }
            self.slots[previous].next = after;
        }
        self.intervals.remove(interval.expect("a write has an interval while it is followed"));
        self.slots.remove(index);
        followed
    }

    /// Whether the write of that identity is followed.
    #[inline]
    pub(crate) fn contains(&self, identity: &WriteIdentity) -> bool {
        let wanted = identity.origin();
        self.intervals
            .overlapping(identity.export, identity.range)
            .any(|(_, range, slot)| range == identity.range && self.slots[slot].followed.origin == wanted)
    }

    fn find(&self, name: FollowedWrite) -> Option<u32> {
        let mut next = self.chains[self.chain(name)];
        while next != 0 {
            if self.slots[next - 1].followed.name == name {
                return Some(next - 1);
            }
            next = self.slots[next - 1].next;
        }
        None
    }

    fn chain(&self, name: FollowedWrite) -> usize {
        bucket(name.0.wrapping_mul(0x9e37_79b9_7f4a_7c15), self.chains.len())
    }
}
