//! Whether writes are sent as sequenced ones, and under which numbers (rule D6; the drawing is in
//! `docs/sequenced-writes.md`).
//!
//! They are when every target in use has said that it knows the command: then a write may be sent again through any of
//! them. Targets are asked when they are found; one that answers with an error, or not at all, is a stock one, and all
//! writes go as command 0. A number is given to a frame when it is sent first and kept. No number is given out that is a
//! window or more above one still unanswered.

use std::collections::VecDeque;

use block::{Duration, Instant};

use super::TARGETS_MAX;
use crate::limits::SEQUENCE_WINDOW;

/// A target is asked so often whether it knows the command.
const ATTEMPTS: u8 = 5;
/// Pause between two such questions.
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Capability {
    /// Asked so often; the next question is due then.
    Asking(u8, Instant),
    /// It remembers so many numbers.
    Window(u64),
    /// It does not know the command, or has no room.
    Stock,
}

/// The numbers of one initiator.
#[derive(Debug)]
pub(crate) struct Numbering {
    /// Its name, if it numbers at all.
    name: Option<u64>,
    targets: Vec<Capability>,
    /// The oldest number that is in flight, or the next one.
    oldest: u64,
    /// Whether each number from there on has ended.
    ended: VecDeque<bool>,
    /// The latest that was seen.
    epoch: u64,
}

impl Numbering {
    pub(crate) fn new(name: Option<u64>) -> Self {
        let room = usize::try_from(SEQUENCE_WINDOW).expect("small");
        Self {
            name,
            targets: Vec::with_capacity(TARGETS_MAX),
            oldest: 1,
            ended: VecDeque::with_capacity(if name.is_some() { room } else { 0 }),
            epoch: 0,
        }
    }

    pub(crate) const fn name(&self) -> Option<u64> {
        self.name
    }

    /// A target was found, again or for the first time: it is asked at once.
    pub(crate) fn found(&mut self, now: Instant, target: u8) {
        let index = usize::from(target);
        if self.name.is_none() {
            return;
        }
        if index >= self.targets.len() {
            self.targets.resize(index + 1, Capability::Asking(0, now));
        } else if self.targets[index] == Capability::Stock {
            self.targets[index] = Capability::Asking(0, now);
        }
    }

    /// The next target to ask.
    pub(crate) fn next_question(&mut self, now: Instant) -> Option<u8> {
        for (index, target) in self.targets.iter_mut().enumerate() {
            let Capability::Asking(attempts, due) = *target else { continue };
            if due > now {
                continue;
            }
            if attempts == ATTEMPTS {
                *target = Capability::Stock;
                continue;
            }
            *target = Capability::Asking(attempts + 1, now.after(PAUSE));
            return Some(u8::try_from(index).expect("few targets"));
        }
        None
    }

    /// When a question is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let due = |target: &Capability| match target {
            Capability::Asking(_, due) => Some(*due),
            Capability::Window(_) | Capability::Stock => None,
        };
        self.targets.iter().filter_map(due).min()
    }

    /// A target has said how many numbers it remembers; none if it does not know the command.
    pub(crate) fn answered_question(&mut self, target: u8, window: u64) {
        if let Some(known) = self.targets.get_mut(usize::from(target)) {
            *known = if window == 0 { Capability::Stock } else { Capability::Window(window) };
        }
    }

    /// Whether new writes get numbers.
    pub(crate) fn is_on(&self) -> bool {
        let knows = |target: &Capability| matches!(target, Capability::Window(_));
        !self.targets.is_empty() && self.targets.iter().all(knows)
    }

    /// Whether one may be given out.
    pub(crate) fn has_room(&self) -> bool {
        let windows = self.targets.iter().map(|target| match target {
            Capability::Window(window) => *window,
            Capability::Asking(..) | Capability::Stock => SEQUENCE_WINDOW,
        });
        let window = windows.min().unwrap_or(SEQUENCE_WINDOW).min(SEQUENCE_WINDOW);
        (self.ended.len() as u64) < window
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        assert!(self.has_room(), "the caller looks for room first");
        self.ended.push_back(false);
        self.oldest + self.ended.len() as u64 - 1
    }

    /// Nothing more is awaited for a number.
    pub(crate) fn end(&mut self, sequence: u64) {
        let place = usize::try_from(sequence - self.oldest).expect("within the window");
        self.ended[place] = true;
        while self.ended.front() == Some(&true) {
            self.ended.pop_front();
            self.oldest += 1;
        }
    }

    /// Whether an answer of that epoch counts: not if a later one was seen.
    pub(crate) fn heed(&mut self, epoch: u64) -> bool {
        let counts = epoch >= self.epoch;
        self.epoch = self.epoch.max(epoch);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Instant {
        Instant::from_nanos(milliseconds * 1_000_000)
    }

    #[test]
    fn writes_get_numbers_when_every_target_knows_the_command() {
        let mut numbering = Numbering::new(Some(7));
        numbering.found(at(0), 0);
        numbering.found(at(0), 1);
        assert_eq!([numbering.next_question(at(0)), numbering.next_question(at(0))], [Some(0), Some(1)]);
        assert_eq!((numbering.next_question(at(249)), numbering.poll_timeout()), (None, Some(at(250))));
        numbering.answered_question(0, 1024);
        assert!(!numbering.is_on());
        numbering.answered_question(1, 4);
        assert!(numbering.is_on());
        let given: Vec<u64> = std::iter::from_fn(|| numbering.has_room().then(|| numbering.next())).collect();
        assert_eq!(given, [1, 2, 3, 4]);
        numbering.end(2);
        assert!(!numbering.has_room(), "the oldest is unanswered");
        numbering.end(1);
        assert_eq!([numbering.next(), numbering.next()], [5, 6]);
    }

    #[test]
    fn a_target_that_never_answers_is_a_stock_one_until_it_is_found_again() {
        let mut numbering = Numbering::new(Some(7));
        numbering.found(at(0), 0);
        let mut questions = 0;
        while let Some(due) = numbering.poll_timeout() {
            questions += u8::from(numbering.next_question(due).is_some());
        }
        assert_eq!((questions, numbering.is_on()), (ATTEMPTS, false));
        numbering.found(at(9000), 0);
        assert_eq!(numbering.next_question(at(9000)), Some(0));
    }

    #[test]
    fn an_answer_from_before_a_fail_over_does_not_count() {
        let mut numbering = Numbering::new(Some(7));
        assert!(numbering.heed(3) && numbering.heed(4) && !numbering.heed(3) && numbering.heed(4));
    }
}
