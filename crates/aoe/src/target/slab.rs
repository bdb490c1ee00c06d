//! Records of one kind in memory of fixed capacity.
//!
//! The memory is reserved at once and touched only as far as records were ever in use at the same time, so that a
//! generous capacity costs nothing until a load needs it. Whoever holds an index knows whether its record is in
//! use; the slab checks only that it never holds more than it may.

use std::ops::{Index, IndexMut};

/// No record.
pub(crate) const NIL: u32 = u32::MAX;

/// Records named by small numbers.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    records: Vec<T>,
    free: Vec<u32>,
    capacity: usize,
}

impl<T> Slab<T> {
    /// Room for `capacity` records.
    pub(crate) fn new(capacity: usize) -> Self {
        assert!(capacity > 0 && capacity < NIL as usize, "capacity out of bounds");
        Self { records: Vec::with_capacity(capacity), free: Vec::with_capacity(capacity), capacity }
    }

    /// Records in use.
    pub(crate) fn len(&self) -> usize {
        self.records.len() - self.free.len()
    }

    /// How many more there is room for.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.capacity - self.len()
    }

    /// Takes a record into use; the caller has looked at [`Slab::room`].
    #[inline]
    pub(crate) fn insert(&mut self, record: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self.records[index as usize] = record;
            return index;
        }
        assert!(self.records.len() < self.capacity, "a slab was filled beyond its capacity");
        let index = u32::try_from(self.records.len()).expect("the capacity is below 2^32");
        self.records.push(record);
        index
    }

    /// Gives a record back. Its content stays until the index is used again.
    #[inline]
    pub(crate) fn remove(&mut self, index: u32) {
        assert!(self.len() > 0, "a record was removed from an empty slab");
        self.free.push(index);
    }

    /// How many different records were ever in use: what the memory holds.
    pub(crate) fn touched(&self) -> usize {
        self.records.len()
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        &self.records[index as usize]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.records[index as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_with_what_is_in_use_at_once_and_not_with_traffic() {
        let mut slab = Slab::new(1000);
        for round in 0..100 {
            let first = slab.insert(round);
            let second = slab.insert(round);
            assert_eq!((slab[first], slab[second]), (round, round));
            slab.remove(first);
            slab.remove(second);
        }
        assert_eq!((slab.len(), slab.touched(), slab.room()), (0, 2, 1000));
    }

    #[test]
    #[should_panic(expected = "beyond its capacity")]
    fn a_full_slab_takes_no_more() {
        let mut slab = Slab::new(1);
        slab.insert(0);
        slab.insert(1);
    }
}
