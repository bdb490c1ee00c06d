//! Little-endian numbers at places, and the checked view of a received body that every family reads from.

use std::ops::Range;

use block::{Lba, LbaRange, SectorCount};

use super::WireError;
use super::header::Kind;
use crate::limits::COUNTED_MAX;
use crate::message::Token;

/// Reading.
pub(super) trait Bytes {
    fn array<const N: usize>(&self, field: Range<usize>) -> [u8; N];

    fn u16(&self, field: Range<usize>) -> u16 {
        u16::from_le_bytes(self.array(field))
    }

    fn u32(&self, field: Range<usize>) -> u32 {
        u32::from_le_bytes(self.array(field))
    }

    fn u64(&self, field: Range<usize>) -> u64 {
        u64::from_le_bytes(self.array(field))
    }

    fn u128(&self, field: Range<usize>) -> u128 {
        u128::from_le_bytes(self.array(field))
    }
}

impl Bytes for [u8] {
    fn array<const N: usize>(&self, field: Range<usize>) -> [u8; N] {
        self[field].try_into().expect("a field is as long as its type")
    }
}

/// Writing.
pub(super) trait BytesMut {
    fn put(&mut self, field: Range<usize>, bytes: &[u8]);

    fn put_u16(&mut self, field: Range<usize>, number: u16) {
        self.put(field, &number.to_le_bytes());
    }

    fn put_u32(&mut self, field: Range<usize>, number: u32) {
        self.put(field, &number.to_le_bytes());
    }

    fn put_u64(&mut self, field: Range<usize>, number: u64) {
        self.put(field, &number.to_le_bytes());
    }

    fn put_u128(&mut self, field: Range<usize>, number: u128) {
        self.put(field, &number.to_le_bytes());
    }

    /// Start and count, 10 bytes.
    fn put_range(&mut self, at: usize, range: LbaRange) {
        assert!(!range.is_empty(), "nothing is said of no sectors");
        self.put_u64(at..at + 8, range.start().0);
        self.put_u16(at + 8..at + RANGE_BYTES, range.count().0);
    }
}

impl BytesMut for [u8] {
    fn put(&mut self, field: Range<usize>, bytes: &[u8]) {
        self[field].copy_from_slice(bytes);
    }
}

/// Bytes of a range of sectors.
pub(super) const RANGE_BYTES: usize = 10;

/// A body whose checksum fits. Its length is checked by whoever reads it, once, before everything else.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    kind: Kind,
    bytes: &'a [u8],
}

impl<'a> View<'a> {
    pub(super) const fn new(kind: Kind, bytes: &'a [u8]) -> Self {
        Self { kind, bytes }
    }

    pub(super) const fn length_error(self) -> WireError {
        WireError::BodyLength { kind: self.kind, found: self.bytes.len() }
    }

    pub(super) const fn value_error(self, what: &'static str) -> WireError {
        WireError::Value { kind: self.kind, what }
    }

    /// Of exactly that length.
    pub(super) fn of_length(self, bytes: usize) -> Result<&'a [u8], WireError> {
        if self.bytes.len() == bytes { Ok(self.bytes) } else { Err(self.length_error()) }
    }

    /// Of that length at least: later versions may add to the end.
    pub(super) fn of_length_min(self, bytes: usize) -> Result<&'a [u8], WireError> {
        if self.bytes.len() >= bytes { Ok(self.bytes) } else { Err(self.length_error()) }
    }

    /// A list of entries of that length.
    pub(super) fn entries(
        self,
        bytes: usize,
        max: usize,
    ) -> Result<std::slice::ChunksExact<'a, u8>, WireError> {
        let entries = self.bytes.chunks_exact(bytes);
        if entries.remainder().is_empty() && entries.len() <= max {
            Ok(entries)
        } else {
            Err(self.length_error())
        }
    }

    pub(super) fn flag(self, byte: u8, what: &'static str) -> Result<bool, WireError> {
        match byte {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.value_error(what)),
        }
    }

    /// A number that somebody has counted up to.
    pub(super) fn counted(self, number: u64, what: &'static str) -> Result<u64, WireError> {
        if number <= COUNTED_MAX { Ok(number) } else { Err(self.value_error(what)) }
    }

    /// The ten bytes from `at` on.
    pub(super) fn range(self, bytes: &[u8], at: usize) -> Result<LbaRange, WireError> {
        let (start, count) = (Lba(bytes.u64(at..at + 8)), SectorCount(bytes.u16(at + 8..at + RANGE_BYTES)));
        LbaRange::new(start, count)
            .filter(|range| !range.is_empty())
            .ok_or(self.value_error("range of sectors"))
    }
}

/// A body: its bytes for a meaning, and its meaning for bytes.
pub(super) trait Body: Sized {
    /// Writes it and says how long it is.
    fn emit(&self, body: &mut [u8]) -> usize;

    fn parse(view: View<'_>) -> Result<Self, WireError>;
}

/// Nothing but a name.
impl Body for Token {
    fn emit(&self, body: &mut [u8]) -> usize {
        body.put_u64(0..8, self.0);
        8
    }

    fn parse(view: View<'_>) -> Result<Self, WireError> {
        Ok(Self(view.of_length(8)?.u64(0..8)))
    }
}

/// Nothing but a number.
impl Body for u64 {
    fn emit(&self, body: &mut [u8]) -> usize {
        body.put_u64(0..8, *self);
        8
    }

    fn parse(view: View<'_>) -> Result<Self, WireError> {
        Ok(view.of_length(8)?.u64(0..8))
    }
}

/// Nothing.
impl Body for () {
    fn emit(&self, _: &mut [u8]) -> usize {
        0
    }

    fn parse(view: View<'_>) -> Result<Self, WireError> {
        view.of_length(0).map(|_| ())
    }
}
