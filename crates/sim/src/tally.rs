//! What came of many runs together.

use std::collections::BTreeMap;
use std::fmt;

use crate::fault::FaultCounts;
use crate::finding::Finding;
use crate::mark::Marks;
use crate::run::Report;

/// The sum of reports.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Runs.
    pub seeds: u64,
    /// Requests of all.
    pub requests: u64,
    /// How often something began to go wrong.
    pub injections: u64,
    /// Events of all.
    pub events: u64,
    /// What went wrong by intention.
    pub faults: FaultCounts,
    /// What was seen.
    pub marks: Marks,
    /// The seeds that went wrong otherwise, and how.
    pub failures: BTreeMap<u64, Finding>,
}

impl Tally {
    /// Adds a run.
    pub fn add(&mut self, seed: u64, report: Report) {
        self.seeds += 1;
        self.requests += report.requests;
        self.injections += report.injections;
        self.events += report.events;
        self.faults.add_all(&report.faults);
        self.marks.add_all(&report.marks);
        if let Some(failure) = report.failure {
            self.failures.insert(seed, failure);
        }
    }

    /// Kinds of faults that can be drawn and never happened, and what is drawn into being and was never seen.
    #[must_use]
    pub fn unseen(&self) -> Vec<&'static str> {
        let faults = self.faults.iter().filter(|(fault, count)| *count == 0 && fault.is_drawn());
        let marks = self.marks.iter().filter(|(mark, count)| *count == 0 && mark.is_drawn_among(self.seeds));
        faults.map(|(fault, _)| fault.name()).chain(marks.map(|(mark, _)| mark.name())).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seeds = self.seeds.max(1);
        write!(
            f,
            "{} seeds; a seed: {} requests, {} injections with {} effects, {} events\nfaults:",
            self.seeds,
            self.requests / seeds,
            self.injections / seeds,
            self.faults.total() / seeds,
            self.events / seeds
        )?;
        for (fault, count) in self.faults.iter() {
            write!(f, " {fault} {count}")?;
        }
        write!(f, "\nseen:")?;
        for (mark, count) in self.marks.iter() {
            write!(f, " {mark} {count};")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;
    use crate::finding::Property;
    use crate::mark::Mark;

    fn report(digest: u64, failure: Option<Finding>) -> Report {
        let (faults, marks) = (FaultCounts::default(), Marks::default());
        Report { failure, requests: 1, events: 1, digest, injections: 1, faults, marks, lines: Vec::new() }
    }

    #[test]
    fn a_seed_that_goes_another_way_the_second_time_is_a_failure_unless_it_failed_otherwise() {
        let mut tally = Tally::default();
        let lag = Finding::new(Property::Lag, "it lags");
        tally.add(1, report(7, None).compared(7));
        tally.add(2, report(7, None).compared(8));
        tally.add(3, report(7, Some(lag)).compared(8));
        let found = tally.failures.iter().map(|(seed, finding)| (*seed, finding.property));
        assert_eq!(found.collect::<Vec<_>>(), [(2, Property::Repeatable), (3, Property::Lag)]);
        assert_eq!(tally.seeds, 3);
    }

    #[test]
    fn what_was_never_seen_is_told_unless_it_is_never_drawn() {
        let mut tally = Tally::default();
        for fault in Fault::ALL.into_iter().filter(|fault| *fault != Fault::Kill) {
            tally.faults.add(fault);
        }
        for mark in Mark::ALL.into_iter().filter(|mark| !matches!(mark, Mark::Alone | Mark::Forced)) {
            tally.marks.add(mark);
        }
        assert_eq!(tally.unseen(), ["kill", "alone"]);
        let text = tally.to_string();
        (tally.seeds, tally.marks) = (3000, Marks::default());
        assert!(!tally.unseen().contains(&"connected, and not met"), "too seldom for so few seeds");
        tally.seeds = 100_000;
        assert!(tally.unseen().contains(&"connected, and not met"));
        assert!(
            text.contains(" kill 0") && text.contains(" alone 0;") && text.contains(" forced 0;"),
            "{text}"
        );
    }
}
