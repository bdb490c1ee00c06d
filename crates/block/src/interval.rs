//! Which ranges are in use: a table that finds everything overlapping a range.
//!
//! Volumes are cut into granules of 256 sectors and each granule hashed to a chain, so that an entry, which is no
//! longer than a granule, lies in at most two chains. Inserting and removing take constant time, a look-up walks
//! the entries near the range. Nothing is allocated after construction unless the table is told to grow, and nothing
//! depends on a random hash.

use crate::range::LbaRange;
use crate::request::ExportId;

/// Sectors in a granule; also the longest range an entry may have.
const GRANULE_SECTORS: u64 = 256;
/// With so many chains neighbouring granules are never in the same one: the hash moves on by 0x9e3779b9 or one more.
const CHAINS_MIN: usize = 4;
/// The end of a chain, or no entry.
const NIL: u32 = u32::MAX;

/// Names an entry while it is in the table.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EntryId(u32);

/// Ranges in use, each with a value.
#[derive(Debug)]
pub struct IntervalTable<T> {
    /// Head of each chain: a [`LinkName`], or `NIL`.
    chains: Box<[u32]>,
    entries: Box<[Entry<T>]>,
    /// First free entry, chained through `links[0].next`.
    free: u32,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry<T> {
    used: Option<Used<T>>,
    /// One link for the granule of the first sector, one for that of the last where it is another.
    links: [Link; 2],
}

#[derive(Clone, Copy, Debug)]
struct Used<T> {
    export: ExportId,
    range: LbaRange,
    value: T,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
}

impl Link {
    const FREE: Self = Self { previous: NIL, next: NIL };
}

impl<T: Copy> IntervalTable<T> {
    /// A table of at most `capacity` entries.
    ///
    /// # Panics
    /// If `capacity` is zero or more than 2^30.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0 && capacity <= 1 << 30, "capacity out of bounds");
        let mut table = Self { chains: Box::default(), entries: Box::default(), free: NIL, len: 0 };
        table.set_capacity(capacity);
        table
    }

    /// Makes room for as many entries again. Names of entries stay what they are.
    ///
    /// # Panics
    /// If the capacity comes to more than 2^30.
    pub fn double(&mut self) {
        let capacity = self.entries.len() * 2;
        assert!(capacity <= 1 << 30, "capacity out of bounds");
        self.set_capacity(capacity);
    }

    /// More entries than before: the new ones are free, the others are put into new chains.
    fn set_capacity(&mut self, capacity: usize) {
        let before = self.entries.len();
        let mut entries = std::mem::take(&mut self.entries).into_vec();
        entries.resize(capacity, Entry { used: None, links: [Link::FREE; 2] });
        for (index, entry) in entries.iter_mut().enumerate().skip(before).rev() {
            entry.links[0].next = self.free;
            self.free = index_u32(index);
        }
        self.entries = entries.into_boxed_slice();
        // Most tables are nearly empty, and every chain is in another place: few of them stay in the near caches. In a full
        // table a chain has four entries.
        let chains = (capacity / 4).next_power_of_two().max(CHAINS_MIN);
        self.chains = vec![NIL; chains].into_boxed_slice();
        for index in 0..index_u32(before) {
            if let Some(Used { export, range, .. }) = self.entries[index as usize].used {
                self.enchain(export, range, index);
            }
        }
    }

    /// Entries in use.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no entry is in use.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether every entry is in use.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.free == NIL
    }

    /// Adds a range, unless the table is full.
    ///
    /// # Panics
    /// If `range` is empty or longer than 256 sectors.
    pub fn insert(&mut self, export: ExportId, range: LbaRange, value: T) -> Option<EntryId> {
        assert!(
            !range.is_empty() && u64::from(range.count().0) <= GRANULE_SECTORS,
            "range {range} out of bounds"
        );
        if self.free == NIL {
            return None;
        }
        let index = self.free;
        self.free = self.entries[index as usize].links[0].next;
        self.entries[index as usize] =
            Entry { used: Some(Used { export, range, value }), links: [Link::FREE; 2] };
        self.enchain(export, range, index);
        self.len += 1;
        Some(EntryId(index))
    }

    /// Takes an entry out.
    ///
    /// # Panics
    /// If `id` is not in the table.
    pub fn remove(&mut self, id: EntryId) -> T {
        let used = self.entries[id.0 as usize].used.take().expect("an entry is removed once");
        let (first, last) = granules(used.range);
        self.unlink(used.export, first, id.0 * 2);
        if last != first {
            self.unlink(used.export, last, id.0 * 2 + 1);
        }
        self.entries[id.0 as usize].links[0].next = self.free;
        self.free = id.0;
        self.len -= 1;
        used.value
    }

    /// The range and value of an entry in use.
    #[must_use]
    pub fn entry(&self, id: EntryId) -> Option<(LbaRange, T)> {
        self.entries.get(id.0 as usize)?.used.map(|used| (used.range, used.value))
    }

    /// Every entry of `export` that shares a sector with `range`, each once, in no particular order.
    pub fn overlapping(&self, export: ExportId, range: LbaRange) -> Overlapping<'_, T> {
        let (first, last) = granules(range);
        let cursor = self.chains[self.chain(export, first)];
        Overlapping { table: self, export, range, first, granule: first, last, cursor }
    }

    fn chain(&self, export: ExportId, granule: u64) -> usize {
        let key = granule ^ (u64::from(export.0) << 40);
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        usize::try_from(hash).expect("32 bits fit") & (self.chains.len() - 1)
    }

    /// Puts an entry into the chains of its granules.
    fn enchain(&mut self, export: ExportId, range: LbaRange, index: u32) {
        let (first, last) = granules(range);
        self.push(export, first, index * 2);
        if last != first {
            self.push(export, last, index * 2 + 1);
        }
    }

    /// Puts link `name` (entry * 2 + which of its links) at the head of its chain.
    fn push(&mut self, export: ExportId, granule: u64, name: u32) {
        let chain = self.chain(export, granule);
        let head = self.chains[chain];
        *self.link_mut(name) = Link { previous: NIL, next: head };
        if head != NIL {
            self.link_mut(head).previous = name;
        }
        self.chains[chain] = name;
    }

    fn unlink(&mut self, export: ExportId, granule: u64, name: u32) {
        let Link { previous, next } = *self.link_mut(name);
        if previous == NIL {
            let chain = self.chain(export, granule);
            assert_eq!(self.chains[chain], name, "a first link is its chain's head");
            self.chains[chain] = next;
        } else {
            self.link_mut(previous).next = next;
        }
        if next != NIL {
            self.link_mut(next).previous = previous;
        }
    }

    fn link_mut(&mut self, name: u32) -> &mut Link {
        &mut self.entries[name as usize / 2].links[name as usize % 2]
    }
}

/// What [`IntervalTable::overlapping`] finds.
#[derive(Debug)]
pub struct Overlapping<'a, T> {
    table: &'a IntervalTable<T>,
    export: ExportId,
    range: LbaRange,
    first: u64,
    /// The granule whose chain is being walked, and the link that comes next in it.
    granule: u64,
    last: u64,
    cursor: u32,
}

impl<T: Copy> Iterator for Overlapping<'_, T> {
    type Item = (EntryId, LbaRange, T);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while self.cursor != NIL {
                let index = self.cursor / 2;
                let entry = &self.table.entries[index as usize];
                self.cursor = entry.links[self.cursor as usize % 2].next;
                let Used { export, range, value } = entry.used.expect("a chained entry is in use");
                // Chains are shared by hash, and an entry in two of the granules is reported in the first.
                let reported_in = granules(range).0.max(self.first);
                if export == self.export && range.overlaps(self.range) && reported_in == self.granule {
                    return Some((EntryId(index), range, value));
                }
            }
            if self.granule >= self.last {
                return None;
            }
            self.granule += 1;
            self.cursor = self.table.chains[self.table.chain(self.export, self.granule)];
        }
    }
}

/// The granules of the first and the last sector.
const fn granules(range: LbaRange) -> (u64, u64) {
    (range.start().0 / GRANULE_SECTORS, (range.end().0 - 1) / GRANULE_SECTORS)
}

fn index_u32(index: usize) -> u32 {
    u32::try_from(index).expect("capacity is at most 2^30")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sector::{Lba, SectorCount};

    fn range(start: u64, count: u16) -> LbaRange {
        LbaRange::new(Lba(start), SectorCount(count)).expect("a range within bounds")
    }

    fn found(table: &IntervalTable<u32>, export: u32, of: LbaRange) -> Vec<u32> {
        let mut values: Vec<u32> = table.overlapping(ExportId(export), of).map(|(_, _, v)| v).collect();
        values.sort_unstable();
        values
    }

    #[test]
    fn an_entry_across_a_granule_is_found_from_both_sides_and_once() {
        let mut table = IntervalTable::new(4);
        let id = table.insert(ExportId(1), range(250, 16), 7).expect("room");
        assert_eq!(found(&table, 1, range(255, 1)), [7]);
        assert_eq!(found(&table, 1, range(256, 1)), [7]);
        assert_eq!(found(&table, 1, range(240, 200)), [7]);
        assert_eq!(found(&table, 1, range(0, 250)), [0u32; 0]);
        assert_eq!(found(&table, 2, range(250, 16)), [0u32; 0]);
        assert_eq!(table.remove(id), 7);
        assert!(table.is_empty());
        assert_eq!(found(&table, 1, range(250, 16)), [0u32; 0]);
    }

    #[test]
    fn a_table_that_grows_keeps_its_entries_and_their_names() {
        let mut table = IntervalTable::new(2);
        let across = table.insert(ExportId(0), range(250, 16), 1).expect("room");
        let gone = table.insert(ExportId(0), range(0, 1), 2).expect("room");
        table.remove(gone);
        table.insert(ExportId(1), range(300, 1), 3).expect("room");
        table.double();
        table.insert(ExportId(0), range(260, 8), 4).expect("the new room");
        table.insert(ExportId(0), range(260, 8), 5).expect("the new room");
        assert_eq!(table.insert(ExportId(0), range(0, 1), 6), None);
        assert_eq!(found(&table, 0, range(256, 20)), [1, 4, 5]);
        assert_eq!(found(&table, 1, range(256, 256)), [3]);
        assert_eq!((table.remove(across), table.len()), (1, 3));
        assert_eq!(found(&table, 0, range(250, 20)), [4, 5]);
    }

    #[test]
    fn neighbouring_granules_have_chains_of_their_own() {
        for capacity in [1, 16, 64, 4096] {
            let table = IntervalTable::<u32>::new(capacity);
            let chain = |granule| table.chain(ExportId(3), granule);
            assert!((0..100_000).all(|granule| chain(granule) != chain(granule + 1)), "capacity {capacity}");
        }
    }

    #[test]
    fn a_full_table_takes_no_more_until_something_leaves() {
        let mut table = IntervalTable::new(2);
        let first = table.insert(ExportId(0), range(0, 1), 0).expect("room");
        table.insert(ExportId(0), range(0, 1), 1).expect("room");
        assert_eq!(table.insert(ExportId(0), range(0, 1), 2), None);
        table.remove(first);
        table.insert(ExportId(0), range(0, 1), 3).expect("room again");
        assert_eq!(found(&table, 0, range(0, 1)), [1, 3]);
    }

    #[test]
    fn it_agrees_with_a_list_over_a_long_random_run() {
        let mut table = IntervalTable::new(64);
        let mut list: Vec<(EntryId, u32, LbaRange, u32)> = Vec::new();
        let mut state = 0x1234_5678_u64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for step in 0..20_000u32 {
            if list.len() == 64 || (random(3) == 0 && !list.is_empty()) {
                let at = usize::try_from(random(list.len() as u64)).expect("index");
                let (id, _, _, value) = list.swap_remove(at);
                assert_eq!(table.remove(id), value);
            } else {
                let export = u32::try_from(random(3)).expect("small");
                let of = range(random(2000), u16::try_from(1 + random(255)).expect("small"));
                let id = table.insert(ExportId(export), of, step).expect("room");
                list.push((id, export, of, step));
            }
            let export = u32::try_from(random(3)).expect("small");
            let of = range(random(2000), u16::try_from(1 + random(900)).expect("small"));
            let mut expected: Vec<u32> = list
                .iter()
                .filter(|(_, e, r, _)| *e == export && r.overlaps(of))
                .map(|(_, _, _, v)| *v)
                .collect();
            expected.sort_unstable();
            assert_eq!(found(&table, export, of), expected);
        }
    }
}
