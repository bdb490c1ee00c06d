//! Explains a metadata file: what every record says, which of two copies holds, and what is wrong.
//!
//! It only reads, and reads anything: of a damaged file it tells what is left. It decides nothing; what it calls in doubt
//! is what the readers of [`crate::meta`] would resync.

mod text;

use thiserror::Error;

use crate::identity::FormatIdentity;
use crate::meta::activity_log::{self, Extent, RING_BYTES, ReplayError};
use crate::meta::bitmap::{self, BlockBits, PAIR_BYTES, bits_in_block, valid_mask};
use crate::meta::layout::{BITS_PER_BLOCK, Layout, Place, RECORD_BYTES, SECTORS_PER_BIT, SMALL_STATE_BYTES};
use crate::meta::record::{Flaw, RecordError, Sequence};
use crate::meta::small_state::SmallState;
use crate::meta::superblock::Superblock;
use crate::meta::twin::{Side, TwinError};

/// Out-of-sync runs that are listed; there may be millions.
pub const RUNS_MAX: usize = 32;
/// Flawed bitmap blocks that are listed.
pub const FLAWS_MAX: usize = 32;
/// Blocks read at once: half a MiB.
const BLOCKS_PER_READ: u32 = 64;

/// Where the bytes come from.
pub trait Source {
    /// What reading can fail with.
    type Error;

    /// How many bytes there are.
    fn byte_count(&self) -> u64;

    /// Fills `into` from `place` on; never asked for more than there is.
    ///
    /// # Errors
    /// Whatever it may be.
    fn read(&mut self, place: Place, into: &mut [u8]) -> Result<(), Self::Error>;
}

/// Why there is nothing to explain.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum DumpError<E> {
    /// The bytes cannot be read.
    #[error("{0}")]
    Read(E),
    /// There is no superblock to begin with.
    #[error("{0}")]
    Superblock(TwinError),
    /// The end is missing.
    #[error(
        "the metadata is cut short: {bytes} bytes are there, a volume of {volume_sectors} sectors needs {needed}; \
         restore the end, or make the metadata anew and resync"
    )]
    CutShort {
        /// What is there.
        bytes: u64,
        /// What should be.
        needed: u64,
        /// For which volume.
        volume_sectors: u64,
    },
}

/// One of two copies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CopyReport {
    /// Where.
    pub place: Place,
    /// Its number, or what is wrong with it.
    pub found: Result<Sequence, RecordError>,
    /// Whether it is the one that is used.
    pub holds: bool,
}

/// What the activity log says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogReport {
    /// The newest good transaction.
    pub newest: Sequence,
    /// Hot extents in order.
    pub hot: Vec<Extent>,
    /// A torn transaction after the newest.
    pub torn: Option<RecordError>,
}

/// A run of sectors that the peer has missed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Run {
    /// First sector.
    pub start: u64,
    /// How many.
    pub sectors: u64,
}

/// A bitmap block with something wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BlockFlaw {
    /// Which block.
    pub block: u32,
    /// One slot cannot be used (`Ok`), or neither can and every bit counts as set (`Err`).
    pub flaw: Result<RecordError, TwinError>,
}

/// What the bitmap says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BitmapReport {
    /// Blocks that were ever written.
    pub written: u32,
    /// Set bits: blocks of 4 KiB to resync.
    pub out_of_sync: u64,
    /// How many runs they make.
    pub run_count: u64,
    /// The first [`RUNS_MAX`] of them.
    pub runs: Vec<Run>,
    /// Blocks with one slot that cannot be used.
    pub torn: u32,
    /// Blocks of which nothing can be used: every bit counts as set.
    pub in_doubt: u32,
    /// The first [`FLAWS_MAX`] of both.
    pub flaws: Vec<BlockFlaw>,
}

/// Everything a metadata file says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dump {
    /// Bytes there are; the layout may need fewer.
    pub byte_count: u64,
    /// Which formatting.
    pub format: FormatIdentity,
    /// The superblock that holds.
    pub superblock: Superblock,
    /// Both of its copies.
    pub superblocks: [CopyReport; 2],
    /// The small state that holds, if one was ever written.
    pub small_state: Result<Option<SmallState>, TwinError>,
    /// Both of its copies.
    pub small_states: [CopyReport; 2],
    /// The activity log.
    pub activity_log: Result<LogReport, ReplayError>,
    /// The bitmap.
    pub bitmap: BitmapReport,
}

impl Dump {
    /// Reads everything there is.
    ///
    /// # Errors
    /// [`DumpError`] if it cannot be read or is no metadata; anything else is part of what is told.
    pub fn read<S: Source>(source: &mut S) -> Result<Self, DumpError<S::Error>> {
        let zero = slice(source, Layout::superblock(Side::Zero), RECORD_BYTES)?;
        let one = slice(source, Layout::superblock(Side::One), RECORD_BYTES)?;
        let twin = Superblock::read(&zero, &one).map_err(DumpError::Superblock)?;
        let sequence = twin.sequence();
        let Some((_, (format, superblock))) = twin.newest else {
            return Err(DumpError::Superblock(TwinError::NoMetadata));
        };
        let layout = superblock.layout;
        let (bytes, needed) = (source.byte_count(), layout.byte_count());
        if bytes < needed {
            return Err(DumpError::CutShort { bytes, needed, volume_sectors: layout.volume_sectors() });
        }
        let found = |side, slot: &[u8]| Superblock::parse(slot, side).map(|(sequence, _)| sequence);
        let superblocks = [found(Side::Zero, &zero), found(Side::One, &one)];
        let (small_states, small_state) = read_small_state(source, format)?;
        let ring = slice(source, Layout::transaction(0), RING_BYTES)?;
        Ok(Self {
            byte_count: bytes,
            format,
            superblock,
            superblocks: copies(superblocks, Layout::superblock, sequence),
            small_state,
            small_states,
            activity_log: read_log(&ring, layout, format),
            bitmap: BitmapReader::read(source, layout, format)?,
        })
    }

    /// Whether something is wrong that a crash does not explain, so that more has to be resynced than was in flight, or
    /// something that clients set is lost.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.small_state.is_err() || self.activity_log.is_err() || self.bitmap.in_doubt > 0
    }
}

fn slice<S: Source>(source: &mut S, place: Place, length: usize) -> Result<Vec<u8>, DumpError<S::Error>> {
    let left = usize::try_from(source.byte_count().saturating_sub(place.0)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length.min(left)];
    source.read(place, &mut bytes).map_err(DumpError::Read)?;
    Ok(bytes)
}

fn copies(
    found: [Result<Sequence, RecordError>; 2],
    place: impl Fn(Side) -> Place,
    newest: Sequence,
) -> [CopyReport; 2] {
    Side::BOTH.map(|side| {
        let found = found[side.index()];
        CopyReport { place: place(side), found, holds: found == Ok(newest) }
    })
}

type SmallStateReport = ([CopyReport; 2], Result<Option<SmallState>, TwinError>);

fn read_small_state<S: Source>(
    source: &mut S,
    format: FormatIdentity,
) -> Result<SmallStateReport, DumpError<S::Error>> {
    let zero = slice(source, Layout::small_state(Side::Zero), SMALL_STATE_BYTES)?;
    let one = slice(source, Layout::small_state(Side::One), SMALL_STATE_BYTES)?;
    let found = |side, slot: &[u8]| SmallState::parse(slot, side, format).map(|(sequence, _)| sequence);
    let sides = [found(Side::Zero, &zero), found(Side::One, &one)];
    let twin = SmallState::read(&zero, &one, format);
    let newest = twin.as_ref().map_or(Sequence::NONE, |twin| twin.sequence());
    let state = twin.map(|twin| twin.newest.map(|(_, state)| state));
    Ok((copies(sides, Layout::small_state, newest), state))
}

fn read_log(ring: &[u8], layout: Layout, format: FormatIdentity) -> Result<LogReport, ReplayError> {
    let replay = activity_log::replay(ring, layout, format)?;
    let mut hot: Vec<Extent> = replay.extents().collect();
    hot.sort_unstable();
    hot.dedup();
    Ok(LogReport { newest: replay.newest, hot, torn: replay.torn })
}

/// Goes through the bitmap once, however large it is.
struct BitmapReader {
    layout: Layout,
    format: FormatIdentity,
    report: BitmapReport,
    /// The run that the last bit looked at belongs to, in bits.
    open: Option<(u64, u64)>,
}

impl BitmapReader {
    fn read<S: Source>(
        source: &mut S,
        layout: Layout,
        format: FormatIdentity,
    ) -> Result<BitmapReport, DumpError<S::Error>> {
        let mut reader = Self { layout, format, report: BitmapReport::default(), open: None };
        let mut next = 0;
        while next < layout.bitmap_blocks() {
            let blocks = BLOCKS_PER_READ.min(layout.bitmap_blocks() - next);
            let length = PAIR_BYTES * usize::try_from(blocks).expect("a few");
            let bytes = slice(source, layout.bitmap_block(next, Side::Zero), length)?;
            for pair in bytes.chunks_exact(PAIR_BYTES) {
                reader.block(next, pair);
                next += 1;
            }
        }
        reader.close();
        Ok(reader.report)
    }

    fn block(&mut self, block: u32, pair: &[u8]) {
        match bitmap::read(pair, self.layout, self.format, block) {
            Ok(twin) => {
                if let Some(flaw) = twin.flaw {
                    self.report.torn += 1;
                    self.flaw(BlockFlaw { block, flaw: Ok(flaw) });
                }
                if let Some((_, bits)) = twin.newest {
                    self.report.written += 1;
                    self.bits(block, bits);
                }
            }
            Err(error) => {
                self.report.written += 1;
                self.report.in_doubt += 1;
                self.flaw(BlockFlaw { block, flaw: Err(error) });
                let start = u64::from(block) * BITS_PER_BLOCK;
                self.run(start, start + bits_in_block(self.layout, block));
            }
        }
    }

    fn bits(&mut self, block: u32, bits: BlockBits<'_>) {
        let base = u64::from(block) * BITS_PER_BLOCK;
        let valid = bits_in_block(self.layout, block);
        for (word, index) in bits.words().zip(0u64..) {
            let (mut rest, mut at) = (word & valid_mask(valid, index), base + index * 64);
            while rest != 0 {
                let skip = rest.trailing_zeros();
                rest >>= skip;
                let length = rest.trailing_ones();
                at += u64::from(skip);
                self.run(at, at + u64::from(length));
                at += u64::from(length);
                rest = rest.checked_shr(length).unwrap_or(0);
            }
        }
    }

    fn run(&mut self, start: u64, end: u64) {
        self.report.out_of_sync += end - start;
        match &mut self.open {
            Some((_, open_end)) if *open_end == start => *open_end = end,
            _ => {
                self.close();
                self.open = Some((start, end));
            }
        }
    }

    fn close(&mut self) {
        if let Some((start, end)) = self.open.take() {
            self.report.run_count += 1;
            if self.report.runs.len() < RUNS_MAX {
                let start = start * SECTORS_PER_BIT;
                let end = (end * SECTORS_PER_BIT).min(self.layout.volume_sectors());
                self.report.runs.push(Run { start, sectors: end - start });
            }
        }
    }

    fn flaw(&mut self, flaw: BlockFlaw) {
        if self.report.flaws.len() < FLAWS_MAX {
            self.report.flaws.push(flaw);
        }
    }
}

impl CopyReport {
    /// Whether nothing was ever written there.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.found.is_err_and(|error| error.flaw == Flaw::Blank)
    }
}
