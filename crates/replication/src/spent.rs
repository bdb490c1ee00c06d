//! Where the time of a request went, as far as it was spent here: told of those that took long, and noted of all, since nobody knows
//! beforehand which ones these are. It costs no look at a clock: each moment is the time of an input that was handed in anyway.

use block::{Duration, Instant};

/// Where the time of a request of this node's went.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Spent {
    /// Until its turn came: for writes to the same sectors, for room in the activity log, for what is settled after the nodes have met.
    pub waiting: Duration,
    /// Until its extents were durable in the activity log.
    pub log: Duration,
    /// At this node's disk.
    pub disk: Duration,
    /// Until the peer had answered; at the same time as at the disk.
    pub peer: Duration,
    /// How much of that it was at the peer itself, and not on the way; zero if that is not told.
    pub at_peer: Duration,
    /// Until what the peer lacks was noted durably, after all else.
    pub bitmap: Duration,
}

/// The moments of a write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteTimes {
    came: Instant,
    pub(crate) admitted: Option<Instant>,
    pub(crate) started: Option<Instant>,
    pub(crate) on_disk: Option<Instant>,
    pub(crate) acked: Option<Instant>,
    pub(crate) at_peer_microseconds: u32,
}

impl WriteTimes {
    pub(crate) const fn new(came: Instant) -> Self {
        Self { came, admitted: None, started: None, on_disk: None, acked: None, at_peer_microseconds: 0 }
    }

    /// How long it has taken.
    pub(crate) const fn total(&self, now: Instant) -> Duration {
        now.since(self.came)
    }

    /// Where that went. What has not happened lasts until now.
    pub(crate) fn spent(&self, now: Instant) -> Spent {
        let admitted = self.admitted.unwrap_or(now);
        let started = self.started.unwrap_or(now).max(admitted);
        let (on_disk, acked) = (self.on_disk.unwrap_or(now), self.acked.unwrap_or(now));
        Spent {
            waiting: admitted.since(self.came),
            log: started.since(admitted),
            disk: on_disk.since(started),
            peer: acked.since(started),
            at_peer: Duration::from_micros(self.at_peer_microseconds.into()),
            bitmap: now.since(on_disk.max(acked)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Instant {
        Instant::from_nanos(milliseconds * 1_000_000)
    }

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn the_parts_of_a_write_are_told_apart() {
        let mut times = WriteTimes::new(at(10));
        assert_eq!(times.spent(at(15)), Spent { waiting: ms(5), ..Spent::default() }, "its turn never came");
        times.admitted = Some(at(12));
        assert_eq!(times.spent(at(15)), Spent { waiting: ms(2), log: ms(3), ..Spent::default() });
        (times.started, times.on_disk) = (Some(at(13)), Some(at(20)));
        (times.acked, times.at_peer_microseconds) = (Some(at(50)), 30_000);
        let spent =
            Spent { waiting: ms(2), log: ms(1), disk: ms(7), peer: ms(37), at_peer: ms(30), bitmap: ms(4) };
        assert_eq!((times.spent(at(54)), times.total(at(54))), (spent, ms(44)));
    }
}
