//! A block of the bitmap: 32,256 bits, one for each 4 KiB of the volume that the absent peer has missed. It is kept in a
//! pair of slots that are written in turns; slots that were never written say that no bit is set.

use super::layout::{BITS_PER_BLOCK, Layout, RECORD_BYTES};
use super::record::{self, Expected, Flaw, HEADER_BYTES, Kind, Label, Sequence, array};
use super::twin::{self, Read, Side, Twin, TwinError};
use super::version::Version;
use crate::identity::FormatIdentity;

/// Words of 64 bits in a block.
pub const WORDS_PER_BLOCK: usize = (RECORD_BYTES - HEADER_BYTES) / 8;
/// Both slots of a block.
pub const PAIR_BYTES: usize = 2 * RECORD_BYTES;

const PAYLOAD_BYTES: usize = WORDS_PER_BLOCK * 8;

/// The bits of a block as they were read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BlockBits<'a>(&'a [u8]);

impl<'a> BlockBits<'a> {
    /// 504 words; bit 0 of the first is the block's first. Bits beyond the end of the volume mean nothing: they were written for a
    /// larger size that never became durable.
    pub fn words(self) -> impl ExactSizeIterator<Item = u64> + Clone + 'a {
        self.0.chunks_exact(8).map(|bytes| u64::from_le_bytes(array(bytes, 0..8)))
    }
}

/// Writes the record with that sequence number of a block.
///
/// # Panics
/// If there are not [`WORDS_PER_BLOCK`] words, or the bitmap has no such block.
pub fn emit(
    slot: &mut [u8; RECORD_BYTES],
    layout: Layout,
    format: FormatIdentity,
    block: u32,
    sequence: Sequence,
    words: &[u64],
) {
    assert!(words.len() == WORDS_PER_BLOCK, "a whole block");
    for (bytes, word) in slot[HEADER_BYTES..].chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    let place = layout.bitmap_block(block, Side::of(sequence));
    record::seal(slot, &Label { kind: Kind::BitmapBlock, place, format, sequence }, PAYLOAD_BYTES);
}

/// Reads one slot of a block.
///
/// # Errors
/// What is wrong with the record.
pub fn parse(
    slot: &[u8],
    layout: Layout,
    format: FormatIdentity,
    block: u32,
    side: Side,
) -> Read<BlockBits<'_>> {
    let place = layout.bitmap_block(block, side);
    let expected = Expected { kind: Kind::BitmapBlock, place, format: Some(format) };
    let record = record::open(slot, &expected)?;
    let bits = match record.version {
        Version::V1 => parse_v1(record.payload),
    };
    let bits = bits.map_err(|flaw| expected.flawed(flaw))?;
    if Side::of(record.sequence) != side {
        return Err(expected.flawed(Flaw::OutOfRow { found: record.sequence }));
    }
    Ok((record.sequence, bits))
}

/// Reads both slots of a block, which follow each other, and decides which holds.
///
/// # Errors
/// If neither can be used (then every bit counts as set), or a later version wrote one.
///
/// # Panics
/// If `pair` is not [`PAIR_BYTES`] long.
pub fn read(
    pair: &[u8],
    layout: Layout,
    format: FormatIdentity,
    block: u32,
) -> Result<Twin<BlockBits<'_>>, TwinError> {
    assert!(pair.len() == PAIR_BYTES, "both slots");
    let (zero, one) = pair.split_at(RECORD_BYTES);
    twin::choose(parse(zero, layout, format, block, Side::Zero), parse(one, layout, format, block, Side::One))
}

/// How many bits of a block stand for sectors of the volume: all, but for the last block.
#[must_use]
pub const fn bits_in_block(layout: Layout, block: u32) -> u64 {
    let rest = layout.bits() - block as u64 * BITS_PER_BLOCK;
    if rest < BITS_PER_BLOCK { rest } else { BITS_PER_BLOCK }
}

fn parse_v1(payload: &[u8]) -> Result<BlockBits<'_>, Flaw> {
    if payload.len() != PAYLOAD_BYTES {
        return Err(Flaw::Length { found: u32::try_from(payload.len()).unwrap_or(u32::MAX) });
    }
    Ok(BlockBits(payload))
}

/// Which bits of word `index` are among the first `valid` of its block.
pub(crate) const fn valid_mask(valid: u64, index: u64) -> u64 {
    let before = index * 64;
    if valid >= before + 64 {
        u64::MAX
    } else if valid <= before {
        0
    } else {
        (1 << (valid - before)) - 1
    }
}

const _: () = assert!(WORDS_PER_BLOCK as u64 * 64 == BITS_PER_BLOCK, "a block fills its record");
