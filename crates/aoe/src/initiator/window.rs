//! How many frames may be under way to one target: never more than it said it can hold, and fewer after a loss.
//!
//! A target drops what it has no room for, so a loss means "too many" until shown otherwise: the window is halved,
//! once for all frames lost in the same moment, and grows again by one frame a windowful of answers. If nothing at all
//! was answered since the last loss, it goes down to one frame and doubles up to half of where it was.

use block::Instant;

/// The window of one target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    limit: u32,
    size: u32,
    /// Below this it grows with each answer.
    threshold: u32,
    /// Answers since it grew.
    credit: u32,
    in_flight: u32,
    reduced_at: Instant,
    answered_since_reduced: bool,
}

impl Window {
    /// A window of all that the target can hold. A target that says zero is given one: the Linux driver would never
    /// send it anything.
    pub(crate) fn new(buffer_count: u16) -> Self {
        let limit = u32::from(buffer_count).max(1);
        Self {
            limit,
            size: limit,
            threshold: limit,
            credit: 0,
            in_flight: 0,
            reduced_at: Instant::default(),
            answered_since_reduced: true,
        }
    }

    /// The target told another number.
    pub(crate) fn set_limit(&mut self, buffer_count: u16) {
        let limit = u32::from(buffer_count).max(1);
        if limit != self.limit {
            *self = Self { in_flight: self.in_flight, ..Self::new(buffer_count) };
        }
    }

    pub(crate) const fn has_room(&self) -> bool {
        self.in_flight < self.size
    }

    pub(crate) const fn size(&self) -> u32 {
        self.size
    }

    pub(crate) const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub(crate) const fn sent(&mut self) {
        self.in_flight += 1;
    }

    /// A frame under way needs no answer any more.
    pub(crate) const fn forgotten(&mut self) {
        assert!(self.in_flight > 0, "more frames left than were sent");
        self.in_flight -= 1;
    }

    /// A frame under way was answered.
    pub(crate) const fn answered(&mut self) {
        self.forgotten();
        self.answered_since_reduced = true;
        if self.size == self.limit {
            return;
        }
        self.credit += 1;
        if self.size < self.threshold || self.credit >= self.size {
            self.size += 1;
            self.credit = 0;
        }
    }

    /// A frame under way since `sent` was not answered in time. Whether that made the window smaller.
    pub(crate) fn expired(&mut self, now: Instant, sent: Instant) -> bool {
        self.forgotten();
        if sent < self.reduced_at {
            return false;
        }
        let half = (self.size / 2).max(1);
        self.threshold = half.max(2).min(self.limit);
        self.size = if self.answered_since_reduced { half } else { 1 };
        self.credit = 0;
        self.reduced_at = now;
        self.answered_since_reduced = false;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanoseconds: u64) -> Instant {
        Instant::from_nanos(nanoseconds)
    }

    fn full(buffer_count: u16) -> Window {
        let mut window = Window::new(buffer_count);
        while window.has_room() {
            window.sent();
        }
        window
    }

    #[test]
    fn the_target_is_never_sent_more_than_it_can_hold() {
        assert_eq!(full(16).in_flight(), 16);
        assert_eq!(full(0).in_flight(), 1);
    }

    #[test]
    fn frames_lost_in_one_moment_halve_it_once_and_answers_bring_it_back() {
        let mut window = full(16);
        assert!(window.expired(at(100), at(10)));
        assert!(!window.expired(at(100), at(20)));
        assert_eq!(window.size(), 8);
        for _ in 0..8 * 16 {
            while window.has_room() {
                window.sent();
            }
            window.answered();
        }
        assert_eq!(window.size(), 16);
    }

    #[test]
    fn a_target_that_answers_nothing_gets_one_frame_at_a_time() {
        let mut window = full(16);
        window.expired(at(100), at(10));
        window.sent();
        assert!(window.expired(at(200), at(100)));
        assert_eq!(window.size(), 1);
        (0..14).for_each(|_| window.forgotten());
        window.sent();
        window.answered();
        assert_eq!(window.size(), 2);
    }
}
