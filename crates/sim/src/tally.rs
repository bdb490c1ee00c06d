//! What came of many runs together.

use std::collections::BTreeMap;
use std::fmt;

use crate::fault::FaultCounts;
use crate::run::Report;
use crate::watch::Marks;

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
    pub failures: BTreeMap<u64, String>,
}

impl Tally {
    /// Adds a run, and what the same seed's way was the second time if it was asked.
    pub fn add(&mut self, seed: u64, report: Report, again: Option<u64>) {
        self.seeds += 1;
        self.requests += report.requests;
        self.injections += report.injections;
        self.events += report.events;
        self.faults.add_all(&report.faults);
        for (mark, count) in report.marks {
            *self.marks.entry(mark).or_default() += count;
        }
        let differs = again.filter(|again| *again != report.digest);
        let failure =
            report.failure.or_else(|| differs.map(|_| "it went another way the second time".into()));
        if let Some(failure) = failure {
            self.failures.insert(seed, failure);
        }
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
        for (mark, count) in &self.marks {
            write!(f, " {mark} {count};")?;
        }
        Ok(())
    }
}
