//! The Linux driver's one estimate of the round trip, over all targets, reads and writes.
//!
//! The average moves by 1/256 of a difference, the deviation by 1/8. There is no lower bound: on a quick network a frame
//! counts as lost after a fraction of a millisecond.

use block::Duration;

const AVERAGE_SHIFT: u32 = 8;
const DEVIATION_SHIFT: u32 = 3;
const AVERAGE_FIRST: i64 = 250_000 << AVERAGE_SHIFT;

/// In microseconds, scaled up.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoundTrip {
    average: i64,
    deviation: i64,
}

impl RoundTrip {
    /// Before anything was measured: 16.5 seconds are waited.
    pub(super) const fn new() -> Self {
        Self { average: AVERAGE_FIRST, deviation: AVERAGE_FIRST / 4 }
    }

    /// After long use on a network with that round trip.
    pub(super) fn settled(round_trip: Duration) -> Self {
        let microseconds = i64::try_from(round_trip.as_micros()).expect("a round trip is short");
        Self { average: microseconds << AVERAGE_SHIFT, deviation: microseconds << DEVIATION_SHIFT >> 2 }
    }

    pub(super) fn measured(&mut self, round_trip: Duration) {
        let measured = i64::try_from(round_trip.as_micros()).unwrap_or(i64::MAX >> AVERAGE_SHIFT);
        let difference = measured - (self.average >> AVERAGE_SHIFT);
        self.average += difference;
        self.deviation += difference.abs() - (self.deviation >> DEVIATION_SHIFT);
    }

    /// How long an answer is waited for.
    pub(super) fn timeout(self) -> Duration {
        let microseconds = 2 * (self.average >> AVERAGE_SHIFT) + 8 * (self.deviation >> DEVIATION_SHIFT);
        Duration::from_micros(u64::try_from(microseconds.max(1)).expect("just bounded"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_16_and_a_half_seconds_and_has_no_lower_bound() {
        let mut round_trip = RoundTrip::new();
        assert_eq!(round_trip.timeout(), Duration::from_millis(16_500));
        for _ in 0..4_000 {
            round_trip.measured(Duration::from_micros(100));
        }
        assert!(round_trip.timeout() < Duration::from_millis(1), "{:?}", round_trip.timeout());
        let settled = RoundTrip::settled(Duration::from_micros(200));
        assert_eq!(settled.timeout(), Duration::from_micros(800));
    }
}
