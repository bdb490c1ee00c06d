//! After healing every request ends, and ends well.

use block::{Duration, Instant};
use thiserror::Error;

use crate::history::{History, OperationId};

/// A request that nobody answers.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error(
    "request {} of initiator {initiator}, called at {} ms, is open {} ms after healing",
    .operation.0, .called.as_nanos() / 1_000_000, .after.as_millis()
)]
pub struct Stuck {
    /// Which.
    pub operation: OperationId,
    /// Whose.
    pub initiator: u16,
    /// When it was asked.
    pub called: Instant,
    /// How long after healing it is still open.
    pub after: Duration,
}

/// Judges the requests that are open `now`. Each may take `bound` from its call or from `healed`, whichever is later.
///
/// # Errors
/// The first request that took longer.
pub fn check(history: &History, healed: Instant, now: Instant, bound: Duration) -> Result<(), Stuck> {
    let stuck = history.open().find(|(_, operation)| now.since(operation.call.at.max(healed)) > bound);
    stuck.map_or(Ok(()), |(id, operation)| {
        let (initiator, called) = (operation.initiator, operation.call.at);
        Err(Stuck { operation: id, initiator, called, after: now.since(healed) })
    })
}

#[cfg(test)]
mod tests {
    use block::{Lba, LbaRange, SectorCount};

    use super::*;
    use crate::history::Action;

    #[test]
    fn a_request_that_stays_open_is_found_and_one_of_a_dead_host_is_not() {
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        let range = LbaRange::new(Lba(0), SectorCount(1)).expect("a sector");
        let mut history = History::new(Duration::ZERO);
        let bound = Duration::from_secs(30);
        let dead = history.call(at(1), 1, Action::Read, range);
        history.abandoned(dead);
        history.call(at(2), 2, Action::Read, range);
        assert_eq!(check(&history, at(10), at(40), bound), Ok(()));
        let stuck = check(&history, at(10), at(41), bound).expect_err("it waits");
        assert_eq!(
            stuck.to_string(),
            "request 1 of initiator 2, called at 2000 ms, is open 31000 ms after healing"
        );
    }
}
