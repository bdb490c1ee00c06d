//! Things under way, named by tokens that the peer or the disk echoes.
//!
//! A token of something that is over finds nothing, even when its place is in use again: what a peer echoes may be
//! anything. Memory is reserved at once and touched as far as it is used.

use crate::message::Token;

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

/// Values named by tokens.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    capacity: usize,
}

impl<T> Slots<T> {
    /// Room for `capacity` values.
    pub(crate) fn new(capacity: usize) -> Self {
        assert!(capacity < u32::MAX as usize, "places are counted in 32 bits");
        Self { entries: Vec::with_capacity(capacity), free: Vec::with_capacity(capacity), capacity }
    }

    /// Whether there is no room for another value.
    pub(crate) fn is_full(&self) -> bool {
        self.free.is_empty() && self.entries.len() == self.capacity
    }

    /// Values in use.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// The token of whatever is in use at a place.
    pub(crate) fn token_at(&self, place: u32) -> Option<Token> {
        let entry = self.entries.get(place as usize)?;
        entry.value.as_ref().map(|_| token(place, entry.generation))
    }

    /// Takes a value in, unless all places are in use.
    pub(crate) fn insert(&mut self, value: T) -> Option<Token> {
        if let Some(index) = self.free.pop() {
            let entry = &mut self.entries[index as usize];
            entry.value = Some(value);
            return Some(token(index, entry.generation));
        }
        if self.entries.len() == self.capacity {
            return None;
        }
        let index = u32::try_from(self.entries.len()).expect("bounded when made");
        self.entries.push(Entry { generation: 0, value: Some(value) });
        Some(token(index, 0))
    }

    /// What the token names, unless it is over.
    pub(crate) fn find(&self, token: Token) -> Option<&T> {
        let (index, generation) = parts(token);
        let entry = self.entries.get(index as usize)?;
        entry.value.as_ref().filter(|_| entry.generation == generation)
    }

    /// What the token names, to be changed.
    pub(crate) fn find_mut(&mut self, token: Token) -> Option<&mut T> {
        let (index, generation) = parts(token);
        let entry = self.entries.get_mut(index as usize)?;
        entry.value.as_mut().filter(|_| entry.generation == generation)
    }

    /// Ends it; its token finds nothing from now on.
    pub(crate) fn remove(&mut self, token: Token) -> Option<T> {
        self.find(token)?;
        let (index, _) = parts(token);
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(index);
        entry.value.take()
    }

    /// All that are in use, by place.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Token, &T)> {
        self.entries.iter().zip(0..).filter_map(|(entry, index)| {
            entry.value.as_ref().map(|value| (token(index, entry.generation), value))
        })
    }

    /// Adds the tokens of those that are wanted to a list, by place.
    pub(crate) fn list(&self, list: &mut Vec<Token>, is_wanted: impl Fn(&T) -> bool) {
        list.extend(self.iter().filter(|(_, value)| is_wanted(value)).map(|(token, _)| token));
    }

    /// All that are in use, to be changed.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().filter_map(|entry| entry.value.as_mut())
    }
}

/// The place of a token, below the capacity.
pub(crate) const fn place(token: Token) -> u32 {
    parts(token).0
}

const fn token(index: u32, generation: u32) -> Token {
    Token((generation as u64) << 32 | index as u64)
}

const fn parts(token: Token) -> (u32, u32) {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    (token.0 as u32, (token.0 >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_finds_its_value_until_that_is_over_and_nothing_afterwards() {
        let mut slots = Slots::new(2);
        let first = slots.insert('a').expect("room");
        let second = slots.insert('b').expect("room");
        assert_eq!(slots.insert('c'), None);
        assert_eq!(slots.remove(first), Some('a'));
        let third = slots.insert('c').expect("room again");
        assert_eq!(place(third), place(first));
        assert_eq!(
            (slots.find(first), slots.find(second), slots.find(third)),
            (None, Some(&'b'), Some(&'c'))
        );
        assert_eq!((slots.remove(first), slots.len()), (None, 2));
        assert_eq!(slots.find(Token(77)), None);
    }
}
