//! The order in which slots fell idle. A write touches nothing of it but a clock and a count: when an extent fell idle
//! stands with the extent. Only who needs a slot looks at all of them, and then takes down the longest idle ones in their order for those who come
//! after. One that was used since is passed over: whatever is not taken down fell idle later than all that is, so the order is
//! exact.

/// A look takes down one of so many idle slots: sorting stays short, and looks stay rare.
const PART: usize = 4;

/// Slots that nobody uses, the longest idle first. What every write asks for comes first.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Idle {
    /// How many there are.
    count: usize,
    /// Counts how often something fell idle. It may begin again at zero: then one slot may be given away before its turn.
    now: u32,
    /// Slots and when they fell idle, the longest idle last; some are in use now, or were in the meantime.
    oldest: Vec<(u32, u32)>,
}

impl Idle {
    /// None of so many slots is idle.
    pub(super) fn new(slots: usize) -> Self {
        Self { count: 0, now: 0, oldest: Vec::with_capacity(slots) }
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// A slot has fallen idle; says when that is.
    pub(super) const fn fall(&mut self) -> u32 {
        self.count += 1;
        self.now = self.now.wrapping_add(1);
        self.now
    }

    /// An idle slot is used again.
    pub(super) const fn use_one(&mut self) {
        self.count -= 1;
    }

    /// Takes the slot that has been idle longest of so many. `since` tells when a slot fell idle, if it is so.
    pub(super) fn pop(&mut self, slots: usize, since: impl Fn(usize) -> Option<u32>) -> Option<usize> {
        let is_so = |(slot, at): &(u32, u32)| since(*slot as usize) == Some(*at);
        while self.oldest.pop_if(|next| !is_so(next)).is_some() {}
        if self.oldest.is_empty() {
            self.look(slots, &since);
        }
        let (slot, _) = self.oldest.pop()?;
        self.count -= 1;
        Some(slot as usize)
    }

    fn look(&mut self, slots: usize, since: impl Fn(usize) -> Option<u32>) {
        let slot_number = |slot| u32::try_from(slot).expect("slots are counted in 32 bits");
        let idle = (0..slots).filter_map(|slot| Some((slot_number(slot), since(slot)?)));
        self.oldest.extend(idle);
        let age = |&(_, at): &(u32, u32)| std::cmp::Reverse(self.now.wrapping_sub(at));
        let part = self.oldest.len().div_ceil(PART);
        if part < self.oldest.len() {
            self.oldest.select_nth_unstable_by_key(part, age);
            self.oldest.truncate(part);
        }
        self.oldest.sort_unstable_by_key(age);
        self.oldest.reverse();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn slots_leave_in_the_order_in_which_they_fell_idle(
            begin in prop_oneof![Just(0), Just(u32::MAX - 20)],
            steps in prop::collection::vec((0..12usize, 0..8u8), 1..300),
        ) {
            let mut idle = Idle { now: begin, ..Idle::new(12) };
            let mut order: Vec<(usize, u32)> = Vec::new();
            for (slot, what) in steps {
                let is_idle = order.iter().any(|(other, _)| *other == slot);
                match what {
                    0 => {
                        let since = |slot| Some(order.iter().find(|(other, _)| *other == slot)?.1);
                        let popped = idle.pop(12, since);
                        let expected = (!order.is_empty()).then(|| order.remove(0).0);
                        prop_assert_eq!(popped, expected);
                    }
                    1..4 if is_idle => {
                        order.retain(|(other, _)| *other != slot);
                        idle.use_one();
                    }
                    _ if !is_idle => order.push((slot, idle.fall())),
                    _ => {}
                }
                prop_assert_eq!(idle.count(), order.len());
            }
        }
    }
}
