//! The order in which slots fell idle: a ring of who did and when. An extent that is used again stays in the ring and is
//! passed over when its turn comes, so that a write touches nothing but the end of the ring, and nothing at all if its extent
//! was the last to fall idle.

use std::collections::VecDeque;

/// Slots that nobody uses, the longest idle first.
#[derive(Debug)]
pub(super) struct Idle {
    /// Slots and when they fell idle; also such as did so again later, or are in use.
    ring: VecDeque<(u32, u32)>,
    /// The end of the ring, if there is one.
    last: Option<(u32, u32)>,
    /// Counts how often something fell idle. It may begin again at zero: what is out of date is gone long before.
    now: u32,
    count: usize,
}

impl Idle {
    /// None of so many slots is idle.
    pub(super) fn new(slots: usize) -> Self {
        Self { ring: VecDeque::with_capacity(slots * 2), last: None, now: 0, count: 0 }
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// `slot`, which fell idle `before`, has done so again; says when that is. `is_so` tells whether a slot is idle since then.
    pub(super) fn push(&mut self, slot: usize, before: u32, is_so: impl Fn(usize, u32) -> bool) -> u32 {
        let slot = u32::try_from(slot).expect("slots are counted in 32 bits");
        self.count += 1;
        if self.now == before && self.last == Some((slot, before)) {
            return before;
        }
        if self.ring.len() == self.ring.capacity() {
            // At least half of it is out of date.
            self.ring.retain(|(slot, since)| is_so(*slot as usize, *since));
        }
        self.now = self.now.wrapping_add(1);
        self.ring.push_back((slot, self.now));
        self.last = Some((slot, self.now));
        self.now
    }

    /// An idle slot is used again.
    pub(super) const fn use_one(&mut self) {
        self.count -= 1;
    }

    /// Takes the slot that has been idle longest.
    pub(super) fn pop(&mut self, is_so: impl Fn(usize, u32) -> bool) -> Option<usize> {
        while let Some((slot, since)) = self.ring.pop_front() {
            self.last = self.last.filter(|last| *last != (slot, since));
            if is_so(slot as usize, since) {
                self.count -= 1;
                return Some(slot as usize);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn slots_leave_in_the_order_in_which_they_fell_idle(
            steps in prop::collection::vec((0..6usize, 0..8u8), 1..300),
        ) {
            let mut idle = Idle::new(6);
            let mut order: Vec<usize> = Vec::new();
            let mut since = [0; 6];
            for (slot, what) in steps {
                let is_idle = |order: &[usize], slot| order.contains(&slot);
                match what {
                    0 => {
                        let expected = (!order.is_empty()).then(|| order.remove(0));
                        let held = order.iter().copied().chain(expected).collect::<Vec<_>>();
                        let popped = idle.pop(|slot, at| is_idle(&held, slot) && since[slot] == at);
                        prop_assert_eq!(popped, expected);
                    }
                    1..4 if is_idle(&order, slot) => {
                        order.retain(|other| *other != slot);
                        idle.use_one();
                    }
                    _ if !is_idle(&order, slot) => {
                        order.push(slot);
                        let is_so = |slot: usize, at| is_idle(&order, slot) && since[slot] == at;
                        since[slot] = idle.push(slot, since[slot], is_so);
                    }
                    _ => {}
                }
                prop_assert_eq!(idle.count(), order.len());
            }
        }
    }
}
