//! The extents that are in the log, found by their number: open addressing in a table that never grows, so nothing is
//! allocated after it is made.
//!
//! All that a write needs to know of its extent stands where it is found. With a thousand volumes each of these places is
//! far away, and a second one, which the first only points to, costs as much again.

use crate::meta::activity_log::Extent;

/// No slot: the place is empty.
const EMPTY: u32 = u32::MAX;
/// The bit of a load that says that the extent is not in the log on disk yet.
const PENDING: u32 = 1 << 31;

/// An extent in the log.
#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
pub(super) struct Entry {
    extent: Extent,
    slot: u32,
    /// Writes in flight, and whether its transaction is still to become durable: nothing if it is idle.
    load: u32,
    /// When it fell idle the last time, as [`Idle`](super::idle::Idle) counts.
    pub(super) idle_since: u32,
}

/// Which extents there are.
#[derive(Debug)]
pub(super) struct Table {
    /// Twice as many places as slots, a power of two.
    places: Vec<Entry>,
    shift: u32,
    salt: u32,
}

impl Entry {
    const NONE: Self = Self { extent: Extent(0), slot: EMPTY, load: 0, idle_since: 0 };

    /// Idle, and in the log on disk.
    pub(super) fn idle(extent: Extent, slot: usize, idle_since: u32) -> Self {
        let slot = u32::try_from(slot).expect("slots are counted in 32 bits");
        Self { extent, slot, load: 0, idle_since }
    }

    /// With its first write, which waits for a transaction.
    pub(super) fn pending(extent: Extent, slot: usize) -> Self {
        Self { load: PENDING | 1, ..Self::idle(extent, slot, 0) }
    }

    pub(super) const fn slot(&self) -> usize {
        self.slot as usize
    }

    /// Nobody writes there, and it is on disk: its slot may be given away. One whose change is not durable yet is never idle,
    /// so that a slot changes once at a time.
    pub(super) const fn is_idle(&self) -> bool {
        self.load == 0
    }

    pub(super) const fn is_pending(&self) -> bool {
        self.load & PENDING != 0
    }

    /// Writes in flight.
    pub(super) const fn users(&self) -> u32 {
        self.load & !PENDING
    }

    /// One more write.
    pub(super) const fn take(&mut self) {
        self.load += 1;
    }

    /// One write less.
    pub(super) fn leave(&mut self) {
        assert!(self.users() > 0, "a write finishes once");
        self.load -= 1;
    }

    /// The log on disk has it.
    pub(super) const fn settle(&mut self) {
        self.load &= !PENDING;
    }
}

impl Table {
    /// `salt` is to be another one for each volume: tables often are a multiple of a page apart, and the extents that are hot in all volumes
    /// (the first) would compete for the same few lines of the processor's caches.
    pub(super) fn new(slots: usize, salt: u32) -> Self {
        let places = (slots * 2).next_power_of_two();
        Self { places: vec![Entry::NONE; places], shift: 64 - places.trailing_zeros(), salt }
    }

    /// Where `extent` is, until the next change of the table.
    pub(super) fn find(&self, extent: Extent) -> Option<usize> {
        let mut place = self.home(extent);
        loop {
            match self.places[place] {
                Entry { slot: EMPTY, .. } => return None,
                entry if entry.extent == extent => return Some(place),
                _ => place = self.after(place),
            }
        }
    }

    pub(super) fn at(&self, place: usize) -> &Entry {
        &self.places[place]
    }

    pub(super) fn at_mut(&mut self, place: usize) -> &mut Entry {
        &mut self.places[place]
    }

    /// Takes in an extent that is not there.
    pub(super) fn insert(&mut self, entry: Entry) {
        let mut place = self.home(entry.extent);
        while self.places[place].slot != EMPTY {
            place = self.after(place);
        }
        self.places[place] = entry;
    }

    /// Empties a place.
    pub(super) fn remove(&mut self, place: usize) {
        let mut hole = place;
        // Entries behind the hole move up where their search would otherwise end at it.
        let mut place = self.after(hole);
        while self.places[place].slot != EMPTY {
            let home = self.home(self.places[place].extent);
            let mask = self.places.len() - 1;
            if (place.wrapping_sub(home) & mask) >= (place.wrapping_sub(hole) & mask) {
                self.places[hole] = self.places[place];
                hole = place;
            }
            place = self.after(place);
        }
        self.places[hole] = Entry::NONE;
    }

    #[expect(clippy::cast_possible_truncation, reason = "the shift leaves as many bits as there are places")]
    const fn home(&self, extent: Extent) -> usize {
        // Fibonacci hashing: neighbouring extents fall far apart.
        ((extent.0.wrapping_add(self.salt) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
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
        fn a_table_finds_what_a_scan_finds(steps in proptest::collection::vec((0..16usize, 0..40u32), 1..200)) {
            let mut table = Table::new(16, 0xffff_fff0);
            let mut slots = [None; 16];
            for (slot, number) in steps {
                if let Some(old) = slots[slot].take() {
                    table.remove(table.find(old).expect("in the table"));
                }
                let extent = Extent(number);
                if !slots.contains(&Some(extent)) {
                    slots[slot] = Some(extent);
                    table.insert(Entry::idle(extent, slot, 0));
                }
                for number in 0..40 {
                    let scanned = slots.iter().position(|held| *held == Some(Extent(number)));
                    let found = table.find(Extent(number)).map(|place| table.at(place).slot());
                    prop_assert_eq!(found, scanned);
                }
            }
        }
    }
}
