//! What a soak has seen: by kind of fault how often and how long the longest request took, and what was looked at.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use block::Instant;

use crate::record::{Entry, Event, RequestNumber};
use crate::verdict::Looked;

/// The requests of a cycle.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Requests {
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    /// From the call to the last answer, of the slowest.
    pub(crate) longest: Duration,
}

impl Requests {
    /// Those in merged notes.
    pub(crate) fn of(entries: &[Entry]) -> Self {
        let mut calls: HashMap<(u16, RequestNumber), Instant> = HashMap::new();
        let mut sum = Self::default();
        for entry in entries {
            let name = (entry.initiator, entry.request);
            match entry.event {
                Event::CalledRead(_) => sum.reads += u64::from(calls.insert(name, entry.at).is_none()),
                Event::CalledWrite(..) => sum.writes += u64::from(calls.insert(name, entry.at).is_none()),
                Event::Read(..) | Event::Written => {
                    sum.longest = sum.longest.max(entry.at.since(calls[&name]));
                }
                Event::Forgot | Event::Sent(..) | Event::Failed(_) => {}
            }
        }
        sum
    }
}

#[derive(Debug, Default)]
struct Kind {
    cycles: u64,
    longest: Duration,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    kinds: BTreeMap<&'static str, Kind>,
    reads: u64,
    writes: u64,
    looked: Looked,
}

impl Summary {
    pub(crate) fn count(&mut self, kind: &'static str, requests: Requests, looked: Looked) {
        let entry = self.kinds.entry(kind).or_default();
        entry.cycles += 1;
        entry.longest = entry.longest.max(requests.longest);
        self.reads += requests.reads;
        self.writes += requests.writes;
        self.looked += looked;
    }

    pub(crate) fn cycles(&self) -> u64 {
        self.kinds.values().map(|kind| kind.cycles).sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what happened | cycles | longest request |\n|---|---|---|")?;
        for (name, Kind { cycles, longest }) in &self.kinds {
            writeln!(f, "| {name} | {cycles} | {:.2} s |", longest.as_secs_f64())?;
        }
        let Looked { accesses, compared, late_copies } = self.looked;
        write!(
            f,
            "\n{} cycles; {} reads and {} writes of several initiators at once, all of them answered; {accesses} accesses to sectors put \
             in order ({late_copies} late copies of writes allowed for); {compared} sectors compared between the two copies",
            self.cycles(),
            self.reads,
            self.writes
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::{Lba, LbaRange, SectorCount};

    #[test]
    fn the_longest_request_is_the_one_whose_last_answer_came_latest_after_its_call() {
        let range = LbaRange::new(Lba(0), SectorCount(2)).expect("a range");
        let entry = |milliseconds: u64, initiator, event| Entry {
            at: Instant::from_nanos(milliseconds * 1_000_000),
            initiator,
            request: 1,
            event,
        };
        let entries = [
            entry(1, 1, Event::CalledRead(range)),
            entry(2, 2, Event::CalledWrite(range, true)),
            entry(30, 2, Event::Written),
            entry(40, 1, Event::Read(range, Vec::new())),
            entry(90, 1, Event::Read(range, Vec::new())),
        ];
        let longest = Duration::from_millis(89);
        assert_eq!(Requests::of(&entries), Requests { reads: 1, writes: 1, longest });
    }
}
