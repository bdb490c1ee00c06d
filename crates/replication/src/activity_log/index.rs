//! Finds the slot of an extent: open addressing in a table that never grows, so nothing is allocated after it is made.

use super::Slot;
use crate::meta::activity_log::Extent;

const EMPTY: u32 = u32::MAX;

/// Which slot holds which extent.
#[derive(Debug)]
pub(super) struct Index {
    /// Twice as many places as slots, a power of two; each holds a slot or [`EMPTY`].
    places: Vec<u32>,
    shift: u32,
}

impl Index {
    pub(super) fn new(slots: usize) -> Self {
        let places = (slots * 2).next_power_of_two();
        Self { places: vec![EMPTY; places], shift: 64 - places.trailing_zeros() }
    }

    /// The slot of `extent`; `slots` say what each holds.
    pub(super) fn find(&self, extent: Extent, slots: &[Slot]) -> Option<usize> {
        let mut place = self.home(extent);
        loop {
            match self.places[place] {
                EMPTY => return None,
                slot if slots[slot as usize].extent == Some(extent) => return Some(slot as usize),
                _ => place = self.after(place),
            }
        }
    }

    /// `slot` holds `extent` from now on.
    pub(super) fn insert(&mut self, extent: Extent, slot: usize) {
        let mut place = self.home(extent);
        while self.places[place] != EMPTY {
            place = self.after(place);
        }
        self.places[place] = u32::try_from(slot).expect("slots are counted in 32 bits");
    }

    /// `slot` does not hold `extent` any more; `slots` still say that it does.
    pub(super) fn remove(&mut self, extent: Extent, slot: usize, slots: &[Slot]) {
        let mut hole = self.home(extent);
        while self.places[hole] as usize != slot {
            assert!(self.places[hole] != EMPTY, "an extent that is in the log is in its index");
            hole = self.after(hole);
        }
        // Entries behind the hole move up where their search would otherwise end at it.
        let mut place = self.after(hole);
        while self.places[place] != EMPTY {
            let other = slots[self.places[place] as usize].extent.expect("an indexed slot holds an extent");
            let home = self.home(other);
            let mask = self.places.len() - 1;
            if (place.wrapping_sub(home) & mask) >= (place.wrapping_sub(hole) & mask) {
                self.places[hole] = self.places[place];
                hole = place;
            }
            place = self.after(place);
        }
        self.places[hole] = EMPTY;
    }

    #[expect(clippy::cast_possible_truncation, reason = "the shift leaves as many bits as there are places")]
    const fn home(&self, extent: Extent) -> usize {
        // Fibonacci hashing: neighbouring extents fall far apart.
        ((extent.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    const fn after(&self, place: usize) -> usize {
        (place + 1) & (self.places.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_index_finds_what_a_scan_finds(steps in proptest::collection::vec((0..16usize, 0..40u32), 1..200)) {
            let mut index = Index::new(16);
            let mut slots = [Slot::UNUSED; 16];
            for (slot, number) in steps {
                if let Some(old) = slots[slot].extent {
                    index.remove(old, slot, &slots);
                    slots[slot].extent = None;
                }
                let extent = Extent(number);
                if slots.iter().all(|slot| slot.extent != Some(extent)) {
                    slots[slot].extent = Some(extent);
                    index.insert(extent, slot);
                }
                for number in 0..40 {
                    let scanned = slots.iter().position(|slot| slot.extent == Some(Extent(number)));
                    prop_assert_eq!(index.find(Extent(number), &slots), scanned);
                }
            }
        }
    }
}
