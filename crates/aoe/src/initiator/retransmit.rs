//! Frames that wait for an answer, and those that waited too long.
//!
//! A frame is found by its tag in one step. Those under way to a target for the same kind of request hang in a chain in
//! the order they were sent last; they share one timeout, so only the head of a chain can be due. Those that were due
//! queue up, target by target, to be sent again. Memory is reserved at construction.

use std::collections::VecDeque;
use std::num::NonZeroU64;

use block::{Duration, Instant, LbaRange};

use super::TARGETS_MAX;
use super::tag::{self, TagSequence};
use crate::target::PortId;
use crate::wire::header::Tag;

const NIL: u32 = u32::MAX;

/// What a frame asks for. Each kind has its own round trip.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Read,
    Write,
    Flush,
}

/// Number of [`Kind`]s.
pub(crate) const KINDS: usize = 3;

/// A frame that was sent and not answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    pub(crate) tag: Tag,
    /// Index of the request it is a part of.
    pub(crate) request: u32,
    pub(crate) kind: Kind,
    /// Its sectors; none for a flush.
    pub(crate) range: LbaRange,
    /// Its number, if it is a sequenced write.
    pub(crate) sequence: Option<NonZeroU64>,
    /// Index of the target.
    pub(crate) target: u8,
    /// By which interface it was sent last.
    pub(crate) port: PortId,
    /// When it was sent last.
    pub(crate) sent: Instant,
    /// How often it was sent again.
    pub(crate) retransmissions: u16,
    state: State,
    previous: u32,
    next: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Free,
    /// In a chain.
    UnderWay,
    /// In a queue to be sent again.
    Waiting,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Flights {
    places: Box<[Flight]>,
    used: usize,
    capacity: usize,
    tags: TagSequence,
    chains: [Chain; TARGETS_MAX * KINDS],
    /// For each target. What was answered meanwhile stays in until it comes to the front.
    waiting: Vec<VecDeque<(u32, Tag)>>,
}

#[derive(Clone, Copy, Debug)]
struct Chain {
    first: u32,
    last: u32,
}

impl Flights {
    pub(crate) fn new(capacity: usize, seed: u32) -> Self {
        assert!(capacity > 0 && capacity <= 1 << 20, "between 1 and 2^20 frames at a time");
        let free = Flight {
            tag: Tag(0),
            request: NIL,
            kind: Kind::Read,
            range: LbaRange::default(),
            sequence: None,
            target: 0,
            port: PortId(0),
            sent: Instant::default(),
            retransmissions: 0,
            state: State::Free,
            previous: NIL,
            next: NIL,
        };
        // Twice the room, so that a new tag seldom falls on a place that is taken.
        let places = vec![free; (capacity * 2).next_power_of_two()].into_boxed_slice();
        Self {
            places,
            used: 0,
            capacity,
            tags: TagSequence::new(seed),
            chains: [Chain { first: NIL, last: NIL }; TARGETS_MAX * KINDS],
            waiting: (0..TARGETS_MAX).map(|_| VecDeque::with_capacity(capacity)).collect(),
        }
    }

    pub(crate) const fn has_room(&self) -> bool {
        self.used < self.capacity
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.used == 0
    }

    pub(crate) fn flight(&self, index: u32) -> &Flight {
        &self.places[index as usize]
    }

    /// The frame with that tag, if it still waits for an answer.
    pub(crate) fn find(&self, tag: Tag) -> Option<u32> {
        let place = tag::place(tag, self.places.len());
        let flight = &self.places[place];
        (flight.state != State::Free && flight.tag == tag).then(|| index(place))
    }

    /// A new frame is on its way. Its index and tag.
    pub(crate) fn send(&mut self, now: Instant, part: Part) -> (u32, Tag) {
        assert!(self.has_room(), "the caller looks for room first");
        let places = &self.places;
        let (tag, place) = self.tags.next(places.len(), |place| places[place].state != State::Free);
        let Part { request, kind, range, sequence, target, port } = part;
        self.places[place] = Flight {
            tag,
            request,
            kind,
            range,
            sequence,
            target,
            port,
            sent: now,
            retransmissions: 0,
            state: State::UnderWay,
            previous: NIL,
            next: NIL,
        };
        self.used += 1;
        self.link(index(place));
        (index(place), tag)
    }

    /// A frame that waited to be sent again is on its way, perhaps to another target.
    pub(crate) fn send_again(&mut self, now: Instant, index: u32, target: u8, port: PortId) {
        let flight = &mut self.places[index as usize];
        assert!(flight.state == State::Waiting, "only a frame that waits is sent again");
        flight.state = State::UnderWay;
        flight.target = target;
        flight.port = port;
        flight.sent = now;
        flight.retransmissions = flight.retransmissions.saturating_add(1);
        self.link(index);
    }

    /// Nothing more is awaited for a frame. Whether it was under way (not waiting to be sent again).
    pub(crate) fn remove(&mut self, index: u32) -> bool {
        let flight = &mut self.places[index as usize];
        assert!(flight.state != State::Free, "a frame is removed once");
        let under_way = flight.state == State::UnderWay;
        if under_way {
            self.unlink(index);
        }
        self.places[index as usize].state = State::Free;
        self.used -= 1;
        under_way
    }

    /// When the oldest frame to `target` of that kind was sent.
    pub(crate) fn oldest(&self, target: u8, kind: Kind) -> Option<Instant> {
        let first = self.chains[chain(target, kind)].first;
        (first != NIL).then(|| self.places[first as usize].sent)
    }

    /// The oldest frame to `target` of that kind, if it was sent `timeout` ago or earlier: from now on it waits to be
    /// sent again.
    pub(crate) fn expire(
        &mut self,
        now: Instant,
        target: u8,
        kind: Kind,
        timeout: Duration,
    ) -> Option<Flight> {
        let first = self.chains[chain(target, kind)].first;
        if first == NIL || now < self.places[first as usize].sent.after(timeout) {
            return None;
        }
        self.unlink(first);
        let flight = &mut self.places[first as usize];
        flight.state = State::Waiting;
        self.waiting[usize::from(target)].push_back((first, flight.tag));
        Some(*flight)
    }

    /// The next frame that waits to be sent to `target` again.
    pub(crate) fn waiting(&mut self, target: u8) -> Option<u32> {
        while let Some(&(index, tag)) = self.waiting[usize::from(target)].front() {
            let flight = &self.places[index as usize];
            if flight.tag == tag && flight.state == State::Waiting {
                return Some(index);
            }
            self.waiting[usize::from(target)].pop_front();
        }
        None
    }

    /// Takes the frame that [`Flights::waiting`] showed out of the queue.
    pub(crate) fn take_waiting(&mut self, target: u8) {
        self.waiting[usize::from(target)].pop_front();
    }

    /// Lets what waits for target `from` wait for `to` instead. Writes without a number stay where they are: a copy of one
    /// that reaches its sectors through another node could land after a later write.
    pub(crate) fn move_waiting(&mut self, from: u8, to: u8) {
        for _ in 0..self.waiting[usize::from(from)].len() {
            let Some((index, tag)) = self.waiting[usize::from(from)].pop_front() else {
                return;
            };
            let flight = &mut self.places[index as usize];
            let waits = flight.tag == tag && flight.state == State::Waiting;
            let may_move = flight.kind == Kind::Read || flight.sequence.is_some();
            let queue = if waits && may_move { to } else { from };
            self.waiting[usize::from(queue)].push_back((index, tag));
        }
    }

    /// The index of some frame of that request.
    pub(crate) fn any_of(&self, request: u32) -> Option<u32> {
        let found =
            self.places.iter().position(|flight| flight.state != State::Free && flight.request == request);
        found.map(index)
    }

    fn link(&mut self, index: u32) {
        let Flight { target, kind, .. } = self.places[index as usize];
        let last = self.chains[chain(target, kind)].last;
        let flight = &mut self.places[index as usize];
        (flight.previous, flight.next) = (last, NIL);
        match last {
            NIL => self.chains[chain(target, kind)].first = index,
            last => self.places[last as usize].next = index,
        }
        self.chains[chain(target, kind)].last = index;
    }

    fn unlink(&mut self, index: u32) {
        let Flight { target, kind, previous, next, .. } = self.places[index as usize];
        match previous {
            NIL => self.chains[chain(target, kind)].first = next,
            previous => self.places[previous as usize].next = next,
        }
        match next {
            NIL => self.chains[chain(target, kind)].last = previous,
            next => self.places[next as usize].previous = previous,
        }
    }
}

/// A part of a request, for one frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) request: u32,
    pub(crate) kind: Kind,
    pub(crate) range: LbaRange,
    pub(crate) sequence: Option<NonZeroU64>,
    pub(crate) target: u8,
    pub(crate) port: PortId,
}

const fn chain(target: u8, kind: Kind) -> usize {
    target as usize * KINDS + kind as usize
}

fn index(place: usize) -> u32 {
    u32::try_from(place).expect("at most 2^21 places")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_nanos(100);

    fn at(nanoseconds: u64) -> Instant {
        Instant::from_nanos(nanoseconds)
    }

    fn part(kind: Kind) -> Part {
        Part { request: 1, kind, range: LbaRange::default(), sequence: None, target: 0, port: PortId(0) }
    }

    #[test]
    fn the_oldest_frame_is_due_first_and_sending_it_again_makes_it_the_youngest() {
        let mut flights = Flights::new(4, 0);
        let (first, _) = flights.send(at(0), part(Kind::Read));
        flights.send(at(10), part(Kind::Read));
        assert_eq!(flights.oldest(0, Kind::Read), Some(at(0)));
        assert!(flights.expire(at(99), 0, Kind::Read, TIMEOUT).is_none());
        assert!(flights.expire(at(100), 0, Kind::Read, TIMEOUT).is_some());
        assert!(flights.expire(at(100), 0, Kind::Read, TIMEOUT).is_none());
        assert_eq!(flights.waiting(0), Some(first));
        flights.take_waiting(0);
        flights.send_again(at(105), first, 0, PortId(1));
        assert_eq!(flights.oldest(0, Kind::Read), Some(at(10)));
        assert_eq!(flights.flight(first).retransmissions, 1);
    }

    #[test]
    fn what_is_answered_while_it_waits_is_not_sent_again() {
        let mut flights = Flights::new(4, 0);
        let (first, tag) = flights.send(at(0), part(Kind::Write));
        flights.expire(at(100), 0, Kind::Write, TIMEOUT);
        assert_eq!(flights.find(tag), Some(first));
        assert!(!flights.remove(first));
        assert_eq!((flights.waiting(0), flights.find(tag)), (None, None));
        assert!(flights.is_empty());
    }

    #[test]
    fn of_stock_requests_only_reads_move_to_another_target() {
        let mut flights = Flights::new(4, 0);
        let (write, _) = flights.send(at(0), part(Kind::Write));
        let (read, _) = flights.send(at(0), part(Kind::Read));
        flights.expire(at(100), 0, Kind::Write, TIMEOUT);
        flights.expire(at(100), 0, Kind::Read, TIMEOUT);
        flights.move_waiting(0, 1);
        assert_eq!((flights.waiting(0), flights.waiting(1)), (Some(write), Some(read)));
    }

    #[test]
    fn a_write_with_a_number_moves_too() {
        let mut flights = Flights::new(4, 0);
        let (write, _) = flights.send(at(0), Part { sequence: NonZeroU64::new(1), ..part(Kind::Write) });
        flights.expire(at(100), 0, Kind::Write, TIMEOUT);
        flights.move_waiting(0, 1);
        assert_eq!((flights.waiting(0), flights.waiting(1)), (None, Some(write)));
    }
}
