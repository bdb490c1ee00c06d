//! What neither disk can read as a whole may still be whole between them.
//!
//! Two disks may each have lost another block of what somebody reads. Such a read is not answered but looked at block by
//! block: each block is read where it can be, and what one disk has lost comes from the other. The initiator asks again, and
//! is answered. If the read still fails a while later a block is lost on both disks, and that is an error.

use block::{BlockError, Duration, ExportId, Instant, Lba, LbaRange, SectorCount};

use crate::engine::Engine;
use crate::meta::layout::SECTORS_PER_BIT;
use crate::output::Outcome;
use crate::read::Asker;
use crate::volume::Phase;

/// Blocks that are looked at one by one, of one read at a time; longer reads are answered with an error at once.
pub(crate) const BLOCKS_MAX: usize = 32;
/// Nobody is told of an error for so long: copies are made meanwhile, and initiators ask several times.
const HEALING: Duration = Duration::from_secs(2);
/// So much later it is worth another try.
const TRY_AGAIN: Duration = Duration::from_secs(30);
/// Places that are remembered: bad sectors come in small numbers, or the disk is to be replaced.
const PLACES: usize = 8;

/// The last few places at which something failed, and when it was noted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Places {
    noted: [Option<(Lba, Instant)>; PLACES],
    next: usize,
}

impl Places {
    /// Since when the place is known; from now on if it was not, or long ago.
    pub(crate) fn note(&mut self, start: Lba, now: Instant) -> Instant {
        let known = self.noted.iter_mut().flatten().find(|(place, _)| *place == start);
        if let Some((_, at)) = known {
            if at.after(TRY_AGAIN) < now {
                *at = now;
            }
            return *at;
        }
        self.noted[self.next] = Some((start, now));
        self.next = (self.next + 1) % PLACES;
        now
    }
}

impl Engine {
    /// How a read of this node's ends that failed here and at the peer.
    pub(crate) fn heal_or_fail(&mut self, export: ExportId, range: LbaRange, error: BlockError) -> Outcome {
        let blocks: Vec<LbaRange> = blocks_of(range).collect();
        let is_at_it = self.reads.iter().any(|(_, read)| read.is_healing());
        let now = self.now;
        let volume = self.volume_mut(export);
        let may_help = volume.phase == Phase::Paired && (2..=BLOCKS_MAX).contains(&blocks.len());
        if !may_help || volume.healing.note(range.start(), now).after(HEALING) < now {
            return Outcome::Failed(error);
        }
        if !is_at_it {
            for block in blocks {
                self.begin_read(export, Asker::Nobody, block);
            }
        }
        Outcome::Dropped
    }
}

/// The parts of a range that lie in one block each.
fn blocks_of(range: LbaRange) -> impl Iterator<Item = LbaRange> {
    let (start, end) = (range.start().0, range.end().0);
    (start / SECTORS_PER_BIT..end.div_ceil(SECTORS_PER_BIT)).map(move |block| {
        let from = start.max(block * SECTORS_PER_BIT);
        let to = end.min((block + 1) * SECTORS_PER_BIT);
        let count = SectorCount(u16::try_from(to - from).expect("a block"));
        LbaRange::new(Lba(from), count).expect("within the range")
    })
}
