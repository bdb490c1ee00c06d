//! Counts and latencies of what ended while it was measured.

use block::{Duration, Instant};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::generator::Direction;

/// Longest latency told apart from longer ones.
const LATENCY_NANOS_MAX: u64 = 3_600_000_000_000;

/// Reads and writes apart.
#[derive(Debug)]
pub(crate) struct Meter {
    reads: Histogram<u64>,
    writes: Histogram<u64>,
}

impl Meter {
    pub(crate) fn new() -> Self {
        let histogram = || Histogram::new_with_bounds(1, LATENCY_NANOS_MAX, 3).expect("sensible bounds");
        Self { reads: histogram(), writes: histogram() }
    }

    /// A request that began at `begun` has ended.
    pub(crate) fn record(&mut self, direction: Direction, begun: Instant, now: Instant) {
        let nanoseconds = u64::try_from(now.since(begun).as_nanos()).unwrap_or(LATENCY_NANOS_MAX);
        match direction {
            Direction::Read => self.reads.saturating_record(nanoseconds),
            Direction::Write => self.writes.saturating_record(nanoseconds),
        }
    }

    /// Requests recorded.
    pub(crate) fn requests(&self) -> u64 {
        self.reads.len() + self.writes.len()
    }

    /// What was recorded of one direction over `elapsed`, if anything.
    pub(crate) fn summary(
        &self,
        direction: Direction,
        elapsed: Duration,
        block_bytes: usize,
    ) -> Option<Summary> {
        let histogram = match direction {
            Direction::Read => &self.reads,
            Direction::Write => &self.writes,
        };
        (!histogram.is_empty()).then(|| Summary::new(histogram, elapsed, block_bytes))
    }
}

/// One direction in figures.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) requests: u64,
    pub(crate) requests_per_second: f64,
    pub(crate) bytes_per_second: f64,
    pub(crate) latency_microseconds: Latency,
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) min: f64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) p9999: f64,
    pub(crate) max: f64,
}

impl Summary {
    #[expect(clippy::cast_precision_loss, reason = "figures for people, far below 2^53")]
    fn new(histogram: &Histogram<u64>, elapsed: Duration, block_bytes: usize) -> Self {
        let requests_per_second = histogram.len() as f64 / elapsed.as_secs_f64().max(1e-9);
        let quantile = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            requests: histogram.len(),
            requests_per_second,
            bytes_per_second: requests_per_second * block_bytes as f64,
            latency_microseconds: Latency {
                min: histogram.min() as f64 / 1e3,
                mean: histogram.mean() / 1e3,
                p50: quantile(0.5),
                p90: quantile(0.9),
                p99: quantile(0.99),
                p999: quantile(0.999),
                p9999: quantile(0.9999),
                max: histogram.max() as f64 / 1e3,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_requests_is_summed_up() {
        let mut meter = Meter::new();
        let begun = Instant::from_nanos(0);
        for microseconds in 1..=1000 {
            meter.record(Direction::Read, begun, Instant::from_nanos(microseconds * 1000));
        }
        let summary = meter.summary(Direction::Read, Duration::from_secs(1), 4096).expect("reads");
        assert_eq!(summary.requests, 1000);
        assert!((summary.bytes_per_second - 4_096_000.0).abs() < 1.0);
        assert!((summary.latency_microseconds.p50 - 500.0).abs() < 1.0, "{summary:?}");
        assert!((summary.latency_microseconds.max - 1000.0).abs() < 1.0, "{summary:?}");
        assert!(meter.summary(Direction::Write, Duration::from_secs(1), 4096).is_none());
    }
}
