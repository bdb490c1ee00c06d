//! A node's clock: its own beginning, its own rate. The world's time is nobody's.

use block::{Duration, Instant};

/// How a node's clock goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Clock {
    /// What it showed when the world began.
    beginning: u64,
    /// How much faster than the world it goes, in millionths; negative is slower.
    rate: i64,
}

impl Clock {
    /// A clock.
    ///
    /// # Panics
    /// If it would stand still or go back.
    #[must_use]
    pub fn new(beginning: Duration, rate: i64) -> Self {
        assert!(rate > -1_000_000, "a clock goes forward");
        let beginning = u64::try_from(beginning.as_nanos()).expect("centuries");
        Self { beginning, rate }
    }

    /// What it shows at a moment of the world.
    #[must_use]
    pub fn show(&self, world: Instant) -> Instant {
        Instant::from_nanos(self.beginning + self.scaled(world.as_nanos()))
    }

    /// The first moment of the world at which it shows this.
    #[must_use]
    pub fn when(&self, shown: Instant) -> Instant {
        let Some(wanted) = shown.as_nanos().checked_sub(self.beginning) else { return Instant::default() };
        let rate = u64::try_from(1_000_000 + self.rate).expect("a clock goes forward");
        let mut world = wanted * 1_000_000 / rate;
        while self.scaled(world) < wanted {
            world += 1;
        }
        Instant::from_nanos(world)
    }

    fn scaled(&self, world: u64) -> u64 {
        let gained = world.cast_signed() * self.rate / 1_000_000;
        world.checked_add_signed(gained).expect("the world is younger than some hours")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_found_again_at_any_rate() {
        for rate in [-20_000, -500, 0, 3, 500, 20_000] {
            let clock = Clock::new(Duration::from_secs(77), rate);
            for nanos in [1_u64, 999, 123_456_789, 60_000_000_007] {
                let shown = Instant::from_nanos(77_000_000_000 + nanos);
                let when = clock.when(shown);
                assert!(clock.show(when) >= shown);
                assert!(clock.show(when.before(Duration::from_nanos(2))) < shown);
            }
        }
    }
}
