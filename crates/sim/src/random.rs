//! Chance: one generator a concern, all drawn from the seed, so that more draws in one part change nothing in another.

use block::Duration;
use fastrand::Rng;

/// One in a million.
pub const MILLION: u32 = 1_000_000;

/// A generator of chance that the seed decides.
#[derive(Clone, Debug)]
pub struct Random(Rng);

impl Random {
    /// The generator of one concern of one seed.
    #[must_use]
    pub fn new(seed: u64, concern: &str) -> Self {
        let spread = concern.bytes().fold(seed ^ 0x9e37_79b9_7f4a_7c15, |hash, byte| {
            (hash.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x517c_c1b7_2722_0a95)
        });
        Self(Rng::with_seed(spread))
    }

    /// A generator of its own for a part.
    pub fn fork(&mut self) -> Self {
        Self(Rng::with_seed(self.any()))
    }

    /// A number below `bound`.
    ///
    /// # Panics
    /// If there is none.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.u64(..bound)
    }

    /// A number below `bound`, for places in tables.
    ///
    /// # Panics
    /// If there is none.
    pub fn index(&mut self, bound: usize) -> usize {
        self.0.usize(..bound)
    }

    /// A number from `low` to `high`.
    ///
    /// # Panics
    /// If `high` is below `low`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.u64(low..=high)
    }

    /// A number from `low` to `high`.
    ///
    /// # Panics
    /// If `high` is below `low`.
    pub fn small(&mut self, low: u32, high: u32) -> u32 {
        self.0.u32(low..=high)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// Any large number.
    pub fn identity(&mut self) -> u128 {
        self.0.u128(..)
    }

    /// Whether something happens that happens so often in a million times.
    pub fn chance(&mut self, in_a_million: u32) -> bool {
        in_a_million > 0 && self.0.u32(..MILLION) < in_a_million
    }

    /// A coin.
    pub fn coin(&mut self) -> bool {
        self.0.bool()
    }

    /// A time from `low` to `high`.
    ///
    /// # Panics
    /// If `high` is below `low`.
    pub fn duration(&mut self, low: Duration, high: Duration) -> Duration {
        Duration::from_nanos(self.0.u64(nanos(low)..=nanos(high)))
    }

    /// A time around `mean` with a long tail: doubled with probability one half, again and again, up to 64 times.
    pub fn tailed(&mut self, mean: Duration) -> Duration {
        let doublings = self.0.u32(..).trailing_zeros().min(6);
        let most = (nanos(mean) << doublings).max(1);
        Duration::from_nanos(self.0.u64(most / 4..=most))
    }

    /// Bytes without meaning.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concerns_of_one_seed_differ_and_repeat() {
        let draw = |seed, concern| Random::new(seed, concern).any();
        assert_eq!(draw(7, "network"), draw(7, "network"));
        assert_ne!(draw(7, "network"), draw(7, "disk"));
        assert_ne!(draw(7, "network"), draw(8, "network"));
    }
}
