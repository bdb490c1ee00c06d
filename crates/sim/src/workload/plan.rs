//! What a host asks for: reads and writes of 1 to 16 sectors, in places where others ask too.
//!
//! A few spots are hot. A request there is cut in relation to a spot's range in one of all the ways in which two ranges can
//! lie to each other. Sometimes a write has the content of an earlier one, as when a file system writes a block back.

use block::{Duration, Lba, LbaRange, SectorCount};

use crate::content::Value;

/// Sectors of the longest request.
pub const REQUEST_SECTORS_MAX: u16 = 16;
/// Earlier writes that may be repeated.
const REPEATABLE_MAX: usize = 4;
/// Sectors of a hot spot.
const SPOT_SECTORS: u64 = 6;

/// What hosts of a run have in common, and how one of them behaves. Chances are out of 256.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlanOptions {
    /// Size of the volume.
    pub sectors: u64,
    /// First sectors of the hot spots.
    pub spots: Vec<u64>,
    /// That a request goes to a hot spot.
    pub hot: u8,
    /// That a request is a write.
    pub writes: u8,
    /// That a write repeats the content of an earlier one.
    pub repeats: u8,
    /// That it is a flush instead.
    pub flushes: u8,
    /// That a pause is long: the host comes in bursts.
    pub pauses: u8,
    /// Longest short pause between the end of a request and the next.
    pub think: Duration,
    /// Longest long one.
    pub pause: Duration,
}

/// What to ask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ask {
    /// Where; nowhere for a flush.
    pub range: LbaRange,
    /// What to write; nothing for a read.
    pub value: Option<Value>,
}

impl Ask {
    /// Whether what was answered is to be made durable.
    #[must_use]
    pub const fn is_flush(self) -> bool {
        self.range.is_empty()
    }
}

/// The choices of one host.
#[derive(Debug)]
pub struct Plan {
    options: PlanOptions,
    random: fastrand::Rng,
    initiator: u16,
    /// Writes so far that had a content of their own.
    written: u64,
    /// The last writes that were answered and are not open again, latest last.
    repeatable: Vec<(LbaRange, Value)>,
}

impl Plan {
    /// The choices of that host.
    ///
    /// # Panics
    /// If the volume is smaller than a request, or a hot spot is not in it.
    #[must_use]
    pub fn new(options: PlanOptions, initiator: u16, seed: u64) -> Self {
        assert!(options.sectors >= u64::from(REQUEST_SECTORS_MAX), "the longest request fits the volume");
        let inside = |spot: &u64| spot + SPOT_SECTORS <= options.sectors;
        assert!(options.spots.iter().all(inside), "hot spots are sectors of the volume");
        let random = fastrand::Rng::with_seed(seed);
        Self { options, random, initiator, written: 0, repeatable: Vec::with_capacity(REPEATABLE_MAX + 1) }
    }

    /// What to ask next.
    pub fn ask(&mut self) -> Ask {
        if self.options.flushes > 0 && self.chance(self.options.flushes) {
            return Ask { range: LbaRange::default(), value: None };
        }
        if !self.chance(self.options.writes) {
            return Ask { range: self.range(), value: None };
        }
        // The latest is left alone: with another write between them the order of the two shows.
        if self.repeatable.len() > 1 && self.chance(self.options.repeats) {
            let index = self.random.usize(..self.repeatable.len() - 1);
            let (range, value) = self.repeatable.remove(index);
            return Ask { range, value: Some(value) };
        }
        self.written += 1;
        Ask { range: self.range(), value: Some(Value::new(self.initiator, self.written)) }
    }

    /// The volume has so many sectors now. Where it ended before, if it has grown, is a place that hosts are interested in.
    pub fn grow(&mut self, sectors: u64) {
        if sectors <= self.options.sectors {
            return;
        }
        let across = (self.options.sectors - SPOT_SECTORS / 2).min(sectors - SPOT_SECTORS);
        self.options.spots.push(across);
        self.options.sectors = sectors;
    }

    /// A write of ours was answered in full.
    pub fn wrote(&mut self, range: LbaRange, value: Value) {
        self.repeatable.push((range, value));
        if self.repeatable.len() > REPEATABLE_MAX {
            self.repeatable.remove(0);
        }
    }

    /// How long to wait before the next request.
    pub fn pause(&mut self) -> Duration {
        let longest = if self.chance(self.options.pauses) { self.options.pause } else { self.options.think };
        let nanoseconds = u64::try_from(longest.as_nanos()).expect("a short pause");
        Duration::from_nanos(self.random.u64(..=nanoseconds))
    }

    fn chance(&mut self, of_256: u8) -> bool {
        self.random.u8(..) < of_256
    }

    fn range(&mut self) -> LbaRange {
        if self.options.spots.is_empty() || !self.chance(self.options.hot) {
            // Short ones more often: what matters is how many meet, not how long they are.
            let longest = self.random.u16(1..=REQUEST_SECTORS_MAX);
            let count = self.random.u16(1..=longest);
            let start = self.random.u64(..=self.options.sectors - u64::from(count));
            return range(start, start + u64::from(count));
        }
        let spot = self.options.spots[self.random.usize(..self.options.spots.len())];
        self.range_near(spot, spot + SPOT_SECTORS)
    }

    /// A range that lies to `start .. end` as one range can lie to another.
    fn range_near(&mut self, start: u64, end: u64) -> LbaRange {
        let inner = self.random.u64(start + 1..end);
        let before = start.saturating_sub(self.random.u64(1..=4));
        let after = (end + self.random.u64(1..=4)).min(self.options.sectors);
        match self.random.u8(..10) {
            0 | 1 => range(start, end),
            2 => range(start, inner),
            3 => range(inner, end),
            4 => range(inner, inner + 1),
            5 if before < start => range(before, inner),
            6 if after > end => range(inner, after),
            7 => range(before, after),
            8 if before < start => range(before, start),
            9 if after > end => range(end, after),
            _ => range(start, start + 1),
        }
    }
}

fn range(start: u64, end: u64) -> LbaRange {
    let count = u16::try_from(end - start).expect("a short range");
    LbaRange::new(Lba(start), SectorCount(count)).expect("sectors of a small volume")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let options = PlanOptions {
            sectors: 64,
            spots: vec![0, 20, 56],
            hot: 200,
            writes: 128,
            repeats: 64,
            flushes: 0,
            pauses: 20,
            think: Duration::from_millis(1),
            pause: Duration::from_millis(100),
        };
        Plan::new(options, 3, 7)
    }

    #[test]
    fn every_request_fits_the_volume_and_every_content_is_written_by_one_open_write() {
        let mut plan = plan();
        let mut open = Vec::new();
        let mut shapes = std::collections::BTreeSet::new();
        for turn in 0..5_000 {
            let Ask { range, value } = plan.ask();
            assert!(range.count().0 >= 1 && range.count().0 <= REQUEST_SECTORS_MAX && range.end().0 <= 64);
            shapes.insert((range.start().0, range.count().0));
            if let Some(value) = value {
                assert!(!open.contains(&(range, value)), "open twice");
                open.push((range, value));
            }
            if turn % 3 == 0 && !open.is_empty() {
                let (range, value) = open.swap_remove(0);
                plan.wrote(range, value);
            }
        }
        assert!(shapes.len() > 200, "{} shapes", shapes.len());
    }

    #[test]
    fn the_same_seed_asks_the_same() {
        let (mut one, mut other) = (plan(), plan());
        for _ in 0..100 {
            assert_eq!((one.ask(), one.pause()), (other.ask(), other.pause()));
        }
    }
}
