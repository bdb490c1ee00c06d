//! Which sequenced writes were executed (rule D6): a bounded window of numbers for each of a bounded number of
//! initiators.
//!
//! Unlike the memory of stock writes this one needs no clock to be right: a number is executed once however late its
//! frames come, and one below the window is refused, since nobody knows any more. An initiator is forgotten when it was
//! idle for so long that it has given everything up ([`NUMBERS_IDLE_MIN`]); if there are too many younger ones, a new
//! one is not taken in. If the other node of a pair has taken such a one in nevertheless, no initiator counts as new here until
//! that one has given everything up. The memory is lost with the process: then a write that was not answered is in doubt, as any
//! write of a stock initiator is.

use block::{ExportId, Instant};

use crate::limits::{NUMBERS_IDLE_MIN, SEQUENCE_WINDOW};

/// Words of a window: a bit for each number.
const WORDS: usize = 16;

const _: () = assert!(WORDS as u64 * 64 == SEQUENCE_WINDOW, "a bit for each number of a window");

/// What is remembered of one initiator's writes to an export; the other node of a pair is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NumberWindow {
    /// Whose.
    pub initiator: u64,
    /// The latest number that came.
    pub latest: u64,
    /// A bit for each of the last numbers up to that, at its place modulo their count, if it was executed.
    pub executed: [u64; WORDS],
    /// Likewise, if it failed.
    pub failed: [u64; WORDS],
}

/// One write of an initiator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Number {
    pub(crate) export: ExportId,
    pub(crate) initiator: u64,
    pub(crate) sequence: u64,
}

/// What is known of a number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Known {
    /// Not executed; maybe in flight.
    No,
    /// It was executed.
    Executed,
    /// It was executed and failed.
    Failed,
    /// It is too old to be known.
    TooOld,
}

/// All initiators of a shard.
#[derive(Debug)]
pub(crate) struct Numbers {
    /// By place; looked through from the start, for they are few.
    keys: Vec<(ExportId, u64)>,
    windows: Vec<Window>,
    capacity: usize,
    overlooked: Option<Overlooked>,
}

/// For how long there may be numbers that found no room: since the first of them, until the last of them does not matter any more.
#[derive(Clone, Copy, Debug)]
struct Overlooked {
    since: Instant,
    until: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    /// The latest number that came.
    latest: u64,
    /// A bit for each of the last numbers, at its place modulo their count.
    executed: [u64; WORDS],
    failed: [u64; WORDS],
    in_flight: u32,
    taken_in: Instant,
    last_used: Instant,
}

impl Numbers {
    /// Room for `capacity` initiators.
    pub(crate) fn new(capacity: usize) -> Self {
        let (keys, windows) = (Vec::with_capacity(capacity), Vec::with_capacity(capacity));
        Self { keys, windows, capacity, overlooked: None }
    }

    /// Whether one more initiator could be taken in, or that one is known.
    pub(crate) fn has_room(&self, now: Instant, export: ExportId, initiator: u64) -> bool {
        self.place(export, initiator).is_some() || self.free_place(now).is_some()
    }

    /// What is known of a number.
    pub(crate) fn find(&self, number: Number) -> Known {
        let Some(place) = self.place(number.export, number.initiator) else { return Known::No };
        self.windows[place].find(number.sequence)
    }

    /// A write is in flight from now on. Whether there was room for its initiator.
    pub(crate) fn begin(&mut self, now: Instant, number: Number) -> bool {
        let key = (number.export, number.initiator);
        let place = match self.place(number.export, number.initiator) {
            Some(place) => place,
            None => match self.free_place(now) {
                Some(place) => self.take_in(place, key, now),
                None => return false,
            },
        };
        let window = &mut self.windows[place];
        window.advance(number.sequence);
        window.in_flight += 1;
        window.last_used = now;
        true
    }

    /// It is not in flight any more: what is known of it now. Nothing new, if it was not executed or nobody can know: what
    /// the other node's copy of it has left stands.
    pub(crate) fn end(&mut self, now: Instant, number: Number, known: Option<Known>) {
        let Some(place) = self.place(number.export, number.initiator) else { return };
        let window = &mut self.windows[place];
        window.in_flight = window.in_flight.saturating_sub(1);
        window.last_used = now;
        if let Some(known) = known {
            window.mark(number.sequence, known);
        }
    }

    /// Whatever was known of it: it was not executed.
    pub(crate) fn forget(&mut self, number: Number) {
        if let Some(place) = self.place(number.export, number.initiator) {
            self.windows[place].mark(number.sequence, Known::No);
        }
    }

    /// There was no room for a number that the other node has executed, or is about to.
    pub(crate) fn overlook(&mut self, now: Instant) {
        let since =
            self.overlooked.filter(|overlooked| now <= overlooked.until).map_or(now, |before| before.since);
        self.overlooked = Some(Overlooked { since, until: now.after(NUMBERS_IDLE_MIN) });
    }

    /// Whether an initiator's number that is not known here may have been executed: it was not here yet, or not any more, when one
    /// was overlooked.
    pub(crate) fn is_blind(&self, now: Instant, export: ExportId, initiator: u64) -> bool {
        self.overlooked.is_some_and(|Overlooked { since, until }| {
            let was_here = |place: usize| self.windows[place].taken_in < since;
            now <= until && !self.place(export, initiator).is_some_and(was_here)
        })
    }

    /// All that is remembered of the writes to an export, but of initiators that have given up everything.
    pub(crate) fn windows(&self, now: Instant, export: ExportId) -> impl Iterator<Item = NumberWindow> {
        let counts = move |of: ExportId, window: &Window| of == export && !window.is_idle(now);
        let of_export =
            self.keys.iter().zip(&self.windows).filter(move |((of, _), window)| counts(*of, window));
        of_export.map(|((_, initiator), window)| {
            let Window { latest, executed, failed, .. } = *window;
            NumberWindow { initiator: *initiator, latest, executed, failed }
        })
    }

    /// The other node remembers this. What it has executed was executed, and what is known here stays so. Whether there was
    /// room for the initiator.
    pub(crate) fn learn(&mut self, now: Instant, export: ExportId, told: &NumberWindow) -> bool {
        let key = (export, told.initiator);
        let place = match self.place(export, told.initiator) {
            Some(place) => place,
            None => match self.free_place(now) {
                Some(place) => self.take_in(place, key, now),
                None => return false,
            },
        };
        self.windows[place].learn(told);
        true
    }

    fn place(&self, export: ExportId, initiator: u64) -> Option<usize> {
        self.keys.iter().position(|key| *key == (export, initiator))
    }

    /// A place never used, or that of the initiator idle for the longest time if it is long enough.
    fn free_place(&self, now: Instant) -> Option<usize> {
        if self.keys.len() < self.capacity {
            return Some(self.keys.len());
        }
        let idle = self.windows.iter().enumerate().filter(|(_, window)| window.is_idle(now));
        idle.min_by_key(|(_, window)| window.last_used).map(|(place, _)| place)
    }

    fn take_in(&mut self, place: usize, key: (ExportId, u64), now: Instant) -> usize {
        let (taken_in, last_used) = (now, now);
        let window =
            Window { latest: 0, executed: [0; WORDS], failed: [0; WORDS], in_flight: 0, taken_in, last_used };
        if place == self.keys.len() {
            self.keys.push(key);
            self.windows.push(window);
        } else {
            (self.keys[place], self.windows[place]) = (key, window);
        }
        place
    }
}

impl Window {
    fn is_idle(&self, now: Instant) -> bool {
        self.in_flight == 0 && now.since(self.last_used) > NUMBERS_IDLE_MIN
    }

    fn find(&self, sequence: u64) -> Known {
        let (word, bit) = place(sequence);
        if sequence > self.latest {
            Known::No
        } else if self.latest - sequence >= SEQUENCE_WINDOW {
            Known::TooOld
        } else if self.failed[word] & bit != 0 {
            Known::Failed
        } else if self.executed[word] & bit != 0 {
            Known::Executed
        } else {
            Known::No
        }
    }

    fn advance(&mut self, sequence: u64) {
        if sequence <= self.latest {
            return;
        }
        for passed in 1..=(sequence - self.latest).min(SEQUENCE_WINDOW) {
            let (word, bit) = place(self.latest + passed);
            self.executed[word] &= !bit;
            self.failed[word] &= !bit;
        }
        self.latest = sequence;
    }

    fn learn(&mut self, told: &NumberWindow) {
        self.advance(told.latest);
        let oldest = self.latest.saturating_sub(SEQUENCE_WINDOW - 1).max(1);
        for sequence in oldest..=told.latest {
            let (word, bit) = place(sequence);
            if told.executed[word] & bit != 0 {
                self.mark(sequence, Known::Executed);
            } else if told.failed[word] & bit != 0 && self.find(sequence) == Known::No {
                self.mark(sequence, Known::Failed);
            }
        }
    }

    fn mark(&mut self, sequence: u64, known: Known) {
        if sequence > self.latest || self.latest - sequence >= SEQUENCE_WINDOW {
            return;
        }
        let (word, bit) = place(sequence);
        let set = |bits: &mut u64, on: bool| *bits = if on { *bits | bit } else { *bits & !bit };
        set(&mut self.executed[word], known == Known::Executed);
        set(&mut self.failed[word], known == Known::Failed);
    }
}

fn place(sequence: u64) -> (usize, u64) {
    let place = usize::try_from(sequence % SEQUENCE_WINDOW).expect("less than the window");
    (place / 64, 1 << (place % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::Duration;

    fn number(initiator: u64, sequence: u64) -> Number {
        Number { export: ExportId(1), initiator, sequence }
    }

    fn at(seconds: u64) -> Instant {
        Instant::default().after(Duration::from_secs(seconds))
    }

    #[test]
    fn a_number_is_known_while_it_is_in_the_window_and_refused_below() {
        let mut numbers = Numbers::new(2);
        assert!(numbers.begin(at(0), number(1, 1)));
        assert_eq!(numbers.find(number(1, 1)), Known::No);
        numbers.end(at(0), number(1, 1), Some(Known::Executed));
        assert!(numbers.begin(at(0), number(1, SEQUENCE_WINDOW)));
        assert_eq!(numbers.find(number(1, 1)), Known::Executed);
        assert_eq!(numbers.find(number(1, 2)), Known::No);
        numbers.begin(at(0), number(1, SEQUENCE_WINDOW + 1));
        assert_eq!(numbers.find(number(1, 1)), Known::TooOld);
        assert_eq!(numbers.find(number(1, SEQUENCE_WINDOW + 1)), Known::No, "its place was another's");
        assert_eq!(numbers.find(number(2, 1)), Known::No);
    }

    #[test]
    fn what_failed_is_remembered_and_what_is_doubtful_is_not() {
        let mut numbers = Numbers::new(2);
        for (sequence, known) in [(1, Known::Failed), (2, Known::Executed), (3, Known::No)] {
            numbers.begin(at(0), number(1, sequence));
            numbers.end(at(0), number(1, sequence), Some(known));
            assert_eq!(numbers.find(number(1, sequence)), known);
        }
        numbers.forget(number(1, 2));
        assert_eq!(numbers.find(number(1, 2)), Known::No);
        numbers.begin(at(0), number(1, u64::MAX));
        assert_eq!(numbers.find(number(1, 1)), Known::TooOld);
    }

    #[test]
    fn what_the_other_node_remembers_is_learnt_and_nothing_is_forgotten_for_it() {
        let (mut here, mut there) = (Numbers::new(1), Numbers::new(2));
        let end = |numbers: &mut Numbers, sequence, known| {
            numbers.begin(at(0), number(1, sequence));
            numbers.end(at(0), number(1, sequence), Some(known));
        };
        end(&mut here, 1, Known::Executed);
        end(&mut here, 2, Known::Executed);
        end(&mut there, 2, Known::Failed);
        end(&mut there, 3, Known::Failed);
        end(&mut there, SEQUENCE_WINDOW + 1, Known::Executed);
        there.begin(at(0), number(2, 1));
        let told: Vec<_> = there.windows(at(1), ExportId(1)).collect();
        assert_eq!(told.len(), 2);
        assert_eq!(there.windows(at(1), ExportId(2)).count(), 0);
        assert!(here.learn(at(1), ExportId(1), &told[0]));
        let known = [1, 2, 3, 4, SEQUENCE_WINDOW + 1].map(|sequence| here.find(number(1, sequence)));
        assert_eq!(known, [Known::TooOld, Known::Executed, Known::Failed, Known::No, Known::Executed]);
        assert!(!here.learn(at(1), ExportId(1), &told[1]), "there is no room for another initiator");
        let older = NumberWindow { latest: 3, ..told[0] };
        assert!(here.learn(at(1), ExportId(1), &older));
        assert_eq!(here.find(number(1, SEQUENCE_WINDOW + 1)), Known::Executed);
        let hostile = NumberWindow { latest: u64::MAX, executed: [u64::MAX; WORDS], ..told[0] };
        assert!(here.learn(at(1), ExportId(1), &hostile));
        assert_eq!(here.find(number(1, u64::MAX)), Known::Executed);
    }

    #[test]
    fn only_an_initiator_that_was_idle_for_long_makes_room() {
        let mut numbers = Numbers::new(2);
        numbers.begin(at(0), number(1, 1));
        numbers.begin(at(0), number(2, 1));
        numbers.end(at(1), number(2, 1), Some(Known::Executed));
        let later = at(2 + NUMBERS_IDLE_MIN.as_secs());
        assert!(!numbers.begin(at(3), number(3, 1)));
        assert!(!numbers.has_room(at(3), ExportId(1), 3) && numbers.has_room(at(3), ExportId(1), 2));
        assert!(numbers.begin(later, number(3, 1)), "the second was idle");
        assert!(!numbers.begin(later, number(4, 1)), "the first has a write in flight");
        assert_eq!(numbers.find(number(2, 1)), Known::No);
    }

    #[test]
    fn where_one_was_overlooked_only_who_was_here_all_the_while_is_known() {
        let (export, idle) = (ExportId(1), NUMBERS_IDLE_MIN.as_secs());
        let mut numbers = Numbers::new(2);
        let once = |numbers: &mut Numbers, seconds, initiator, sequence| {
            let is_taken_in = numbers.begin(at(seconds), number(initiator, sequence));
            numbers.end(at(seconds), number(initiator, sequence), Some(Known::Executed));
            is_taken_in
        };
        assert!(once(&mut numbers, 0, 1, 1) && once(&mut numbers, 0, 2, 1));
        assert!(!numbers.is_blind(at(1), export, 3));
        numbers.overlook(at(1));
        assert!(numbers.is_blind(at(2), export, 3) && !numbers.is_blind(at(2), export, 1));
        assert!(once(&mut numbers, idle - 1, 1, 2));
        numbers.overlook(at(idle));
        assert!(once(&mut numbers, idle + 1, 3, 1), "the second has given everything up");
        assert!(numbers.is_blind(at(idle + 2), export, 3), "it may be the one that was overlooked first");
        assert!(!numbers.is_blind(at(idle + 2), export, 1));
        assert!(numbers.is_blind(at(2 * idle), export, 3) && !numbers.is_blind(at(2 * idle + 1), export, 3));
    }

    #[test]
    fn the_other_node_is_told_of_those_that_may_send_something_again() {
        let mut numbers = Numbers::new(2);
        for initiator in [1, 2] {
            numbers.begin(at(0), number(initiator, 1));
        }
        numbers.end(at(0), number(2, 1), Some(Known::Executed));
        let told =
            |seconds| numbers.windows(at(seconds), ExportId(1)).map(|window| window.initiator).collect();
        let (young, old): (Vec<_>, Vec<_>) =
            (told(NUMBERS_IDLE_MIN.as_secs()), told(NUMBERS_IDLE_MIN.as_secs() + 1));
        assert_eq!((young, old), (vec![1, 2], vec![1]), "one has a write in flight still");
    }
}
