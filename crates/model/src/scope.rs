//! The small scopes: what may happen in one search. Everything that can happen within a scope is tried.
//!
//! A scope says which requests there are and which rules are in force. It decides nothing about what is right.

pub mod duplicates;
pub mod failover;
pub mod mirror;

use crate::initiator;
use crate::rules::{Rule, Rules};
use crate::search::Scene;
use crate::words::{Request, RequestId, Sectors, Side};
use crate::world::{Action, Mirror};

/// How a search begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Both nodes are members, connected and equal.
    Paired,
    /// One node serves alone; the other is up again, unconnected, and has missed these sectors.
    Alone(Side, Sectors),
}

/// Who remembers sequenced writes when power is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Memory {
    /// Identities are to be on the disk: a node that was without power serves at once.
    Kept,
    /// They are not. Who serves though nobody may remember waits until no frame and no answer of before is under way any more.
    NotKept,
    /// The same, and a node that has lost power serves nothing before it has met the other one, which may have forgotten as well.
    MetFirst,
    /// That, and a node loses power only while the other one remembers everything and could go on.
    OneRemembers,
}

/// How much may go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// How often the peer link breaks.
    pub cuts: u8,
    /// How often a node loses power.
    pub power_losses: u8,
    /// How often a node leaves on purpose.
    pub leaves: u8,
}

impl Faults {
    /// Counts a fault that has happened.
    pub fn spend(&mut self, action: Action) {
        match action {
            Action::Cut => self.cuts -= 1,
            Action::LosePower(..) => self.power_losses -= 1,
            Action::Leave(_) => self.leaves -= 1,
            _ => {}
        }
    }
}

/// The bounds of one search.
#[derive(Clone, Debug)]
pub struct Scope {
    /// What to call it.
    pub name: &'static str,
    /// The rules in force.
    pub rules: Rules,
    /// The requests, each of which is asked at most once, at any time.
    pub requests: Vec<Request>,
    /// The ways in which it may begin.
    pub starts: Vec<Start>,
    /// What may go wrong.
    pub faults: Faults,
    /// The kind of initiator that sends the requests that come in frames.
    pub initiator: initiator::Kind,
    /// What the network makes of a frame.
    pub network: initiator::Network,
    /// Whether the disks have a cache, so that what is visible need not be durable.
    pub cached: bool,
    /// Who remembers sequenced writes when power is lost.
    pub memory: Memory,
}

impl Scope {
    /// A scope with all rules in force, in which nothing goes wrong.
    #[must_use]
    pub fn new(name: &'static str, requests: Vec<Request>) -> Self {
        Self {
            name,
            rules: Rules::all(),
            requests,
            starts: vec![Start::Paired],
            faults: Faults::default(),
            initiator: initiator::Kind::Stock,
            network: initiator::Network::Once,
            cached: true,
            memory: Memory::Kept,
        }
    }

    /// The same scope with these faults.
    #[must_use]
    pub fn with(self, faults: Faults) -> Self {
        Self { faults, ..self }
    }

    /// The same scope with disks that have no cache.
    #[must_use]
    pub fn uncached(self) -> Self {
        Self { cached: false, ..self }
    }

    /// The same scope with sequenced initiators.
    #[must_use]
    pub fn sequenced(self) -> Self {
        Self { initiator: initiator::Kind::Sequenced, ..self }
    }

    /// The same scope with sequenced initiators whose identities go with the power.
    #[must_use]
    pub fn numbers_not_kept(self, memory: Memory) -> Self {
        Self { memory, ..self.sequenced().without(Rule::IdentityKept) }
    }

    /// The same scope with another network.
    #[must_use]
    pub fn over(self, network: initiator::Network) -> Self {
        Self { network, ..self }
    }

    /// Whether this request comes in frames.
    #[must_use]
    pub fn is_framed(&self, request: RequestId) -> bool {
        self.requests[request.index()].frames > 0
    }

    /// The same scope with other beginnings.
    #[must_use]
    pub fn from(self, starts: &[Start]) -> Self {
        Self { starts: starts.to_vec(), ..self }
    }

    /// Whether a read takes its value when it begins. It may as well take it any time later, but where both what is in flight
    /// and the lease are looked at after that, a read that began later is the same.
    #[must_use]
    pub fn reads_are_sampled_at_once(&self) -> bool {
        self.rules.has(Rule::ReadsCheckedWhenSampled) && self.rules.has(Rule::LeaseCheckedAfterWork)
    }

    /// Whether any request comes in frames.
    #[must_use]
    pub fn has_frames(&self) -> bool {
        self.requests.iter().any(|request| request.frames > 0)
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

impl Scene for Scope {
    type Model = Mirror;

    fn name(&self) -> &'static str {
        self.name
    }

    fn without(self, rule: Rule) -> Self {
        Self { rules: self.rules.without(rule), ..self }
    }

    fn model(&self) -> Mirror {
        Mirror { scope: self.clone() }
    }
}

/// A write of the sector that most scopes are about.
fn write() -> Request {
    Request::write(Sectors::FIRST)
}

/// A read of it.
fn read() -> Request {
    Request::read(Sectors::FIRST)
}
