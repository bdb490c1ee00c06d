//! When `Commit`s that nothing else is sent with leave: nobody waits for them but a read of the same sectors at the peer, and alone
//! they cost a call here and wake the peer.
//!
//! While initiators wait for this node something else is sent soon. An initiator that asks for one write after the other leaves a
//! gap each time, in which nobody waits; whether its next write comes soon is told by what followed the commits before.

use block::{Duration, Instant};

/// How long they wait while initiators wait for this node: with many requests at a time something else comes sooner.
const BUSY_MAX: Duration = Duration::from_micros(100);
/// How long they wait while nobody does, and how soon something has to follow that this is worth while.
const GAP_MAX: Duration = Duration::from_millis(1);

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct HeldCommits {
    /// Since when those that are queued have waited, if they do.
    since: Option<Instant>,
    /// When the first came of those after which nothing else was sent.
    last: Option<Instant>,
    /// What was sent after the last ones came soon.
    are_followed_soon: bool,
}

impl HeldCommits {
    /// Whether they, and nothing else, may wait in the queue. `is_busy` says that initiators wait for this node.
    pub(super) fn may_wait(&mut self, now: Instant, is_busy: bool) -> bool {
        let since = *self.since.get_or_insert(now);
        self.last.get_or_insert(now);
        (is_busy || self.are_followed_soon) && now < since.after(self.patience())
    }

    /// When they leave alone at the latest.
    pub(super) fn due(&self) -> Option<Instant> {
        Some(self.since?.after(self.patience()))
    }

    /// The queue was sent, and something else was in it or not.
    pub(super) fn sent(&mut self, now: Instant, with_others: bool) {
        self.since = None;
        if with_others && let Some(last) = self.last.take() {
            self.are_followed_soon = now.since(last) <= GAP_MAX;
        }
    }

    const fn patience(&self) -> Duration {
        if self.are_followed_soon { GAP_MAX } else { BUSY_MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(micros: u64) -> Instant {
        Instant::from_nanos(micros * 1000)
    }

    #[test]
    fn alone_they_leave_at_once_unless_initiators_wait() {
        let mut held = HeldCommits::default();
        assert!(!held.may_wait(at(0), false));
        held.sent(at(0), false);
        assert!(held.may_wait(at(10), true));
        assert!(held.may_wait(at(109), true));
        assert_eq!(held.due(), Some(at(110)));
        assert!(!held.may_wait(at(110), true));
        held.sent(at(110), false);
        assert_eq!(held.due(), None);
    }

    #[test]
    fn in_the_gap_between_two_writes_they_wait_as_long_as_the_gaps_are_short() {
        let mut held = HeldCommits::default();
        assert!(!held.may_wait(at(0), false), "nothing is known yet");
        held.sent(at(0), false);
        held.sent(at(400), true);
        assert!(held.may_wait(at(500), false));
        assert!(held.may_wait(at(1499), false));
        assert_eq!(held.due(), Some(at(1500)));
        assert!(!held.may_wait(at(1500), false));
        held.sent(at(1500), false);
        held.sent(at(2000), true);
        assert!(!held.may_wait(at(3000), false), "what followed came 1.5 ms later");
    }
}
