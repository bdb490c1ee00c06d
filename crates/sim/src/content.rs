//! What is written into sectors, so that whoever reads one knows which write it came from.
//!
//! A sector is filled from end to end with the number of its write and its own address. One that is half of each of two
//! writes, or that lies where it does not belong, is told from both.

use std::fmt;

use block::{Lba, SECTOR_BYTES};

/// Names what a write puts into its sectors.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Value(pub u64);

const STAMP_BYTES: usize = 16;
const INITIATOR_SHIFT: u32 = 48;

impl Value {
    /// What a sector holds that nobody wrote: zeros.
    pub const INITIAL: Self = Self(0);
    /// What no write puts anywhere.
    pub const MANGLED: Self = Self(u64::MAX);

    /// The value of an initiator's write of that number, counted from 1.
    #[must_use]
    pub const fn new(initiator: u16, number: u64) -> Self {
        assert!(number > 0 && number < 1 << INITIATOR_SHIFT, "writes are counted from 1");
        Self((initiator as u64) << INITIATOR_SHIFT | number)
    }

    /// Fills the sectors from `start` on.
    pub fn fill(self, start: Lba, bytes: &mut [u8]) {
        for (sector, bytes) in (start.0..).zip(bytes.chunks_exact_mut(SECTOR_BYTES)) {
            let stamp = self.stamp(Lba(sector));
            for place in bytes.chunks_exact_mut(STAMP_BYTES) {
                place.copy_from_slice(&stamp);
            }
        }
    }

    /// What a sector holds.
    #[must_use]
    pub fn of(sector: Lba, bytes: &[u8]) -> Self {
        assert!(bytes.len() == SECTOR_BYTES, "one sector");
        let (first, rest) = bytes.split_at(STAMP_BYTES);
        if rest.chunks_exact(STAMP_BYTES).any(|stamp| stamp != first) {
            return Self::MANGLED;
        }
        if first.iter().all(|byte| *byte == 0) {
            return Self::INITIAL;
        }
        let (value, _) = first.split_at(8);
        let value = Self(u64::from_le_bytes(value.try_into().expect("eight bytes")));
        if value.stamp(sector) == first { value } else { Self::MANGLED }
    }

    /// What the sectors from `start` on hold.
    pub fn of_all(start: Lba, bytes: &[u8]) -> impl Iterator<Item = Self> {
        (start.0..).zip(bytes.chunks_exact(SECTOR_BYTES)).map(|(sector, bytes)| Self::of(Lba(sector), bytes))
    }

    fn stamp(self, sector: Lba) -> [u8; STAMP_BYTES] {
        let mut stamp = [0; STAMP_BYTES];
        stamp[..8].copy_from_slice(&self.0.to_le_bytes());
        stamp[8..].copy_from_slice(&sector.0.to_le_bytes());
        stamp
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::INITIAL => write!(f, "the initial content"),
            Self::MANGLED => write!(f, "mangled bytes"),
            Self(value) => {
                write!(f, "write {}:{}", value >> INITIATOR_SHIFT, value & ((1 << INITIATOR_SHIFT) - 1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_recognised_where_it_belongs_and_nowhere_else() {
        let value = Value::new(3, 70_000);
        let mut bytes = vec![0; 2 * SECTOR_BYTES];
        value.fill(Lba(9), &mut bytes);
        assert_eq!(Value::of_all(Lba(9), &bytes).collect::<Vec<_>>(), [value; 2]);
        assert_eq!(Value::of(Lba(9), &bytes[SECTOR_BYTES..]), Value::MANGLED);
        assert_eq!(value.to_string(), "write 3:70000");
    }

    #[test]
    fn a_sector_of_two_writes_is_neither() {
        let mut bytes = [0; SECTOR_BYTES];
        Value::new(1, 1).fill(Lba(0), &mut bytes);
        let old = bytes;
        Value::new(1, 2).fill(Lba(0), &mut bytes);
        bytes[SECTOR_BYTES / 2..].copy_from_slice(&old[SECTOR_BYTES / 2..]);
        assert_eq!(Value::of(Lba(0), &bytes), Value::MANGLED);
        assert_eq!(Value::of(Lba(0), &[0; SECTOR_BYTES]), Value::INITIAL);
    }
}
