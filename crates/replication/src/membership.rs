//! Who serves a volume, and since which epoch.
//!
//! Decides which membership may follow which. It never decides *that* one follows: the arbiter does, by compare and
//! swap, and the metadata holds the outcome.

use std::fmt;

use thiserror::Error;

use crate::limits::COUNTED_MAX;

/// The number of a membership; each one is one more than that before it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch a volume begins with.
    pub const FIRST: Self = Self(1);
    /// The last that is believed, and that no volume counts up to.
    pub const LAST: Self = Self(COUNTED_MAX);
}

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Which of the two nodes: the number breaks ties and never changes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum NodeNumber {
    /// Node 0, whose write is ordered first where two are concurrent.
    Zero,
    /// Node 1.
    One,
}

impl NodeNumber {
    /// The peer.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Zero => Self::One,
            Self::One => Self::Zero,
        }
    }

    /// 0 or 1.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Zero => 0,
            Self::One => 1,
        }
    }

    /// The node with that number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Zero),
            1 => Some(Self::One),
            _ => None,
        }
    }
}

impl fmt::Display for NodeNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "node {}", self.number())
    }
}

/// The nodes whose copies are good and that may serve.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Members {
    /// Both: a write is acknowledged when both have it.
    Both,
    /// One alone: the other's copy is stale until it is in sync again.
    Only(NodeNumber),
}

impl Members {
    /// Whether `node` is one of them.
    #[must_use]
    pub fn includes(self, node: NodeNumber) -> bool {
        match self {
            Self::Both => true,
            Self::Only(member) => member == node,
        }
    }
}

impl fmt::Display for Members {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Both => formatter.write_str("both nodes"),
            Self::Only(node) => write!(formatter, "only {node}"),
        }
    }
}

/// Who serves since which epoch. What follows what:
///
/// ```text
///                  lost or left 1                      lost or left 0
///        ┌──────────────────────────── Both ────────────────────────────┐
///        ▼                            ▲    ▲                            ▼
///    Only(0) ─── 1 is in sync ────────┘    └──────── 0 is in sync ── Only(1)
///        │                                                              ▲
///        └──────────── forced to 1 (forced to 0 the other way) ─────────┘
/// ```
///
/// Each arrow is one epoch. Nothing follows itself: a sole member that restarts goes on in the epoch it has.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Membership {
    /// The number of this membership.
    pub epoch: Epoch,
    /// Who.
    pub members: Members,
}

/// Why a membership is followed by the next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// This node does not answer any more; its lease has run out.
    Lost(NodeNumber),
    /// This node said that it leaves.
    Left(NodeNumber),
    /// The last block of this node is in sync.
    InSync(NodeNumber),
    /// An operator made this node serve although its copy may be stale: what the other acknowledged alone is lost.
    Forced(NodeNumber),
}

use Cause::{Forced, InSync, Left, Lost};
use Members::{Both, Only};
use NodeNumber::{One, Zero};

/// All successions there are; the drawing above is this table.
pub const SUCCESSIONS: [(Members, Cause, Members); 8] = [
    (Both, Lost(One), Only(Zero)),
    (Both, Left(One), Only(Zero)),
    (Both, Lost(Zero), Only(One)),
    (Both, Left(Zero), Only(One)),
    (Only(Zero), InSync(One), Both),
    (Only(One), InSync(Zero), Both),
    (Only(Zero), Forced(One), Only(One)),
    (Only(One), Forced(Zero), Only(Zero)),
];

/// Why a membership does not follow another.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum SuccessionError {
    /// The members do not change that way.
    #[error(
        "membership {to} does not follow {from}: no cause leads there; ask the arbiter again which membership holds"
    )]
    Unlawful {
        /// What holds.
        from: Membership,
        /// What was claimed to follow.
        to: Membership,
    },
    /// The cause means nothing for these members.
    #[error("{cause:?} changes nothing in membership {from}; ask the arbiter again which membership holds")]
    NoSuchCause {
        /// What holds.
        from: Membership,
        /// What was claimed to have happened.
        cause: Cause,
    },
    /// Epochs are counted without gaps.
    #[error("epoch {to} does not follow {from}; ask the arbiter again which membership holds")]
    EpochGap {
        /// What holds.
        from: Epoch,
        /// What was claimed to follow.
        to: Epoch,
    },
    /// Reached by no volume that counted up to it.
    #[error(
        "epoch {0} is the last number there is, so it was not counted up to; the arbiter's register is damaged"
    )]
    Exhausted(Epoch),
}

impl Membership {
    /// A volume whose two copies are equal.
    pub const FIRST: Self = Self { epoch: Epoch::FIRST, members: Both };

    /// What follows for `cause`.
    ///
    /// # Errors
    /// [`SuccessionError::NoSuchCause`], [`SuccessionError::Exhausted`].
    pub fn succeed(self, cause: Cause) -> Result<Self, SuccessionError> {
        let (_, _, members) = SUCCESSIONS
            .into_iter()
            .find(|(from, why, _)| *from == self.members && *why == cause)
            .ok_or(SuccessionError::NoSuchCause { from: self, cause })?;
        Ok(Self { epoch: self.next_epoch()?, members })
    }

    /// The same members in an epoch later than that; nothing changes if it is, or if there is no later one.
    #[must_use]
    pub fn later_than(self, epoch: Epoch) -> Self {
        Self { epoch: self.epoch.max(Epoch(epoch.0.saturating_add(1).min(Epoch::LAST.0))), ..self }
    }

    /// Whether `next` may be the membership right after this one.
    ///
    /// # Errors
    /// [`SuccessionError::EpochGap`], [`SuccessionError::Unlawful`], [`SuccessionError::Exhausted`].
    pub fn check_successor(self, next: Self) -> Result<(), SuccessionError> {
        if next.epoch != self.next_epoch()? {
            return Err(SuccessionError::EpochGap { from: self.epoch, to: next.epoch });
        }
        if SUCCESSIONS.iter().any(|(from, _, to)| *from == self.members && *to == next.members) {
            Ok(())
        } else {
            Err(SuccessionError::Unlawful { from: self, to: next })
        }
    }

    fn next_epoch(self) -> Result<Epoch, SuccessionError> {
        if self.epoch < Epoch::LAST {
            Ok(Epoch(self.epoch.0 + 1))
        } else {
            Err(SuccessionError::Exhausted(self.epoch))
        }
    }
}

impl fmt::Display for Membership {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.epoch, self.members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Members; 3] = [Both, Only(Zero), Only(One)];

    fn at(epoch: u64, members: Members) -> Membership {
        Membership { epoch: Epoch(epoch), members }
    }

    #[test]
    fn every_row_of_the_table_leads_to_the_next_epoch() {
        for (from, cause, to) in SUCCESSIONS {
            assert_eq!(at(7, from).succeed(cause), Ok(at(8, to)), "{from} {cause:?}");
            assert_eq!(at(7, from).check_successor(at(8, to)), Ok(()));
        }
    }

    #[test]
    fn nothing_follows_itself_and_every_other_pair_of_members_has_a_way() {
        for from in ALL {
            for to in ALL {
                assert_eq!(at(1, from).check_successor(at(2, to)).is_ok(), from != to, "{from} to {to}");
            }
        }
    }

    #[test]
    fn a_node_becomes_sole_member_from_both_only_when_the_other_is_gone() {
        for (from, cause, to) in SUCCESSIONS {
            if let (Both, Only(member)) = (from, to) {
                assert!(matches!(cause, Lost(gone) | Left(gone) if gone == member.other()));
            }
        }
    }

    #[test]
    fn a_stale_node_serves_alone_only_by_force() {
        for (from, cause, to) in SUCCESSIONS {
            if let (Only(one), Only(other)) = (from, to) {
                assert_eq!((one, cause), (other.other(), Forced(other)));
            }
        }
    }

    #[test]
    fn what_did_not_happen_changes_nothing() {
        let from = at(3, Only(Zero));
        assert_eq!(from.succeed(Lost(One)), Err(SuccessionError::NoSuchCause { from, cause: Lost(One) }));
        assert_eq!(
            from.succeed(InSync(Zero)),
            Err(SuccessionError::NoSuchCause { from, cause: InSync(Zero) })
        );
    }

    #[test]
    fn epochs_have_no_gaps_and_an_end() {
        let gap = SuccessionError::EpochGap { from: Epoch(3), to: Epoch(5) };
        assert_eq!(at(3, Both).check_successor(at(5, Only(One))), Err(gap));
        let before = Membership { epoch: Epoch(Epoch::LAST.0 - 1), members: Both };
        let last = before.succeed(Lost(One)).expect("there is one more");
        for end in [last.epoch, Epoch(u64::MAX)] {
            assert_eq!(at(end.0, Both).succeed(Lost(One)), Err(SuccessionError::Exhausted(end)));
        }
    }
}
