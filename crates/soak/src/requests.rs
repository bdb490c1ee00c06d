//! What an initiator asks for: where, how much, and when. The same seed asks the same.
//!
//! Most requests fall on the same few sectors as those of the other initiators, so that writes meet at both nodes at once; some fall on
//! a larger part, and some anywhere, so that extents of the activity log come and go.

use block::{Duration, Lba, LbaRange, SectorCount};
use sim::random::Random;

/// Sectors that everybody wants.
const HOT: u64 = 128;
/// Sectors that many want.
const WARM: u64 = 8192;
/// The largest request: 64 KiB.
const SECTORS_MAX: u64 = 128;
/// In a million.
const HOT_SHARE: u32 = 400_000;
const WARM_SHARE: u32 = 400_000;
const READ_SHARE: u32 = 500_000;
/// Of the writes and reads that are aligned to 4 KiB and as long.
const ALIGNED_SHARE: u32 = 200_000;

/// What comes next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Wish {
    pub(crate) range: LbaRange,
    pub(crate) is_write: bool,
    /// How long after the one before.
    pub(crate) after: Duration,
}

#[derive(Debug)]
pub(crate) struct Requests {
    random: Random,
    sectors: u64,
    pause_max: Duration,
}

impl Requests {
    /// Requests to a volume of so many sectors, about `rate` a second.
    ///
    /// # Panics
    /// If the volume is too small.
    pub(crate) fn new(seed: u64, initiator: u16, sectors: u64, rate: u32) -> Self {
        assert!(sectors >= WARM && rate > 0, "a volume with room for what is asked");
        let random = Random::new(seed, &format!("initiator {initiator}"));
        Self { random, sectors, pause_max: Duration::from_secs(2) / rate }
    }

    pub(crate) fn next(&mut self) -> Wish {
        let is_write = !self.random.chance(READ_SHARE);
        let after = self.random.duration(Duration::ZERO, self.pause_max);
        // As many short ones as long ones.
        let longest = SECTORS_MAX >> self.random.below(8);
        let mut count = self.random.between(1, longest);
        let reach = if self.random.chance(HOT_SHARE) {
            HOT
        } else if self.random.chance(WARM_SHARE) {
            WARM
        } else {
            self.sectors
        };
        let mut start = self.random.below(reach);
        if self.random.chance(ALIGNED_SHARE) {
            (start, count) = (start & !7, 8);
        }
        start = start.min(self.sectors - count);
        let count = SectorCount(u16::try_from(count).expect("at most 128"));
        Wish { range: LbaRange::new(Lba(start), count).expect("within the volume"), is_write, after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_stay_within_the_volume_repeat_with_the_seed_and_differ_in_every_way() {
        let mut requests = Requests::new(5, 1, 10_000, 100);
        let mut again = Requests::new(5, 1, 10_000, 100);
        let wishes: Vec<Wish> = (0..5000).map(|_| requests.next()).collect();
        assert!(wishes.iter().all(|wish| *wish == again.next()));
        assert!(wishes.iter().all(|wish| wish.range.end().0 <= 10_000 && !wish.range.is_empty()));
        let count = |what: &dyn Fn(&Wish) -> bool| wishes.iter().filter(|wish| what(wish)).count();
        assert!(count(&|wish| wish.range.count().0 == 1) > 500);
        assert!(count(&|wish| wish.range.count().0 > 64) > 200);
        assert!(count(&|wish| !wish.range.start().0.is_multiple_of(8)) > 2500);
        assert!((2000..3000).contains(&count(&|wish| wish.is_write)));
        assert!(count(&|wish| wish.range.start().0 < HOT) > 1500);
    }
}
