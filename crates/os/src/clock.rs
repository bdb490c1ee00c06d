//! The one place where time is read. Everything above this crate is handed an [`Instant`].
//!
//! `CLOCK_BOOTTIME` never goes back and counts suspend, so that a lease or a duplicate window does not grow while the
//! machine sleeps. It costs no system call. It is never a date: [`unix_time`] makes one, for captures and logs only.

use crate::sys;
pub use block::{Duration, Instant};

/// The present moment.
#[must_use]
pub fn now() -> Instant {
    Instant::from_nanos(sys::clock::boottime_nanos())
}

/// Nanoseconds since 1970 at `moment`, by what the wall clock says now.
#[must_use]
pub fn unix_time(moment: Instant) -> u64 {
    let offset = WallOffset::sample();
    offset.to_unix(moment)
}

/// The distance between the wall clock, in which the kernel stamps frames, and `CLOCK_BOOTTIME`.
///
/// Both run at the same rate, so the distance only changes when somebody sets the wall clock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct WallOffset {
    /// Wall minus boot time.
    nanoseconds: i64,
}

/// A sample is taken again if reading the clocks took longer than this: the thread was interrupted in between.
const SAMPLE_GAP_MAX: u64 = 2_000;

impl WallOffset {
    /// Reads both clocks; the distance is good to about a microsecond.
    pub(crate) fn sample() -> Self {
        let mut best = (u64::MAX, 0);
        for _ in 0..4 {
            let before = sys::clock::boottime_nanos();
            let wall = sys::clock::realtime_nanos();
            let gap = sys::clock::boottime_nanos().saturating_sub(before);
            if gap < best.0 {
                best = (gap, wall.cast_signed() - (before + gap / 2).cast_signed());
            }
            if gap <= SAMPLE_GAP_MAX {
                break;
            }
        }
        Self { nanoseconds: best.1 }
    }

    #[cfg(test)]
    pub(crate) const fn from_nanos(nanoseconds: i64) -> Self {
        Self { nanoseconds }
    }

    /// How far two samples are apart.
    pub(crate) const fn distance(self, other: Self) -> u64 {
        self.nanoseconds.abs_diff(other.nanoseconds)
    }

    /// The moment at which the wall clock showed `unix_nanos`.
    pub(crate) fn to_instant(self, unix_nanos: u64) -> Instant {
        Instant::from_nanos(unix_nanos.saturating_add_signed(-self.nanoseconds))
    }

    fn to_unix(self, moment: Instant) -> u64 {
        moment.as_nanos().saturating_add_signed(self.nanoseconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_and_never_goes_back() {
        let mut last = now();
        for _ in 0..1000 {
            let next = now();
            assert!(next >= last);
            last = next;
        }
    }

    #[test]
    fn a_moment_becomes_a_date_and_back() {
        let offset = WallOffset::sample();
        let moment = now();
        assert_eq!(offset.to_instant(offset.to_unix(moment)), moment);
        let year_2020 = 1_577_836_800_000_000_000;
        assert!(unix_time(moment) > year_2020, "the wall clock of this machine is set");
    }

    #[test]
    fn two_samples_agree_within_the_time_it_takes_to_read_the_clock() {
        let (one, two) = (WallOffset::sample(), WallOffset::sample());
        assert!(one.distance(two) < 1_000_000, "{} ns apart", one.distance(two));
    }
}
