//! The small scopes: what may happen in one search. Everything that can happen within a scope is tried.
//!
//! A scope says which requests there are and which rules are in force. It decides nothing about what is right.

use crate::rules::{Rule, Rules};
use crate::words::{Request, Side};

/// The bounds of one search.
#[derive(Clone, Debug)]
pub struct Scope {
    /// What to call it.
    pub name: &'static str,
    /// The rules in force.
    pub rules: Rules,
    /// The requests, each of which is asked at most once, at any time.
    pub requests: Vec<Request>,
}

impl Scope {
    /// A scope with all rules in force.
    #[must_use]
    pub fn new(name: &'static str, requests: Vec<Request>) -> Self {
        Self { name, rules: Rules::all(), requests }
    }

    /// The same scope with one rule turned off.
    #[must_use]
    pub fn without(self, rule: Rule) -> Self {
        Self { rules: self.rules.without(rule), ..self }
    }

    /// Every way to send the requests to the two nodes. Requests that only differ in their number are told apart once.
    #[must_use]
    pub fn placements(&self) -> Vec<Vec<Side>> {
        let mut all = vec![Vec::new()];
        for request in &self.requests {
            let sides: &[Side] = match request.at {
                Some(Side::Zero) => &[Side::Zero],
                Some(Side::One) => &[Side::One],
                None => &Side::BOTH,
            };
            let longer = |shorter: &Vec<Side>| {
                sides.iter().map(|&side| shorter.iter().copied().chain([side]).collect()).collect::<Vec<_>>()
            };
            all = all.iter().flat_map(longer).collect();
        }
        all.retain(|placement| self.is_representative(placement));
        all
    }

    fn is_representative(&self, placement: &[Side]) -> bool {
        let neighbours = self.requests.windows(2).zip(placement.windows(2));
        neighbours.into_iter().all(|(requests, sides)| requests[0] != requests[1] || sides[0] <= sides[1])
    }
}

/// The scopes without faults, in which a power loss of both nodes is considered at every point.
pub mod mirror {
    use super::Scope;
    use crate::words::{Request, Sectors};

    fn write() -> Request {
        Request::write(Sectors::FIRST)
    }

    fn read() -> Request {
        Request::read(Sectors::FIRST)
    }

    /// Two writes and two reads of one sector.
    #[must_use]
    pub fn two_writes_two_reads() -> Scope {
        Scope::new("two writes, two reads", vec![write(), write(), read(), read()])
    }

    /// Three writes to one sector.
    #[must_use]
    pub fn three_writes() -> Scope {
        Scope::new("three writes", vec![write(), write(), write()])
    }

    /// Three writes to one sector and a read.
    #[must_use]
    pub fn three_writes_one_read() -> Scope {
        Scope::new("three writes, a read", vec![write(), write(), write(), read()])
    }

    /// Two writes of which one covers only half of the other, and a read of both sectors.
    #[must_use]
    pub fn partial_overlap() -> Scope {
        let requests = vec![
            Request::write(Sectors::PAIR),
            Request::write(Sectors::SECOND),
            Request::read(Sectors::PAIR),
        ];
        Scope::new("two sectors, writes that overlap in part, a read", requests)
    }

    /// Three writes, the middle one of which overlaps both others, which do not overlap each other.
    #[must_use]
    pub fn bridge() -> Scope {
        let requests = [Sectors::FIRST, Sectors::PAIR, Sectors::SECOND].map(Request::write).to_vec();
        Scope::new("two sectors, a write across two others", requests)
    }
}
