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
/// So many times one after the other it has to have followed so soon. Where somebody reads at the peer what was just written here, a wait
/// is what delays the next write, and the waits end.
const SHORT_GAPS_MIN: u8 = 4;

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct HeldCommits {
    /// Since when those that are queued have waited, if they do.
    since: Option<Instant>,
    /// Whether initiators waited when that was looked at last.
    is_busy: bool,
    /// When the first came of those after which nothing else was sent.
    last: Option<Instant>,
    /// How many times without interruption something else was sent soon after them.
    short_gaps: u8,
}

impl HeldCommits {
    /// Whether they, and nothing else, may wait in the queue. `is_busy` says that initiators wait for this node.
    pub(super) fn may_wait(&mut self, now: Instant, is_busy: bool) -> bool {
        let since = *self.since.get_or_insert(now);
        self.last.get_or_insert(now);
        self.is_busy = is_busy;
        (is_busy || self.short_gaps >= SHORT_GAPS_MIN) && now < since.after(self.patience())
    }

    /// When they leave alone at the latest.
    pub(super) fn due(&self) -> Option<Instant> {
        Some(self.since?.after(self.patience()))
    }

    /// The queue was sent, and something else was in it or not.
    pub(super) fn sent(&mut self, now: Instant, with_others: bool) {
        self.since = None;
        if with_others && let Some(last) = self.last.take() {
            let is_short = now.since(last) <= GAP_MAX;
            self.short_gaps = if is_short { self.short_gaps.saturating_add(1) } else { 0 };
        }
    }

    const fn patience(&self) -> Duration {
        if self.is_busy { BUSY_MAX } else { GAP_MAX }
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

    /// Commits that leave alone, and something else 400 µs later, as many times as it takes.
    fn after_short_gaps() -> HeldCommits {
        let mut held = HeldCommits::default();
        for round in 0..u64::from(SHORT_GAPS_MIN) {
            let start = round * 1000;
            assert!(!held.may_wait(at(start), false), "not known well enough after {round}");
            held.sent(at(start), false);
            held.sent(at(start + 400), true);
        }
        held
    }

    #[test]
    fn in_the_gap_between_two_writes_they_wait_as_long_as_the_gaps_are_short() {
        let mut held = after_short_gaps();
        assert!(held.may_wait(at(10_000), false));
        assert!(held.may_wait(at(10_999), false));
        assert_eq!(held.due(), Some(at(11_000)));
        assert!(!held.may_wait(at(11_000), false));
        held.sent(at(11_000), false);
        held.sent(at(11_500), true);
        assert!(!held.may_wait(at(13_000), false), "what followed came 1.5 ms later");
    }

    #[test]
    fn while_initiators_wait_they_never_wait_for_long() {
        let mut held = after_short_gaps();
        assert!(held.may_wait(at(10_000), true));
        assert_eq!(held.due(), Some(at(10_100)));
        assert!(!held.may_wait(at(10_100), true));
    }
}
