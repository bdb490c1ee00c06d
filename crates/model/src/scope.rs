//! The small scopes: what may happen in one search. Everything that can happen within a scope is tried.
//!
//! A scope says which requests there are and which rules are in force. It decides nothing about what is right.

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

/// The scopes in which a peer is lost and found.
pub mod failover {
    use super::{Faults, Scope, Start};
    use crate::words::{Request, Sectors, Side};

    fn write() -> Request {
        Request::write(Sectors::FIRST)
    }

    fn read() -> Request {
        Request::read(Sectors::FIRST)
    }

    /// The link breaks once.
    #[must_use]
    pub fn one_cut() -> Scope {
        Scope::new("the link breaks once: two writes, a read", vec![write(), write(), read()])
            .with(Faults { cuts: 1, ..Faults::default() })
    }

    /// The link breaks once, seen by readers on both sides.
    #[must_use]
    pub fn one_cut_readers() -> Scope {
        Scope::new("the link breaks once: a write, two reads", vec![write(), read(), read()])
            .with(Faults { cuts: 1, ..Faults::default() })
    }

    /// The link breaks twice.
    #[must_use]
    pub fn two_cuts() -> Scope {
        Scope::new("the link breaks twice: a write, two reads", vec![write(), read(), read()])
            .with(Faults { cuts: 2, ..Faults::default() })
    }

    /// One node loses power once.
    #[must_use]
    pub fn one_power_loss() -> Scope {
        Scope::new("power is lost once: two writes, a read", vec![write(), write(), read()])
            .with(Faults { power_losses: 1, ..Faults::default() })
    }

    /// Power is lost twice: at both nodes, or at one of them again.
    #[must_use]
    pub fn two_power_losses() -> Scope {
        Scope::new("power is lost twice: a write, two reads", vec![write(), read(), read()])
            .with(Faults { power_losses: 2, ..Faults::default() })
    }

    /// The link breaks and power is lost, in either order.
    #[must_use]
    pub fn cut_and_power_loss() -> Scope {
        Scope::new("the link breaks, power is lost: a write, two reads", vec![write(), read(), read()])
            .with(Faults { cuts: 1, power_losses: 1, ..Faults::default() })
    }

    /// A node leaves on purpose.
    #[must_use]
    pub fn leave() -> Scope {
        Scope::new("a node leaves: two writes, a read", vec![write(), write(), read()])
            .with(Faults { leaves: 1, ..Faults::default() })
    }

    /// A node comes back to one that serves alone.
    #[must_use]
    pub fn resync() -> Scope {
        let starts = Side::BOTH.map(|sole| Start::Alone(sole, Sectors::FIRST));
        Scope::new("a node returns: two writes, a read", vec![write(), write(), read()]).from(&starts)
    }

    /// A node comes back to one that serves alone and has missed both sectors.
    #[must_use]
    pub fn resync_two_sectors() -> Scope {
        let starts = Side::BOTH.map(|sole| Start::Alone(sole, Sectors::PAIR));
        let requests = vec![Request::write(Sectors::PAIR), Request::read(Sectors::PAIR)];
        Scope::new("a node returns: a write and a read of two sectors", requests).from(&starts)
    }

    /// A node comes back to one that serves alone, and the link breaks again.
    #[must_use]
    pub fn resync_and_cut() -> Scope {
        let starts = Side::BOTH.map(|sole| Start::Alone(sole, Sectors::FIRST));
        Scope::new("a node returns, the link breaks: a write, a read", vec![write(), read()])
            .from(&starts)
            .with(Faults { cuts: 1, ..Faults::default() })
    }

    /// A node comes back to one that serves alone, and power is lost.
    #[must_use]
    pub fn resync_and_power_loss() -> Scope {
        let starts = Side::BOTH.map(|sole| Start::Alone(sole, Sectors::FIRST));
        Scope::new("a node returns, power is lost: a write, a read", vec![write(), read()])
            .from(&starts)
            .with(Faults { power_losses: 1, ..Faults::default() })
    }
}

/// The scopes in which frames are sent again, linger, and come by the other node.
pub mod duplicates {
    use super::{Faults, Memory, Scope, Start};
    use crate::initiator::Network;
    use crate::words::{Request, Sectors, Side};

    fn write() -> Request {
        Request::write(Sectors::FIRST)
    }

    fn read() -> Request {
        Request::read(Sectors::FIRST)
    }

    /// A stock initiator sends a write twice, while another one writes to the same sector.
    #[must_use]
    pub fn stock() -> Scope {
        Scope::new("stock: a write in two frames, a write", vec![write().in_frames(2), write().in_frames(1)])
            .uncached()
    }

    /// The same, and another one reads.
    #[must_use]
    pub fn stock_read() -> Scope {
        let requests = vec![write().in_frames(2), write(), read()];
        Scope::new("stock: a write in two frames, a write, a read", requests).uncached()
    }

    /// The same, and the link breaks.
    #[must_use]
    pub fn stock_and_cut() -> Scope {
        Scope::new(
            "stock: a write in two frames, a write, the link breaks",
            vec![write().in_frames(2), write()],
        )
        .uncached()
        .with(Faults { cuts: 1, ..Faults::default() })
    }

    /// A stock initiator sends a write twice, another one writes, and a node loses power.
    #[must_use]
    pub fn stock_and_power_loss() -> Scope {
        Scope::new(
            "stock: a write in two frames, a write, power is lost",
            vec![write().in_frames(2), write()],
        )
        .uncached()
        .with(Faults { power_losses: 1, ..Faults::default() })
    }

    /// The same when a node comes back to one that serves alone, each write at a node of its own to begin with.
    #[must_use]
    pub fn stock_returning_and_power_loss() -> Scope {
        let requests = vec![write().in_frames(2).at(Side::Zero), write().at(Side::One)];
        Scope::new("stock: a write in two frames, a write, a node returns, power is lost", requests)
            .uncached()
            .from(&[Start::Alone(Side::Zero, Sectors::FIRST)])
            .with(Faults { power_losses: 1, ..Faults::default() })
    }

    /// A stock initiator sends a write twice, and nobody else asks anything.
    #[must_use]
    pub fn stock_alone() -> Scope {
        Scope::new("stock: a write in two frames", vec![write().in_frames(2)]).uncached()
    }

    /// A stock initiator turns to the other node, where its write has to wait for another one.
    #[must_use]
    pub fn stock_behind() -> Scope {
        let requests =
            vec![write().in_frames(2).at(Side::Zero), write().at(Side::Zero), write().at(Side::One)];
        Scope::new("stock: a write in two frames, two writes", requests).uncached()
    }

    /// The network doubles each frame; all of them go to one node.
    #[must_use]
    pub fn stock_doubled() -> Scope {
        let requests = vec![write().in_frames(1).at(Side::Zero), write().in_frames(1).at(Side::Zero)];
        Scope::new("stock: two writes, each frame twice, one node", requests).uncached().over(Network::Twice)
    }

    /// A node comes back to one that serves alone, and what is sent to its address both of them get.
    #[must_use]
    pub fn stock_flooded() -> Scope {
        let starts = Side::BOTH.map(|sole| Start::Alone(sole, Sectors::FIRST));
        Scope::new("stock: two writes, a node returns, frames flooded", vec![write().in_frames(1), write()])
            .uncached()
            .from(&starts)
            .over(Network::Flooding)
    }

    /// A sequenced initiator sends a write twice, anywhere, while another one writes to the same sector.
    #[must_use]
    pub fn sequenced() -> Scope {
        let requests = vec![write().in_frames(2), write(), read()];
        Scope::new("sequenced: a write in two frames, a write, a read", requests).uncached().sequenced()
    }

    /// The same, and the link breaks.
    #[must_use]
    pub fn sequenced_and_cut() -> Scope {
        let requests = vec![write().in_frames(2), write()];
        Scope::new("sequenced: a write in two frames, a write, the link breaks", requests)
            .uncached()
            .sequenced()
            .with(Faults { cuts: 1, ..Faults::default() })
    }

    /// The same, and a node loses power.
    #[must_use]
    pub fn sequenced_and_power_loss() -> Scope {
        let requests = vec![write().in_frames(2), write()];
        Scope::new("sequenced: a write in two frames, a write, power is lost", requests)
            .uncached()
            .sequenced()
            .with(Faults { power_losses: 1, ..Faults::default() })
    }

    /// Identities are not kept, and each node loses power, or one of them twice, always while the other one remembers.
    #[must_use]
    pub fn numbers_remembered() -> Scope {
        let requests = vec![write().in_frames(2), write()];
        let name =
            "numbers not kept: a write in two frames, a write, power is lost twice, one node remembers";
        Scope::new(name, requests)
            .uncached()
            .numbers_not_kept(Memory::OneRemembers)
            .with(Faults { power_losses: 2, ..Faults::default() })
    }

    /// Identities are not kept, a node comes back to one that serves alone, and power is lost where the other one remembers.
    #[must_use]
    pub fn numbers_remembered_alone() -> Scope {
        let starts = Side::BOTH.map(|sole| Start::Alone(sole, Sectors::FIRST));
        let requests = vec![write().in_frames(2).at(Side::Zero), write()];
        let name = "numbers not kept: a write in two frames, a write, a node returns, power is lost, one node remembers";
        Scope::new(name, requests)
            .uncached()
            .from(&starts)
            .numbers_not_kept(Memory::OneRemembers)
            .with(Faults { power_losses: 1, ..Faults::default() })
    }

    /// Identities are not kept, both nodes lose power before they meet, and somebody reads.
    #[must_use]
    pub fn numbers_forgotten() -> Scope {
        let requests = [write().in_frames(2), write(), read()].map(|request| request.at(Side::Zero));
        let name = "numbers not kept: a write in two frames, a write, a read, both lose power";
        Scope::new(name, requests.to_vec())
            .uncached()
            .numbers_not_kept(Memory::MetFirst)
            .with(Faults { power_losses: 2, ..Faults::default() })
    }

    /// Identities are not kept, the sole member loses power before its peer is back, and somebody reads.
    #[must_use]
    pub fn numbers_forgotten_alone() -> Scope {
        let requests = [write().in_frames(2), write(), read()].map(|request| request.at(Side::Zero));
        let name = "numbers not kept: a write in two frames, a write, a read, the sole member loses power";
        Scope::new(name, requests.to_vec())
            .uncached()
            .from(&[Start::Alone(Side::Zero, Sectors::FIRST)])
            .numbers_not_kept(Memory::NotKept)
            .with(Faults { power_losses: 1, ..Faults::default() })
    }

    /// Identities are not kept, a node loses power and may go on alone though the other one remembers, and somebody reads.
    #[must_use]
    pub fn numbers_forgotten_by_one() -> Scope {
        let requests = [write().in_frames(2), write(), read()].map(|request| request.at(Side::Zero));
        let name = "numbers not kept: a write in two frames, a write, a read, power is lost";
        Scope::new(name, requests.to_vec())
            .uncached()
            .numbers_not_kept(Memory::NotKept)
            .with(Faults { power_losses: 1, ..Faults::default() })
    }
}
