//! Time as a number. Cores are handed `now`; only the `os` crate reads a clock.

pub use std::time::Duration;

/// Nanoseconds since some fixed moment, on a clock that never goes back and that counts suspend
/// (`CLOCK_BOOTTIME` in the real world, the world's own clock in a simulation).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Instant(u64);

impl Instant {
    /// The moment `nanoseconds` after the clock's beginning.
    #[must_use]
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// Nanoseconds since the clock's beginning.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`; zero if `earlier` is in fact later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment `duration` later, or the last one that can be named.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanoseconds))
    }

    /// The moment `duration` earlier, or the clock's beginning.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanoseconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_saturates_at_both_ends() {
        let early = Instant::from_nanos(5);
        assert_eq!(early.since(Instant::from_nanos(9)), Duration::ZERO);
        assert_eq!(early.before(Duration::from_secs(1)), Instant::from_nanos(0));
        assert_eq!(Instant::from_nanos(u64::MAX).after(Duration::from_secs(1)).as_nanos(), u64::MAX);
    }
}
