//! The order in which idle slots were last used: a doubly linked list inside two arrays.

const NONE: u32 = u32::MAX;

/// Slots that nobody uses, the least recently used first.
#[derive(Debug)]
pub(super) struct Lru {
    next: Vec<u32>,
    previous: Vec<u32>,
    oldest: u32,
    newest: u32,
    count: usize,
}

impl Lru {
    /// For so many slots, none of them idle.
    pub(super) fn new(slots: usize) -> Self {
        Self { next: vec![NONE; slots], previous: vec![NONE; slots], oldest: NONE, newest: NONE, count: 0 }
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// `slot` has become idle.
    pub(super) fn push(&mut self, slot: usize) {
        let number = u32::try_from(slot).expect("slots are counted in 32 bits");
        self.previous[slot] = self.newest;
        self.next[slot] = NONE;
        if self.newest == NONE {
            self.oldest = number;
        } else {
            self.next[self.newest as usize] = number;
        }
        self.newest = number;
        self.count += 1;
    }

    /// `slot`, which is idle, is used again.
    pub(super) fn remove(&mut self, slot: usize) {
        let (previous, next) = (self.previous[slot], self.next[slot]);
        if previous == NONE {
            assert!(self.oldest as usize == slot, "an idle slot is in the list");
            self.oldest = next;
        } else {
            self.next[previous as usize] = next;
        }
        if next == NONE {
            self.newest = previous;
        } else {
            self.previous[next as usize] = previous;
        }
        self.count -= 1;
    }

    /// Takes the slot that has been idle longest.
    pub(super) fn pop(&mut self) -> Option<usize> {
        if self.oldest == NONE {
            return None;
        }
        let slot = self.oldest as usize;
        self.remove(slot);
        Some(slot)
    }
}
