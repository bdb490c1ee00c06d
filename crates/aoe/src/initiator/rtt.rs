//! How long to wait for an answer: Jacobson's smoothed round trip and its deviation, with Karn's rule and a floor.
//!
//! One estimate for each target and kind of request, because a durable write takes many times as long as a read. The
//! floor is there because a disk answers in microseconds a thousand times and then once in milliseconds, which no
//! deviation foretells; a copy sent too early costs the target more than a late one costs us.

use block::{Duration, Instant};

/// Before anything was measured.
pub const TIMEOUT_INITIAL: Duration = Duration::from_millis(500);

/// What the estimate may come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TimeoutBounds {
    /// However quick the answers are.
    pub min: Duration,
    /// However often the wait was doubled.
    pub max: Duration,
}

/// An estimate.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RoundTrip {
    /// Nanoseconds, once measured.
    smoothed: Option<u64>,
    deviation: u64,
    doublings: u32,
    /// Only frames sent since then may double the wait again: the others were lost in the same moment.
    doubled_at: Instant,
}

impl RoundTrip {
    /// An answer came to a frame that was sent once. (Karn: of one sent again nobody knows which copy was answered.)
    pub(crate) fn measured(&mut self, round_trip: Duration) {
        let sample = u64::try_from(round_trip.as_nanos()).unwrap_or(u64::MAX >> 8).min(u64::MAX >> 8);
        self.doublings = 0;
        match &mut self.smoothed {
            None => {
                self.smoothed = Some(sample);
                self.deviation = sample / 2;
            }
            Some(smoothed) => {
                self.deviation = (3 * self.deviation + smoothed.abs_diff(sample)) / 4;
                *smoothed = (7 * *smoothed + sample) / 8;
            }
        }
    }

    /// No answer came in time to a frame sent at `sent`.
    pub(crate) fn expired(&mut self, now: Instant, sent: Instant) {
        if sent >= self.doubled_at {
            self.doublings = (self.doublings + 1).min(16);
            self.doubled_at = now;
        }
    }

    /// How long to wait.
    pub(crate) fn timeout(&self, bounds: TimeoutBounds) -> Duration {
        let estimate = match self.smoothed {
            Some(smoothed) => Duration::from_nanos(smoothed + 4 * self.deviation),
            None => TIMEOUT_INITIAL,
        };
        estimate.max(bounds.min).saturating_mul(1 << self.doublings).min(bounds.max)
    }

    /// The smoothed round trip.
    pub(crate) fn smoothed(&self) -> Option<Duration> {
        self.smoothed.map(Duration::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: TimeoutBounds =
        TimeoutBounds { min: Duration::from_millis(10), max: Duration::from_secs(5) };

    fn at(milliseconds: u64) -> Instant {
        Instant::from_nanos(milliseconds * 1_000_000)
    }

    #[test]
    fn quick_and_steady_answers_come_down_to_the_floor() {
        let mut round_trip = RoundTrip::default();
        assert_eq!(round_trip.timeout(BOUNDS), TIMEOUT_INITIAL);
        (0..100).for_each(|_| round_trip.measured(Duration::from_micros(80)));
        assert_eq!(round_trip.timeout(BOUNDS), BOUNDS.min);
        assert_eq!(round_trip.smoothed(), Some(Duration::from_micros(80)));
    }

    #[test]
    fn answers_of_changing_length_are_waited_for() {
        let mut round_trip = RoundTrip::default();
        (0..50).for_each(|_| {
            round_trip.measured(Duration::from_millis(5));
            round_trip.measured(Duration::from_millis(45));
        });
        assert!(round_trip.timeout(BOUNDS) > Duration::from_millis(60));
    }

    #[test]
    fn the_wait_doubles_once_for_all_frames_lost_in_one_moment_and_a_measurement_ends_it() {
        let mut round_trip = RoundTrip::default();
        round_trip.measured(Duration::from_micros(80));
        (0..30).for_each(|_| round_trip.expired(at(20), at(10)));
        assert_eq!(round_trip.timeout(BOUNDS), Duration::from_millis(20));
        round_trip.expired(at(45), at(21));
        assert_eq!(round_trip.timeout(BOUNDS), Duration::from_millis(40));
        round_trip.measured(Duration::from_micros(80));
        assert_eq!(round_trip.timeout(BOUNDS), Duration::from_millis(10));
    }

    #[test]
    fn the_wait_never_exceeds_its_bound() {
        let mut round_trip = RoundTrip::default();
        (1..100).for_each(|time| round_trip.expired(at(time), at(time)));
        assert_eq!(round_trip.timeout(BOUNDS), BOUNDS.max);
    }
}
