//! How fast a resync goes: a fixed rate, or as fast as leaves foreground requests in peace.

use block::{Duration, Instant};

use crate::limits::COPY_SECTORS;

/// How fast to copy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ResyncRate {
    /// Several copies at once while nothing else is to be done; one at a time beside foreground requests, a smaller one, with a
    /// rest after each for as long as it took.
    Yielding,
    /// No more than this, whatever else is to be done.
    BytesPerSecond(u64),
}

/// Copies at once while nothing else is to be done: enough to keep a disk and a link of 10 Gbit/s busy.
const COPIES_MAX: u32 = 8;
/// Copies at once beside foreground requests: progress is never given up, so that a loaded pair becomes whole again.
const COPIES_BESIDE_FOREGROUND: u32 = 1;
/// Sectors in one of these, 48 KiB: a request that finds the disk busy with it waits less. ("A mirrored pair beside its parts" in
/// docs/measurements.md has larger and smaller ones.)
const COPY_SECTORS_BESIDE_FOREGROUND: u16 = 96;
/// For so long after foreground requests were seen there are more to come: between two of them there is often a moment with
/// none, and the copies that began in it would be in the way of the next.
const FOREGROUND_LINGERS: Duration = Duration::from_millis(20);
/// No rest beside foreground requests is longer, also after a copy that a slow disk has held up.
const REST_MAX: Duration = FOREGROUND_LINGERS;

/// When the next copy may begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    rate: ResyncRate,
    next: Instant,
    beside_foreground_until: Instant,
    /// When the last copy began, and until when to rest from the last one that ended.
    begun: Instant,
    rest_until: Instant,
    /// What was seen of foreground requests last, and when.
    seen: u64,
    seen_at: Instant,
}

/// What initiators want meanwhile, as far as this node knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Foreground {
    /// Whether one of this node's waits just now.
    pub(crate) under_way: bool,
    /// How many requests there have been so far, at either node.
    pub(crate) so_far: u64,
}

impl Pace {
    pub(crate) const fn new(rate: ResyncRate) -> Self {
        let never = Instant::from_nanos(0);
        Self {
            rate,
            next: never,
            beside_foreground_until: never,
            begun: never,
            rest_until: never,
            seen: 0,
            seen_at: never,
        }
    }

    /// Sectors in the next copy, at most.
    pub(crate) fn copy_sectors(&self, now: Instant) -> u16 {
        if self.yields(now) { COPY_SECTORS_BESIDE_FOREGROUND } else { COPY_SECTORS }
    }

    /// Whether a copy of `bytes` may begin beside `copies` others; or when.
    pub(crate) fn admit(&mut self, now: Instant, bytes: usize, copies: u32) -> Admission {
        let yields = self.yields(now);
        if copies >= if yields { COPIES_BESIDE_FOREGROUND } else { COPIES_MAX } {
            return Admission::AfterCopy;
        }
        let earliest = match self.rate {
            ResyncRate::Yielding if yields => self.rest_until,
            ResyncRate::Yielding => now,
            ResyncRate::BytesPerSecond(_) => self.next,
        };
        if now < earliest {
            return Admission::At(earliest);
        }
        self.begun = now;
        if let ResyncRate::BytesPerSecond(rate) = self.rate {
            let nanoseconds = bytes as u64 * 1_000_000_000 / rate.max(1);
            self.next =
                self.next.max(now.before(Duration::from_millis(10))).after(Duration::from_nanos(nanoseconds));
        }
        Admission::Now
    }

    /// A copy has ended.
    pub(crate) fn copy_ended(&mut self, now: Instant) {
        self.rest_until = now.after(now.since(self.begun).min(REST_MAX));
    }

    fn yields(&self, now: Instant) -> bool {
        now < self.beside_foreground_until && self.rate == ResyncRate::Yielding
    }

    /// Requests are noticed that wait now, and those that came and went since the last look, if that was a moment ago.
    pub(crate) fn look_at(&mut self, now: Instant, Foreground { under_way, so_far }: Foreground) {
        let are_new = so_far != self.seen && now.since(self.seen_at) < FOREGROUND_LINGERS;
        if under_way || are_new {
            self.beside_foreground_until = now.after(FOREGROUND_LINGERS);
        }
        (self.seen, self.seen_at) = (so_far, now);
    }
}

/// When a copy may begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Admission {
    Now,
    /// When another one is over.
    AfterCopy,
    At(Instant),
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: Foreground = Foreground { under_way: true, so_far: 7 };
    const IDLE: Foreground = Foreground { under_way: false, so_far: 7 };

    fn admit(pace: &mut Pace, now: Instant, bytes: usize, copies: u32, foreground: Foreground) -> Admission {
        pace.look_at(now, foreground);
        pace.admit(now, bytes, copies)
    }

    #[test]
    fn a_fixed_rate_is_kept_over_a_second() {
        let mut pace = Pace::new(ResyncRate::BytesPerSecond(1_000_000));
        let (mut now, mut bytes) = (Instant::from_nanos(5_000_000_000), 0);
        let end = now.after(Duration::from_secs(1));
        while now < end {
            match admit(&mut pace, now, 10_000, 0, BUSY) {
                Admission::Now => bytes += 10_000,
                Admission::At(at) => now = at,
                Admission::AfterCopy => unreachable!("no copy is under way"),
            }
        }
        assert!((990_000..=1_030_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn foreground_requests_leave_room_for_one_copy_and_those_that_follow_are_expected() {
        let mut pace = Pace::new(ResyncRate::Yielding);
        let now = Instant::from_nanos(1);
        assert_eq!(admit(&mut pace, now, 4096, 0, BUSY), Admission::Now);
        assert_eq!(admit(&mut pace, now, 4096, 1, BUSY), Admission::AfterCopy);
        assert_eq!(admit(&mut pace, now, 4096, 1, IDLE), Admission::AfterCopy, "there are more to come");
        let later = now.after(FOREGROUND_LINGERS);
        assert_eq!(admit(&mut pace, later, 4096, 1, IDLE), Admission::Now);
        assert_eq!(admit(&mut pace, later, 4096, 8, IDLE), Admission::AfterCopy);
    }

    #[test]
    fn beside_foreground_a_copy_is_followed_by_a_rest_as_long_as_itself() {
        let mut pace = Pace::new(ResyncRate::Yielding);
        let after = |micros| Instant::from_nanos(1 << 40).after(Duration::from_micros(micros));
        assert_eq!(admit(&mut pace, after(0), 4096, 0, BUSY), Admission::Now);
        pace.copy_ended(after(300));
        assert_eq!(admit(&mut pace, after(301), 4096, 0, BUSY), Admission::At(after(600)));
        assert_eq!(admit(&mut pace, after(600), 4096, 0, BUSY), Admission::Now);
        pace.copy_ended(after(10_000_000));
        let rested = after(10_000_000).after(REST_MAX);
        assert_eq!(admit(&mut pace, after(10_000_001), 4096, 0, BUSY), Admission::At(rested));
    }

    #[test]
    fn beside_foreground_a_copy_is_smaller_unless_the_rate_is_fixed() {
        let now = Instant::from_nanos(1);
        let mut pace = Pace::new(ResyncRate::Yielding);
        assert_eq!(pace.copy_sectors(now), COPY_SECTORS);
        pace.look_at(now, BUSY);
        assert_eq!(pace.copy_sectors(now), COPY_SECTORS_BESIDE_FOREGROUND);
        assert_eq!(pace.copy_sectors(now.after(FOREGROUND_LINGERS)), COPY_SECTORS);
        let mut fixed = Pace::new(ResyncRate::BytesPerSecond(1 << 20));
        fixed.look_at(now, BUSY);
        assert_eq!(fixed.copy_sectors(now), COPY_SECTORS);
    }

    #[test]
    fn requests_that_came_and_went_between_two_looks_count_if_the_first_look_was_a_moment_ago() {
        let mut pace = Pace::new(ResyncRate::Yielding);
        let so_far = |so_far| Foreground { under_way: false, so_far };
        let begun = Instant::from_nanos(1 << 40);
        assert_eq!(admit(&mut pace, begun, 4096, 1, so_far(5)), Admission::Now, "these were long ago");
        let now = begun.after(Duration::from_millis(1));
        assert_eq!(admit(&mut pace, now, 4096, 1, so_far(5)), Admission::Now);
        assert_eq!(admit(&mut pace, now, 4096, 1, so_far(6)), Admission::AfterCopy);
    }
}
