//! What is going to happen and in which order: by time, and at one time in the order of scheduling.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use block::Instant;

/// Something that happens at a moment.
#[derive(Debug)]
struct Entry<T> {
    at: Instant,
    number: u64,
    event: T,
}

/// All that is going to happen.
#[derive(Debug)]
pub struct Queue<T> {
    heap: BinaryHeap<Entry<T>>,
    number: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::with_capacity(256), number: 0 }
    }
}

impl<T> Queue<T> {
    /// Has something happen at that moment.
    pub fn schedule(&mut self, at: Instant, event: T) {
        self.number += 1;
        self.heap.push(Entry { at, number: self.number, event });
    }

    /// What happens next.
    pub fn pop(&mut self) -> Option<(Instant, T)> {
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }

    /// When the next thing happens.
    #[must_use]
    pub fn peek(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.at)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    /// The heap gives the greatest first, so what comes sooner is greater.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_as_scheduled() {
        let mut queue = Queue::default();
        for (at, event) in [(5, 'c'), (3, 'a'), (5, 'd'), (3, 'b')] {
            queue.schedule(Instant::from_nanos(at), event);
        }
        let order: String = std::iter::from_fn(|| queue.pop()).map(|(_, event)| event).collect();
        assert_eq!(order, "abcd");
    }
}
