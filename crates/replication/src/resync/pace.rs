//! How fast a resync goes: a fixed rate, or as fast as leaves foreground requests in peace.

use block::{Duration, Instant};

/// How fast to copy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ResyncRate {
    /// Several copies at once while nothing else is to be done, one at a time beside foreground requests.
    Yielding,
    /// No more than this, whatever else is to be done.
    BytesPerSecond(u64),
}

/// Copies at once while nothing else is to be done: enough to keep a disk and a link of 10 Gbit/s busy.
const COPIES_MAX: u32 = 8;
/// Copies at once beside foreground requests: progress is never given up, so that a loaded pair becomes whole again.
const COPIES_BESIDE_FOREGROUND: u32 = 1;

/// When the next copy may begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    rate: ResyncRate,
    next: Instant,
}

impl Pace {
    pub(crate) const fn new(rate: ResyncRate) -> Self {
        Self { rate, next: Instant::from_nanos(0) }
    }

    /// Whether a copy of `bytes` may begin beside `copies` others; or when.
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        bytes: usize,
        copies: u32,
        is_foreground_busy: bool,
    ) -> Admission {
        let max = if is_foreground_busy && self.rate == ResyncRate::Yielding {
            COPIES_BESIDE_FOREGROUND
        } else {
            COPIES_MAX
        };
        if copies >= max {
            return Admission::AfterCopy;
        }
        let ResyncRate::BytesPerSecond(rate) = self.rate else { return Admission::Now };
        if now < self.next {
            return Admission::At(self.next);
        }
        let nanoseconds = bytes as u64 * 1_000_000_000 / rate.max(1);
        self.next =
            self.next.max(now.before(Duration::from_millis(10))).after(Duration::from_nanos(nanoseconds));
        Admission::Now
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

    #[test]
    fn a_fixed_rate_is_kept_over_a_second() {
        let mut pace = Pace::new(ResyncRate::BytesPerSecond(1_000_000));
        let (mut now, mut bytes) = (Instant::from_nanos(5_000_000_000), 0);
        let end = now.after(Duration::from_secs(1));
        while now < end {
            match pace.admit(now, 10_000, 0, true) {
                Admission::Now => bytes += 10_000,
                Admission::At(at) => now = at,
                Admission::AfterCopy => unreachable!("no copy is under way"),
            }
        }
        assert!((990_000..=1_030_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn foreground_requests_leave_room_for_one_copy() {
        let mut pace = Pace::new(ResyncRate::Yielding);
        let now = Instant::from_nanos(1);
        assert_eq!(pace.admit(now, 4096, 0, true), Admission::Now);
        assert_eq!(pace.admit(now, 4096, 1, true), Admission::AfterCopy);
        assert_eq!(pace.admit(now, 4096, 1, false), Admission::Now);
        assert_eq!(pace.admit(now, 4096, 8, false), Admission::AfterCopy);
    }
}
