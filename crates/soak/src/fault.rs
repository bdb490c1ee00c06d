//! What a cycle takes from the pair: drawn by the seed, each kind once before any comes again.

use std::fmt;
use std::time::Duration;

use sim::random::Random;

/// What happens, and to whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// A node is killed with -9, and started again.
    Kill { node: usize },
    /// Both are, at once.
    KillBoth { first_back: usize },
    /// A node is killed, and once more when it has just come back.
    KillReturning { node: usize },
    /// A node is killed, and the other one when the first has just come back.
    KillInTurn { first: usize },
    /// A node stands still for a while (SIGSTOP).
    Stop { node: usize },
    /// The wire between the nodes swallows everything.
    PeerLinkSilent,
    /// The wire between the nodes is pulled.
    PeerLinkPulled,
    /// A node hears nothing of its peer, which hears it: both lose the session, and one goes on.
    DeafToPeer { node: usize },
    /// A node reaches neither its peer nor the witness, but its initiators.
    Isolated { node: usize },
    /// A node hears neither its peer nor the witness, but both hear it: what it asks for is granted, and it does not hear of that. One
    /// goes on, or none until it hears again.
    Deaf { node: usize },
    /// A node hears its peer and the witness, but neither hears it: the other one goes on.
    Unheard { node: usize },
    /// A node reaches nobody at all.
    CutOff { node: usize },
    /// A node reaches its peer and the witness, but no initiator.
    NoInitiators { node: usize },
    /// One of a node's wires to the storage networks is pulled.
    StorageLink { node: usize, network: usize },
    /// The witness is killed, and started again.
    Witness,
    /// The witness is away when a node is killed.
    WitnessAndKill { node: usize },
    /// The witness is killed, and then the wire between the nodes swallows everything: nobody serves until one of the two is back.
    WitnessThenPeerLink { first_back: FirstBack },
    /// A node leaves by command, and joins again.
    Leave { node: usize },
    /// A node is asked to end (SIGTERM), and started again.
    Restart { node: usize },
}

/// Which of the two that are lost one after the other comes back first: with the witness one node goes on, with the wire both do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FirstBack {
    Witness,
    PeerLink,
}

/// A fault, how long it lasts, and how long what it leaves is left alone where it has two steps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Plan {
    pub(crate) fault: Fault,
    pub(crate) lasts: Duration,
    pub(crate) gap: Duration,
}

const KINDS: usize = 19;
/// With a lease of a second this is from long before the other node goes on alone to long after.
const LASTS_MAX: Duration = Duration::from_millis(3500);
const GAP_MAX: Duration = Duration::from_millis(1200);

/// Gives out faults.
#[derive(Debug)]
pub(crate) struct Deck {
    random: Random,
    kinds: Vec<usize>,
    left: Vec<usize>,
}

impl Deck {
    /// All kinds, or those in whose words `only` occurs; none if it occurs in none.
    pub(crate) fn new(seed: u64, only: &str) -> Option<Self> {
        let kinds: Vec<usize> =
            (0..KINDS).filter(|kind| Fault::of(*kind, 0, 0).kind().contains(only)).collect();
        let random = Random::new(seed, "faults");
        (!kinds.is_empty()).then_some(Self { random, kinds, left: Vec::new() })
    }

    pub(crate) fn next(&mut self) -> Plan {
        if self.left.is_empty() {
            self.left.clone_from(&self.kinds);
        }
        let kind = self.left.swap_remove(self.random.index(self.left.len()));
        let fault = Fault::of(kind, self.random.index(2), self.random.index(2));
        let lasts = self.random.duration(Duration::ZERO, LASTS_MAX);
        let gap = self.random.duration(Duration::ZERO, GAP_MAX);
        Plan { fault, lasts, gap }
    }
}

impl Fault {
    const fn of(kind: usize, node: usize, network: usize) -> Self {
        match kind {
            0 => Self::Kill { node },
            1 => Self::KillBoth { first_back: node },
            2 => Self::KillReturning { node },
            3 => Self::KillInTurn { first: node },
            4 => Self::Stop { node },
            5 => Self::PeerLinkSilent,
            6 => Self::PeerLinkPulled,
            7 => Self::DeafToPeer { node },
            8 => Self::Isolated { node },
            9 => Self::Deaf { node },
            10 => Self::Unheard { node },
            11 => Self::CutOff { node },
            12 => Self::NoInitiators { node },
            13 => Self::StorageLink { node, network },
            14 => Self::Witness,
            15 => Self::WitnessAndKill { node },
            16 => Self::WitnessThenPeerLink { first_back: [FirstBack::Witness, FirstBack::PeerLink][node] },
            17 => Self::Leave { node },
            _ => Self::Restart { node },
        }
    }

    /// Its kind in words, for the summary.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "a node killed",
            Self::KillBoth { .. } => "both nodes killed at once",
            Self::KillReturning { .. } => "a node killed, and again on its return",
            Self::KillInTurn { .. } => "a node killed, the other on its return",
            Self::Stop { .. } => "a node stopped",
            Self::PeerLinkSilent => "peer link silent",
            Self::PeerLinkPulled => "peer link pulled",
            Self::DeafToPeer { .. } => "a node deaf to its peer",
            Self::Isolated { .. } => "a node without peer and witness",
            Self::Deaf { .. } => "a node deaf to peer and witness",
            Self::Unheard { .. } => "a node unheard by peer and witness",
            Self::CutOff { .. } => "a node cut off from everybody",
            Self::NoInitiators { .. } => "a node without initiators",
            Self::StorageLink { .. } => "a storage link pulled",
            Self::Witness => "witness killed",
            Self::WitnessAndKill { .. } => "a node killed without witness",
            Self::WitnessThenPeerLink { .. } => "witness killed, then peer link silent",
            Self::Leave { .. } => "a node left and joined",
            Self::Restart { .. } => "a node restarted",
        }
    }
}

impl FirstBack {
    const fn words(self) -> &'static str {
        match self {
            Self::Witness => "the witness",
            Self::PeerLink => "the link",
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, lasts, gap } = self;
        let lasts = lasts.as_millis();
        match fault {
            Fault::KillBoth { first_back } => {
                let gap = gap.as_millis();
                write!(
                    f,
                    "{}; node {first_back} back after {lasts} ms, the other {gap} ms later",
                    fault.kind()
                )
            }
            Fault::KillReturning { node } => {
                write!(f, "{}: node {node} for {lasts} ms, again {} ms later", fault.kind(), gap.as_millis())
            }
            Fault::KillInTurn { first } => {
                write!(f, "{}: node {first} for {lasts} ms, {} ms later", fault.kind(), gap.as_millis())
            }
            Fault::StorageLink { node, network } => {
                write!(f, "{}: node {node}, network {network}, for {lasts} ms", fault.kind())
            }
            Fault::WitnessThenPeerLink { first_back } => {
                let (gap, first) = (gap.as_millis(), first_back.words());
                write!(f, "{} {gap} ms later, for {lasts} ms; {first} back first", fault.kind())
            }
            Fault::PeerLinkSilent | Fault::PeerLinkPulled | Fault::Witness => {
                write!(f, "{} for {lasts} ms", fault.kind())
            }
            Fault::Kill { node }
            | Fault::Stop { node }
            | Fault::DeafToPeer { node }
            | Fault::Isolated { node }
            | Fault::Deaf { node }
            | Fault::Unheard { node }
            | Fault::CutOff { node }
            | Fault::NoInitiators { node }
            | Fault::WitnessAndKill { node }
            | Fault::Leave { node }
            | Fault::Restart { node } => write!(f, "{}: node {node}, for {lasts} ms", fault.kind()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_comes_before_any_comes_again_and_the_seed_says_in_what_order() {
        let draw = |seed: u64| {
            let mut deck = Deck::new(seed, "").expect("all kinds");
            (0..KINDS).map(|_| deck.next()).collect::<Vec<_>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        let kinds: BTreeSet<&str> = draw(3).iter().map(|plan| plan.fault.kind()).collect();
        assert_eq!(kinds.len(), KINDS);
    }

    #[test]
    fn a_few_kinds_can_be_asked_for_by_their_words() {
        let mut deck = Deck::new(1, "pulled").expect("two kinds");
        let kinds: BTreeSet<&str> = (0..6).map(|_| deck.next().fault.kind()).collect();
        assert_eq!(kinds, BTreeSet::from(["a storage link pulled", "peer link pulled"]));
        assert!(Deck::new(1, "flooded").is_none());
    }
}
