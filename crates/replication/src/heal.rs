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
use crate::volume::{Phase, Volume};

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
    /// Since when the place is known; from now on if it was not, or long ago. Nothing if all the others are still needed.
    pub(crate) fn note(&mut self, start: Lba, now: Instant) -> Option<Instant> {
        let known = self.noted.iter_mut().flatten().find(|(place, _)| *place == start);
        if let Some((_, at)) = known {
            if at.after(TRY_AGAIN) < now {
                *at = now;
            }
            return Some(*at);
        }
        let oldest = &mut self.noted[self.next];
        if oldest.is_some_and(|(_, at)| now <= at.after(HEALING)) {
            return None;
        }
        *oldest = Some((start, now));
        self.next = (self.next + 1) % PLACES;
        Some(now)
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
        let is_healing = |volume: &mut Volume| {
            let since = volume.healing.note(range.start(), now);
            since.is_some_and(|since| now <= since.after(HEALING))
        };
        if !may_help || !is_healing(volume) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_place_is_forgotten_for_another_one_while_it_is_needed() {
        let (mut places, start) = (Places::default(), Instant::from_nanos(1_000_000_000_000));
        for place in 0..PLACES as u64 {
            assert_eq!(places.note(Lba(place), start), Some(start));
        }
        let later = start.after(HEALING);
        assert_eq!(places.note(Lba(100), later), None, "all are needed");
        assert_eq!(places.note(Lba(3), later), Some(start), "still known");
        let at_last = later.after(Duration::from_millis(1));
        assert_eq!(places.note(Lba(100), at_last), Some(at_last), "in the place of the oldest");
        assert_eq!(places.note(Lba(0), at_last), Some(at_last), "which is known no more");
        let much_later = start.after(TRY_AGAIN + Duration::from_secs(1));
        assert_eq!(places.note(Lba(3), much_later), Some(much_later), "worth another try");
    }
}
