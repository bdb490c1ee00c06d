//! What the initiators asked and were told, as each of them writes it down by one clock, and all of it as one history.
//!
//! A call is dated before its first frame leaves, an answer after its frame has come: what happened in between happened while the
//! request was under way, whatever held a thread up.

use std::fmt;

use block::{Instant, LbaRange};
use sim::content::Value;
use sim::history::{Action, History, OperationId};
use std::collections::HashMap;

/// Stock frames and the nodes' memory of them: see [`History::new`].
pub(crate) const MEMORY: block::Duration = aoe::limits::DUPLICATE_WINDOW;

/// Which of an initiator's requests; of a write also its value.
pub(crate) type RequestNumber = u64;

/// What an initiator, or whoever starts the nodes, writes down.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Event {
    /// A node is about to start; it will remember nothing. By nobody.
    Forgot,
    /// A read was asked for.
    CalledRead(LbaRange),
    /// A write was asked for, and whether its initiator numbers its writes.
    CalledWrite(LbaRange, bool),
    /// A frame of a write leaves, for the first time or again, with a number or without.
    Sent(LbaRange, bool),
    /// A part of a read was answered with these values.
    Read(LbaRange, Vec<Value>),
    /// All of a write was answered.
    Written,
    /// The initiator gave up.
    Failed(String),
}

/// One line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) at: Instant,
    pub(crate) initiator: u16,
    pub(crate) request: RequestNumber,
    pub(crate) event: Event,
}

impl Entry {
    /// What counts as first of what has the same date: requests that may have been under way together are taken to have been.
    const fn rank(&self) -> u8 {
        match self.event {
            Event::Forgot => 0,
            Event::CalledRead(_) | Event::CalledWrite(..) => 1,
            Event::Sent(..) => 2,
            Event::Read(..) | Event::Written | Event::Failed(_) => 3,
        }
    }
}

/// Puts the notes of all into one order.
pub(crate) fn merge(notes: impl IntoIterator<Item = Vec<Entry>>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = notes.into_iter().flatten().collect();
    entries.sort_by_key(|entry| (entry.at, entry.rank()));
    entries
}

/// Makes a history of merged notes; `beginning` is what the sectors held before.
///
/// # Panics
/// If the notes contradict themselves: that is a fault of the initiators here.
pub(crate) fn history(entries: &[Entry], beginning: Vec<Value>) -> History {
    let mut history = History::new(MEMORY);
    history.settle(beginning);
    let mut calls: HashMap<(u16, RequestNumber), (OperationId, LbaRange)> = HashMap::new();
    for Entry { at, initiator, request, event } in entries {
        let value = || Value::new(*initiator, *request);
        let mut call = |action, range: &LbaRange| {
            let id = history.call(*at, *initiator, action, *range);
            assert!(calls.insert((*initiator, *request), (id, *range)).is_none(), "a request is called once");
        };
        match event {
            Event::Forgot => (0..sim::world::NODES).for_each(|node| history.node_forgot(*at, node)),
            Event::CalledRead(range) => call(Action::Read, range),
            Event::CalledWrite(range, sequenced) => {
                call(Action::Write { value: value(), sequenced: *sequenced }, range);
            }
            // Which node it went to does not matter: all forget together here, which makes more copies late than are.
            Event::Sent(part, sequenced) => {
                // A request's frames of one part have one number.
                let number = sequenced.then_some(*request);
                history.write_arrived(*at, 0, value(), *part, number);
            }
            Event::Read(part, values) => {
                history.read(*at, calls[&(*initiator, *request)].0, *part, values.iter().copied());
            }
            Event::Written => {
                let (id, range) = calls[&(*initiator, *request)];
                history.written(*at, id, range);
            }
            Event::Failed(_) => history.abandoned(calls[&(*initiator, *request)].0),
        }
    }
    history
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, initiator, request, event } = self;
        write!(f, "{} {initiator}:{request} ", at.as_nanos())?;
        match event {
            Event::Forgot => write!(f, "a node starts"),
            Event::CalledRead(range) => write!(f, "read {range}"),
            Event::CalledWrite(range, true) => write!(f, "write {range}, numbered"),
            Event::CalledWrite(range, false) => write!(f, "write {range}"),
            Event::Sent(part, true) => write!(f, "sends {part}, numbered"),
            Event::Sent(part, false) => write!(f, "sends {part}"),
            Event::Written => write!(f, "written"),
            Event::Failed(why) => write!(f, "failed: {why}"),
            Event::Read(part, values) => {
                write!(f, "got {part}:")?;
                // Neighbours mostly hold the same write.
                values.chunk_by(PartialEq::eq).try_for_each(|run| write!(f, " {}x {}", run.len(), run[0]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::{Lba, SectorCount};

    #[test]
    fn what_has_the_same_date_counts_as_under_way_together() {
        let range = LbaRange::new(Lba(3), SectorCount(1)).expect("a sector");
        let entry = |initiator, event| Entry { at: Instant::from_nanos(7), initiator, request: 1, event };
        let notes = [
            vec![entry(1, Event::CalledWrite(range, true)), entry(1, Event::Written)],
            vec![entry(2, Event::CalledRead(range)), entry(2, Event::Read(range, vec![Value::INITIAL]))],
        ];
        let merged = merge(notes);
        assert!(matches!(merged[1].event, Event::CalledRead(_)), "{merged:?}");
        assert_eq!(sim::oracle::check(&history(&merged, Vec::new())), Ok(()));
    }
}
