//! Leases: each node serves only as long as its peer has allowed.
//!
//! The holder counts from when it *sent* a renewal, the granter from when it *answered*, and a little longer because clocks
//! differ in rate. So the holder stops before the granter believes it has. Both directions are in here; it decides nothing
//! but these two times, and when to renew.
//!
//! ```text
//!   holder   ──Renew n──▶   granter
//!     │ held until           │ granted until
//!     │ sent + lease         │ answered + lease + margin
//!     ◀──Granted n───────────┘
//! ```

use block::{Duration, Instant};

use crate::limits::{LEASE_MARGIN, LEASE_RENEWALS};

/// Renewals that may be unanswered at a time; older ones are forgotten.
const UNANSWERED_MAX: usize = 8;

/// The lease of each of the two nodes from the other, as one of them sees them.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    duration: Duration,
    /// When the renewals were sent, by number.
    sent: [Instant; UNANSWERED_MAX],
    newest: u64,
    next_renewal: Instant,
    held_until: Instant,
    granted_until: Instant,
}

/// How long leases last from now on, for operators.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LeaseStatus {
    /// So long this node may serve together with the peer; `None`: it may not.
    pub held: Option<Duration>,
    /// So long the peer may still serve by what this node has granted; `None`: it surely does not.
    pub granted: Option<Duration>,
}

impl Lease {
    /// Nothing held, nothing granted.
    #[must_use]
    pub const fn new(duration: Duration) -> Self {
        let never = Instant::from_nanos(0);
        Self {
            duration,
            sent: [never; UNANSWERED_MAX],
            newest: 0,
            next_renewal: never,
            held_until: never,
            granted_until: never,
        }
    }

    /// A session begins: nothing is held. What was granted before still counts.
    pub const fn begin_session(&mut self, now: Instant) {
        self.held_until = Instant::from_nanos(0);
        self.next_renewal = now;
        // Answers to renewals of an earlier session find nothing.
        self.newest += UNANSWERED_MAX as u64;
    }

    /// The number of the renewal to send now, if one is due.
    pub fn poll_renewal(&mut self, now: Instant) -> Option<u64> {
        (now >= self.next_renewal).then(|| self.renew(now))
    }

    /// The number of a renewal that is sent now, due or not.
    pub(crate) fn renew(&mut self, now: Instant) -> u64 {
        self.newest += 1;
        self.sent[slot(self.newest)] = now;
        self.next_renewal = now.after(self.duration / LEASE_RENEWALS);
        self.newest
    }

    /// When the next renewal is due.
    #[must_use]
    pub const fn next_renewal(&self) -> Instant {
        self.next_renewal
    }

    /// The peer has granted a renewal. One that is too old, or was never sent, changes nothing.
    pub fn handle_granted(&mut self, number: u64) {
        if let Some(sent) = self.sent(number) {
            self.hold_from(sent);
        }
    }

    /// When that renewal was sent; `None` if it is too old or never was.
    pub(crate) fn sent(&self, number: u64) -> Option<Instant> {
        let is_known = number <= self.newest && self.newest - number < UNANSWERED_MAX as u64;
        Some(self.sent[slot(number)]).filter(|sent| is_known && *sent > Instant::from_nanos(0))
    }

    /// Held for as long as if it had been renewed at that moment.
    pub(crate) fn hold_from(&mut self, renewed: Instant) {
        self.held_until = self.held_until.max(renewed.after(self.duration));
    }

    /// This node answers a renewal now.
    pub fn grant(&mut self, now: Instant) {
        self.granted_until = now.after(self.duration + self.duration / LEASE_MARGIN);
    }

    /// Nobody knows what was granted before this moment, when the node started: as much as there can be.
    pub fn assume_granted(&mut self, now: Instant) {
        self.grant(now);
    }

    /// Whether this node may serve.
    #[must_use]
    pub fn is_held(&self, now: Instant) -> bool {
        now < self.held_until
    }

    /// Until when this node may serve.
    #[must_use]
    pub const fn held_until(&self) -> Instant {
        self.held_until
    }

    /// From when on the peer has surely stopped serving, unless it is granted more.
    #[must_use]
    pub const fn granted_until(&self) -> Instant {
        self.granted_until
    }
}

fn slot(number: u64) -> usize {
    usize::try_from(number % UNANSWERED_MAX as u64).expect("a small remainder")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_millis(1000);

    fn at(milliseconds: u64) -> Instant {
        Instant::from_nanos(milliseconds * 1_000_000)
    }

    #[test]
    fn the_holder_stops_before_the_granter_believes_it_has() {
        let (mut holder, mut granter) = (Lease::new(LEASE), Lease::new(LEASE));
        holder.begin_session(at(10));
        let number = holder.poll_renewal(at(10)).expect("due at once");
        granter.grant(at(200));
        holder.handle_granted(number);
        assert!(holder.is_held(at(1009)) && !holder.is_held(at(1010)));
        assert_eq!(granter.granted_until(), at(1250));
    }

    #[test]
    fn renewals_are_sent_four_times_a_lease_and_count_from_their_sending() {
        let mut holder = Lease::new(LEASE);
        holder.begin_session(at(0));
        let first = holder.poll_renewal(at(0)).expect("due");
        assert_eq!(holder.poll_renewal(at(249)), None);
        let second = holder.poll_renewal(at(250)).expect("due");
        holder.handle_granted(second);
        holder.handle_granted(first);
        assert_eq!(holder.held_until(), at(1250));
    }

    #[test]
    fn an_answer_of_an_earlier_session_or_to_nothing_is_worth_nothing() {
        let mut holder = Lease::new(LEASE);
        holder.begin_session(at(0));
        let old = holder.poll_renewal(at(0)).expect("due");
        holder.begin_session(at(900));
        holder.handle_granted(old);
        holder.handle_granted(10_000);
        assert!(!holder.is_held(at(901)));
    }
}
