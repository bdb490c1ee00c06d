//! How long requests took, from their first frame to their answer: counts in classes that grow by a fourth, so that a percentile is
//! told to within that, whatever the scale. Nothing is allocated or forgotten.

use block::Duration;

/// Classes of one power of two.
const PARTS: usize = 4;
/// Below this all is one class: no disk answers sooner.
const FIRST_MICROSECONDS: u64 = 4;
/// The last one is of all that took longer than about a quarter of an hour.
const CLASSES: usize = 116;

/// Latencies of requests of one kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Latency {
    counts: [u64; CLASSES],
    longest: Duration,
}

impl Default for Latency {
    fn default() -> Self {
        Self { counts: [0; CLASSES], longest: Duration::ZERO }
    }
}

impl Latency {
    /// A request has been answered that took so long.
    #[inline]
    pub(crate) fn record(&mut self, took: Duration) {
        self.counts[class(took)] += 1;
        self.longest = self.longest.max(took);
    }

    /// Requests counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The longest.
    #[must_use]
    pub const fn longest(&self) -> Duration {
        self.longest
    }

    /// No more than so many of a thousand took longer than this, give or take a fourth; `None` if there was none.
    #[must_use]
    pub fn quantile(&self, thousandths: u64) -> Option<Duration> {
        let wanted = (self.count() * thousandths).div_ceil(1000).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(bound(found).min(self.longest))
    }
}

/// The class of a time: which power of two it lies in, and which part of that.
fn class(took: Duration) -> usize {
    let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if microseconds < FIRST_MICROSECONDS {
        return 0;
    }
    let power = microseconds.ilog2() - FIRST_MICROSECONDS.ilog2();
    // The two bits below the highest.
    let part = usize::try_from(microseconds >> power & 3).expect("two bits");
    (1 + power as usize * PARTS + part).min(CLASSES - 1)
}

/// Where a class ends.
const fn bound(class: usize) -> Duration {
    let Some(above) = class.checked_sub(1) else { return Duration::from_micros(FIRST_MICROSECONDS) };
    let (power, part) = (above / PARTS, above % PARTS);
    Duration::from_micros((PARTS as u64 + part as u64 + 1) << power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_a_class_that_ends_at_most_a_fourth_later() {
        let mut last = 0;
        for microseconds in (0..200_000u64).chain((1..1000).map(|seconds| seconds * 1_000_000)) {
            let class = class(Duration::from_micros(microseconds));
            assert!(class >= last, "{microseconds}");
            last = class;
            let end = u64::try_from(bound(class).as_micros()).expect("small");
            assert!(end >= microseconds, "{microseconds} is beyond {end}");
            assert!(microseconds < 16 || end <= microseconds + microseconds / 4 + 1, "{microseconds}: {end}");
        }
        assert_eq!(class(Duration::from_micros(u64::MAX / 1000)), CLASSES - 1);
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut latency = Latency::default();
        assert_eq!((latency.quantile(500), latency.count()), (None, 0));
        for milliseconds in 1..=1000 {
            latency.record(Duration::from_millis(milliseconds));
        }
        let within = |thousandths: u64, milliseconds: u64| {
            let found = latency.quantile(thousandths).expect("recorded").as_millis();
            (u128::from(milliseconds)..=u128::from(milliseconds * 5 / 4 + 1)).contains(&found)
        };
        assert!(within(500, 500) && within(990, 990) && within(1, 1));
        assert_eq!(
            (latency.longest(), latency.quantile(1000)),
            (Duration::from_millis(1000), Some(Duration::from_millis(1000)))
        );
    }
}
