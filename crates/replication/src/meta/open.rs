//! All reading of metadata at start: one function over "read these bytes", so that every shell opens alike.
//!
//! It decides which copies hold and what cannot be used. A place that the disk cannot read counts as torn: a power loss in
//! the middle of a write can leave just that. What is lost without harm to anybody's data is told and passed over; it never
//! goes on with metadata that a later version has written.

use block::BlockError;
use thiserror::Error;

use super::activity_log::{self, RING_BYTES, Replay, ReplayError};
use super::bitmap::PAIR_BYTES;
use super::layout::{Layout, Place, RECORD_BYTES, SMALL_STATE_BYTES};
use super::record::{Kind, RecordError, Sequence};
use super::small_state::SmallState;
use super::superblock::Superblock;
use super::twin::{Side, Twin, TwinError};
use crate::bitmap::{Bitmap, Loaded};
use crate::identity::FormatIdentity;

/// Findings that are kept; a disk that lost its mind has many.
pub const FINDINGS_MAX: usize = 32;
/// Blocks of the bitmap read at once: half a MiB.
const BLOCKS_PER_READ: u16 = 64;

/// Metadata as it was found: what an engine begins with.
#[derive(Debug)]
pub struct Opened {
    /// Which formatting; stands in every record that is written from now on.
    pub format: FormatIdentity,
    /// The superblock that holds.
    pub superblock: Superblock,
    /// Its number in the row.
    pub superblock_sequence: Sequence,
    /// What AoE clients have set; `None` if nothing ever was, or it is lost (see `findings`).
    pub small_state: Option<SmallState>,
    /// Its number in the row.
    pub small_state_sequence: Sequence,
    /// What was hot, or why that is not known: then everything is in doubt.
    pub log: Result<Replay, ReplayError>,
    /// The out-of-sync blocks: all of them if the data disk was lost; blocks of the bitmap that were lost have every bit set.
    pub bitmap: Bitmap,
    /// Where a record is torn: these places are scrambled before anything is written.
    pub torn: Vec<Torn>,
    /// What is not as it should be.
    pub findings: Findings,
}

/// A place that holds no whole record, beside one that does; or both places of a block of the bitmap that is lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Torn {
    /// Where.
    pub place: Place,
    /// What should be there.
    pub kind: Kind,
}

/// Something that is not as it should be and was passed over.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Finding {
    /// The disk cannot read a page; it counts as torn.
    #[error("the metadata at {place} cannot be read: {error}; it will be written anew, see to the disk")]
    Unreadable {
        /// Where.
        place: Place,
        /// Why.
        error: BlockError,
    },
    /// One of two superblocks, small states or slots of a bitmap block, or the newest transaction: torn by a crash, at
    /// another time damaged.
    #[error("{0}")]
    Torn(RecordError),
    /// Both small states: nothing is set here until the peer says what was, or a client sets it again.
    #[error("what clients had set is lost: {0}; it comes back from the peer, or must be set again")]
    SmallStateLost(TwinError),
    /// The activity log: the whole volume is in doubt.
    #[error("{0}")]
    LogLost(ReplayError),
    /// Both slots of a block of the bitmap: all of its 126 MiB are out of sync.
    #[error("block {block} of the bitmap is lost: {error}; its 126 MiB will be resynced")]
    BlockLost {
        /// Which.
        block: u32,
        /// Why.
        error: TwinError,
    },
}

/// All of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Findings {
    /// The first [`FINDINGS_MAX`].
    pub first: Vec<Finding>,
    /// How many there are altogether.
    pub count: u64,
}

impl Findings {
    fn add(&mut self, finding: Finding) {
        self.count += 1;
        if self.first.len() < FINDINGS_MAX {
            self.first.push(finding);
        }
    }
}

/// Why the metadata cannot be used.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum OpenError {
    /// The disk beneath fails.
    #[error(
        "the metadata cannot be read at {place}: {error}; see to the disk, or make the metadata anew and resync"
    )]
    Read {
        /// Where.
        place: Place,
        /// Why.
        error: BlockError,
    },
    /// There is no superblock to begin with.
    #[error("{0}")]
    Superblock(TwinError),
    /// A part was written by a later program.
    #[error("{0}")]
    Refused(RecordError),
    /// The end is missing.
    #[error(
        "the metadata is cut short: it ends before byte {needed}, which a volume of {volume_sectors} sectors needs; \
         restore the end, or make the metadata anew and resync"
    )]
    CutShort {
        /// How long it should be.
        needed: u64,
        /// For which volume.
        volume_sectors: u64,
    },
}

/// Reads everything there is, by a function that fills a buffer from a place on, or says [`BlockError::BeyondEnd`]. Places
/// and lengths are multiples of [`RECORD_BYTES`], lengths at most 512 KiB. The file or device must have been flushed before:
/// what is read may otherwise stand only in a cache, and the next write but one would go over the copy that is really there.
///
/// # Errors
/// [`OpenError`] if there is no metadata that can be gone on with; what can be done without is among the findings.
pub fn open(read: impl FnMut(Place, &mut [u8]) -> Result<(), BlockError>) -> Result<Opened, OpenError> {
    let mut reader = Reader {
        read,
        layout: None,
        findings: Findings::default(),
        torn: Vec::new(),
        unreadable: Vec::new(),
    };
    let superblock = reader.superblock()?;
    let superblock_sequence = superblock.sequence();
    let Some((_, (format, superblock))) = superblock.newest else {
        return Err(OpenError::Superblock(TwinError::NoMetadata));
    };
    let layout = superblock.layout;
    reader.layout = Some(layout);
    let (small_state_sequence, small_state) = reader.small_state(format)?;
    let log = reader.log(layout, format)?;
    let mut bitmap = reader.bitmap(layout, format)?;
    if superblock.disk_lost {
        bitmap.set_all();
    }
    let Reader { findings, torn, .. } = reader;
    Ok(Opened {
        format,
        superblock,
        superblock_sequence,
        small_state,
        small_state_sequence,
        log,
        bitmap,
        torn,
        findings,
    })
}

struct Reader<R> {
    read: R,
    /// Known as soon as the superblock is.
    layout: Option<Layout>,
    findings: Findings,
    torn: Vec<Torn>,
    /// Pages that the disk cannot read.
    unreadable: Vec<Place>,
}

impl<R: FnMut(Place, &mut [u8]) -> Result<(), BlockError>> Reader<R> {
    fn superblock(&mut self) -> Result<Twin<super::superblock::Found>, OpenError> {
        let [zero, one] = self.sides::<RECORD_BYTES>(Layout::superblock)?;
        let twin = Superblock::read(&zero, &one).map_err(OpenError::Superblock)?;
        self.torn(twin.flaw);
        Ok(twin)
    }

    fn small_state(&mut self, format: FormatIdentity) -> Result<(Sequence, Option<SmallState>), OpenError> {
        let [zero, one] = self.sides::<SMALL_STATE_BYTES>(Layout::small_state)?;
        match SmallState::read(&zero, &one, format) {
            Ok(twin) => {
                self.torn(twin.flaw);
                Ok((twin.sequence(), twin.newest.map(|(_, state)| state)))
            }
            Err(TwinError::Refused(error)) => Err(OpenError::Refused(error)),
            Err(error) => {
                self.findings.add(Finding::SmallStateLost(error));
                Ok((Sequence::NONE, None))
            }
        }
    }

    fn log(
        &mut self,
        layout: Layout,
        format: FormatIdentity,
    ) -> Result<Result<Replay, ReplayError>, OpenError> {
        let mut ring = vec![0; RING_BYTES];
        self.fill(Layout::transaction(0), &mut ring)?;
        let replayed = activity_log::replay(&ring, layout, format);
        match &replayed {
            Err(ReplayError::Refused(error)) => return Err(OpenError::Refused(*error)),
            Err(error) => self.findings.add(Finding::LogLost(*error)),
            Ok(replay) => self.torn(replay.torn),
        }
        Ok(replayed)
    }

    fn bitmap(&mut self, layout: Layout, format: FormatIdentity) -> Result<Bitmap, OpenError> {
        let mut bitmap = Bitmap::new(layout, format);
        let blocks = layout.bitmap_blocks();
        let mut bytes = Vec::new();
        for first in (0..blocks).step_by(usize::from(BLOCKS_PER_READ)) {
            let count = usize::try_from(u32::from(BLOCKS_PER_READ).min(blocks - first)).expect("a few");
            bytes.resize(PAIR_BYTES * count, 0);
            self.fill(layout.bitmap_block(first, Side::Zero), &mut bytes)?;
            for (pair, block) in bytes.chunks_exact(PAIR_BYTES).zip(first..) {
                match bitmap.load(block, pair) {
                    Ok(Loaded::Good) => {}
                    Ok(Loaded::Torn(error)) => {
                        if self.is_unreadable(error.place, error.kind) {
                            bitmap.doubt_unreadable(block);
                        }
                        self.torn(Some(error));
                    }
                    Ok(Loaded::InDoubt(error)) => {
                        // Whatever comes to light there later is old.
                        self.torn.extend(Side::BOTH.map(|side| Torn {
                            place: layout.bitmap_block(block, side),
                            kind: Kind::BitmapBlock,
                        }));
                        self.findings.add(Finding::BlockLost { block, error });
                    }
                    Err(TwinError::Refused(error)) => return Err(OpenError::Refused(error)),
                    Err(error) => unreachable!("a block is refused for nothing but its version: {error}"),
                }
            }
        }
        Ok(bitmap)
    }

    fn sides<const BYTES: usize>(&mut self, place: fn(Side) -> Place) -> Result<[Vec<u8>; 2], OpenError> {
        let [mut zero, mut one] = [vec![0; BYTES], vec![0; BYTES]];
        self.fill(place(Side::Zero), &mut zero)?;
        self.fill(place(Side::One), &mut one)?;
        Ok([zero, one])
    }

    fn torn(&mut self, flaw: Option<RecordError>) {
        if let Some(error) = flaw {
            // Superblock and log go over it soon; the others may leave it alone for long, and are none the worse if it can be read again.
            let is_left = matches!(error.kind, Kind::BitmapBlock | Kind::SmallState);
            if !(is_left && self.is_unreadable(error.place, error.kind)) {
                self.torn.push(Torn { place: error.place, kind: error.kind });
            }
            self.findings.add(Finding::Torn(error));
        }
    }

    fn is_unreadable(&self, place: Place, kind: Kind) -> bool {
        let bytes = place.0..place.0 + kind.bytes() as u64;
        self.unreadable.iter().any(|page| bytes.contains(&page.0))
    }

    /// Reads, page by page where the disk cannot read it all.
    fn fill(&mut self, place: Place, into: &mut [u8]) -> Result<(), OpenError> {
        match (self.read)(place, into) {
            Ok(()) => return Ok(()),
            Err(BlockError::Medium) => {}
            Err(error) => return Err(self.failed(place, error)),
        }
        for (page, index) in into.chunks_mut(RECORD_BYTES).zip(0..) {
            let place = Place(place.0 + index * RECORD_BYTES as u64);
            match (self.read)(place, page) {
                Ok(()) => {}
                Err(error @ BlockError::Medium) => {
                    self.unreadable.push(place);
                    self.findings.add(Finding::Unreadable { place, error });
                    // No record, and not a place that was never written.
                    page.fill(0xff);
                }
                Err(error) => return Err(self.failed(place, error)),
            }
        }
        Ok(())
    }

    const fn failed(&self, place: Place, error: BlockError) -> OpenError {
        match (error, self.layout) {
            (BlockError::BeyondEnd, Some(layout)) => {
                OpenError::CutShort { needed: layout.byte_count(), volume_sectors: layout.volume_sectors() }
            }
            _ => OpenError::Read { place, error },
        }
    }
}

const _: () = assert!(BLOCKS_PER_READ as usize * PAIR_BYTES == 512 << 10, "as the reads are announced");
