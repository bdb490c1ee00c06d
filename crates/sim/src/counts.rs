//! How often each kind of something happened.

use std::marker::PhantomData;

/// What can be counted: one of a list.
pub trait Kind: Copy + 'static {
    /// All there are.
    const KINDS: &'static [Self];

    /// Its place in the list.
    fn place(self) -> usize;
}

/// How often each kind happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Counts<K> {
    counts: Box<[u64]>,
    of: PhantomData<K>,
}

impl<K: Kind> Default for Counts<K> {
    fn default() -> Self {
        Self { counts: vec![0; K::KINDS.len()].into_boxed_slice(), of: PhantomData }
    }
}

impl<K: Kind> Counts<K> {
    /// Once more.
    pub fn add(&mut self, kind: K) {
        self.add_many(kind, 1);
    }

    /// So many times more.
    pub fn add_many(&mut self, kind: K, count: u64) {
        self.counts[kind.place()] += count;
    }

    /// All of another run's.
    pub fn add_all(&mut self, other: &Self) {
        for (kind, count) in other.iter() {
            self.add_many(kind, count);
        }
    }

    /// How often one happened.
    #[must_use]
    pub fn count(&self, kind: K) -> u64 {
        self.counts[kind.place()]
    }

    /// Each, and how often it happened.
    pub fn iter(&self) -> impl Iterator<Item = (K, u64)> + '_ {
        K::KINDS.iter().copied().zip(self.counts.iter().copied())
    }

    /// Of all kinds together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}
