//! The order in which idle slots were last used: a doubly linked list whose links stand in the slots themselves, so that
//! whoever uses a slot has its links at hand.

use super::Slot;

/// The end of the list on either side.
pub(super) const NONE: u32 = u32::MAX;

/// Slots that nobody uses, the least recently used first.
#[derive(Debug)]
pub(super) struct Lru {
    oldest: u32,
    newest: u32,
    count: usize,
}

impl Lru {
    /// No slot is idle.
    pub(super) const fn new() -> Self {
        Self { oldest: NONE, newest: NONE, count: 0 }
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// `slot` has become idle.
    pub(super) fn push(&mut self, slots: &mut [Slot], slot: usize) {
        let number = u32::try_from(slot).expect("slots are counted in 32 bits");
        (slots[slot].previous, slots[slot].next) = (self.newest, NONE);
        if self.newest == NONE {
            self.oldest = number;
        } else {
            slots[self.newest as usize].next = number;
        }
        self.newest = number;
        self.count += 1;
    }

    /// `slot`, which is idle, is used again.
    pub(super) fn remove(&mut self, slots: &mut [Slot], slot: usize) {
        let Slot { previous, next, .. } = slots[slot];
        if previous == NONE {
            assert!(self.oldest as usize == slot, "an idle slot is in the list");
            self.oldest = next;
        } else {
            slots[previous as usize].next = next;
        }
        if next == NONE {
            self.newest = previous;
        } else {
            slots[next as usize].previous = previous;
        }
        self.count -= 1;
    }

    /// Takes the slot that has been idle longest.
    pub(super) fn pop(&mut self, slots: &mut [Slot]) -> Option<usize> {
        if self.oldest == NONE {
            return None;
        }
        let slot = self.oldest as usize;
        self.remove(slots, slot);
        Some(slot)
    }
}
